//! The Windows Authentication of one connection, followed from outside by its HTTP heads (RFC 4559, MS-NTHT).
//!
//! This is for observation: an access log, histograms, and why a site keeps answering 401. Keeping users apart must not
//! depend on it: whatever it does not understand is [`Step::Other`], never an error. A proxy that stops may ask it when
//! not to close a connection: [`Follower::is_within_login`]. A proxy told to refuse a second user uses
//! [`Follower::refuse_second_user`].
//!
//! ```text
//! request  --Asked::new-------->  Asked     what the request brings, the user it names, and when; goes with the exchange
//!          --Follower::refuse_second_user(&Asked)-->  another user than the connection's, before the server sees it
//! reply    --Follower::answered(Asked, Reply)-->  Exchange: step, mechanism, leg, symptom, change of identity
//! the end  --Follower::ended--->  a symptom, if it came in the middle of a login
//! ```
//!
//! | request carries | reply | [`Step`] | [`Leg`] |
//! | --- | --- | --- | --- |
//! | nothing | 401 | `challenged` | anonymous -> 401 |
//! | Type 1 | 401 with a Type 2 | `type1` | Type 1 -> Type 2 |
//! | Type 3, after its Type 2 | anything but 401 | `type3-ok` | Type 3 -> final |
//! | Type 3, else | anything but 401 | `type3-without-type2` | |
//! | Type 3 | 401 | `type3-refused` | Type 3 -> final |
//! | Kerberos | 401 with a token | `kerberos-continue` | |
//! | Kerberos | anything but 401; 401 | `kerberos-ok`; `kerberos-refused` | Kerberos -> final |
//!
//! 400, 503 and similar are no verdict on a login: HTTP.sys and gateways send them before any site has examined the
//! request.
//!
//! There are two answers to "which user is a request for?", which must not be confused:
//! - For the log ([`Follower::ran_as`]) a name counts once a server has verified it, as far as can be seen from here:
//!   the user of a Type 3 that came directly after its Type 2, under the same scheme and for the same path as the Type
//!   1, and was not refused. It applies to that request and to those without `Authorization` after it, which run under
//!   the connection's login. Anything else ends that: a 401, `Persistent-Auth: false`, and any other `Authorization`.
//!   Basic, Digest and Kerberos have no challenge that is bound to the connection, and a page that needs no login
//!   answers 200 to anything: they name no user.
//! - For detecting a second user ([`Follower::identity`]) a name counts as soon as it was not refused, in any scheme
//!   that shows it: a false alarm is better than a missed change. A Type 3 counts only if a Type 2 came before it.
//!
//! An exchange without `Authorization` that is not answered 401 costs a few comparisons and no memory. Only the first
//! 192 bytes of a token are decoded, except for a Type 3, which names its user, and for a token whose beginning is not
//! recognised. A reply's `WWW-Authenticate` is read only when its status is 401.
//!
//! Start with `follower.rs`; `asked.rs` and `challenge.rs` read the two headers, `name.rs` the user in the first;
//! `symptom.rs` is what operators are told.

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
