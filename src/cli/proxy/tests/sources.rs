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

fn settings_of(arguments: &[&str]) -> Result<Plan, Error> {
    let Command::Proxy(proxy) = Cli::try_parse_from(arguments).expect("a well formed command line").command
    else {
        panic!("another command");
    };
    proxy.settings(&host()).map(|effective| effective.plan)
}

#[test]
fn unix_sockets_have_no_source_addresses() {
    let mut arguments = vec!["iisplice", "proxy", "--listen", "127.0.0.1:8080", "--upstream", "unix:/run/s"];
    arguments.extend(["--source-address", "10.0.0.5"]);
    let said = settings_of(&arguments).expect_err("a mistake").to_string();
    assert_eq!(
        said,
        "--source-address 10.0.0.5 is of the family of no server; Unix sockets have none; remove it"
    );
}

#[test]
fn servers_see_clients_or_the_proxy() {
    assert_eq!(group(&service(&["--transparent"])).sources, Sources::Client);
    assert_eq!(
        complaint(&["--transparent", "--source-address", "10.0.0.5"]),
        "--transparent has connections come from the clients' addresses, and --source-address 10.0.0.5 from this host's; \
         remove one of them"
    );
    assert_eq!(
        complaint(&["--transparent", "--warm", "3"]),
        "--transparent has connections come from the clients' addresses, and --warm opens them before a client is \
         there; remove one of them"
    );
    let mut arguments = vec!["iisplice", "proxy", "--listen", "127.0.0.1:8080", "--transparent"];
    arguments.extend(["--upstream", "unix:/run/s"]);
    assert_eq!(
        settings_of(&arguments).expect_err("a mistake").to_string(),
        "--transparent shows servers the clients' addresses, and a server on a Unix socket sees none; remove it"
    );
    arguments.extend(["--upstream", "192.0.2.1:80"]);
    settings_of(&arguments).expect("one of them sees clients");
}
