//! Does what visitors left behind fit what they may see?

use super::client::ClientNotes;
use super::line::LineNotes;
use super::server::ServerNotes;
use super::{Left, Visitor};
use crate::proxy::access_log::Entry;
use crate::proxy::simulation::pace::Leaving;
use crate::proxy::simulation::peer::{Acquaintance, Hears};
use crate::uring::Address;
use crate::uring::sim::World;

/// What the visitors are judged by.
pub(super) struct Trial<'a> {
    pub(super) is_calm: bool,
    /// No session was ended by the clock.
    pub(super) is_orderly: bool,
    pub(super) world: &'a World,
    pub(super) acquaintance: &'a Acquaintance,
    pub(super) ends: &'a [Left<ServerNotes>],
    pub(super) entries: &'a [Entry],
}

impl Trial<'_> {
    pub(super) fn judge(&self, visitor: &Visitor) {
        let client = visitor.left.notes.borrow();
        let line = visitor.left.line.borrow();
        let server = self.server_of(visitor);
        let server_left = server.and_then(|server| server.line.borrow().left);
        let server = server.map(|server| server.notes.borrow());
        if let (Some((number, bytes)), Some(server)) = (client.until_close, &server)
            && self.is_orderly
            // That is how such a body ends.
            && server_left != Some(Leaving::Close)
        {
            assert_eq!(
                (number, Some(bytes)),
                (server.number, server.until_close_bytes),
                "a body that ended with the stream: {client:?}, {server:?}"
            );
        }
        let is_faulted = line.connection.is_some_and(|id| self.world.connections[id].faulted);
        if self.is_orderly && line.left.is_none() && !is_faulted {
            assert!(
                !client.was_cut_short,
                "an end within a reply that looks like an orderly one: {client:?}"
            );
            let was_cut_short = server.as_ref().is_some_and(|server| server.was_cut_short);
            assert!(!was_cut_short, "an end within a request that looks like an orderly one: {server:?}");
        }
        if self.is_calm {
            self.judge_calm(visitor, &client, &line);
        }
    }

    fn judge_calm(&self, visitor: &Visitor, client: &ClientNotes, line: &LineNotes) {
        let has_all = client.statuses.len() as u64 == visitor.requests;
        let was_last = client.was_told_last || client.until_close.is_some();
        assert!(has_all || was_last, "replies are missing: {client:?}, {line:?}");
        assert!(client.statuses.iter().all(|status| *status < 300), "refused: {client:?}");
        assert_eq!(line.hears, Hears::End, "{client:?}");
        let address = Address::Ip(visitor.address);
        let logged = self.entries.iter().filter_map(|entry| match entry {
            Entry::Request(record) if record.client == address => Some(record),
            _ => None,
        });
        let statuses: Vec<_> = logged.clone().map(|record| record.status).collect();
        assert!(statuses.starts_with(&client.statuses), "in the log: {statuses:?}; {client:?}");
        let sent = self.world.connections[line.connection.expect("it came")].outward.sent_bytes;
        let logged: u64 = logged.map(|record| record.reply_bytes).sum();
        assert_eq!(logged, sent, "bytes to the client by the log, and really");
    }

    fn server_of(&self, visitor: &Visitor) -> Option<&Left<ServerNotes>> {
        let number = u32::from(visitor.address.port()) - 10_000;
        let server = self.acquaintance.pairs.borrow().server_of(number)?;
        self.ends.iter().find(|end| end.notes.borrow().number == server)
    }
}
