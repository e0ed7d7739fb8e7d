//! How many connections each client of a service has, and how fast they came, over all workers.
//!
//! ```text
//!   accept --take--> one of the shards: a client's connections, and when its rate is all its own again
//!   end --drop of Taken--> the same entry; it stays as long as its rate says something, within a bound
//! ```
//!
//! A shard is locked for a look at one entry, once when a connection begins and once when it ends: never on the data path.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So that workers seldom wait for each other.
const SHARDS: usize = 64;

/// Most clients without connections that a shard remembers: 65,536 in all.
const IDLE_MAX: usize = 1024;

/// What one client of a service may have. The same for all workers.
#[derive(Debug, Clone)]
pub struct ClientLimits {
    connections_max: Option<u32>,
    rate: Option<Rate>,
    table: Arc<Table>,
}

/// How fast connections may come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// One connection each time that this has passed.
    pub interval: Duration,
    /// As many at once after a long enough pause; at least one.
    pub burst: u32,
}

/// What a client has too much of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Excess {
    Connections,
    Rate,
}

impl ClientLimits {
    /// At most this many connections at once for a client, and that fast. Nothing is known of any client yet.
    pub fn new(connections_max: Option<u32>, rate: Option<Rate>) -> Self {
        Self { connections_max, rate, table: Arc::default() }
    }

    /// Goes on with what is known of the clients in `known`, earlier settings of the same service.
    pub(super) fn inherit(&mut self, known: &Self) {
        self.table = Arc::clone(&known.table);
    }

    /// Whether both know the same clients.
    #[cfg(test)]
    pub(super) fn is_shared_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.table, &other.table)
    }

    /// How many connections are counted.
    #[cfg(test)]
    pub(super) fn connections(&self) -> u32 {
        let shards = self.table.shards.iter().map(|shard| shard.lock().expect("no panic while locked"));
        shards.map(|shard| shard.clients.values().map(|client| client.connections).sum::<u32>()).sum()
    }

    /// Most connections of a client at once, and how fast they may come.
    #[cfg(test)]
    pub(super) fn most(&self) -> (Option<u32>, Option<Rate>) {
        (self.connections_max, self.rate)
    }

    /// Counts one more connection of a client until the result is dropped, if it may have it.
    pub(super) fn take(&self, client: IpAddr, now: Instant) -> Result<Taken, Excess> {
        let key = key(client);
        let mut shard = self.table.shard(key);
        // A worker takes the time once a turn; a client that came before may have been counted by another one, later.
        let now = shard.latest.map_or(now, |latest| latest.max(now));
        shard.latest = Some(now);
        let known = shard.clients.get(&key).copied();
        let mut client = known.unwrap_or(Client { connections: 0, full_at: now });
        if self.connections_max.is_some_and(|max| client.connections >= max) {
            return Err(Excess::Connections);
        }
        if let Some(rate) = self.rate {
            let (full_at, is_within) = rate.after_one_more(client.full_at, now);
            client.full_at = full_at;
            if !is_within {
                shard.clients.insert(key, client);
                return Err(Excess::Rate);
            }
        }
        if known.is_some() && client.connections == 0 {
            shard.idle -= 1;
        }
        client.connections += 1;
        shard.clients.insert(key, client);
        drop(shard);
        Ok(Taken { table: Arc::clone(&self.table), key })
    }
}

impl Rate {
    /// When it will be all the client's again after one more connection, and whether the client may have it. `full_at`:
    /// the same before. If it may not, the connection changes nothing.
    fn after_one_more(self, full_at: Instant, now: Instant) -> (Instant, bool) {
        let latest = now + self.interval * self.burst;
        // With a slower rate of earlier settings it may be further away than with this one.
        let full_at = full_at.clamp(now, latest);
        let next = full_at + self.interval;
        if next <= latest { (next, true) } else { (full_at, false) }
    }
}

/// A connection of a client; counted until this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    table: Arc<Table>,
    key: u128,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.table.shard(self.key).give_back(self.key);
    }
}

/// The clients of a service.
#[derive(Debug)]
struct Table {
    shards: [Mutex<Shard>; SHARDS],
    hasher: RandomState,
}

impl Default for Table {
    fn default() -> Self {
        Self { shards: std::array::from_fn(|_| Mutex::default()), hasher: RandomState::new() }
    }
}

impl Table {
    fn shard(&self, key: u128) -> MutexGuard<'_, Shard> {
        let shard = &self.shards[self.hasher.hash_one(key) as usize % SHARDS];
        // Nothing between lock and unlock panics half-way.
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[derive(Debug, Default)]
struct Shard {
    /// By [`key`]: those with connections, and those whose rate says something.
    clients: HashMap<u128, Client>,
    /// How many of them have no connection.
    idle: usize,
    /// The latest time at which one came.
    latest: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
struct Client {
    connections: u32,
    /// When its rate is all its own again: an earlier time says nothing.
    full_at: Instant,
}

impl Shard {
    fn give_back(&mut self, key: u128) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        client.connections -= 1;
        if client.connections > 0 {
            return;
        }
        if self.latest.is_some_and(|latest| client.full_at <= latest) {
            self.clients.remove(&key);
            return;
        }
        self.idle += 1;
        if self.idle > IDLE_MAX {
            self.forget_idle();
        }
    }

    /// Forgets clients without connections: those whose rate says nothing any more, and if these are too few, those who
    /// come next. Makes room for many at once, so that it is rare.
    fn forget_idle(&mut self) {
        let idle = self.clients.values().filter(|client| client.connections == 0);
        let mut times: Vec<_> = idle.map(|client| client.full_at).collect();
        let (_, next, _) = times.select_nth_unstable(IDLE_MAX / 4);
        let until = self.latest.map_or(*next, |latest| latest.max(*next));
        self.clients.retain(|_, client| client.connections > 0 || client.full_at > until);
        self.idle = self.clients.values().filter(|client| client.connections == 0).count();
    }
}

/// What tells clients apart: an IPv4 address, or the first half of an IPv6 address. The kinds do not overlap.
fn key(client: IpAddr) -> u128 {
    match client.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits() >> 64 << 64,
    }
}

#[cfg(test)]
mod tests;
