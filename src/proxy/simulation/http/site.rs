//! HTTP services in a worker, and where their requests lead: in a form of its own, so that no mistake of the proxy is
//! repeated.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::manners::{AREAS, Manners};
use super::wire::TlsConfigs;
use crate::protocol::http1::path::Path;
use crate::proxy::names::Names;
use crate::proxy::routes::{ByPath, Routes};
use crate::proxy::settings::{ClientTls, ForwardedFor, Http, Mode, Service, Timeouts};
use crate::proxy::simulation::choices::{self, TLS_NAME};
use crate::proxy::simulation::groups::{Founder, server_at};
use crate::upstream::{self, GroupSettings};
use crate::uring::sim::Dice;

/// A time that no session of a run reaches.
pub(super) const IDLE_TIMEOUT_LONG: Duration = Duration::from_secs(20);
/// Routes, each with those of `HOSTS` that it has.
const ROUTES: [(&str, &[&str]); 2] =
    [("one.example", &["one.example"]), ("*.many.example", &["a.many.example", "B.many.example:80"])];
/// Routes by path, the longest first, each with those of `AREAS` that it has.
const PREFIXES: [(&str, &[&str]); 3] = [
    ("/api/v1", &["/API/v1", "/docs/../api/v1"]),
    ("/api", &["/api", "/%61pi", "/API/v1", "/docs/../api/v1", "/api/v10"]),
    ("/", &AREAS),
];
/// Numbers of services and groups from here on are HTTP's.
const SERVICE_MIN: usize = 10;
const GROUP_MIN: usize = 100;
/// Most services at a time.
const SITES_MAX: usize = 3;

/// Where a request leads.
#[derive(Debug, Clone, Copy)]
pub(super) enum Lead<'a> {
    Group(&'a Arc<GroupSettings>),
    /// No route has its host, or the host is not that of the connection.
    Nowhere,
    /// No route of its host has its path.
    NoPath,
    /// To https at this port.
    Https(u16),
}

impl Lead<'_> {
    /// Whether it leads to the group of the server at this address.
    pub(super) fn is_to(self, server: SocketAddr) -> bool {
        matches!(self, Self::Group(group) if server_at(group, server).is_some())
    }

    /// Where a request is redirected to that leads to https.
    pub(super) fn location(self, host: &str, target: &str) -> Option<String> {
        let name = host.split(':').next().unwrap_or(host);
        match self {
            Self::Https(443) => Some(format!("https://{name}{target}")),
            Self::Https(port) => Some(format!("https://{name}:{port}{target}")),
            Self::Group(_) | Self::Nowhere | Self::NoPath => None,
        }
    }
}

/// A service.
#[derive(Debug, Clone)]
pub(super) struct Site {
    pub(super) settings: Arc<Service>,
    routes: Routed,
    https: Option<u16>,
    /// Whether clients name `TLS_NAME` in their TLS hello already.
    has_tls: bool,
}

/// The groups of areas, the longest prefix first.
type ByArea = Vec<(&'static [&'static str], Arc<GroupSettings>)>;

/// The routes of a service.
#[derive(Debug, Clone, Default)]
struct Routed {
    default: Option<Arc<GroupSettings>>,
    by_host: Vec<(&'static [&'static str], ByArea)>,
    by_area: ByArea,
}

impl Routed {
    fn all(group: Arc<GroupSettings>) -> Self {
        Self { default: Some(group), ..Self::default() }
    }

    fn is_by_request(&self) -> bool {
        !self.by_host.is_empty() || !self.by_area.is_empty()
    }

    /// The group of a request, or where else it leads.
    fn of(&self, host: &str, area: &str) -> Result<&Arc<GroupSettings>, Lead<'_>> {
        let of_area = |all: &ByArea| all.iter().position(|(areas, _)| areas.contains(&area));
        let host = self.by_host.iter().find(|(hosts, _)| hosts.contains(&host)).map(|(_, by_area)| by_area);
        let by_host = host.and_then(|by_area| of_area(by_area).map(|at| &by_area[at].1));
        let by_area = || of_area(&self.by_area).map(|at| &self.by_area[at].1);
        let group = by_host.or_else(by_area).or(self.default.as_ref());
        let is_known = host.is_some() || !self.by_area.is_empty();
        group.ok_or(if is_known { Lead::NoPath } else { Lead::Nowhere })
    }
}

