//! Network namespaces of a test's own, for what changes a host's network.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::panic::resume_unwind;
use std::process::Command;
use std::thread;

use nix::errno::Errno;
use nix::sched::{CloneFlags, setns, unshare};

/// Set in a process that may make namespaces although its user may not.
const AS_ROOT: &str = "IISPLICE_TEST_AS_ROOT_OF_A_NAMESPACE";

/// Runs `test`, of this full name, on a thread with a network of its own, whose loopback device is up. What the thread
/// starts shares that network. Where this host allows no namespace, it says so, and the test is skipped.
pub(crate) fn in_own_network(name: &str, test: impl FnOnce() + Send + 'static) {
    if let Err(error) = Command::new("ip").arg("-V").output() {
        println!("SKIPPED: {name}: ip (iproute2) cannot be run: {error}");
        return;
    }
    // A namespace belongs to the thread that makes it (unshare(2)).
    let on_thread = thread::spawn(move || {
        unshare(CloneFlags::CLONE_NEWNET)?;
        run("ip link set lo up");
        test();
        Ok::<_, Errno>(())
    });
    match on_thread.join() {
        Ok(Ok(())) => {}
        Ok(Err(_)) if std::env::var_os(AS_ROOT).is_none() => in_user_namespace(name),
        Ok(Err(error)) => println!("SKIPPED: {name}: this host allows no network namespace: {error}"),
        Err(panic) => resume_unwind(panic),
    }
}

/// Runs the test again in a process that is root in a user namespace: a process with several threads cannot make one.
fn in_user_namespace(name: &str) {
    let binary = std::env::current_exe().expect("a running test has a binary");
    let again = Command::new("unshare")
        .args(["--user", "--map-root-user"])
        .arg(binary)
        .args(["--exact", name, "--nocapture"])
        .env(AS_ROOT, "1")
        .output();
    match again {
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            println!("{}{said}", String::from_utf8_lossy(&output.stdout));
            let is_allowed = !said.starts_with("unshare: ");
            assert!(output.status.success() || !is_allowed, "it failed in a user namespace");
            if !is_allowed {
                println!("SKIPPED: {name}: this host allows no user namespace");
            }
        }
        Err(error) => println!("SKIPPED: {name}: unshare cannot be run: {error}"),
    }
}

/// Another network than that of the test's thread.
pub(crate) struct Network(File);

impl Network {
    /// A network whose loopback device is up. For [`in_own_network`].
    pub(crate) fn new() -> Self {
        let make = || {
            unshare(CloneFlags::CLONE_NEWNET).expect("the test may make networks");
            run("ip link set lo up");
            File::open("/proc/thread-self/ns/net").expect("this thread has a network")
        };
        Self(thread::spawn(make).join().expect("it does not panic"))
    }

    /// Runs `inside` on a thread in this network. Sockets and processes that it makes stay there.
    pub(crate) fn enter<T: Send>(&self, inside: impl FnOnce() -> T + Send) -> T {
        let enter = || {
            setns(&self.0, CloneFlags::CLONE_NEWNET).expect("the test made it");
            inside()
        };
        thread::scope(|scope| scope.spawn(enter).join().unwrap_or_else(|panic| resume_unwind(panic)))
    }

    /// The network of this thread.
    pub(crate) fn here() -> Self {
        Self(File::open("/proc/thread-self/ns/net").expect("this thread has a network"))
    }

    /// Where other processes find it, as long as this one lives.
    pub(crate) fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }

    /// Connects it with the network of this thread by a pair of devices: `name` is here, and `eth0` there.
    pub(crate) fn connect(&self, name: &str) {
        let there = self.path();
        run(&format!("ip link add {name} type veth peer name eth0 netns {there}"));
        run(&format!("ip link set {name} up"));
        self.enter(|| run("ip link set eth0 up"));
    }
}

/// Runs a command, which must succeed; its words are separated by spaces.
pub(crate) fn run(command: &str) {
    let words: Vec<_> = command.split_whitespace().collect();
    let output = Command::new(words[0]).args(&words[1..]).output();
    let output = output.unwrap_or_else(|error| panic!("{command}: {error}"));
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Sets a parameter of this thread's network: `ipv4/ip_local_port_range`.
pub(crate) fn set_parameter(name: &str, value: &str) {
    let path = format!("/proc/sys/net/{name}");
    fs::write(&path, value).unwrap_or_else(|error| panic!("{path}: {error}"));
}
