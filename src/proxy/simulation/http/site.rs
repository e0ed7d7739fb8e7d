//! HTTP services in a worker, and where their requests lead: in a form of its own, so that no mistake of the proxy is
//! repeated.

use std::sync::Arc;
use std::time::Duration;

use super::manners::Manners;
use super::wire::TlsConfigs;
use crate::protocol::http1::path::Path;
use crate::proxy::names::Names;
use crate::proxy::routes::{ByPath, Routes};
use crate::proxy::settings::{ClientTls, ForwardedFor, Http, Mode, Service, Timeouts};
use crate::proxy::simulation::choices;
use crate::upstream::{self, GroupSettings};
use crate::uring::sim::Dice;

/// A time that no session of a run reaches.
pub(super) const IDLE_TIMEOUT_LONG: Duration = Duration::from_secs(20);
/// Routes, each with those of `HOSTS` that it has.
const ROUTES: [(&str, &[&str]); 2] =
    [("one.example", &["one.example"]), ("*.many.example", &["a.many.example", "B.many.example:80"])];
/// Numbers of services and groups from here on are HTTP's.
const SERVICE_MIN: usize = 10;
const GROUP_MIN: usize = 100;

/// Where a request leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lead {
    Group(usize),
    Nowhere,
    /// To https at this port.
    Https(u16),
}

impl Lead {
    /// Where a request is redirected to that leads to https.
    pub(super) fn location(self, host: &str, target: &str) -> Option<String> {
        let name = host.split(':').next().unwrap_or(host);
        match self {
            Self::Https(443) => Some(format!("https://{name}{target}")),
            Self::Https(port) => Some(format!("https://{name}:{port}{target}")),
            Self::Group(_) | Self::Nowhere => None,
        }
    }
}

/// A service.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) settings: Arc<Service>,
    default: Option<usize>,
    by_host: Vec<(&'static [&'static str], usize)>,
    https: Option<u16>,
    /// Whether clients name the default group in their TLS hello already.
    has_tls: bool,
}

impl Site {
    /// Where a request for this host leads.
    pub(super) fn lead(&self, host: &str) -> Lead {
        if let Some(port) = self.https {
            return Lead::Https(port);
        }
        let by_host = self.by_host.iter().find(|(hosts, _)| hosts.contains(&host)).map(|(_, group)| *group);
        match by_host.or(self.default) {
            Some(group) if !self.has_tls || self.by_host.is_empty() || self.default == Some(group) => {
                Lead::Group(group)
            }
            _ => Lead::Nowhere,
        }
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

/// The services of a run.
#[derive(Debug)]
pub(super) struct Sites(Vec<Site>);

impl Sites {
    /// One service that sends everything to one group.
    pub(super) fn one(manners: Manners, dice: &mut Dice) -> Self {
        Self(vec![Maker { manners, groups: 0 }.plain(0, dice)])
    }

    /// One service or several, some with routes by host, some that only redirect.
    pub(super) fn of(manners: Manners, dice: &mut Dice) -> Self {
        let mut maker = Maker { manners, groups: 0 };
        Self((0..dice.one_of(&[1, 1, 2, 3])).map(|number| maker.any(number, dice)).collect())
    }

    pub(super) fn services(&self) -> Vec<Arc<Service>> {
        self.0.iter().map(|site| Arc::clone(&site.settings)).collect()
    }

    pub(super) fn any(&self, dice: &mut Dice) -> &Site {
        &self.0[dice.number(0, self.0.len() - 1)]
    }

    /// The one with these settings.
    pub(super) fn with(&self, service: &Arc<Service>) -> &Site {
        self.0.iter().find(|site| Arc::ptr_eq(&site.settings, service)).expect("a service of the run")
    }
}

/// Makes services, each with groups of its own.
struct Maker {
    manners: Manners,
    /// Number of groups made.
    groups: usize,
}

impl Maker {
    fn any(&mut self, number: usize, dice: &mut Dice) -> Site {
        match if self.manners.is_http { dice.number(0, 9) } else { 0 } {
            0..=4 => self.plain(number, dice),
            5..=8 => self.routed(number, dice),
            _ => self.redirecting(number, dice),
        }
    }

    fn plain(&mut self, number: usize, dice: &mut Dice) -> Site {
        let (group_number, group) = self.group(dice);
        let settings = self.settings(number, Routes::all(group), None, dice);
        self.site(settings, Some(group_number), Vec::new(), None)
    }

    fn routed(&mut self, number: usize, dice: &mut Dice) -> Site {
        let (group_number, group) = self.group(dice);
        let mut routes = Routes::all(group);
        let mut by_host = Vec::new();
        for (pattern, hosts) in ROUTES.into_iter().take(dice.number(1, ROUTES.len())) {
            let (number, group) = self.group(dice);
            routes.by_host.entry(pattern).or_default().add(Path::root(), group);
            by_host.push((hosts, number));
        }
        let has_default = dice.chance(600);
        routes.default = routes.default.filter(|_| has_default);
        let settings = self.settings(number, routes, None, dice);
        self.site(settings, Some(group_number).filter(|_| has_default), by_host, None)
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
        self.site(settings, None, Vec::new(), Some(port))
    }

    fn site(
        &self,
        settings: Service,
        default: Option<usize>,
        by_host: Vec<(&'static [&'static str], usize)>,
        https: Option<u16>,
    ) -> Site {
        Site { settings: Arc::new(settings), default, by_host, https, has_tls: self.manners.tls.client }
    }

    fn group(&mut self, dice: &mut Dice) -> (usize, Arc<GroupSettings>) {
        let number = GROUP_MIN + self.groups;
        self.groups += 1;
        let mut group = choices::group(number, dice);
        group.send_proxy = None;
        if self.manners.is_calm {
            group.connect_timeout = Duration::from_secs(3);
            group.connect_budget = Duration::from_secs(6);
        }
        if self.manners.tls.server {
            let TlsConfigs { client: config, verifier, .. } = TlsConfigs::get();
            let (trusts_any_certificate, warnings) = (false, Vec::new());
            group.tls = Some(upstream::Tls { config, verifier, trusts_any_certificate, warnings });
        }
        (number, Arc::new(group))
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
        settings.accept_proxy = false;
        if is_http {
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
