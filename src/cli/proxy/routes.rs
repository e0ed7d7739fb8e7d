//! The flags of `iisplice proxy` that say where a connection goes. On the command line a route leads to a server, in a
//! settings file to a group.

use std::net::IpAddr;
use std::sync::Arc;

use clap::{ArgGroup, Args, Command};

use super::servers::WrittenServer;
use crate::cli::address::{AddressError, Unresolved};
use crate::proxy::names::Names;
use crate::proxy::routes::Routes;
use crate::upstream::GroupSettings;

/// Most bytes of a host name (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// The routes of a service; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("routes").multiple(true)))]
pub(super) struct RouteArgs {
    /// Server to relay to; with several, --balance says how connections are assigned; options behind commas: weight=N,
    /// backup (when no other can be used), disabled; names are resolved at start [default: required without routes] [nginx:
    /// proxy_pass, upstream]
    #[arg(
        long, value_name = "ADDR", required_unless_present_any = ["routes", "redirect_to_https"],
        help_heading = "Addresses", value_parser = server
    )]
    upstream: Vec<Target>,
    /// Server for clients whose TLS hello asks for this name; TLS is passed through: NAME or *.NAME; repeatable
    /// [default: none] [nginx: ssl_preread, map]
    #[arg(long, value_name = "NAME=ADDR", group = "routes", help_heading = "TLS", value_parser = named(server))]
    sni_route: Vec<(String, Target)>,
    /// Server for clients whose TLS hello offers this protocol; takes precedence over the name [default: none] [nginx:
    /// ssl_preread, $ssl_preread_alpn_protocols]
    #[arg(long, value_name = "PROTOCOL=ADDR", group = "routes", help_heading = "TLS", value_parser = protocol(server))]
    alpn_route: Vec<(String, Target)>,
    /// Server for requests for this host: HOST or *.HOST, without port; the first request of a connection chooses, and
    /// one that leads elsewhere gets 421; repeatable [default: none] [nginx: server_name]
    #[arg(long, value_name = "HOST=ADDR", group = "routes", help_heading = "HTTP", value_parser = named(server))]
    host_route: Vec<(String, Target)>,
}

/// What a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// On the command line.
    Server(WrittenServer),
    /// In a file.
    Group(Arc<str>),
}

/// Which connections a route is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route<'a> {
    /// Those that no other one is for.
    All,
    /// Those whose hello asks for this name.
    Name(&'a str),
    /// Those whose hello offers this protocol.
    Protocol(&'a str),
    /// Those whose first request is for this host.
    Host(&'a str),
}

impl Target {
    /// The server, on the command line.
    pub(super) fn server(&self) -> Option<&WrittenServer> {
        match self {
            Self::Server(server) => Some(server),
            Self::Group(_) => None,
        }
    }

    /// The group, in a file.
    pub(super) fn group(&self) -> Option<&str> {
        match self {
            Self::Server(_) => None,
            Self::Group(name) => Some(name),
        }
    }
}

impl<'a> Route<'a> {
    /// The name, the protocol or the host that it is for.
    pub(super) fn name(self) -> Option<&'a str> {
        match self {
            Self::All => None,
            Self::Name(name) | Self::Protocol(name) | Self::Host(name) => Some(name),
        }
    }

    /// The flag that it comes from, without its dashes.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::All => "upstream",
            Self::Name(_) => "sni-route",
            Self::Protocol(_) => "alpn-route",
            Self::Host(_) => "host-route",
        }
    }
}

impl RouteArgs {
    /// Whether any route needs the client's TLS hello.
    pub(super) fn depend_on_hello(&self) -> bool {
        !self.sni_route.is_empty() || !self.alpn_route.is_empty()
    }

    /// Whether any route needs the client's requests.
    pub(super) fn depend_on_host(&self) -> bool {
        !self.host_route.is_empty()
    }

