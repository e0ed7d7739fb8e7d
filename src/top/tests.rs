//! The model, the keys and the pictures, over scrapes that are made here.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::column::{Column, Section};
use super::draw::{self, Setting};
use super::figures::Counts;
use super::keys::{self, Command};
use super::model::{Model, Row, Tone};
use super::scrape::{Scrape, Server, Service};
use super::view::{Mode, Order, Verb, View};

const ADDRESS: &str = "unix:/run/iisplice/admin.sock";

/// A proxy that counts.
#[derive(Clone)]
struct Proxy {
    at: Instant,
    started: u64,
    servers: Vec<(&'static str, String, &'static str)>,
    connections: u64,
    logins: u64,
    refused: u64,
    bytes: u64,
    /// Replies that took up to 1 ms, up to 10 ms and longer.
    replies: [u64; 3],
    workers: usize,
    is_ready: bool,
}

impl Proxy {
    fn new() -> Self {
        let servers = ["iis1:80", "iis2:80"].map(|name| ("iis", name.to_owned(), "up"));
        Self {
            at: Instant::now(),
            started: 1_790_000_000,
            servers: servers.to_vec(),
            connections: 1000,
            logins: 500,
            refused: 3,
            bytes: 1 << 30,
            replies: [10, 20, 30],
            workers: 2,
            is_ready: true,
        }
    }

    /// A moment later.
    fn later(&self, seconds: f64) -> Self {
        Self { at: self.at + Duration::from_secs_f64(seconds), ..self.clone() }
    }

    fn text(&self) -> String {
        let mut text = "# TYPE iisplice_build info\niisplice_build_info{version=\"1.2.3\"} 1\n".to_owned();
        // Writing to a String does not fail.
        let mut line = |name: &str, labels: &str, value: u64| {
            let _ = writeln!(text, "{name}{{{labels}}} {value}");
        };
        line("iisplice_connections_accepted_total", "service=\"web\"", self.connections);
        line("iisplice_connections_active", "service=\"web\"", 1);
        for (group, name, _) in &self.servers {
            let of = format!("service=\"web\",group=\"{group}\",server=\"{name}\"");
            line("iisplice_upstream_connections_total", &of, self.connections);
            line("iisplice_connections_active", &of, 7);
            line("iisplice_to_client_bytes_total", &of, self.bytes);
            line("iisplice_logins_accepted_total", &format!("{of},mechanism=\"ntlm\""), self.logins);
            line("iisplice_logins_accepted_total", &format!("{of},mechanism=\"kerberos\""), 2 * self.logins);
            line("iisplice_logins_refused_total", &format!("{of},mechanism=\"ntlm\""), self.refused);
            let mut sum = 0;
            for (count, bound) in self.replies.iter().zip(["0.001", "0.01", "+Inf"]) {
                sum += count;
                line("iisplice_reply_head_seconds_bucket", &format!("le=\"{bound}\",{of}"), sum);
            }
        }
        for number in 0..self.workers {
            let of = format!("worker=\"{number}\"");
            line("iisplice_worker_connections_accepted_total", &of, self.connections);
            line("iisplice_worker_connections_active", &of, 4);
        }
        text + &format!("process_start_time_seconds {}\n# EOF\n", self.started)
    }

    fn scrape(&self) -> Scrape {
        let servers = self.servers.iter().map(|(group, name, state)| Server {
            group: (*group).to_owned(),
            name: name.clone(),
            state: (*state).to_owned(),
            connections: 7,
        });
        let groups = vec!["iis".to_owned()];
        Scrape {
            at: self.at,
            counts: Counts::parse(&self.text()).expect("numbers of iisplice"),
            services: vec![Service { name: "web".to_owned(), mode: "http".to_owned(), tls: true, groups }],
            servers: servers.collect(),
            is_ready: self.is_ready,
            reasons: if self.is_ready { vec![] } else { vec!["the proxy is stopping".to_owned()] },
            uptime: Some(Duration::from_secs(3700)),
        }
    }

