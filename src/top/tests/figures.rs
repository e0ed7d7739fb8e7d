//! Rates, quantiles and states.

use super::*;

#[test]
fn rates_are_what_was_counted_between_two_scrapes_by_their_time() {
    let proxy = Proxy::new();
    let mut model = Model::new(proxy.scrape());
    let server = row(&model, Section::Servers, "iis1:80");
    assert_eq!(
        (server.value(Column::Active), server.value(Column::New)),
        (Some(7.0), None),
        "nothing before"
    );
    let later = Proxy {
        connections: 1050,
        logins: 510,
        refused: 4,
        bytes: (1 << 30) + 4096,
        replies: [110, 20, 30],
        ..proxy.later(2.0)
    };
    model.add(later.scrape());
    for name in ["iis1:80", "iis2:80"] {
        let server = row(&model, Section::Servers, name);
        for (column, expected) in [
            (Column::New, 25.0),
            (Column::Logins, 15.0),
            (Column::Ntlm, 5.0),
            (Column::Kerberos, 10.0),
            (Column::Basic, 0.0),
            (Column::FailedLogins, 0.5),
            (Column::Bytes, 2048.0),
            // All within the first bucket.
            (Column::ReplyMedian, 0.0005),
            (Column::ReplyP99, 0.000_99),
        ] {
            assert!(close_to(server.value(column), expected), "{column:?}: {:?}", server.value(column));
        }
        assert_eq!(server.value(Column::ConnectMedian), None, "no connect was measured");
    }
    let service = row(&model, Section::Services, "web (http, tls)");
    assert_eq!(service.value(Column::Active), Some(15.0), "with those that have no server yet");
    assert!(close_to(service.value(Column::Logins), 30.0), "of both servers");
    assert!(close_to(row(&model, Section::Workers, "worker 1").value(Column::New), 25.0));
    let totals = [15.0, 30.0, 25.0, 1.0, 4096.0].map(Some);
    for (total, expected) in model.totals.iter().zip(totals) {
        assert_eq!(total.now(), expected, "{}", total.label);
    }
}

#[test]
fn numbers_that_restart_shrink_or_come_back_give_no_rate() {
    let proxy = Proxy::new();
    let rates = |before: &Proxy, after: &Proxy| {
        let mut model = Model::new(before.scrape());
        model.add(after.later(1.0).scrape());
        let server = row(&model, Section::Servers, "iis1:80");
        [server.value(Column::New), server.value(Column::Bytes), server.value(Column::ReplyP99)]
    };
    let small =
        Proxy { connections: 2, logins: 2, refused: 0, bytes: 5000, replies: [0; 3], ..proxy.clone() };
    assert_eq!(rates(&proxy, &small), [None; 3], "shrunk");
    let restarted = Proxy { started: proxy.started + 60, ..small };
    assert_eq!(rates(&proxy, &restarted), [None; 3], "another process");
    let fast = Proxy { connections: 5000, bytes: 1 << 40, started: proxy.started + 60, ..proxy.clone() };
    assert_eq!(rates(&proxy, &fast), [None; 3], "another process that is ahead");
    let without = Proxy { servers: proxy.servers[1..].to_vec(), ..proxy.clone() };
    assert_eq!(rates(&without, &proxy), [None; 3], "lines that come back count from long ago");
    assert_eq!(rates(&proxy, &proxy), [Some(0.0), Some(0.0), None], "nothing happened");
    let mut same_moment = Model::new(proxy.scrape());
    same_moment.add(proxy.scrape());
    assert_eq!(row(&same_moment, Section::Servers, "iis1:80").value(Column::New), None);
    for model in [proxy.watched(), same_moment] {
        let all = Section::ALL.into_iter().flat_map(|section| model.rows(section));
        for value in all.flat_map(|row| Column::ALL.map(|column| row.value(column))).flatten() {
            assert!(value.is_finite() && value >= 0.0, "{value}");
        }
    }
}

#[test]
fn quantiles_are_of_ten_seconds_and_of_one_process() {
    let proxy = Proxy::new();
    let mut model = Model::new(proxy.scrape());
    let mut now = proxy.clone();
    let p99 = |model: &Model| row(model, Section::Servers, "iis1:80").value(Column::ReplyP99);
    now = Proxy { replies: [10, 20, 130], ..now.later(1.0) };
    model.add(now.scrape());
    assert_eq!(p99(&model), Some(f64::INFINITY), "100 slow replies");
    now = Proxy { replies: [20, 20, 130], ..now.later(1.0) };
    model.add(now.scrape());
    assert_eq!(p99(&model), Some(f64::INFINITY), "they are in the last seconds");
    for _ in 0..12 {
        now = Proxy { replies: [now.replies[0] + 1, 20, 130], ..now.later(1.0) };
        model.add(now.scrape());
    }
    assert!(p99(&model).is_some_and(|time| time < 0.001), "they are long ago: {:?}", p99(&model));
    now = Proxy { started: now.started + 9, replies: [1, 0, 0], ..now.later(1.0) };
    model.add(now.scrape());
    assert_eq!(p99(&model), None);
    now = Proxy { replies: [1, 100, 0], ..now.later(1.0) };
    model.add(now.scrape());
    assert!(p99(&model).is_some_and(|time| time > 0.009 && time < 0.01), "{:?}", p99(&model));
}

#[test]
fn states_are_those_of_all_addresses_and_of_what_a_service_needs() {
    let servers = |states: &[&'static str]| {
        let servers = states.iter().map(|state| ("iis", "iis1:80".to_owned(), *state));
        let model = Model::new(Proxy { servers: servers.collect(), ..Proxy::new() }.scrape());
        let server = row(&model, Section::Servers, "iis1:80").clone();
        assert_eq!(model.rows(Section::Servers).len(), 1);
        (server.state, server.tone, row(&model, Section::Services, "web (http, tls)").state.clone())
    };
    let state = |state: &str, tone, service: &str| (state.to_owned(), tone, service.to_owned());
    assert_eq!(servers(&["up", "up"]), state("up", Tone::Good, "up"));
    assert_eq!(servers(&["up", "down", "up"]), state("2/3 up", Tone::Warning, "up"));
    assert_eq!(servers(&["draining", "down"]), state("0/2 up", Tone::Bad, "down"));
    assert_eq!(servers(&["down"]), state("down", Tone::Bad, "down"));
    assert_eq!(servers(&["slow-start"]), state("slow", Tone::Warning, "up"));
    assert_eq!(servers(&["draining"]), state("draining", Tone::Warning, "down"));
}
