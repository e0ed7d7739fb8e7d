//! An operator during a run: servers drain, are disabled and used again, and connections are closed.
//!
//! What must hold then: connections to a server that is kept out go on, and no new one is made (`judge_choices`); in HTTP
//! mode those to a server that drains end between two requests that belong to no login (`http/judge.rs`); a client whose
//! connection is closed gets no stream that looks complete and is not.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::choices::ip;
use super::lending::Past;
use crate::proxy::context::Context;
use crate::proxy::survey::Wanted;
use crate::upstream::{GroupSettings, Server, ServerOrder};
use crate::uring::sim::Dice;

/// The operator does everything within this time.
const ACTS_MAX: Duration = Duration::from_millis(250);
/// More sessions than a run has.
const SESSIONS_MAX: usize = 1000;

/// What the operator does, after a time.
#[derive(Debug, Clone)]
pub(super) struct Act {
    after: Duration,
    deed: Deed,
}

#[derive(Debug, Clone)]
enum Deed {
    Order(Arc<Server>, Option<ServerOrder>),
    /// Close one of the connections that there are then.
    Close(usize),
}

/// What the operator does in a run, in more than half of the runs nothing.
pub(super) fn acts(groups: &[&Arc<GroupSettings>], dice: &mut Dice) -> Vec<Act> {
    let servers: Vec<_> = groups.iter().flat_map(|group| &group.servers).collect();
    let count = dice.one_of(&[0, 0, 0, 1, 2, 6]);
    let mut acts: Vec<_> = (0..count)
        .map(|_| {
            let deed = if servers.is_empty() || dice.chance(200) {
                Deed::Close(dice.number(0, 5))
            } else {
                let (drain, disable) = (Some(ServerOrder::Drain), Some(ServerOrder::Disable));
                let order = dice.one_of(&[drain, drain, disable, None]);
                Deed::Order(Arc::clone(servers[dice.number(0, servers.len() - 1)]), order)
            };
            Act { after: dice.time(ACTS_MAX), deed }
        })
        .collect();
    if dice.chance(100) {
        let after = dice.time(ACTS_MAX);
        let drain = |server: &&Arc<Server>| Deed::Order(Arc::clone(server), Some(ServerOrder::Drain));
        acts.extend(servers.iter().map(drain).map(|deed| Act { after, deed }));
    }
    acts.sort_by_key(|act| act.after);
    acts
}

/// What was ordered for each server.
pub(super) type Ordered = Past<Option<ServerOrder>>;

/// What the operator has done.
#[derive(Default)]
pub(super) struct Done {
    pub(super) ordered: Ordered,
    /// When the connections of clients were closed.
    closed: BTreeMap<SocketAddr, Instant>,
}

impl Done {
    /// Whether the operator ever kept connections from a server.
    pub(super) fn was_kept_out(&self, server: SocketAddr) -> bool {
        self.ordered.ever(server, |order| order.is_some())
    }

    /// Since when a server drains at the end of the run, if it does.
    pub(super) fn drains_since(&self, server: SocketAddr) -> Option<Instant> {
        let (since, order) = self.ordered.last(server)?;
        (order == Some(ServerOrder::Drain)).then_some(since)
    }

    /// When the client's connection was closed, if it was.
    pub(super) fn closed(&self, client: SocketAddr) -> Option<Instant> {
        self.closed.get(&client).copied()
    }
}

/// Does this in a worker, as its inbox does when the admin endpoint tells it to.
pub(super) async fn work(context: Rc<Context>, acts: Vec<Act>, done: Rc<RefCell<Done>>) {
    let ring = &context.ring;
    let begin = ring.now();
    for Act { after, deed } in acts {
        ring.sleep_until(begin + after).await;
        match deed {
            Deed::Order(server, order) => {
                server.set_order(order);
                done.borrow_mut().ordered.note(&server, ring.now(), order);
                context.look_at_servers();
            }
            Deed::Close(nth) => {
                let all = Wanted { limit: SESSIONS_MAX, ..Wanted::default() };
                let sights = context.living.sights(ring, &all).await;
                let Some(sight) = sights.get(nth) else { continue };
                if context.living.end(ring, sight.id).await {
                    done.borrow_mut().closed.insert(ip(&sight.address), ring.now());
                }
            }
        }
    }
}