    /// A model of this proxy and what it counts within a second.
    fn watched(&self) -> Model {
        let mut model = Model::new(self.scrape());
        let busy = Self {
            connections: self.connections + 50,
            logins: self.logins + 10,
            bytes: self.bytes + (3 << 20),
            replies: [self.replies[0] + 90, self.replies[1] + 10, self.replies[2]],
            ..self.later(1.0)
        };
        model.add(busy.scrape());
        model
    }
}

fn row<'a>(model: &'a Model, section: Section, name: &str) -> &'a Row {
    let rows = model.rows(section);
    rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no {name}: {rows:?}"))
}

fn close_to(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|value| (value - expected).abs() < expected.abs() * 1e-9 + 1e-12)
}

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

/// Presses keys; each but the named ones is a character.
fn press(view: &mut View, model: &Model, codes: &[KeyCode]) -> Vec<Command> {
    let press = |code: &KeyCode| keys::press(view, model, KeyEvent::new(*code, KeyModifiers::NONE));
    codes.iter().filter_map(press).collect()
}

fn typed(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}

#[test]
fn a_drain_asks_first_and_only_yes_sends_it() {
    let model = Proxy::new().watched();
    let mut view = View::new();
    let drain = Order { verb: Verb::Drain, group: "iis".to_owned(), name: "iis2:80".to_owned() };
    assert_eq!(press(&mut view, &model, &[KeyCode::Down, KeyCode::Char('d')]), []);
    assert_eq!(view.mode, Mode::Confirm(drain.clone()));
    // Neither keys that mean something elsewhere nor text that is pasted answer it.
    press(&mut view, &model, &[KeyCode::Down, KeyCode::Char('d'), KeyCode::Char(' '), KeyCode::Tab]);
    keys::paste(&mut view, "y");
    assert_eq!(view.mode, Mode::Confirm(drain.clone()));
    for no in [KeyCode::Char('n'), KeyCode::Esc, KeyCode::Enter, KeyCode::Char('q')] {
        assert_eq!(press(&mut view, &model, &[KeyCode::Char('d'), no]), [], "{no:?}");
        assert_eq!(view.mode, Mode::Tables);
    }
    assert_eq!(press(&mut view, &model, &typed("dy")), [Command::Send(drain.clone())]);
    let enable = Order { verb: Verb::Enable, ..drain };
    assert_eq!(press(&mut view, &model, &typed("ey")), [Command::Send(enable)]);
    // A service is no server.
    press(&mut view, &model, &[KeyCode::Tab, KeyCode::Char('d')]);
    assert_eq!(view.mode, Mode::Tables);
    assert!(view.message.as_ref().is_some_and(|message| message.is_bad), "{:?}", view.message);
}

#[test]
fn the_question_is_about_the_row_that_was_selected_wherever_it_moves() {
    let proxy = Proxy::new();
    let mut model = proxy.watched();
    let mut view = View::new();
    press(&mut view, &model, &[KeyCode::Down]);
    let mut servers = proxy.servers.clone();
    servers.insert(0, ("iis", "iis0:80".to_owned(), "up"));
    servers.reverse();
    model.add(Proxy { servers, ..proxy.later(2.0) }.scrape());
    assert_eq!(view.server(&model), Some(("iis".to_owned(), "iis2:80".to_owned())));
}

