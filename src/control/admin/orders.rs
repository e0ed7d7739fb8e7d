//! What operators order: servers, connections, a reload, an upgrade, a stop.

use hyper::StatusCode;
use serde::Serialize;
use tokio::sync::oneshot;
use tokio::time::timeout;

use super::Reach;
use super::answer::{Answer, Refusal, json};
use super::asker::Asker;
use super::rows::ServerRow;
use crate::control::handover::Done;
use crate::control::health::groups;
use crate::control::reload;
use crate::control::supervise::{Event, Request};
use crate::control::timeouts::{ADMIN_RELOAD, ADMIN_UPGRADE};
use crate::proxy::orders::Orders;
use crate::upstream::{GroupSettings, Server, ServerOrder};

/// How a request names servers.
#[derive(Debug)]
pub(super) struct Named {
    /// A server's name, or the group's before it: `GROUP/NAME`.
    pub(super) name: String,
    pub(super) group: Option<String>,
    /// Of several addresses of the name.
    pub(super) address: Option<String>,
}

impl Named {
    /// Whether it names this server, and if so, whether with its group.
    fn names(&self, group: &GroupSettings, server: &Server) -> Option<bool> {
        let is_address = |address: &String| *address == server.address().to_string();
        if self.address.as_ref().is_some_and(|address| !is_address(address)) {
            return None;
        }
        let is_name = |name: &str| *name == **server.name();
        match &self.group {
            Some(wanted) => (**wanted == *group.name && is_name(&self.name)).then_some(true),
            None if is_name(&self.name) => Some(false),
            None => {
                let rest = self.name.strip_prefix(&*group.name).and_then(|rest| rest.strip_prefix('/'));
                rest.is_some_and(is_name).then_some(true)
            }
        }
    }
}

#[derive(Serialize)]
struct Ordered {
    servers: Vec<ServerRow>,
}

/// Orders something for servers, or (`None`) takes back what was ordered.
pub(super) fn order_servers(
    reach: &Reach,
    named: &Named,
    order: Option<ServerOrder>,
) -> Result<Answer, Refusal> {
    let groups = groups(&reach.board.view().services);
    let servers = groups.iter().flat_map(|group| group.servers.iter().map(move |server| (group, server)));
    let found: Vec<_> =
        servers.filter_map(|(group, server)| Some((group, server, named.names(group, server)?))).collect();
    let Some((first, ..)) = found.first() else {
        return Err(Refusal::new(StatusCode::NOT_FOUND, format!("there is no server {}", named.name)));
    };
    if let Some((other, ..)) =
        found.iter().find(|(group, _, with_group)| !with_group && group.name != first.name)
    {
        return Err(Refusal::bad_request(format!(
            "groups {} and {} have a server {}; name one of them in the query, as ?group={}",
            first.name, other.name, named.name, first.name
        )));
    }
    if order.is_none()
        && let Some((_, server, _)) = found.iter().find(|(_, server, _)| server.options().disabled)
    {
        let why = format!("the settings disable server {}; change them, then reload", server.name());
        return Err(Refusal::new(StatusCode::CONFLICT, why));
    }
    for (group, server, _) in &found {
        server.set_order(order);
        let (group, upstream, address) = (&*group.name, &**server.name(), server.address());
        match order {
            Some(ServerOrder::Drain) => {
                tracing::info!(group, upstream, %address, "an operator lets the server drain; it gets no new connections");
            }
            Some(ServerOrder::Disable) => {
                tracing::info!(group, upstream, %address, "an operator disables the server; it gets no new connections");
            }
            None => tracing::info!(group, upstream, %address, "an operator enables the server; using it"),
        }
    }
    // Those that a name had before may come back.
    let departed = groups.iter().flat_map(|group| group.departed().map(move |server| (group, server)));
    for (_, server) in departed.filter(|(group, server)| named.names(group, server).is_some()) {
        server.set_order(order);
    }
    for (group, ..) in &found {
        group.note_servers();
    }
    reach.workers.iter().for_each(Orders::look_at_servers);
    let servers = found.iter().map(|(group, server, _)| ServerRow::of(&group.name, server)).collect();
    Ok(json(StatusCode::OK, &Ordered { servers }))
}

#[derive(Serialize)]
struct AfterReload {
    reloaded: bool,
    changed: Vec<String>,
    need_restart: Vec<String>,
}

/// Has the settings read again, and waits for what becomes of it.
pub(super) async fn reload(reach: &Reach) -> Result<Answer, Refusal> {
    let unavailable = |why: String| Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why));
    let stopping = || unavailable("the proxy is stopping; settings are not reloaded any more".to_owned());
    if reach.board.is_stopping() {
        return stopping();
    }
    tracing::info!("an operator asks for a reload");
    let (sender, outcome) = oneshot::channel();
    reach.board.ask(Asker::new(sender));
    if reach.events.send(Event::Request(Request::Reload)).is_err() {
        return stopping();
    }
    match timeout(ADMIN_RELOAD, outcome).await {
        Ok(Ok(Ok(reload::Done { changed, need_restart }))) => {
            Ok(json(StatusCode::OK, &AfterReload { reloaded: true, changed, need_restart }))
        }
        Ok(Ok(Err(why))) => Err(Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, why)),
        Ok(Err(_gone)) => stopping(),
        Err(_elapsed) => unavailable(format!(
            "reading the settings takes longer than {ADMIN_RELOAD:?}; it goes on, and the log says how it ends"
        )),
    }
}

#[derive(Serialize)]
struct AfterUpgrade {
    upgraded: bool,
    generation: u64,
    pid: u32,
}

/// Has a new process serve in this one's place, and waits for what becomes of it.
pub(super) async fn upgrade(reach: &Reach) -> Result<Answer, Refusal> {
    let stopping = || {
        let why = "the proxy is stopping; it is not upgraded any more";
        Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why))
    };
    if reach.board.is_stopping() {
        return stopping();
    }
    tracing::info!("an operator asks for an upgrade");
    let (sender, outcome) = oneshot::channel();
    reach.board.ask_for_upgrade(sender);
    if reach.events.send(Event::Request(Request::Upgrade)).is_err() {
        return stopping();
    }
    match timeout(ADMIN_UPGRADE, outcome).await {
        Ok(Ok(Ok(Done { generation, pid }))) => {
            Ok(json(StatusCode::OK, &AfterUpgrade { upgraded: true, generation, pid }))
        }
        Ok(Ok(Err(why))) => Err(Refusal::new(StatusCode::CONFLICT, why)),
        Ok(Err(_gone)) => stopping(),
        Err(_elapsed) => {
            let why = format!("the upgrade takes longer than {ADMIN_UPGRADE:?}; the log says how it ends");
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why))
        }
    }
}

#[derive(Serialize)]
struct Stopping {
    stopping: bool,
}

/// Has the proxy stop, once: asking again does not hurry it.
pub(super) fn stop(reach: &Reach) -> Answer {
    if reach.board.stop() {
        tracing::info!("an operator asks for a stop");
        // Without a supervisor the process is ending.
        let _ = reach.events.send(Event::Request(Request::Stop));
    }
    json(StatusCode::ACCEPTED, &Stopping { stopping: true })
}
