//! Pipes of one user have a limit over all its processes: the new one gets them when the old one has ended.

use nix::unistd::geteuid;

use super::*;

/// A user without an entry on most hosts, who has no pipes from elsewhere.
const USER: u32 = 54_323;

/// Pages of a pipe of 1 MiB.
const PAGES_A_PIPE: usize = 256;

#[test]
fn the_new_process_gets_its_pipes_when_the_old_one_has_ended() {
    let soft = fs::read_to_string("/proc/sys/fs/pipe-user-pages-soft").expect("it is there");
    let pipes = soft.trim().parse::<usize>().expect("a number") / PAGES_A_PIPE;
    if !geteuid().is_root() || !(1..=256).contains(&pipes) {
        println!("SKIPPED: needs root, and a limit on pages of pipes: {soft}");
        return;
    }
    let server = Server::v4();
    let user = format!("setpriv --reuid {USER} --regid {USER} --clear-groups");
    let flags = format!("--pipes {pipes} --drain-timeout 1h --access-log off");
    let (mut proxy, admin) = start(Launch::to(server.address()).flags(&flags).started_by(&user));
    let (all, some) = (format!("pipes={pipes}/{pipes}"), format!("/{pipes}"));
    assert!(proxy.wait_to_say("serving listeners=").contains(&all), "the first process gets all");
    let held = pair(&proxy, &server);
    upgrade(&proxy, own_pid(&proxy));
    let line = proxy.wait_to_say_times("serving listeners=", 2).remove(1);
    assert!(!line.contains(&all) && line.contains(&some), "the old process has them: {line}");

    drop(held);
    assert_eq!(proxy.exit_code(), Some(0));
    proxy.wait_to_say("pipes are granted that were not at start");
    let gauge = format!("iisplice_worker_pipes{{worker=\"0\"}} {pipes}");
    wait_until("the new process to have its pipes", || admin.get("/metrics").body.contains(&gauge));
    let next = pair(&proxy, &server);
    exchange(&next.0, &next.1);
}
