//! The flags of `iisplice proxy` that say where a connection goes. On the command line a route leads to a server, in a
//! settings file to a group.

use std::net::IpAddr;
use std::sync::Arc;

use clap::{ArgGroup, Args, Command};

use super::servers::WrittenServer;
use crate::cli::Error;
use crate::protocol::http1::path::Path;
use crate::proxy::names::Names;
use crate::proxy::routes::{ByPath, Routes};
use crate::upstream::GroupSettings;

/// Most bytes of a host name (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// The routes of a service; the bracket at the end of each text is the nginx directive that it stands for.
#[allow(clippy::doc_markdown, reason = "what clap shows as it stands")]
#[derive(Debug, Args)]
#[command(group(ArgGroup::new("routes").multiple(true)), group(ArgGroup::new("hello_routes").multiple(true)))]
pub(super) struct RouteArgs {
    /// Server to relay to; with several, --balance says how connections are assigned; options behind commas: weight=N,
    /// max-connections=N, backup (when no other can be used), disabled; srv://_http._tcp.DOMAIN for the servers of a
    /// service's SRV records [default: required without routes] [nginx: proxy_pass, upstream]
    #[arg(
        long, value_name = "ADDR", required_unless_present_any = ["routes", "redirect_to_https"],
        help_heading = "Addresses", value_parser = server
    )]
    upstream: Vec<Target>,
    /// Server for clients whose TLS hello asks for this name; TLS is passed through: NAME or *.NAME; repeatable
    /// [default: none] [nginx: ssl_preread, map]
    #[arg(long, value_name = "NAME=ADDR", groups = ["routes", "hello_routes"], help_heading = "TLS", value_parser = named(server))]
    sni_route: Vec<(String, Target)>,
    /// Server for clients whose TLS hello offers this protocol; takes precedence over the name [default: none] [nginx:
    /// ssl_preread, $ssl_preread_alpn_protocols]
    #[arg(long, value_name = "PROTOCOL=ADDR", groups = ["routes", "hello_routes"], help_heading = "TLS", value_parser = protocol(server))]
    alpn_route: Vec<(String, Target)>,
    /// Server for requests for this host: HOST or *.HOST, without port, and for those below this path of it where one
    /// follows; a connection stays with the site of its first request, and another one's request gets 421; repeatable
    /// [default: none] [nginx: server_name, location]
    #[arg(
        long, value_name = "HOST[/PATH]=ADDR", group = "routes", help_heading = "HTTP", value_parser = of_host(server)
    )]
    host_route: Vec<(Place, Target)>,
    /// Server for requests below this path, for any host without a route for it; the longest path wins; repeatable
    /// [default: none] [nginx: location]
    #[arg(long, value_name = "PATH=ADDR", group = "routes", help_heading = "HTTP", value_parser = of_path(server))]
    path_route: Vec<(Place, Target)>,
}

/// Which requests a route is for.
#[derive(Debug, Clone)]
pub(super) struct Place {
    /// Those for this host.
    pub(super) host: Option<String>,
    /// Those below this path.
    pub(super) path: Option<Prefix>,
    /// Both, as the flag has them.
    text: String,
}

/// A path as written, equal to every other spelling of it.
#[derive(Debug, Clone)]
pub(super) struct Prefix {
    pub(super) written: String,
    path: Path,
}

impl PartialEq for Place {
    fn eq(&self, other: &Self) -> bool {
        (&self.host, &self.path) == (&other.host, &other.path)
    }
}

impl Eq for Place {}

impl PartialEq for Prefix {
    fn eq(&self, other: &Self) -> bool {
        self.path == other.path
    }
}

impl Eq for Prefix {}

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
    /// Requests of connections, not all of which need to go there.
    Requests(&'a Place),
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
    /// The name, the protocol, or host and path that it is for.
    pub(super) fn name(self) -> Option<&'a str> {
        match self {
            Self::All => None,
            Self::Name(name) | Self::Protocol(name) => Some(name),
            Self::Requests(place) => Some(&place.text),
        }
    }

    /// Whether the other one is dead beside it: this one has all its connections.
    pub(super) fn has_all_of(self, other: Route<'_>) -> bool {
        match (self, other) {
            (Self::Requests(Place { host: Some(host), path: None, .. }), Route::Name(name)) => host == name,
            _ => self == other,
        }
    }

    /// The flag that it comes from, without its dashes.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::All => "upstream",
            Self::Name(_) => "sni-route",
            Self::Protocol(_) => "alpn-route",
            Self::Requests(Place { host: Some(_), .. }) => "host-route",
            Self::Requests(Place { host: None, .. }) => "path-route",
        }
    }
}

impl RouteArgs {
    /// Whether any route needs the client's TLS hello.
    pub(super) fn depend_on_hello(&self) -> bool {
        !self.sni_route.is_empty() || !self.alpn_route.is_empty()
    }

