//! The flags of a service: where clients connect to, and how their connections are served.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::admission::AdmissionArgs;
use super::affinity;
use super::bounds::{DAY, KEEPALIVE_MAX, MILLISECOND, SECOND};
use super::http::HttpArgs;
use super::routes::RouteArgs;
use super::timeouts::TimeoutArgs;
use super::tls::TlsArgs;
use crate::cli::Error;
use crate::cli::address::{Unresolved, network};
use crate::cli::quantity::{OrOff, duration, number, or_off};
use crate::control::ServicePlan;
use crate::proxy::routes::Routes;
use crate::proxy::settings::{Listener, Network, Service, Splice, UNIX_MODE};
use crate::upstream::GroupSettings;
use crate::uring::{Address, SocketOptions};

/// What belongs to one service; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
pub(super) struct ServiceArgs {
    /// Address to listen on: HOST:PORT, [IPv6]:PORT or unix:PATH; [::]:PORT accepts IPv6 only; repeatable [default:
    /// required without --config] [nginx: listen]
    #[arg(long, value_name = "ADDR", required = true, help_heading = "Addresses")]
    listen: Vec<Unresolved>,
    /// Permissions of the Unix listeners' files, octal [default: 0660] [nginx: -]
    #[arg(long, value_name = "MODE", help_heading = "Addresses", value_parser = mode)]
    unix_mode: Option<u32>,
    #[command(flatten)]
    routes: RouteArgs,
    /// Require a PROXY header, v1 or v2, from every client; refuse connections without one [default: off] [nginx:
    /// listen proxy_protocol]
    #[arg(long, help_heading = "Addresses")]
    accept_proxy: bool,
    /// Networks that send PROXY headers; connections from other addresses are clients without one; repeatable; unix:
    /// for Unix sockets [default: all] [nginx: set_real_ip_from]
    #[arg(
        long, value_name = "CIDR", requires = "accept_proxy", help_heading = "Addresses",
        value_parser = network
    )]
    accept_proxy_from: Vec<Network>,
    #[command(flatten)]
    admission: AdmissionArgs,
    #[command(flatten)]
    timeouts: TimeoutArgs,

    #[command(flatten)]
    tls: TlsArgs,

    /// How a new connection is assigned to a worker: by a hash, unless another worker has clearly fewer connections, or by the
    /// CPU that its packets arrive on [nginx: listen reuseport]
    #[arg(long, value_name = "BY", default_value = "hash", help_heading = "Workers", display_order = 900)]
    steer: Steer,
    /// When to move bytes inside the kernel, through a pipe: auto (bulk transfers only), never, or always [nginx: -]
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = "Relay", display_order = 900)]
    splice: WhenToSplice,

    #[command(flatten)]
    http: HttpArgs,

    /// Maximum number of connections that wait to be accepted [nginx: listen backlog=]
    #[arg(
        long, value_name = "N", default_value = "4096", help_heading = "TCP",
        value_parser = number(1..=65535)
    )]
    backlog: u32,
    /// Idle time before the first keep-alive probe, on both sides; a dead connection is detected after about twice this
    /// time; or off [nginx: listen so_keepalive=, proxy_socket_keepalive]
    #[arg(
        long, value_name = "DURATION", default_value = "60s", help_heading = "TCP",
        value_parser = or_off(duration(SECOND..=KEEPALIVE_MAX))
    )]
    tcp_keepalive: OrOff<Duration>,
    /// Longest time that sent data may stay unacknowledged, on both sides; or off [nginx: -]
    #[arg(
        long, value_name = "DURATION", default_value = "off", help_heading = "TCP",
        value_parser = or_off(duration(MILLISECOND..=DAY))
    )]
    tcp_user_timeout: OrOff<Duration>,
    /// Accept data in the first packet (TCP Fast Open), with a queue of this length; or off [nginx: listen fastopen=]
    #[arg(
        long, value_name = "N", default_value = "off", help_heading = "TCP",
        value_parser = or_off(number(1..=65535))
    )]
    tcp_fastopen: OrOff<u32>,
    /// Accept a connection only when its first bytes have arrived [default: off] [nginx: listen deferred]
    #[arg(long, help_heading = "TCP")]
    defer_accept: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum WhenToSplice {
    Auto,
    Never,
    Always,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Steer {
    Hash,
    Cpu,
}

impl ServiceArgs {
    /// The routes, for the front end, which knows what they lead to.
    pub(super) fn routes(&self) -> &RouteArgs {
        &self.routes
    }

    /// Whether it has no servers: it redirects every request.
    pub(super) fn redirects(&self) -> bool {
        self.http.redirects()
    }

    /// The keys of flags that were not given, and whose defaults depend on others, with the values in force.
    pub(super) fn in_force(&self) -> Vec<(&'static str, String)> {
        let mut keys = self.http.in_force();
        if self.http.is_http() {
            keys.extend(self.timeouts.in_force(!self.redirects()));
        }
        if !self.timeouts.peeks() && self.routes.depend_on_hello() && !self.tls.ends_here() {
            keys.push(self.timeouts.peek_in_force());
        }
        keys.extend(self.tls.in_force());
        if self.unix_mode.is_none() && self.listen.iter().any(Unresolved::is_unix) {
            keys.push(("unix-mode", format!("{UNIX_MODE:04o}")));
        }
        keys
    }

    /// Refuses what applies to TCP listeners where there are none.
    fn check_tcp(&self, listeners: &[Address]) -> Result<(), Error> {
        if listeners.iter().any(|listener| matches!(listener, Address::Ip(_))) {
            return Ok(());
        }
        let given = [
            ("--tcp-fastopen", self.tcp_fastopen.0.is_some()),
            ("--defer-accept", self.defer_accept),
            ("--steer cpu", self.steer == Steer::Cpu),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(Error::Usage(format!(
                "{flag} applies to TCP listeners only; add --listen HOST:PORT, or remove it"
            ))),
        }
    }

    /// Checks for contradictory flags, before anything is looked up. `speaks_tls`, `has_affinity`: one of its groups does,
    /// or has.
    pub(super) fn check(&self, speaks_tls: bool, has_affinity: bool) -> Result<(), Error> {
        self.routes.check(self.http.is_http())?;
        if has_affinity && !self.http.is_http() {
            return Err(Error::NeedsHttp("--affinity"));
        }
        if self.timeouts.peeks() && self.tls.ends_here() {
            return Err(Error::Usage(
                "--peek-timeout applies to TLS that is passed through, and --tls-cert ends it here, where a handshake \
                 has 10 s; remove one of them"
                    .to_owned(),
            ));
        }
        self.tls.check(self.http.is_http(), self.routes.depend_on_hello(), speaks_tls)
    }

    /// The service with these routes. Resolves the names of its listeners. `others` are the services before it, whose
    /// addresses are taken.
    ///
    /// # Errors
    /// What does not go together, and files for TLS that are not as required.
    pub(super) fn service(
        &self,
        name: &str,
        routes: Routes<Arc<GroupSettings>>,
        others: &[ServicePlan],
    ) -> Result<ServicePlan, Error> {
        affinity::check_names(&routes)?;
        let taken =
            others.iter().flat_map(|other| &other.service.listeners).map(|listener| &listener.address);
        let listeners = listeners(&self.listen, taken.cloned().collect())?;
        if self.unix_mode.is_some() && !listeners.iter().any(|listener| matches!(listener, Address::Unix(_)))
        {
            return Err(Error::UnixModeWithoutSocket);
        }
        self.check_tcp(&listeners)?;
        let (terminated, client_tls) = self.tls.client_tls()?.unzip();
        let mode = self.http.clone().mode(client_tls.is_some(), &self.timeouts.given_for_http())?;
        let listener = |address| Listener {
            address,
            backlog: self.backlog,
            fastopen_queue: self.tcp_fastopen.0,
            defer_accept: self.defer_accept,
            steer_by_cpu: self.steer == Steer::Cpu,
            unix_mode: self.unix_mode.unwrap_or(UNIX_MODE),
        };
        let service = Service {
            name: name.into(),
            listeners: listeners.into_iter().map(listener).collect(),
            routes,
            client_tls,
            accepts_missing_close_notify: self.tls.accepts_missing_close_notify(),
            timeouts: self.timeouts.timeouts(),
            accept_proxy: self.accept_proxy,
            accept_proxy_from: self.accept_proxy_from.clone(),
            admission: self.admission.admission(),
            splice: match self.splice {
                WhenToSplice::Auto => Splice::Auto,
                WhenToSplice::Never => Splice::Never,
                WhenToSplice::Always => Splice::Always,
            },
            tcp: SocketOptions { keepalive: self.tcp_keepalive.0, user_timeout: self.tcp_user_timeout.0 },
            mode,
        };
        Ok(ServicePlan { service, terminated })
    }
}
/// Parses a file's permissions.
fn mode(text: &str) -> Result<u32, String> {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    let mode = digits.bytes().all(|byte| byte.is_ascii_digit()).then(|| u32::from_str_radix(digits, 8).ok());
    let wanted = || "give permissions as an octal number from 0 to 0777, such as 0660".to_owned();
    mode.flatten().filter(|mode| *mode <= 0o777).ok_or_else(wanted)
}

/// The addresses of a service's listeners; `taken` are those of other services.
fn listeners(written: &[Unresolved], mut taken: Vec<Address>) -> Result<Vec<Address>, Error> {
    let others = taken.len();
    for listener in written {
        for address in listener.resolve("listen")? {
            // Port 0 is a different port each time.
            if taken.contains(&address) && !listener.has_port_zero() {
                return Err(Error::ListenTwice(address.to_string()));
            }
            if let Address::Ip(address) = address {
                check_listener(address, &taken)?;
            }
            taken.push(address);
        }
    }
    Ok(taken.split_off(others))
}
/// An address that cannot be bound, whatever this host is, beside those before it.
fn check_listener(address: SocketAddr, others: &[Address]) -> Result<(), Error> {
    if let IpAddr::V6(ip) = address.ip()
        && let Some(ipv4) = ip.to_ipv4_mapped()
    {
        let port = address.port();
        return Err(Error::Usage(format!(
            "--listen {address} is an IPv4 address in the form of IPv6; write {ipv4}:{port}"
        )));
    }
    let overlaps = |other: &&SocketAddr| {
        other.port() == address.port()
            && address.port() != 0
            && other.is_ipv4() == address.is_ipv4()
            && other.ip().is_unspecified() != address.ip().is_unspecified()
    };
    let ip = |other: &Address| match other {
        Address::Ip(other) => Some(*other),
        Address::Unix(_) => None,
    };
    let others: Vec<_> = others.iter().filter_map(ip).collect();
    match others.iter().find(overlaps) {
        None => Ok(()),
        Some(other) => {
            let (all, one) =
                if address.ip().is_unspecified() { (&address, other) } else { (other, &address) };
            Err(Error::Usage(format!("--listen {all} includes --listen {one}; leave one of them out")))
        }
    }
}
