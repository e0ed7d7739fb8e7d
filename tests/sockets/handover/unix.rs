//! The files of Unix sockets: each process leaves that of its successor alone.

use std::os::unix::net::UnixStream;

use super::*;

#[test]
fn the_files_of_sockets_go_from_process_to_process() {
    let server = echo();
    let directory = TempDir::new().expect("a directory for temporary files");
    let (front, admin) = (directory.path().join("front.sock"), directory.path().join("admin.sock"));
    let flags =
        format!("--listen unix:{} --admin unix:{} --workers 2 --no-pin", front.display(), admin.display());
    let mut proxy = Launch::to(&server).flags(&flags).start();
    let endpoint = Admin::of(&proxy);
    let ask = || talk(&mut UnixStream::connect(&front).expect("its file is there")).expect("it is served");
    ask();
    let second = upgrade(&proxy, own_pid(&proxy));
    assert_eq!(proxy.exit_code(), Some(0), "nothing holds it");
    assert!(front.exists() && admin.exists(), "the files of the new process");
    ask();
    wait_until("the new process to note the end", || generations(&endpoint).len() == 1);

    // One that was removed is made again.
    fs::remove_file(&front).expect("it is there");
    let third = upgrade(&proxy, second);
    ask();
    wait_until("the second process to end", || is_gone(second));
    ask();
    signal(third, Signal::SIGTERM);
    wait_until("the third process to end", || is_gone(third));
    assert!(!front.exists() && !admin.exists(), "files of no process");
}

#[test]
fn a_file_of_a_dead_process_is_replaced_and_that_of_a_live_one_is_not() {
    let server = echo();
    let directory = TempDir::new().expect("a directory for temporary files");
    let front = directory.path().join("front.sock");
    let port = reserved::address();
    let flags = format!("--listen unix:{} --listen {port}", front.display());
    let mut proxy = Launch::to(&server).flags(&flags).start();
    let (code, said) = Launch::to(&server).flags(&format!("--listen unix:{}", front.display())).fail();
    assert_eq!(code, Some(1), "{said:?}");
    assert!(said.iter().any(|line| line.contains("cannot listen on unix:")), "{said:?}");
    proxy.signal(Signal::SIGKILL);
    // At once: the kernel may not have closed everything yet.
    let next = Launch::to(&server).flags(&flags).start();
    talk(&mut UnixStream::connect(&front).expect("its file is there")).expect("it is served");
    talk(&mut connect(&port.to_string()).expect("it listens")).expect("it is served");
    assert_eq!(proxy.exit_code(), None);
    drop(next);
}