    /// Checks for routes that are not for this mode, and for those that no connection can take because another one has
    /// all of theirs.
    ///
    /// # Errors
    /// The first of them.
    pub(super) fn check(&self, is_http: bool) -> Result<(), Error> {
        let needs_requests =
            [("--host-route", !self.host_route.is_empty()), ("--path-route", !self.path_route.is_empty())];
        if let Some((flag, _)) = needs_requests.iter().find(|(_, given)| *given && !is_http) {
            return Err(Error::NeedsHttp(flag));
        }
        let all = |(place, _): &&(Place, Target)| place.path.as_ref().is_some_and(Prefix::is_root);
        if let Some((place, _)) = self.path_route.iter().find(all).filter(|_| !self.upstream.is_empty()) {
            return Err(Error::Usage(format!(
                "--upstream is dead: --path-route {} has every path; remove one of them",
                place.text
            )));
        }
        let is_dead = |(name, _): &&(String, Target)| {
            self.host_route.iter().any(|(place, _)| Route::Requests(place).has_all_of(Route::Name(name)))
        };
        match self.sni_route.iter().find(is_dead) {
            None => Ok(()),
            Some((name, _)) => Err(Error::Usage(format!(
                "--sni-route {name} is dead: --host-route {name} has all its requests; remove one of them"
            ))),
        }
    }

    /// Each route once with all that it leads to, the one for all connections first, the others as given.
    pub(super) fn by_route(&self) -> Vec<(Route<'_>, Vec<&Target>)> {
        let all = self.upstream.iter().map(|target| (Route::All, target));
        let names = self.sni_route.iter().map(|(name, target)| (Route::Name(name), target));
        let protocols = self.alpn_route.iter().map(|(protocol, target)| (Route::Protocol(protocol), target));
        let requests = self.host_route.iter().chain(&self.path_route);
        let requests = requests.map(|(place, target)| (Route::Requests(place), target));
        let mut routes: Vec<(Route<'_>, Vec<&Target>)> = Vec::new();
        for (route, target) in all.chain(names).chain(protocols).chain(requests) {
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
        by_path: ByPath::default(),
    };
    for (route, group) in written {
        match route {
            Route::All => routes.default = routes.default.or(Some(group)),
            Route::Name(name) => drop(routes.by_name.entry(name).or_insert(group)),
            Route::Protocol(protocol) => routes.by_protocol.push((protocol.as_bytes().to_vec(), group)),
            Route::Requests(Place { host, path, .. }) => {
                let by_path = match host {
                    Some(host) => routes.by_host.entry(host).or_default(),
                    None => &mut routes.by_path,
                };
                by_path.add(path.as_ref().map_or_else(Path::root, |prefix| prefix.path.clone()), group);
            }
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
        .mut_arg("host_route", |argument| argument.value_parser(of_host(group)))
        .mut_arg("path_route", |argument| argument.value_parser(of_path(group)))
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

/// Parses `HOST=TARGET` and `HOST/PATH=TARGET`.
fn of_host(
    target: fn(&str) -> Result<Target, String>,
) -> impl Fn(&str) -> Result<(Place, Target), String> + Clone {
    move |text| {
        let wanted = "give NAME=HOST:PORT with a host name, or *.NAME for all names below it; a path may follow the \
                      name, as in NAME/PATH=HOST:PORT";
        let (place, to) = text.split_once('=').ok_or(wanted)?;
        let (name, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        if !is_name(name) {
            return Err(wanted.to_owned());
        }
        let path = if path.is_empty() { None } else { Some(prefix(path)?) };
        Ok((Place::new(Some(name.to_ascii_lowercase()), path), target(to)?))
    }
}

/// Parses `PATH=TARGET`.
fn of_path(
    target: fn(&str) -> Result<Target, String>,
) -> impl Fn(&str) -> Result<(Place, Target), String> + Clone {
    move |text| {
        let (path, to) =
            text.split_once('=').ok_or("give PATH=HOST:PORT with a path, such as /api=iis2:80")?;
        Ok((Place::new(None, Some(prefix(path)?)), target(to)?))
    }
}

/// Parses the path of a route.
pub(super) fn prefix(written: &str) -> Result<Prefix, String> {
    let is_plain = |c: char| !c.is_control() && !c.is_whitespace() && !"?#*\\\"<>".contains(c);
    let has_dots = written.split('/').any(|segment| matches!(segment, "." | ".."));
    if !written.starts_with('/') || !written.chars().all(is_plain) || has_dots {
        return Err("give a PATH such as /api, which stands for itself and all below it: it begins with / and has no \
                    query, no asterisk, and no . or .. segment"
            .to_owned());
    }
    Ok(Prefix { written: written.to_owned(), path: Path::of_target(written.as_bytes()) })
}

impl Prefix {
    /// Whether every path is below it.
    fn is_root(&self) -> bool {
        self.path == Path::root()
    }
}

impl Place {
    /// The root of a host is the host.
    pub(super) fn new(host: Option<String>, path: Option<Prefix>) -> Self {
        let path = path.filter(|path| host.is_none() || !path.is_root());
        let written = path.as_ref().map_or("", |path| &path.written);
        Self { text: format!("{}{written}", host.as_deref().unwrap_or_default()), host, path }
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
