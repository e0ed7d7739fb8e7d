//! Several upstreams, and PROXY headers to and from the proxy.

use std::net::SocketAddr;

use socket2::{Domain, Socket, Type};

use crate::bed::{ALICE, Bed, Scheme, Site};
use crate::curl::{Answer, Curl, Login};
use crate::proxy::Proxy;
use crate::server::Server;

/// Where the client is in the tests of PROXY headers: unlike any address that a proxy connects from.
const CLIENT: &str = "127.0.0.77";

pub(crate) fn dead_one_is_passed_over() {
    let bed = Bed::start(Server::Apache);
    // A port that is taken, without a listener.
    let dead = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor is free");
    dead.bind(&SocketAddr::new(bed.proxy_protocol.ip(), 0).into()).expect("a port is free");
    let dead = dead.local_addr().ok().and_then(|address| address.as_socket()).expect("it is bound");
    for scheme in [Scheme::Http, Scheme::Https] {
        let alive = bed.site(scheme).address;
        let proxy = Proxy::start(&bed, &["--upstream", &dead.to_string(), "--upstream", &alive.to_string()]);
        let site = proxy.site(scheme);
        // Upstreams are taken in turn: the dead one's turn comes with at least every other connection.
        for attempt in 1..=6 {
            let run = Curl::new(&bed, &site).login(&bed, Login::Ntlm, &ALICE).get(&["/auth/echo"]);
            assert_eq!(run.statuses, [401, 200], "{site}: login {attempt}; curl: {}", run.complaint);
        }
    }
}

pub(crate) fn server_sees_the_client(version: &str) {
    let bed = Bed::start(Server::Apache);
    let control = Site { address: bed.proxy_protocol, ..bed.site(Scheme::Http) };
    client_is_seen(&bed, &control, &["--haproxy-protocol"]);
    let proxy = Proxy::start(&bed, &["--send-proxy", version, "--upstream", &bed.proxy_protocol.to_string()]);
    client_is_seen(&bed, &proxy.site(Scheme::Http), &[]);
}

pub(crate) fn header_from_curl() {
    let bed = Bed::start(Server::Apache);
    for scheme in [Scheme::Http, Scheme::Https] {
        let proxy =
            Proxy::start(&bed, &["--accept-proxy", "--upstream", &bed.site(scheme).address.to_string()]);
        logged_in_from(&bed, &proxy.site(scheme), &["--haproxy-protocol"]);
    }
}

pub(crate) fn behind_two_proxies() {
    let bed = Bed::start(Server::Apache);
    let upstream = bed.proxy_protocol.to_string();
    let inner = Proxy::start(&bed, &["--accept-proxy", "--send-proxy", "v2", "--upstream", &upstream]);
    for version in ["v1", "v2"] {
        let outer = Proxy::start(&bed, &["--send-proxy", version, "--upstream", &inner.address.to_string()]);
        client_is_seen(&bed, &outer.site(Scheme::Http), &[]);
    }
}

/// Alice logs in from `CLIENT`, and that is where the server sees her. (Apache does not report the port in the header.)
fn client_is_seen(bed: &Bed, site: &Site, options: &[&str]) {
    for answer in logged_in_from(bed, site, options) {
        assert_eq!(answer.client_address, CLIENT, "{site}: the client's address at the server");
    }
}

/// Alice logs in from `CLIENT` and asks twice.
fn logged_in_from(bed: &Bed, site: &Site, options: &[&str]) -> Vec<Answer> {
    let run = Curl::new(bed, site)
        .options(&["--interface", CLIENT])
        .options(options)
        .login(bed, Login::Ntlm, &ALICE)
        .get(&["/auth/echo"; 2]);
    assert_eq!(run.statuses, [401, 200, 200], "{site}: alice's status codes; curl: {}", run.complaint);
    assert_eq!(run.each(|answer| &answer.user), [&ALICE.ntlm_name(); 2], "{site}: the user");
    run.answers
}
