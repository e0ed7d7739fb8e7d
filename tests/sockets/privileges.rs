//! Root's rights: what a process keeps of them, and what it still can do.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown};
use std::path::Path;

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use procfs::process::Process;
use tempfile::TempDir;

use crate::support::{Launch, Peer, Proxy, Server, in_own_network, pair, wait_until};

/// A user and a group without an entry on most hosts.
const USER: u32 = 54_321;
const CAP_NET_BIND_SERVICE: u64 = 1 << 10;
const CAP_NET_RAW: u64 = 1 << 13;

/// Whether this test can start as root.
fn is_root() -> bool {
    let is_root = geteuid().is_root();
    if !is_root {
        println!("SKIPPED: only root has rights to drop");
    }
    is_root
}

/// A directory of the user.
fn directory() -> TempDir {
    let directory = TempDir::new().expect("a directory for temporary files");
    give(directory.path());
    directory
}

fn give(path: &Path) {
    chown(path, Some(USER), Some(USER)).expect("root gives files away");
}

/// The lines of each thread's `/proc/PID/task/TID/status` by name, the kernel's own for rings among them.
fn threads_of(process: &Process) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.pid)).expect("it runs");
    let status = |entry: Result<fs::DirEntry, _>| {
        // A thread may have ended meanwhile.
        let text = fs::read_to_string(entry.ok()?.path().join("status")).ok()?;
        let field =
            |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.trim().to_owned()));
        Some(text.lines().filter_map(field).collect())
    };
    tasks.filter_map(status).collect()
}

/// Every thread is the user and has these capabilities, and no way to others.
fn expect_dropped(proxy: &Proxy, capabilities: u64) {
    let mut threads = Vec::new();
    // The kernel's list can lack some while another thread ends.
    wait_until("a main thread, a worker and two for logs", || {
        threads = threads_of(&proxy.process());
        threads.len() > 3
    });
    let (user, capabilities) = (format!("{USER}\t{USER}\t{USER}\t{USER}"), format!("{capabilities:016x}"));
    let none = format!("{:016x}", 0);
    for thread in threads {
        for (field, expected) in [
            ("Uid", user.as_str()),
            ("Gid", &user),
            ("Groups", &USER.to_string()),
            ("CapPrm", &capabilities),
            ("CapEff", &capabilities),
            ("CapBnd", &capabilities),
            ("CapInh", &none),
            ("CapAmb", &none),
            ("NoNewPrivs", "1"),
            ("Umask", "0027"),
        ] {
            assert_eq!(thread.get(field).map(String::as_str), Some(expected), "{field}: {thread:?}");
        }
    }
    let files_of_process = format!("/proc/{}/environ", proxy.process().pid);
    assert_eq!(fs::metadata(files_of_process).expect("it runs").uid(), 0, "it can be dumped");
}

#[test]
fn every_thread_has_dropped_root_and_logs_can_be_rotated() {
    if !is_root() {
        return;
    }
    let (server, directory) = (Server::v4(), directory());
    let log = directory.path().join("access.log");
    fs::write(&log, "").expect("a file of root");
    let proxy = Launch::to(server.address())
        .flags(&format!(
            "--user {USER}:{USER} --workers 2 --admin 127.0.0.1:0 --access-log {}",
            log.display()
        ))
        .start();
    let _served = pair(&proxy, &server);
    expect_dropped(&proxy, 0);
    assert_eq!(fs::metadata(&log).expect("the log").uid(), USER, "it could not be opened again");
    for times in 1..=2 {
        fs::rename(&log, directory.path().join("access.log.1")).expect("a rotation");
        proxy.signal(Signal::SIGUSR1);
        proxy.wait_to_say_times("access log reopened", times);
        let found = fs::metadata(&log).expect("a new log");
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (USER, 0o640));
    }
    assert_eq!(proxy.said("WARN"), [""; 0]);
}

