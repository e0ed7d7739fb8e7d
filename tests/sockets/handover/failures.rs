//! A new process that does not get to serve: the old one goes on as before, and says why in one line.

use super::*;

/// A binary whose place a test fills with something else.
struct Place {
    directory: TempDir,
    path: PathBuf,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory for temporary files");
        let path = directory.path().join("iisplice");
        symlink(BINARY, &path).expect("a free name");
        Self { directory, path }
    }

    fn fill(&self, script: &str) {
        fs::remove_file(&self.path).expect("it is there");
        fs::write(&self.path, format!("#!/bin/sh\n{script}\n")).expect("it is written");
        fs::set_permissions(&self.path, fs::Permissions::from_mode(0o755)).expect("it is ours");
    }

    fn mend(&self) {
        // It may be gone.
        let _ = fs::remove_file(&self.path);
        symlink(BINARY, &self.path).expect("a free name");
    }
}

#[test]
fn the_old_process_goes_on_whatever_the_new_one_does() {
    let place = Place::new();
    let settings = place.directory.path().join("iisplice.toml");
    let socket = place.directory.path().join("front.sock");
    let server = echo();
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = free.local_addr().expect("it is bound");
    let good = format!(
        "admin = \"127.0.0.1:0\"\n[service.a]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\nupstream = \"g\"\n\
         [group.g]\nservers = [\"{server}\"]\n",
        socket.display()
    );
    fs::write(&settings, &good).expect("it is written");
    let proxy = Launch::by_file(&settings).binary(&place.path).logs_by_file().start();
    let admin = Admin::of(&proxy);
    let bad = |from: &str, to: &str| fs::write(&settings, good.replace(from, to)).expect("it is written");
    let cases: [(&dyn Fn(), &str); 7] = [
        (&|| fs::remove_file(&place.path).expect("it is there"), "No such file or directory"),
        (&|| place.fill("exit 3"), "ended with exit code 3"),
        (&|| place.fill("kill -KILL $$"), "was ended by SIGKILL"),
        (&|| place.fill(&format!("exec {BINARY} \"$@\" --nonsense")), "--nonsense"),
        (&|| bad("upstream = \"g\"", "upstream = \"h\""), "there is no [group.h]"),
        (&|| bad("127.0.0.1:0\", \"unix", &format!("{taken}\", \"unix")), "cannot listen on"),
        (&|| bad("admin", "access-log = \"/nowhere/log\"\nadmin"), "access-log"),
    ];
    for (nth, (breaks, why)) in cases.iter().enumerate() {
        breaks();
        let done = command(&admin.address);
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{nth}: {done:?}");
        assert!(said.starts_with("iisplice: cannot upgrade: ") && said.contains(why), "{nth}: {said}");
        let lines = proxy.wait_to_say_times("cannot upgrade", nth + 1);
        assert_eq!(lines.len(), nth + 1, "{lines:?}");
        assert!(lines[nth].contains(why), "{lines:?}");
        place.mend();
        fs::write(&settings, &good).expect("it is written");
        talk(&mut connect(proxy.address()).expect("it listens")).expect("it is served");
        let mut client = std::os::unix::net::UnixStream::connect(&socket).expect("its file is there");
        talk(&mut client).expect("it is served");
    }
    assert_eq!(proxy.said("ERROR").len(), cases.len(), "{:?}", proxy.said("ERROR"));
    assert_eq!(command(&admin.address).status.code(), Some(0));
    talk(&mut connect(proxy.address()).expect("it listens")).expect("it is served");
}

#[test]
fn a_second_upgrade_while_one_runs_is_refused() {
    let place = Place::new();
    let server = echo();
    let (proxy, admin) = start(Launch::to(&server).binary(&place.path));
    let begun = place.directory.path().join("begun");
    place.fill(&format!("touch {}; read -r line; exit 7", begun.display()));
    let first = thread::spawn({
        let address = admin.address.clone();
        move || command(&address)
    });
    wait_until("the new process to run", || begun.exists());
    let second = command(&admin.address);
    assert_eq!(second.status.code(), Some(1), "{second:?}");
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains("an upgrade runs already"), "{said}");
    // A stop ends the one that runs, and with it the new process.
    proxy.signal(Signal::SIGTERM);
    let first = first.join().expect("no panic");
    assert_ne!(first.status.code(), Some(0), "{first:?}");
}

#[test]
fn without_its_starter_a_proxy_serves_and_cannot_be_upgraded() {
    let (proxy, admin) = start(Launch::to(&echo()));
    let pid = own_pid(&proxy);
    let children = || fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).expect("it runs");
    signal(children().trim().parse().expect("one child"), Signal::SIGKILL);
    wait_until("the proxy to have waited for its starter", || children().is_empty());
    let said = proxy.wait_to_say("the process that starts new ones was ended by SIGKILL");
    assert!(said.contains("WARN") && said.contains("an upgrade needs a restart"), "{said}");
    for _ in 0..2 {
        let done = command(&admin.address);
        assert_eq!(done.status.code(), Some(1), "{done:?}");
        assert!(String::from_utf8_lossy(&done.stderr).contains("was killed; restart instead"), "{done:?}");
        talk(&mut connect(proxy.address()).expect("it listens")).expect("it is served");
    }
}
