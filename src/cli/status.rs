//! `iisplice status`.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr as _;

use clap::Args;
use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::address::Unresolved;
use crate::admin_client::{self, Client};
use crate::report::{self, status};

/// Exit code where no proxy answers: 1 says that one does and is not ready.
const NO_ANSWER: u8 = 2;

/// Where to ask a running proxy.
#[derive(Debug, Args)]
pub struct AdminArgs {
    /// Admin endpoint of the proxy: what its --admin says, HOST:PORT or unix:PATH
    #[arg(
        long, value_name = "ADDR", default_value = "unix:/run/iisplice/admin.sock",
        value_parser = Unresolved::from_str
    )]
    admin: Unresolved,
    /// File with the token of the endpoint, if it demands one
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
}

/// The flags of `iisplice status`.
#[derive(Debug, Args)]
pub struct StatusArgs {
    #[command(flatten)]
    endpoint: AdminArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Why a running proxy cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the endpoint cannot be resolved, or a file with its token cannot be read.
    #[error(transparent)]
    Arguments(#[from] super::Error),
    /// It does not answer as it should.
    #[error(transparent)]
    Client(#[from] admin_client::Error),
    /// Standard output cannot be written.
    #[error(transparent)]
    Print(#[from] report::ReportError),
}

impl Error {
    /// 2 when no proxy answers, so that it is not mistaken for 1, a group without servers; 1 when nothing can be printed.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Arguments(_) | Self::Client(_) => ExitCode::from(NO_ANSWER),
            Self::Print(_) => ExitCode::FAILURE,
        }
    }
}

impl AdminArgs {
    /// A client of that endpoint.
    ///
    /// # Errors
    /// See [`Error`].
    pub fn client(&self) -> Result<Client, Error> {
        let mut addresses = self.admin.resolve("admin")?;
        let token = self.token_file.as_ref().map(|path| {
            let read = fs::read_to_string(path);
            let fail = |source| super::Error::Unreadable { flag: "--token-file", path: path.clone(), source };
            read.map(|text| text.trim().to_owned()).map_err(fail)
        });
        // A name of a host usually has an address of either family.
        let is_v4 =
            |one: &crate::uring::Address| matches!(one, crate::uring::Address::Ip(ip) if ip.is_ipv4());
        let nth = addresses.iter().position(is_v4).unwrap_or(0);
        Ok(Client::new(addresses.swap_remove(nth), token.transpose()?)?)
    }
}

/// Asks the proxy, and prints what it says. Exit code 1 where it is not ready.
///
/// # Errors
/// See [`Error`].
pub fn execute(arguments: &StatusArgs) -> Result<ExitCode, Error> {
    let StatusArgs { endpoint, json } = arguments;
    let client = endpoint.client()?;
    let state = state(&client)?;
    if *json {
        report::print(&format!("{state:#}\n"))?;
    } else {
        report::print(&status::text(&state, console::colors_enabled()))?;
    }
    let is_ready = state["ready"] == Value::Bool(true);
    Ok(if is_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What the endpoint says of the proxy.
fn state(client: &Client) -> Result<Value, Error> {
    let ready = client.request(&Method::GET, "/readyz", &[StatusCode::SERVICE_UNAVAILABLE])?;
    let ready = ready.json(client.address())?;
    let [services, groups, servers, generations] =
        ["services", "groups", "servers", "generations"].map(|what| {
            let all = client.get(&format!("/v1/{what}"));
            all.map(|mut all| all[what].take())
        });
    Ok(json!({
        "ready": ready["ready"],
        "reasons": ready["reasons"],
        "services": services?,
        "groups": groups?,
        "servers": servers?,
        "generations": generations?,
    }))
}
