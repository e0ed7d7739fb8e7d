//! The Windows Authentication of one connection, followed from outside by the heads that go by (RFC 4559, MS-NTHT).
//!
//! This is for seeing: an access log, histograms, and saying why a site answers 401 over and over. Nothing may depend on
//! it for keeping users apart: whatever it does not understand is [`Step::Other`], never an error. A proxy that stops may
//! ask it when not to: [`Follower::is_within_login`]. One that is told to may refuse a second user:
//! [`Follower::refuse_second_user`].
//!
//! ```text
//! request  --Asked::new-------->  Asked     what the request brings, whom it names, and when; goes with the exchange
//!          --Follower::refuse_second_user(&Asked)-->  another user than the connection's, before the server sees it
//! reply    --Follower::answered(Asked, Reply)-->  Exchange: step, mechanism, leg, symptom, change of identity
//! the end  --Follower::ended--->  a symptom, if it came in the middle of a login
//! ```
//!
//! | request carries | reply | [`Step`] | [`Leg`] |
//! | --- | --- | --- | --- |
//! | nothing | 401 | `challenged` | anonymous -> 401 |
//! | Type 1 | 401 with a Type 2 | `type1` | Type 1 -> Type 2 |
//! | Type 3, behind its Type 2 | anything but 401 | `type3-ok` | Type 3 -> final |
//! | Type 3, else | anything but 401 | `type3-without-type2` | |
//! | Type 3 | 401 | `type3-refused` | Type 3 -> final |
//! | Kerberos | 401 with a token | `kerberos-continue` | |
//! | Kerberos | anything but 401; 401 | `kerberos-ok`; `kerberos-refused` | Kerberos -> final |
//!
//! 400, 503 and the like are no verdict on a login: HTTP.sys and gateways give them before any site has looked at it.
//!
//! Who a request is for has two answers, which must not be mixed up:
//! - For the log ([`Follower::ran_as`]) a name counts that a server has verified as far as can be seen from here: the user
//!   of a Type 3 that came right behind its Type 2, under the same scheme and for the same path as the Type 1, and was not
//!   refused. It is that request's, and
//!   that of those without `Authorization` behind it, which run under the connection's login. Whatever else happens ends
//!   that: a 401, `Persistent-Auth: false`, and any other `Authorization`. Basic, Digest and Kerberos have no challenge
//!   that is bound to the connection, and a page that needs no login answers 200 to whatever they bring: they name no one.
//! - For telling a second user ([`Follower::identity`]) a name counts as soon as it was not refused, in any scheme that
//!   shows it: it is better to see a change too many than one too few. A Type 3 counts only if a Type 2 came before it.
//!
//! An exchange without `Authorization` that is not answered 401 costs a few comparisons and no memory. Of a token no more
//! than the first 192 bytes are decoded, except for a Type 3, which names its user, and for what is not known by its
//! beginning. A reply's `WWW-Authenticate` is only asked for when its status is 401.
//!
//! Start with `follower.rs`; `asked.rs` and `challenge.rs` read the two headers, `name.rs` the user in the first; `symptom.rs`
//! is what to tell operators.

mod asked;
mod challenge;
mod follower;
mod name;
mod step;
mod symptom;
#[cfg(test)]
mod tests;
mod token;

pub use asked::Asked;
pub use follower::{Exchange, Follower, IdentityChange, Reply, Side};
pub use step::{Leg, Mechanism, Step};
pub use symptom::Symptom;