#[test]
fn a_reload_reads_files_as_the_user_and_binds_low_ports() {
    if !is_root() {
        return;
    }
    in_own_network("privileges::a_reload_reads_files_as_the_user_and_binds_low_ports", || {
        let (server, directory) = (Server::v4(), directory());
        let file = directory.path().join("iisplice.toml");
        let socket = directory.path().join("clients.sock");
        let write = |listeners: &str| {
            let settings = format!(
                "user = \"{USER}:{USER}\"\naccess-log = \"off\"\n[service.s]\nlisten = [{listeners}]\nupstream = \"g\"\n\
                 [group.g]\nservers = [\"{}\"]\n",
                server.address()
            );
            fs::write(&file, settings).expect("a file");
        };
        let unix = format!("\"unix:{}\"", socket.display());
        write(&format!("\"127.0.0.1:80\", {unix}"));
        let mut proxy = Launch::by_file(&file).logs_by_file().start();
        expect_dropped(&proxy, CAP_NET_BIND_SERVICE);
        let found = fs::metadata(&socket).expect("a socket");
        assert!(found.file_type().is_socket());
        assert_eq!((found.uid(), found.permissions().mode() & 0o777), (USER, 0o660));
        write(&format!("\"127.0.0.1:80\", \"127.0.0.1:81\", {unix}"));
        proxy.signal(Signal::SIGHUP);
        proxy.wait_to_say("listener 127.0.0.1:81 added");
        let client = Peer::connect("127.0.0.1:81");
        client.send(b"first");
        server.accept().expect(b"first");
        proxy.signal(Signal::SIGTERM);
        drop(client);
        proxy.exit_code();
        assert!(!socket.exists(), "the user can remove it");
    });
}

/// The kernel lets only the owner of a socket bind others to its address: root at start, the user at a reload, and root again
/// at an upgrade bind to the same ones.
#[test]
fn sockets_of_root_and_of_the_user_share_their_addresses() {
    if !is_root() {
        return;
    }
    in_own_network("privileges::sockets_of_root_and_of_the_user_share_their_addresses", || {
        let (server, directory) = (Server::v4(), directory());
        let file = directory.path().join("iisplice.toml");
        let write = |workers: usize, listeners: &str| {
            let settings = format!(
                "user = \"{USER}:{USER}\"\nworkers = {workers}\nno-pin = true\naccess-log = \"off\"\n[service.s]\n\
                 listen = [{listeners}]\nupstream = \"g\"\n[group.g]\nservers = [\"{}\"]\n",
                server.address()
            );
            fs::write(&file, settings).expect("a file");
        };
        let check = |address: &str| {
            let client = Peer::connect(address);
            client.send(b"first");
            server.accept().expect(b"first");
        };
        write(1, "\"127.0.0.1:80\"");
        let proxy = Launch::by_file(&file).logs_by_file().workers_by_file().start();
        // Each address is there when the next one is bound to, which includes it.
        write(1, "\"0.0.0.0:80\", \"127.0.0.1:81\"");
        proxy.signal(Signal::SIGHUP);
        proxy.wait_to_say("listener 127.0.0.1:81 added");
        assert_eq!(proxy.said("cannot"), [""; 0]);
        write(3, "\"0.0.0.0:80\", \"0.0.0.0:81\"");
        proxy.signal(Signal::SIGUSR2);
        proxy.wait_to_say("the new process serves");
        for address in ["127.0.0.1:80", "127.0.0.2:80", "127.0.0.1:81", "127.0.0.2:81"] {
            check(address);
        }
        assert_eq!(proxy.said("cannot"), [""; 0]);
    });
}

#[test]
fn transparent_keeps_one_capability() {
    if !is_root() {
        return;
    }
    in_own_network("privileges::transparent_keeps_one_capability", || {
        let proxy = Launch::to("127.0.0.1:9").flags(&format!("--transparent --user {USER}:{USER}")).start();
        expect_dropped(&proxy, CAP_NET_RAW);
    });
}

