//! Services, groups, servers and generations as answers list them, with their state now.

use std::time::{Duration, Instant, SystemTime};

use serde::Serialize;

use super::view::View;
use crate::control::handover::Report;
use crate::control::health::groups;
use crate::proxy::settings::{Mode, Service};
use crate::upstream::{GroupSettings, Server, ServerOrder, ServerState};

/// A service.
#[derive(Debug, Serialize)]
pub(super) struct ServiceRow {
    name: String,
    mode: &'static str,
    listeners: Vec<String>,
    /// Whether TLS ends here.
    tls: bool,
    groups: Vec<String>,
}

impl ServiceRow {
    pub(super) fn all(view: &View) -> Vec<Self> {
        view.services.iter().map(|service| Self::of(service)).collect()
    }

    fn of(service: &Service) -> Self {
        Self {
            name: service.name.to_string(),
            mode: match service.mode {
                Mode::Stream => "stream",
                Mode::Http(_) => "http",
            },
            listeners: service.listeners.iter().map(|listener| listener.address.to_string()).collect(),
            tls: service.client_tls.is_some(),
            groups: service.groups().map(|group| group.name.to_string()).collect(),
        }
    }
}

/// A group.
#[derive(Debug, Serialize)]
pub(super) struct GroupRow {
    name: String,
    balance: &'static str,
    /// Whether a server can take a connection.
    ready: bool,
    /// How many addresses its servers have.
    servers: usize,
    /// How many of them are up.
    up: usize,
    /// Connections that hold a server.
    connections: usize,
    /// Clients that wait for a place at a server.
    queue: usize,
    #[serde(skip)]
    members: Vec<ServerRow>,
}

impl GroupRow {
    pub(super) fn all(view: &View) -> Vec<Self> {
        groups(&view.services).iter().map(|group| Self::of(group)).collect()
    }

    fn of(group: &GroupSettings) -> Self {
        let members = ServerRow::of_group(group);
        let up = members.iter().filter(|member| member.is_up).count();
        Self {
            name: group.name.to_string(),
            balance: group.balance.name(),
            ready: up > 0,
            servers: members.len(),
            up,
            connections: members.iter().map(|member| member.connections).sum(),
            queue: group.queue.waiting(),
            members,
        }
    }

    /// Why it cannot serve, if it cannot.
    pub(super) fn fault(&self) -> Option<String> {
        if self.ready {
            return None;
        }
        let states: Vec<_> =
            self.members.iter().map(|member| format!("{} is {}", member.label(), member.state)).collect();
        let states = if states.is_empty() { "it has none".to_owned() } else { states.join(", ") };
        Some(format!("group {} has no server up: {states}", self.name))
    }
}

/// A process of the proxy.
#[derive(Debug, Serialize)]
pub(super) struct GenerationRow {
    generation: u64,
    pid: u32,
    /// When it started.
    since: String,
    state: &'static str,
    connections: u64,
}

impl GenerationRow {
    /// This one, then those before it.
    pub(super) fn all(view: &View) -> Vec<Self> {
        let Some(sources) = &view.metrics else { return Vec::new() };
        sources.generations().into_iter().map(|(state, report)| Self::of(state, &report)).collect()
    }

    fn of(state: &'static str, report: &Report) -> Self {
        let Report { generation, pid, since, connections } = *report;
        let since = SystemTime::UNIX_EPOCH + Duration::from_secs(since);
        Self {
            generation,
            pid,
            since: humantime::format_rfc3339_seconds(since).to_string(),
            state,
            connections,
        }
    }
}

/// An address of a server.
#[derive(Debug, Serialize)]
pub(super) struct ServerRow {
    group: String,
    name: String,
    address: String,
    state: &'static str,
    /// What an operator has ordered.
    order: Option<&'static str>,
    #[serde(skip)]
    is_up: bool,
    /// Whether checks have found anything of it.
    checked: bool,
    weight: u16,
    backup: bool,
    connections: usize,
    max_connections: Option<u32>,
}

impl ServerRow {
    pub(super) fn all(view: &View) -> Vec<Self> {
        groups(&view.services).iter().flat_map(|group| Self::of_group(group)).collect()
    }

    fn of_group(group: &GroupSettings) -> Vec<Self> {
        group.servers.iter().map(|server| Self::of(&group.name, server)).collect()
    }

    pub(super) fn of(group: &str, server: &Server) -> Self {
        let (state, options) = (server.state(Instant::now()), server.options());
        Self {
            group: group.to_owned(),
            name: server.name().to_string(),
            address: server.address().to_string(),
            state: state.as_str(),
            order: server.order().map(ServerOrder::as_str),
            is_up: matches!(state, ServerState::Up | ServerState::SlowStart | ServerState::Trial),
            checked: server.is_checked(),
            weight: options.weight.get(),
            backup: options.backup,
            connections: server.leases(),
            max_connections: options.connections_max.map(std::num::NonZeroU32::get),
        }
    }

    /// Its name, with its address where that says more.
    fn label(&self) -> String {
        if self.name == self.address {
            self.name.clone()
        } else {
            format!("{} ({})", self.name, self.address)
        }
    }
}
