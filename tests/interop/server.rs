//! The servers that authenticate connections: where they say what the tests look at.

use std::fmt;
use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::curl::sha256_of_file;

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Server {
    /// Apache, which says in every head whom it takes the client for.
    Apache,
    /// `iisplice mock`, which says so on a page. There is no realm for it: Kerberos stays with Apache.
    Mock,
}

impl Server {
    /// A page for users, which says who asks.
    pub(crate) fn page(self) -> &'static str {
        match self {
            Self::Apache => "/auth/echo",
            Self::Mock => "/whoami",
        }
    }

    /// A page for users, which says what was posted to it.
    pub(crate) fn echo(self) -> &'static str {
        match self {
            Self::Apache => "/auth/echo",
            Self::Mock => "/echo",
        }
    }

    /// The SHA-256 of what was posted, by the page that came back.
    pub(crate) fn posted_sha256(self, page: &Path) -> Option<String> {
        match self {
            Self::Apache => value(page, "sha256"),
            Self::Mock => Some(sha256_of_file(page)),
        }
    }

    /// A page for anyone.
    pub(crate) fn public_page(self) -> &'static str {
        match self {
            Self::Apache => "/1k.bin",
            Self::Mock => "/public/",
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Apache => "Apache",
            Self::Mock => "the mock",
        })
    }
}

/// A value from Apache's page `/echo`, or from the mock's `/whoami`, which is JSON.
pub(crate) fn value(page: &Path, name: &str) -> Option<String> {
    let page = fs::read_to_string(page).ok()?;
    match serde_json::from_str::<Value>(&page) {
        Ok(page) => {
            page.get(name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned))
        }
        Err(_) => page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).map(str::to_owned),
    }
}
