//! Names as the host itself looks them up: its hosts file, and the DNS servers of its `resolv.conf`.

use std::fs;

use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::Signal;
use tempfile::TempDir;

use super::{CHANGED, FAILING, Host, OFTEN};
use crate::support::{Dns, Launch, in_own_network, run};

/// A file in place of one of the host's, for this thread and what it starts.
fn replace(directory: &TempDir, path: &str, text: &str) -> std::path::PathBuf {
    let file = directory.path().join(path.trim_start_matches('/').replace('/', "-"));
    fs::write(&file, text).expect("it is written");
    run(&format!("mount --bind {} {path}", file.display()));
    file
}

fn own_files() -> TempDir {
    unshare(CloneFlags::CLONE_NEWNS).expect("who may have a network may have this");
    run("mount --make-rprivate /");
    TempDir::new().expect("a directory for temporary files")
}

#[test]
fn the_hosts_file_is_looked_at_again() {
    in_own_network("names::host::the_hosts_file_is_looked_at_again", || {
        let directory = own_files();
        let host = Host::of(2);
        let hosts = replace(&directory, "/etc/hosts", "127.0.0.1 iis.corp.test\n");
        let server = format!("iis.corp.test:{}", host.port);
        let proxy = Launch::to(&server).flags(OFTEN).flags("--resolve-timeout 20s").start();
        assert_eq!(host.counts(&proxy, 2), [2, 0]);
        fs::write(&hosts, "127.0.0.2 iis.corp.test\n").expect("it is written");
        proxy.wait_to_say(CHANGED);
        assert_eq!(host.counts(&proxy, 2), [0, 2]);
        fs::write(&hosts, "").expect("it is written");
        proxy.wait_to_say(FAILING);
        assert_eq!(host.counts(&proxy, 2), [0, 2]);
    });
}

#[test]
fn nothing_waits_for_ever_for_the_resolver_of_the_host() {
    in_own_network("names::host::nothing_waits_for_ever_for_the_resolver_of_the_host", || {
        let directory = own_files();
        let (dns, host) = (Dns::at_its_port(), Host::of(1));
        dns.be_silent(true);
        replace(&directory, "/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:30 attempts:5\n");
        let hosts = replace(&directory, "/etc/hosts", "127.0.0.1 iis.corp.test\n");
        let server = format!("iis.corp.test:{}", host.port);
        let launch = || Launch::to(&server).flags("--resolve-timeout 500ms");
        let proxy = launch().flags(OFTEN).start();
        fs::write(&hosts, "").expect("it is written");
        let line = proxy.wait_to_say(FAILING);
        assert!(line.contains("no answer within 500ms"), "{line}");
        proxy.signal(Signal::SIGHUP);
        let line = proxy.wait_to_say("cannot reload settings; keeping those in force");
        assert!(line.contains("cannot resolve the name: no answer within 500ms"), "{line}");
        assert_eq!(host.counts(&proxy, 2), [2]);
        let (code, said) = launch().fail();
        assert_eq!(code, Some(1));
        assert!(said[0].contains("cannot resolve the name: no answer within 500ms"), "{said:?}");
    });
}

#[test]
fn services_are_asked_for_at_the_dns_servers_of_the_host_with_its_search_domains() {
    let name = "names::host::services_are_asked_for_at_the_dns_servers_of_the_host_with_its_search_domains";
    in_own_network(name, || {
        let directory = own_files();
        let (dns, host) = (Dns::at_its_port(), Host::of(2));
        replace(&directory, "/etc/resolv.conf", "nameserver 127.0.0.1\nsearch none.test corp.test\n");
        // Their hosts are looked up as any other.
        replace(&directory, "/etc/hosts", "127.0.0.2 iis.corp.test\n");
        dns.set_service("_http._tcp.web.corp.test", &[(0, 0, host.port, "iis.corp.test")]);
        let proxy = Launch::to("srv://_http._tcp.web").flags(OFTEN).start();
        assert_eq!(host.counts(&proxy, 2), [0, 2]);
        assert!(dns.queries("_http._tcp.web") > 0 && dns.queries("_http._tcp.web.none.test") > 0);
    });
}
