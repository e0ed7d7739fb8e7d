//! Names and addresses.

use std::net::TcpListener;

use crate::reserved;
use crate::run::doctor;

#[test]
fn an_address_that_accepts_connections_is_fine() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let report = doctor(&["--timeout=20s", &format!("http://{address}/")]);
    report.has("name", "fine", "127.0.0.1 has 1 address: 127.0.0.1");
    report.has("address", "fine", &format!("{address} accepts connections"));
    assert!(report.json["sent"][0].as_str().is_some_and(|line| line.contains("connection")), "{report:?}");
}

#[test]
fn an_address_where_nothing_listens_is_broken() {
    let address = reserved::address();
    let report = doctor(&[&format!("http://{address}/")]);
    report.has("address", "broken", &format!("{address} accepts no connection: Connection refused"));
    assert_eq!(report.exit_code, Some(2));
}

#[test]
fn a_name_without_addresses_is_broken() {
    let report = doctor(&["http://no-such-host.invalid/"]);
    report.has("name", "broken", "no-such-host.invalid cannot be resolved: ");
    assert!(report.all("address").is_empty(), "{report:?}");
    assert_eq!(report.exit_code, Some(2));
}