impl Site {
    /// Where a request for this host and area leads, on a connection whose first request was for `first`.
    pub(super) fn lead(&self, host: &str, area: &str, first: Option<&str>) -> Lead<'_> {
        if let Some(port) = self.https {
            return Lead::Https(port);
        }
        let group = match self.routes.of(host, area) {
            Ok(group) => group,
            Err(lead) => return lead,
        };
        let leads_there = |other: &str| {
            other == host || self.routes.of(other, area).is_ok_and(|other| Arc::ptr_eq(other, group))
        };
        let by_tls = (self.has_tls && self.routes.is_by_request()).then_some(TLS_NAME);
        if by_tls.is_none_or(leads_there) && first.is_none_or(leads_there) {
            Lead::Group(group)
        } else {
            Lead::Nowhere
        }
    }

    /// Whether the requests of one host may lead to several groups.
    pub(super) fn has_paths(&self) -> bool {
        let by_host = self.routes.by_host.iter().map(|(_, by_area)| by_area);
        by_host.chain([&self.routes.by_area]).any(|by_area| by_area.iter().any(|(areas, _)| *areas != AREAS))
    }

    /// The settings of HTTP mode; none in stream mode.
    pub(super) fn http(&self) -> Option<&Http> {
        match &self.settings.mode {
            Mode::Http(http) => Some(http),
            Mode::Stream => None,
        }
    }

    /// Whether a time-out may end a session of a peer that does not leave.
    pub(super) fn has_short_timeouts(&self) -> bool {
        let Timeouts { idle, head, keepalive, body, reply, send, .. } = self.settings.timeouts;
        [idle, head, keepalive, body, reply, send].into_iter().any(|timeout| timeout < IDLE_TIMEOUT_LONG)
    }
}

/// The services of a run: at first and after each change.
#[derive(Debug)]
pub(super) struct Sites(Vec<Vec<Site>>);

impl Sites {
    /// One service that sends everything to one group.
    pub(super) fn one(manners: Manners, dice: &mut Dice) -> Self {
        let mut maker = Maker::new(manners);
        let group = maker.group(dice);
        Self(vec![vec![maker.plain(0, group, dice)]])
    }

    /// One service or several at a time, some with routes by host, some that only redirect.
    pub(super) fn of(manners: Manners, changes: usize, dice: &mut Dice) -> Self {
        let mut maker = Maker::new(manners);
        let count = dice.one_of(&[1, 1, 2, 3]);
        let mut sites: [Option<Site>; SITES_MAX] =
            std::array::from_fn(|number| (number < count).then(|| maker.any(number, dice)));
        let mut all = vec![sites.clone()];
        for _ in 0..changes {
            sites = maker.changed(&sites, dice);
            all.push(sites.clone());
        }
        Self(all.into_iter().map(|sites| sites.into_iter().flatten().collect()).collect())
    }

    /// The settings at first and after each change.
    pub(super) fn services(&self) -> Vec<Vec<Arc<Service>>> {
        let services = |sites: &Vec<Site>| sites.iter().map(|site| Arc::clone(&site.settings)).collect();
        self.0.iter().map(services).collect()
    }

    pub(super) fn any(&self, dice: &mut Dice) -> &Site {
        let sites = &self.0[dice.number(0, self.0.len() - 1)];
        &sites[dice.number(0, sites.len() - 1)]
    }

    /// The one with these settings.
    pub(super) fn with(&self, service: &Arc<Service>) -> &Site {
        let mut all = self.0.iter().flatten();
        all.find(|site| Arc::ptr_eq(&site.settings, service)).expect("a service of the run")
    }
}

/// Makes services.
struct Maker {
    manners: Manners,
    founder: Founder,
    /// The groups as they are now.
    groups: Vec<Arc<GroupSettings>>,
}

impl Maker {
    fn new(manners: Manners) -> Self {
        Self { manners, founder: Founder::new(manners.is_calm, GROUP_MIN), groups: Vec::new() }
    }

    /// What the services become.
    fn changed(&mut self, before: &[Option<Site>; SITES_MAX], dice: &mut Dice) -> [Option<Site>; SITES_MAX] {
        for at in 0..self.groups.len() {
            if dice.chance(500) {
                let changed = self.founder.changed(&self.groups[at], dice);
                self.groups[at] = self.finished(changed);
            }
        }
        let mut after = std::array::from_fn(|number| match (&before[number], dice.number(0, 9)) {
            (None, 0..=5) | (Some(_), 0..=1) => None,
            (Some(site), 2..=3) if self.is_current(site) => Some(site.clone()),
            _ => Some(self.any(number, dice)),
        });
        if after.iter().all(Option::is_none) {
            after[0] = Some(self.any(0, dice));
        }
        after
    }

    /// Whether its groups are as they are now.
    fn is_current(&self, site: &Site) -> bool {
        site.settings.groups().all(|group| self.groups.iter().any(|now| Arc::ptr_eq(now, group)))
    }

    fn any(&mut self, number: usize, dice: &mut Dice) -> Site {
        let group = self.group(dice);
        match if self.manners.is_http { dice.number(0, 9) } else { 0 } {
            0..=4 => self.plain(number, group, dice),
            5..=8 => self.routed(number, group, dice),
            _ => self.redirecting(number, dice),
        }
    }

    fn plain(&self, number: usize, group: Arc<GroupSettings>, dice: &mut Dice) -> Site {
        let settings = self.settings(number, Routes::all(Arc::clone(&group)), None, dice);
        self.site(settings, Routed::all(group), None)
    }

