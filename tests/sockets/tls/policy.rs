//! What clients' handshakes may be like: versions of TLS and resumption.

use rustls::version::{TLS12, TLS13};
use rustls::{HandshakeKind, ProtocolVersion};

use super::*;

#[test]
fn clients_below_the_oldest_version_are_refused() {
    let bed = Bed::new();
    let proxy = bed.terminated().flags("--tls-min-version 1.3").start();
    let old = Arc::new(bed.front.client_of(&[&TLS12], None));
    let failure = TlsPeer::connect(proxy.address(), &old, "front.test").failure();
    assert!(failure.contains("ProtocolVersion"), "{failure}");
    proxy.wait_to_say("nothing-in-common");
    let client = bed.connect(&proxy);
    exchange(&client.plain, &bed.server.accept());
    assert_eq!(client.facts().version, ProtocolVersion::TLSv1_3);

    let proxy = bed.terminated().start();
    let client = TlsPeer::connect(proxy.address(), &old, "front.test");
    exchange(&client.plain, &bed.server.accept());
    assert_eq!(client.facts().version, ProtocolVersion::TLSv1_2);
}

#[test]
fn without_resumption_every_handshake_is_a_full_one() {
    let bed = Bed::new();
    let proxy = bed.terminated().flags("--tls-resumption off").start();
    for version in [&TLS12, &TLS13] {
        // Sessions are kept in the configuration.
        let config = Arc::new(bed.front.client_of(&[version], None));
        for _ in 0..4 {
            let client = TlsPeer::connect(proxy.address(), &config, "front.test");
            exchange(&client.plain, &bed.server.accept());
            assert_eq!(client.facts().kind, HandshakeKind::Full, "{version:?}");
        }
    }
}

#[test]
fn what_concerns_clients_tls_is_refused_where_none_ends_here() {
    for flags in ["--tls-min-version 1.3", "--tls-resumption off"] {
        let (code, said) = Launch::to("127.0.0.1:9").flags(flags).fail();
        assert_eq!(code, Some(2), "{flags}");
        assert!(said.join(" ").contains("--tls-cert"), "{flags}: {said:?}");
    }
}