#[test]
fn files_that_the_user_cannot_use_are_named_at_start_and_by_a_check() {
    if !is_root() {
        return;
    }
    let directory = TempDir::new().expect("a directory for temporary files");
    let only_root = fs::Permissions::from_mode(0o700);
    fs::set_permissions(directory.path(), only_root).expect("it is ours");
    let file = directory.path().join("iisplice.toml");
    let settings = format!(
        "user = \"{USER}:{USER}\"\naccess-log = \"{path}/log\"\n[service.s]\nlisten = [\"127.0.0.1:0\", \"unix:{path}/s\"]\n\
         upstream = \"g\"\n\
         [group.g]\nservers = [\"127.0.0.1:9\"]\n",
        path = directory.path().display()
    );
    fs::write(&file, settings).expect("a file");
    let proxy = Launch::by_file(&file).logs_by_file().start();
    let name = format!("cannot read {}", file.display());
    proxy.wait_to_say(&name);
    proxy.wait_to_say("/log, so it cannot be reopened");
    proxy.wait_to_say(&format!("cannot remove {}/s", directory.path().display()));
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("cannot reload settings");
    let (code, said) = Launch::by_file(&file).logs_by_file().flags("--check").fail();
    assert_eq!(code, Some(0), "{said:?}");
    assert!(said.iter().any(|line| line.contains(&name)), "{said:?}");
}

#[test]
fn root_without_a_user_is_warned_once() {
    if !is_root() {
        return;
    }
    let proxy = Launch::to("127.0.0.1:9").start();
    proxy.wait_to_say("host-user");
    proxy.signal(Signal::SIGHUP);
    proxy.wait_to_say("settings reloaded");
    assert_eq!(proxy.said("host-user").len(), 1);
}

#[test]
fn a_user_that_cannot_be_is_one_line() {
    let flags = |user: &str| Launch::to("127.0.0.1:9").flags(&format!("--user {user}"));
    for (user, expected) in [
        ("root", "this is root itself"),
        ("no-such-user", "useradd --system no-such-user"),
        ("a:b:c", "NAME:GROUP"),
    ] {
        let (code, said) = flags(user).fail();
        assert_eq!((code, said.len()), (Some(2), 1), "{said:?}");
        assert!(said[0].contains("--user") && said[0].contains(expected), "{said:?}");
    }
    if !is_root() {
        let (code, said) = flags("54321:54321").fail();
        assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
        assert!(said[0].contains("only root can go on as another user"), "{said:?}");
    }
}

#[test]
fn only_root_can_go_on_as_another_user() {
    if !is_root() {
        return;
    }
    let other = format!("setpriv --reuid {USER} --regid {USER} --clear-groups");
    let (code, said) =
        Launch::to("127.0.0.1:9").flags("--user 54322:54322 --access-log off").started_by(&other).fail();
    if said.iter().any(|line| line.starts_with("setpriv:")) {
        println!("SKIPPED: {said:?}");
        return;
    }
    assert_eq!((code, said.len()), (Some(1), 1), "{said:?}");
    assert!(said[0].contains("only root can go on as another user") && said[0].contains("54321"), "{said:?}");
}

#[test]
fn another_user_needs_a_restart() {
    if !is_root() {
        return;
    }
    let directory = directory();
    let file = directory.path().join("iisplice.toml");
    let write = |user: &str| {
        let settings = format!(
            "user = \"{user}\"\naccess-log = \"off\"\n[service.s]\nlisten = \"127.0.0.1:0\"\nupstream = \"g\"\n[group.g]\n\
             servers = [\"127.0.0.1:9\"]\n"
        );
        fs::write(&file, settings).expect("a file");
    };
    write("54321:54321");
    let proxy = Launch::by_file(&file).logs_by_file().start();
    write("54322:54322");
    proxy.signal(Signal::SIGHUP);
    let said = proxy.wait_to_say("need a restart");
    assert!(said.contains("user (runs with 54321:54321, set to 54322:54322)"), "{said}");
    wait_until("the user to stay", || {
        threads_of(&proxy.process()).iter().all(|thread| thread["Uid"].starts_with("54321\t"))
    });
}
