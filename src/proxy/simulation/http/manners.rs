//! How the peers of a run behave.

use std::time::Duration;

use super::client::{Farewell, Hearing};
use super::line::{Pace, Parting};
use super::{client, server};
use crate::proxy::simulation::choices::milliseconds;
use crate::proxy::simulation::pace::Leaving;
use crate::uring::sim::Dice;

/// Hosts that clients ask for.
pub(super) const HOSTS: [&str; 5] =
    ["web", "one.example", "a.many.example", "B.many.example:80", "no.example"];

/// What the paths of requests begin with.
pub(super) const AREAS: [&str; 7] = ["", "/api", "/%61pi", "/API/v1", "/docs/../api/v1", "/api/v10", "/apis"];

/// The properties of a run's peers.
#[derive(Debug, Clone, Copy)]
pub(super) struct Manners {
    pub(super) is_calm: bool,
    /// Whether they make no long pauses.
    pub(super) hurries: bool,
    /// Whether the proxy is in HTTP mode: it serves clients of HTTP/1.0 and clients that pipeline.
    pub(super) is_http: bool,
    pub(super) scale: usize,
    pub(super) tls: Sides,
}

/// The sides of the proxy that use TLS.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sides {
    pub(super) client: bool,
    pub(super) server: bool,
}

impl Manners {
    pub(super) fn pace(self, dice: &mut Dice) -> Pace {
        let leaves = !self.is_calm && dice.chance(200);
        let patience = dice.time(Duration::from_millis(200));
        Pace {
            piece_bytes_max: self.scale * dice.one_of(&[1, 4, 16, 64]),
            pause_max: milliseconds(dice, if self.hurries { &[0, 1] } else { &[0, 1, 20] }),
            patience: leaves.then(|| (patience, dice.one_of(&[Leaving::Close, Leaving::Reset]))),
            single_bytes: if dice.chance(200) { dice.number(1, 400) } else { 0 },
            rest_max: Duration::ZERO,
        }
    }

    /// The pace of a client: some rest before they send a request.
    pub(super) fn client_pace(self, dice: &mut Dice) -> Pace {
        let rests: &[u64] = if self.is_calm { &[0] } else { &[0, 300, 8000] };
        Pace { rest_max: milliseconds(dice, rests), ..self.pace(dice) }
    }

    fn body_bytes_max(self, dice: &mut Dice) -> u64 {
        dice.one_of(&[0, 10, self.scale, self.scale * 8, self.scale * 30]) as u64
    }

    fn tunnel_bytes(self, dice: &mut Dice) -> u64 {
        let most = self.body_bytes_max(dice) as usize;
        dice.number(0, most) as u64
    }

    pub(super) fn client(self, dice: &mut Dice) -> client::Script {
        let is_http10 = self.is_http && dice.chance(150);
        let scheme = dice.one_of(&[None, None, Some("NTLM"), Some("Negotiate")]);
        let tunnel_bytes = (!is_http10 && dice.chance(200)).then(|| self.tunnel_bytes(dice));
        // A client that has ended its stream can send nothing in a login or a tunnel.
        let may_end = scheme.is_none() && tunnel_bytes.is_none();
        let farewell = match dice.number(0, 9) {
            0..=2 => Farewell::Said,
            3..=4 if may_end => Farewell::Early,
            _ => Farewell::None,
        };
        // In a calm run a bare end must matter only to the proxy.
        let may_be_bare =
            self.tls.client && (!self.is_calm || tunnel_bytes.is_none() && farewell != Farewell::Early);
        client::Script {
            wishes: dice.number(1, 6) as u64,
            body_bytes_max: self.body_bytes_max(dice),
            hearing: match dice.number(0, 5) {
                0 => Hearing::Late,
                1..=2 if self.is_http => Hearing::Ahead,
                _ => Hearing::Always,
            },
            farewell,
            parting: if may_be_bare && dice.chance(300) { Parting::Bare } else { Parting::Orderly },
            is_http10,
            scheme,
            secret: if scheme.is_some() { dice.one_of(&[0, 300, 1000]) } else { 0 },
            logs_in: dice.one_of(&[0, 0, 200]),
            changes_user: dice.chance(300),
            tunnel_bytes,
            home: dice.one_of(&HOSTS),
            strays: dice.one_of(&[0, 0, 150]),
            others: &HOSTS,
            areas: dice.one_of(&[&AREAS[..1], &AREAS[1..2], &AREAS, &AREAS]),
            cookies: None,
        }
    }

    pub(super) fn server(self, dice: &mut Dice) -> server::Script {
        let parting = match dice.number(0, 3) {
            0 => Parting::Close,
            1 if !self.is_calm => Parting::Reset,
            2 if self.tls.server => Parting::Bare,
            _ => Parting::Orderly,
        };
        server::Script {
            body_bytes_max: self.body_bytes_max(dice),
            early: dice.one_of(&[0, 0, 300]),
            last: dice.one_of(&[0, 0, 100]),
            hangs: if self.is_calm { 0 } else { dice.one_of(&[0, 0, 100]) },
            parting,
            // An immediate close may cut off a reply that only the end of the stream ends; in a calm run nothing is cut
            // off.
            ends_replies: parting == Parting::Orderly || !self.is_calm && parting != Parting::Close,
            tunnel_bytes: dice.chance(800).then(|| self.tunnel_bytes(dice)),
            scheme: dice.one_of(&["NTLM", "Negotiate"]),
        }
    }
}