#[test]
fn rows_are_sorted_by_what_is_asked_for_and_filtered_by_what_is_typed() {
    let mut proxy = Proxy::new();
    proxy.servers = ["a:80", "b:80", "c:80", "B2:80"].map(|name| ("iis", name.to_owned(), "up")).to_vec();
    proxy.servers[2].2 = "draining";
    let model = proxy.watched();
    let mut view = View::new();
    let names = |view: &View| {
        let rows = view.rows(&model, Section::Servers);
        rows.iter().map(|row| row.name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&view), ["a:80", "b:80", "c:80", "B2:80"], "as the proxy lists them");
    press(&mut view, &model, &typed("s"));
    assert_eq!(view.choice(Section::Servers).sort, Some(Column::Active));
    assert_eq!(names(&view), ["a:80", "b:80", "c:80", "B2:80"], "equal ones stay where they are");
    press(&mut view, &model, &typed("Sr"));
    assert_eq!(names(&view), ["B2:80", "c:80", "b:80", "a:80"]);
    press(&mut view, &model, &typed("r/B"));
    assert_eq!(names(&view), ["b:80", "B2:80"], "while it is typed");
    press(&mut view, &model, &[KeyCode::Esc]);
    assert_eq!(names(&view).len(), 4, "taken back");
    press(&mut view, &model, &typed("/drain"));
    press(&mut view, &model, &[KeyCode::Enter]);
    assert_eq!((names(&view), &view.mode), (vec!["c:80".to_owned()], &Mode::Tables));
    assert_eq!(view.rows(&model, Section::Services).len(), 1, "each table has its own");
    press(&mut view, &model, &[KeyCode::Esc]);
    press(&mut view, &model, &typed("/q"));
    assert_eq!(names(&view), Vec::<String>::new(), "q is text here");
    keys::paste(&mut view, "\u{1b}x\n");
    assert_eq!(view.choice(Section::Servers).filter, "qx");
}

/// What a screen of this size shows.
fn screen(size: (u16, u16), model: &Model, view: &View, has_colours: bool) -> Buffer {
    let backend = TestBackend::new(size.0, size.1);
    let mut terminal = Terminal::new(backend).expect("a buffer");
    let now = model.last().at;
    let setting = Setting { now, address: ADDRESS, interval: Duration::from_secs(1), has_colours };
    terminal.draw(|frame| draw::screen(frame.buffer_mut(), model, view, &setting)).expect("it is drawn");
    terminal.backend().buffer().clone()
}

fn text(size: (u16, u16), model: &Model, view: &View) -> String {
    draw::text(&screen(size, model, view, true))
}

#[test]
fn a_screen_of_80_by_24_has_everything_that_matters() {
    let picture = text((80, 24), &Proxy::new().watched(), &View::new());
    assert_eq!(
        picture,
        "\
iisplice 1.2.3 at unix:/run/iisplice/admin.sock, up 1h 1m  ready        every 1s
connections          15              ██ logins/s           60.0               █
new/s              50.0               █ failed logins/s       0               ▁
to clients/s      6.00M               █ requests/s            0               ▁
to servers/s          0               ▁ refused/s             0               ▁

SERVERS 2                             logins/s    conn ms   reply ms
NAME            STATE    ACTIVE NEW/S    OK  401S  P50  P99  P50  P99 BYTES/S
iis1:80         up            7  50.0  30.0     0    -    - 0.56 9.10   3.00M
iis2:80         up            7  50.0  30.0     0    -    - 0.56 9.10   3.00M

SERVICES 1                            logins/s    conn ms   reply ms
NAME            STATE    ACTIVE NEW/S    OK  401S  P50  P99  P50  P99 BYTES/S
web (http, tls) up           15  50.0  60.0     0    -    - 0.56 9.10   6.00M

WORKERS 2
NAME            STATE    ACTIVE NEW/S TURNS  SIZE TAKES  BUFS PIPES SHORT
worker 0        ok            4  50.0     0     -     0     -     -     0
worker 1        ok            4  50.0     0     -     0     -     -     0



iis1:80: logins/s ntlm 10.0 nego 0 kerb 20.0 basic 0, http/s reqs 0 5xx 0, byte…
q quit  ? help  Tab table  s sort  / filter  d drain  e enable  ←→ columns
"
    );
}