    /// Each route once with all that it leads to, the one for all connections first, the others as given.
    pub(super) fn by_route(&self) -> Vec<(Route<'_>, Vec<&Target>)> {
        let all = self.upstream.iter().map(|target| (Route::All, target));
        let names = self.sni_route.iter().map(|(name, target)| (Route::Name(name), target));
        let protocols = self.alpn_route.iter().map(|(protocol, target)| (Route::Protocol(protocol), target));
        let hosts = self.host_route.iter().map(|(host, target)| (Route::Host(host), target));
        let mut routes: Vec<(Route<'_>, Vec<&Target>)> = Vec::new();
        for (route, target) in all.chain(names).chain(protocols).chain(hosts) {
            match routes.iter_mut().find(|(known, _)| *known == route) {
                Some((_, targets)) => targets.push(target),
                None => routes.push((route, vec![target])),
            }
        }
        routes
    }
}

/// The routes as sessions use them. Of several with the same [`Route`] the first counts.
pub(super) fn routes(written: Vec<(Route<'_>, Arc<GroupSettings>)>) -> Routes<Arc<GroupSettings>> {
    let mut routes = Routes {
        default: None,
        by_name: Names::default(),
        by_protocol: Vec::new(),
        by_host: Names::default(),
    };
    for (route, group) in written {
        match route {
            Route::All => routes.default = routes.default.or(Some(group)),
            Route::Name(name) => drop(routes.by_name.entry(name).or_insert(group)),
            Route::Protocol(protocol) => routes.by_protocol.push((protocol.as_bytes().to_vec(), group)),
            Route::Host(host) => drop(routes.by_host.entry(host).or_insert(group)),
        }
    }
    routes
}

/// The same flags where routes lead to groups.
pub(super) fn to_groups(command: Command) -> Command {
    command
        .mut_arg("upstream", |argument| argument.value_parser(group))
        .mut_arg("sni_route", |argument| argument.value_parser(named(group)))
        .mut_arg("alpn_route", |argument| argument.value_parser(protocol(group)))
        .mut_arg("host_route", |argument| argument.value_parser(named(group)))
}

fn group(name: &str) -> Result<Target, String> {
    if name.is_empty() {
        return Err("give the NAME of a [group.NAME]".to_owned());
    }
    Ok(Target::Group(name.into()))
}

fn server(text: &str) -> Result<Target, String> {
    WrittenServer::parse(text).map(Target::Server)
}

/// Parses an address to connect to.
pub(super) fn connectable(text: &str) -> Result<Unresolved, String> {
    let address: Unresolved = text.parse().map_err(|error: AddressError| error.to_string())?;
    if address.has_port_zero() {
        return Err("port 0 cannot be connected to; give the server's port".to_owned());
    }
    Ok(address)
}

/// Parses `NAME=TARGET`.
fn named(
    target: fn(&str) -> Result<Target, String>,
) -> impl Fn(&str) -> Result<(String, Target), String> + Clone {
    move |text| {
        let wanted = "give NAME=HOST:PORT with a host name, or *.NAME for all names below it";
        let (name, to) = text.split_once('=').ok_or(wanted)?;
        if !is_name(name) {
            return Err(wanted.to_owned());
        }
        Ok((name.to_ascii_lowercase(), target(to)?))
    }
}

/// Whether this is a host name, or `*.` and one.
pub(super) fn is_name(name: &str) -> bool {
    let host = name.strip_prefix("*.").unwrap_or(name);
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    host.len() <= NAME_BYTES_MAX && host.split('.').all(is_label) && host.parse::<IpAddr>().is_err()
}

/// Parses `PROTOCOL=TARGET`.
fn protocol(
    target: fn(&str) -> Result<Target, String>,
) -> impl Fn(&str) -> Result<(String, Target), String> + Clone {
    move |text| {
        let wanted =
            "give PROTOCOL=HOST:PORT with a protocol's ALPN name, such as h2, http/1.1 or acme-tls/1";
        let (protocol, to) = text.split_once('=').ok_or(wanted)?;
        if !(1..=255).contains(&protocol.len()) {
            return Err(wanted.to_owned());
        }
        Ok((protocol.to_owned(), target(to)?))
    }
}
