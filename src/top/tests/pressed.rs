//! What keys do.

use super::*;

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
