//! A mock of a site in this process.

use std::net::SocketAddr;

use iisplice::mock::settings::{Accounts, Settings};
use iisplice::mock::{self, Mock};

use crate::run::{Report, doctor};

/// The user of every mock.
pub(crate) const ALICE: [&str; 2] = ["--user", r"CORP\alice:secret"];

/// A mock on a free port.
pub(crate) struct Site {
    _mock: Mock,
    pub(crate) address: SocketAddr,
    scheme: &'static str,
}

impl Site {
    /// One that differs in something from the usual.
    pub(crate) fn with(change: impl FnOnce(&mut Settings)) -> Self {
        let mut accounts = Accounts::default();
        accounts.add("CORP", "alice", "secret");
        let mut settings = Settings::new(vec!["127.0.0.1:0".parse().expect("an address")], accounts);
        settings.header_limit_bytes = 128 * 1024;
        change(&mut settings);
        let scheme = if settings.tls.is_some() { "https" } else { "http" };
        let mock = mock::start(settings).expect("it starts");
        let address = mock.addresses()[0];
        Self { _mock: mock, address, scheme }
    }

    pub(crate) fn url(&self) -> String {
        format!("{}://{}/whoami", self.scheme, self.address)
    }

    /// What the doctor finds as alice, with other arguments.
    pub(crate) fn doctor(&self, arguments: &[&str]) -> Report {
        let url = self.url();
        let insecure: &[&str] = if self.scheme == "https" { &["--insecure"] } else { &[] };
        doctor(&[&[url.as_str()], &ALICE[..], insecure, arguments].concat())
    }
}