#[test]
fn bigger_screens_show_all_columns_and_more_rows() {
    let mut proxy = Proxy::new();
    proxy.servers = (1..=20).map(|nth| ("iis", format!("iis{nth}.corp.example:80"), "up")).collect();
    proxy.workers = 16;
    let model = proxy.watched();
    let view = View::new();
    let small = text((80, 24), &model, &view);
    for part in ["SERVERS 1-7 of 20", "SERVICES 1", "WORKERS 1-2 of 16", "iis1.corp…ample:80", "worker 1"] {
        assert!(small.contains(part), "{part}\n{small}");
    }
    let middle = text((120, 40), &model, &view);
    for part in [
        "SERVERS 20",
        "WORKERS 1-6 of 16",
        "iis20.corp.example:80",
        "  NTLM  NEGO  KERB BASIC",
        " KERB BASIC  REQS   5XX",
    ] {
        assert!(middle.contains(part), "{part}\n{middle}");
    }
    let large = text((200, 50), &model, &view);
    for part in ["SERVERS 20", "WORKERS 16", "worker 15", "SERVER CLIENT  FAIL/S", "SERVER CLIENT REFUS/S"] {
        assert!(large.contains(part), "{part}\n{large}");
    }
    assert!(!large.contains("iis1.corp.example:80: "), "nothing is left over\n{large}");
    let width = |picture: &str| picture.lines().map(textwrap::core::display_width).max();
    assert!(width(&small) <= Some(80) && width(&middle) <= Some(120) && width(&large) <= Some(200));
}

#[test]
fn keys_bring_what_does_not_fit() {
    let mut proxy = Proxy::new();
    proxy.servers = (1..=20).map(|nth| ("iis", format!("iis{nth}:80"), "up")).collect();
    proxy.workers = 16;
    let model = proxy.watched();
    let mut view = View::new();
    press(&mut view, &model, &[KeyCode::End]);
    assert!(text((80, 24), &model, &view).contains("\niis20:80"));
    press(&mut view, &model, &[KeyCode::Tab, KeyCode::Tab, KeyCode::PageDown]);
    let workers = text((80, 24), &model, &view);
    assert!(workers.contains("\nworker 10 ") && workers.contains("SERVERS 19-20 of 20"), "{workers}");
    press(&mut view, &model, &[KeyCode::Tab]);
    press(&mut view, &model, &[KeyCode::Right; 9]);
    let columns = text((80, 24), &model, &view);
    assert!(columns.contains("STATE     NTLM  NEGO  KERB BASIC  REQS   5XX SERVER CLIENT\n"), "{columns}");
    press(&mut view, &model, &[KeyCode::Right; 90]);
    assert!(text((80, 24), &model, &view).contains("FAIL/S"), "the last one stays");
    press(&mut view, &model, &typed("?"));
    let help = text((80, 24), &model, &view);
    assert!(help.starts_with("Keys\n") && help.contains("asks first") && help.contains("↓ more"), "{help}");
    press(&mut view, &model, &[KeyCode::Down; 60]);
    let rest = text((80, 24), &model, &view);
    assert!(rest.contains("how often a second a resource had run out"), "{rest}");
    press(&mut view, &model, &typed("q"));
    assert_eq!(view.mode, Mode::Tables, "q leaves the help only");
}

#[test]
fn a_screen_of_any_size_is_drawn() {
    let proxy = Proxy { is_ready: false, ..Proxy::new() };
    let mut model = proxy.watched();
    let none = Proxy { servers: vec![], workers: 0, ..proxy.clone() }.watched();
    let mut confirm = View::new();
    press(&mut confirm, &model, &typed("d"));
    let mut filter = View::new();
    press(&mut filter, &model, &typed("/xyz"));
    let mut help = View::new();
    press(&mut help, &model, &typed("?"));
    let views = [View::new(), confirm, filter, help];
    let heights = [1, 2, 3, 4, 5, 8, 12, 16, 24];
    let sizes =
        || [1, 2, 3, 9, 20, 40, 80, 100].into_iter().flat_map(|width| heights.map(|height| (width, height)));
    for trouble in [false, true] {
        if trouble {
            model.fail("no proxy answers at unix:/run/iisplice/admin.sock: Connection refused");
        }
        for (width, height) in sizes() {
            for view in &views {
                text((width, height), &model, view);
                text((width, height), &none, view);
            }
        }
    }
    // A few lines are for the table in focus.
    let small = text((20, 5), &proxy.watched(), &View::new());
    assert!(small.contains("iis1:80") && small.contains("not ready:"), "{small}");
}

