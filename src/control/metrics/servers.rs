//! The states of servers and groups, which all workers share.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use super::page::{About, Labels, Page};
use crate::control::health::groups;
use crate::protocol::login::Symptom;
use crate::proxy::settings::Service;
use crate::upstream::{Incidents, Server, ServerState};

const QUEUE: About = About::new("queue_length", "Clients that wait for a place at a server of the group");
const STATE: About = About::new("server_state", "Addresses of the server that are in this state");
const LEASES: About =
    About::new("server_connections", "Connections that hold a place at the server, over all services");
const WARM: About = About::new("server_warm", "Connections to the server that wait for clients");
const CHANGES: About =
    About::new("server_state_changes", "How often checks found the server up after it was down, or down");
const EJECTIONS: About = About::new("server_ejections", "How often the server was ejected");
const SYMPTOMS: About = About::new("login_symptoms", "Signs of failing logins at the server");

/// The servers of a group by name, each with all its addresses: at least one.
type Named<'a> = BTreeMap<(&'a str, &'a str), Vec<&'a Server>>;

/// Writes all of it.
pub(super) fn write(services: &[Arc<Service>], page: &mut Page<'_>) -> fmt::Result {
    let groups = groups(services);
    let mut named = Named::new();
    for group in &groups {
        for server in &group.servers {
            named.entry((&group.name, server.name())).or_default().push(server);
        }
    }
    let queues = groups.iter().map(|group| (vec![("group", &*group.name)], group.queue.waiting() as f64));
    page.gauges(QUEUE, queues)?;
    let now = Instant::now();
    let states = ServerState::ALL.into_iter().flat_map(|state| {
        named.iter().map(move |(names, servers)| {
            let here = servers.iter().filter(|server| server.state(now) == state).count();
            (with(*names, "state", state.as_str()), here as f64)
        })
    });
    page.gauges(STATE, states)?;
    let leases = named.iter().map(|(names, servers)| {
        (labels(*names), servers.iter().map(|server| server.leases()).sum::<usize>() as f64)
    });
    page.gauges(LEASES, leases)?;
    let warm = named.iter().map(|(names, servers)| {
        (labels(*names), servers.iter().map(|server| server.warm()).sum::<usize>() as f64)
    });
    page.gauges(WARM, warm)?;
    // The addresses of a name share them.
    let incidents: Vec<_> = named.iter().map(|(names, servers)| (*names, servers[0].incidents())).collect();
    let counts = |of: fn(&Incidents) -> u64| {
        incidents.iter().map(move |(names, incidents)| (labels(*names), of(incidents))).collect::<Vec<_>>()
    };
    page.counters(CHANGES, counts(Incidents::state_changes))?;
    page.counters(EJECTIONS, counts(Incidents::ejections))?;
    let symptoms = Symptom::ALL.into_iter().flat_map(|symptom| {
        incidents.iter().map(move |(names, incidents)| {
            (with(*names, "symptom", symptom.as_str()), incidents.symptoms(symptom))
        })
    });
    page.counters(SYMPTOMS, symptoms)
}

fn labels<'a>((group, server): (&'a str, &'a str)) -> Labels<'a> {
    vec![("group", group), ("server", server)]
}

fn with<'a>(names: (&'a str, &'a str), label: &'static str, value: &'static str) -> Labels<'a> {
    let mut labels = labels(names);
    labels.push((label, value));
    labels
}
