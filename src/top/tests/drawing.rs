//! What is drawn.

use super::*;

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