    fn routed(&mut self, number: usize, group: Arc<GroupSettings>, dice: &mut Dice) -> Site {
        let mut routes = Routes::all(Arc::clone(&group));
        let mut model = Routed::all(group);
        for (pattern, hosts) in ROUTES.into_iter().take(dice.number(0, ROUTES.len())) {
            let (by_path, by_area) = self.by_path(dice);
            *routes.by_host.entry(pattern).or_default() = by_path;
            model.by_host.push((hosts, by_area));
        }
        if !model.is_by_request() || dice.chance(200) {
            (routes.by_path, model.by_area) = self.by_path(dice);
        }
        if dice.chance(400) {
            (routes.default, model.default) = (None, None);
        }
        let settings = self.settings(number, routes, None, dice);
        self.site(settings, model, None)
    }

    /// Routes by path, often one for all paths only.
    fn by_path(&mut self, dice: &mut Dice) -> (ByPath<Arc<GroupSettings>>, ByArea) {
        let (mut by_path, mut by_area) = (ByPath::default(), Vec::new());
        let has_all = dice.chance(800);
        for (prefix, areas) in PREFIXES {
            if if areas == AREAS { has_all || by_area.is_empty() } else { dice.chance(400) } {
                let group = self.group(dice);
                by_path.add(Path::of_target(prefix.as_bytes()), Arc::clone(&group));
                by_area.push((areas, group));
            }
        }
        (by_path, by_area)
    }

    fn redirecting(&self, number: usize, dice: &mut Dice) -> Site {
        let routes = Routes {
            default: None,
            by_name: Names::default(),
            by_protocol: Vec::new(),
            by_host: Names::default(),
            by_path: ByPath::default(),
        };
        let port = dice.one_of(&[443, 8443]);
        let settings = self.settings(number, routes, Some(port), dice);
        self.site(settings, Routed::default(), Some(port))
    }

    fn site(&self, settings: Service, routes: Routed, https: Option<u16>) -> Site {
        Site { settings: Arc::new(settings), routes, https, has_tls: self.manners.tls.client }
    }

    /// A new group, or one of those that there are.
    fn group(&mut self, dice: &mut Dice) -> Arc<GroupSettings> {
        if !self.groups.is_empty() && dice.chance(300) {
            return Arc::clone(&self.groups[dice.number(0, self.groups.len() - 1)]);
        }
        let group = self.founder.group(dice);
        let group = self.finished(group);
        self.groups.push(Arc::clone(&group));
        group
    }

    /// A group as the manners of the run demand.
    fn finished(&self, mut group: GroupSettings) -> Arc<GroupSettings> {
        group.send_proxy = None;
        if self.manners.is_calm {
            group.connect_timeout = Duration::from_secs(3);
            group.connect_budget = Duration::from_secs(6);
        }
        if self.manners.tls.server {
            let TlsConfigs { client: config, verifier, .. } = TlsConfigs::get();
            let (own, trusts_any_certificate, warnings) = (None, false, Vec::new());
            group.tls = Some(upstream::Tls { config, verifier, own, trusts_any_certificate, warnings });
        }
        Arc::new(group)
    }

    fn settings(
        &self,
        number: usize,
        routes: Routes<Arc<GroupSettings>>,
        redirect_to_https: Option<u16>,
        dice: &mut Dice,
    ) -> Service {
        let Manners { is_calm, is_http, tls, .. } = self.manners;
        let mut settings = choices::service(SERVICE_MIN + number, routes, dice);
        if tls.client {
            let config = TlsConfigs::get().server;
            settings.client_tls = Some(ClientTls { config });
        }
        let idle = if is_calm { IDLE_TIMEOUT_LONG } else { settings.timeouts.idle };
        let others = if is_calm { Timeouts::default() } else { timeouts(dice) };
        settings.timeouts = Timeouts { idle, ..others };
        // What clients send then may be served in any mode.
        if is_http || dice.chance(300) {
            settings.mode = Mode::Http(Box::new(Http {
                // In a calm run, a client that ends its stream after its last request still gets its reply.
                ignore_client_close: is_calm || dice.chance(500),
                head_bytes_max: 16 * 1024,
                forwarded: dice.one_of(&[ForwardedFor::Off, ForwardedFor::Replace]),
                redirect_to_https,
                rewrite_redirects: dice.chance(500),
                secure_cookies: dice.chance(500),
                close_on_identity_change: dice.chance(500),
                ..Http::default()
            }));
        }
        settings
    }
}

/// Time-outs, each either long or short enough to end sessions now and then.
fn timeouts(dice: &mut Dice) -> Timeouts {
    let default = Timeouts::default();
    let mut timeout = |long| if dice.chance(200) { dice.time(Duration::from_millis(200)) } else { long };
    Timeouts {
        head: timeout(default.head),
        keepalive: timeout(default.keepalive),
        body: timeout(default.body),
        reply: timeout(default.reply),
        send: timeout(default.send),
        ..default
    }
}
