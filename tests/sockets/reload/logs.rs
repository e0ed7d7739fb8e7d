//! The access log through reloads.

use super::*;

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

#[test]
fn the_access_log_changes_its_target_and_format() {
    let server = Server::v4();
    let listener = free();
    let file = File::new("");
    let (one, two) = (file.beside("one.log"), file.beside("two.log"));
    let text = |log: &str| log.to_owned() + "\n" + &service("a", &[&listener], &server, "");
    let to = |path: &Path| format!("access-log = \"{}\"", path.display());
    file.write(&text("access-log = \"off\""));
    // What systemd says of LogsDirectory=: without it the sandbox knows no place for a log that comes later.
    let logs = file.directory.path().to_str().expect("text");
    let proxy = Launch::by_file(&file.path).logs_by_file().environment("LOGS_DIRECTORY", logs).start();
    let one_client = || drop(expect_served(&listener, &server));
    one_client();
    file.reload(&proxy, &text(&to(&one)));
    let long = expect_served(&listener, &server);
    one_client();
    wait_until("a line", || lines(&one).len() == 1);
    let said = file.reload(&proxy, &text(&(to(&one) + "\nlog-format = \"json\"")));
    assert!(said.ends_with("changed: log-format"), "{said}");
    one_client();
    wait_until("a line", || lines(&one).len() == 2);
    assert!(lines(&one)[0].starts_with("time=") && lines(&one)[1].starts_with("{\"time\""));
    file.reload(&proxy, &text(&to(&two)));
    // Begun before, ended after: to the log that is there then.
    drop(long);
    wait_until("a line", || lines(&two).len() == 1);
    file.reload(&proxy, &text("access-log = \"off\""));
    one_client();
    file.reload(&proxy, &text(&to(&two)));
    one_client();
    wait_until("a line", || lines(&two).len() == 2);
    assert_eq!(lines(&one).len(), 2);
    // A file that was moved away is opened again, whichever log it is by now.
    fs::rename(&two, file.beside("moved")).expect("it is there");
    proxy.signal(Signal::SIGUSR1);
    proxy.wait_to_say("access log reopened");
    one_client();
    wait_until("a line", || lines(&two).len() == 1);
}

#[test]
fn no_line_is_lost_while_the_log_changes() {
    const CLIENTS: usize = 400;
    let server = Server::v4();
    let listener = free();
    let file = File::new("");
    let logs = [file.beside("one.log"), file.beside("two.log")];
    let text = |nth: usize| {
        format!("access-log = \"{}\"\n{}", logs[nth % 2].display(), service("a", &[&listener], &server, ""))
    };
    file.write(&text(0));
    let mut proxy = Launch::by_file(&file.path).logs_by_file().start();
    thread::scope(|scope| {
        let clients = scope.spawn(|| (0..CLIENTS).for_each(|_| drop(expect_served(&listener, &server))));
        let mut nth = 1;
        while !clients.is_finished() {
            file.reload(&proxy, &text(nth));
            nth += 1;
        }
    });
    proxy.signal(Signal::SIGTERM);
    assert_eq!(proxy.exit_code(), Some(0));
    assert_eq!(logs.iter().map(|log| lines(log).len()).sum::<usize>(), CLIENTS);
    assert!(proxy.said("stopped; ")[0].contains("log_lines_dropped=0"));
}
