//! The mock over real sockets: real clients, our own, and such that send rubbish.

mod faults;
mod http;
mod logins;
mod process;
#[path = "../load/proxy.rs"]
mod proxy;
mod real_clients;
mod tls;
mod visitor;
mod websocket;

use std::net::SocketAddr;

use iisplice::mock::settings::{Accounts, Settings};
use iisplice::mock::{self, Mock};
use iisplice::protocol::ntlm::Credentials;

/// Settings on a free port, with `CORP\alice`, password `secret`, and `CORP\bob`, password `hunter2`.
fn settings() -> Settings {
    let mut accounts = Accounts::default();
    accounts.add("CORP", "alice", "secret");
    accounts.add("CORP", "bob", "hunter2");
    Settings::new(vec!["127.0.0.1:0".parse().expect("an address")], accounts)
}

fn start(settings: Settings) -> (Mock, SocketAddr) {
    let mock = mock::start(settings).expect("the mock starts");
    let address = mock.addresses()[0];
    (mock, address)
}

/// [`start`], and the proxy in HTTP mode before it.
fn start_behind_proxy(settings: Settings) -> (Mock, proxy::Proxy, SocketAddr) {
    let (mock, address) = start(settings);
    let proxy = proxy::Proxy::start(&address.to_string());
    let address = proxy.address;
    (mock, proxy, address)
}

fn alice() -> Credentials {
    Credentials::new("CORP", "alice", "secret")
}

fn bob() -> Credentials {
    Credentials::new("CORP", "bob", "hunter2")
}