#[test]
fn a_question_can_be_read_whatever_the_names_are() {
    let mut proxy = Proxy::new();
    proxy.servers = vec![("iis", format!("unix:/run/{}.sock", "x".repeat(200)), "up")];
    let model = proxy.watched();
    let mut view = View::new();
    press(&mut view, &model, &typed("d"));
    let picture = text((80, 24), &model, &view);
    let question = picture.lines().last().expect("a foot");
    assert!(question.starts_with("drain unix:/run/xxx") && question.contains("? y/n"), "{question}");
}

#[test]
fn a_proxy_that_does_not_answer_is_said_and_what_is_old_has_no_colour() {
    let proxy = Proxy::new();
    let mut model = proxy.watched();
    let view = View::new();
    let is_coloured = |buffer: &Buffer| buffer.content().iter().any(|cell| cell.fg != Color::Reset);
    assert!(is_coloured(&screen((80, 24), &model, &view, true)));
    assert!(!is_coloured(&screen((80, 24), &model, &view, false)), "the user does not want any");
    model.fail("nothing there\u{1b}[2J");
    let shown = screen((80, 24), &model, &view, true);
    let picture = draw::text(&shown);
    assert!(picture.contains("no answer for 0s"), "{picture}");
    assert!(picture.contains("\nnothing there\u{fffd}[2J; asking again\n"), "{picture}");
    assert!(picture.contains("\niis1:80 "), "what was known stays: {picture}");
    let state = shown.content().iter().filter(|cell| cell.symbol() == "u" && cell.fg == Color::Green);
    assert_eq!(state.count(), 0);
    model.add(proxy.later(20.0).scrape());
    assert!(text((80, 24), &model, &view).contains("  ready "));
}

#[test]
fn names_of_the_proxy_do_not_act_on_the_terminal() {
    let mut proxy = Proxy::new();
    proxy.servers = vec![("iis", "a\u{1b}[31m\u{9b}b\u{202e}:80".to_owned(), "up\u{7}")];
    let model = proxy.watched();
    let mut view = View::new();
    press(&mut view, &model, &typed("d"));
    let setting =
        Setting { now: proxy.at, address: ADDRESS, interval: Duration::from_secs(1), has_colours: true };
    for picture in [text((80, 24), &model, &view), draw::once(&model, 160, &setting)] {
        assert!(picture.contains("a\u{fffd}[31m"), "{picture}");
        assert!(!picture.contains(|c: char| (c.is_control() && c != '\n') || c == '\u{202e}'), "{picture:?}");
    }
}

#[test]
fn one_picture_has_every_row_and_no_keys() {
    let mut proxy = Proxy::new();
    proxy.servers = (1..=200).map(|nth| ("iis", format!("iis{nth}:80"), "up")).collect();
    let model = proxy.watched();
    let setting = Setting {
        now: model.last().at,
        address: ADDRESS,
        interval: Duration::from_secs(1),
        has_colours: true,
    };
    let picture = draw::once(&model, 160, &setting);
    assert_eq!(
        picture.lines().filter(|line| line.starts_with("iis") && line.contains(" up ")).count(),
        200 + 1
    );
    assert!(picture.ends_with('\n') && !picture.contains("quit") && !picture.contains('▁'), "{picture}");
    assert!(draw::once(&model, 1, &setting).lines().count() > 200);
}
