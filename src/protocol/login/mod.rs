//! The Windows Authentication of one connection, followed from outside by the heads that go by (RFC 4559, MS-NTHT).
//!
//! This is for seeing only: an access log, histograms, and saying why a site answers 401 over and over. Nothing may
//! depend on it for keeping users apart: whatever it does not understand is [`Step::Other`], never an error. A proxy that
//! stops may ask it when not to: [`Follower::is_within_login`].
//!
//! ```text
//! request  --Asked::new-------->  Asked     what the request brings, and when; goes with the exchange
//! reply    --Follower::answered(Asked, Reply)-->  Exchange: step, mechanism, leg, symptom, change of identity
//! the end  --Follower::ended--->  a symptom, if it came in the middle of a login
//! ```
//!
//! | request carries | reply | [`Step`] | [`Leg`] |
//! | --- | --- | --- | --- |
//! | nothing | 401 | `challenged` | anonymous -> 401 |
//! | Type 1 | 401 with a Type 2 | `type1` | Type 1 -> Type 2 |
//! | Type 3 | anything but 401 | `type3-ok` | Type 3 -> final |
//! | Type 3 | 401 | `type3-refused` | Type 3 -> final |
//! | Kerberos | 401 with a token | `kerberos-continue` | |
//! | Kerberos | anything but 401; 401 | `kerberos-ok`; `kerberos-refused` | Kerberos -> final |
//!
//! 400 and 503 are no verdict on a login: HTTP.sys gives them before anybody has looked at it.
//!
//! An exchange without `Authorization` that is not answered 401 costs a few comparisons and no memory. Of a token no more
//! than the first 192 bytes are decoded, except for a Type 3, which names its user. A reply's `WWW-Authenticate` is only
//! asked for when its status is 401.
//!
//! Start with `follower.rs`; `asked.rs` and `challenge.rs` read the two headers; `symptom.rs` is what to tell operators.

mod asked;
mod challenge;
mod follower;
mod step;
mod symptom;
#[cfg(test)]
mod tests;
mod token;

pub use asked::Asked;
pub use follower::{Exchange, Follower, IdentityChange, Reply, Side};
pub use step::{Leg, Mechanism, Step};
pub use symptom::Symptom;
