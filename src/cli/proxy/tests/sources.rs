//! Where connections to servers come from.

use super::*;
use crate::upstream::Sources;

fn complaint(flags: &[&str]) -> String {
    plan_on(&host(), flags).expect_err("a mistake").to_string()
}

#[test]
fn addresses_are_taken_in_their_order() {
    assert_eq!(group(&service(&[])).sources, Sources::Kernel);
    let flags =
        ["--source-address", "10.0.0.6", "--source-address", "10.0.0.5", "--source-address", "2001:db8::5"];
    let addresses = ["10.0.0.6", "10.0.0.5", "2001:db8::5"].map(|text| text.parse().expect("an address"));
    assert_eq!(group(&service(&flags)).sources, Sources::Own(addresses.to_vec()));
    let mapped = group(&service(&["--source-address", "::ffff:10.0.0.5"])).sources.clone();
    assert_eq!(mapped, Sources::Own(vec![addresses[1]]));
}

#[test]
fn what_no_connection_can_come_from_is_refused() {
    for text in
        ["10.0.0.5:80", "10.0.0.0/24", "web1", "", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "fe80::1"]
    {
        let said = refused(&["--source-address", text]);
        assert!(said.contains("give an IP address of this host without a port, such as 10.0.0.5"), "{said}");
    }
    for (flags, expected) in [
        (
            &["--source-address", "10.0.0.5", "--source-address", "10.0.0.5"][..],
            "--source-address 10.0.0.5 is given twice; remove one of them",
        ),
        (
            &["--source-address", "2001:db8::5"],
            "--source-address 2001:db8::5 is of the family of no server; give an IPv4 address as well, or remove it",
        ),
        (
            &[
                "--upstream",
                "[2001:db8::1]:80",
                "--sni-route",
                "a=192.0.2.1:80",
                "--source-address",
                "2001:db8::5",
            ],
            "--source-address 2001:db8::5 is of the family of no server; give an IPv4 address as well, or remove it",
        ),
    ] {
        assert_eq!(complaint(flags), expected);
    }
    let many: Vec<_> =
        (0..65).flat_map(|nth| ["--source-address".to_owned(), format!("10.0.0.{nth}")]).collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(complaint(&many), "--source-address is given 65 times; give 64 at most");
}

#[test]
fn unix_sockets_have_no_source_addresses() {
    let arguments = [
        "iisplice",
        "proxy",
        "--listen",
        "127.0.0.1:8080",
        "--upstream",
        "unix:/run/s",
        "--source-address",
        "10.0.0.5",
    ];
    let Command::Proxy(proxy) = Cli::try_parse_from(arguments).expect("a well formed command line").command
    else {
        panic!("another command");
    };
    let said = proxy.settings(&host()).expect_err("a mistake").to_string();
    assert_eq!(
        said,
        "--source-address 10.0.0.5 is of the family of no server; Unix sockets have none; remove it"
    );
}
