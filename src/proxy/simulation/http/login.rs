//! Logins with real NTLM messages: a client that gets a reply to another client's challenge notices.

use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::protocol::ntlm::{
    AwaitingAuthenticate, Client, ClientRandom, Credentials, ExtendedProtection, FileTime, NtHash, Server,
};
use crate::uring::sim::Dice;

const DOMAIN: &str = "CORP";
const PASSWORD: &str = "of everybody";

/// A time that is the same in every run.
fn now() -> FileTime {
    FileTime::from_system_time(SystemTime::UNIX_EPOCH)
}

fn random<const N: usize>(dice: &mut Dice) -> [u8; N] {
    std::array::from_fn(|_| dice.number(0, 255) as u8)
}

/// The client side of a login.
pub(super) struct ClientLogin {
    scheme: &'static str,
    user: String,
}

impl ClientLogin {
    pub(super) fn new(scheme: &'static str, user: String) -> Self {
        Self { scheme, user }
    }

    /// The identity as the server knows it.
    pub(super) fn identity(&self) -> String {
        format!("{DOMAIN}\\{}", self.user)
    }

    fn credentials(&self) -> Credentials {
        Credentials::new(DOMAIN, &self.user, PASSWORD)
    }

    /// `Authorization` of the first message.
    pub(super) fn type1(&self) -> String {
        let credentials = self.credentials();
        let (_, message) = Client::new(&credentials).negotiate();
        format!("{} {}", self.scheme, STANDARD.encode(message))
    }

    /// `Authorization` of the answer to a challenge in `WWW-Authenticate`.
    pub(super) fn type3(&self, challenge: &str, dice: &mut Dice) -> String {
        let (scheme, token) = challenge.split_once(' ').expect("a challenge has a token");
        assert_eq!(scheme, self.scheme, "a challenge for another login");
        let credentials = self.credentials();
        let (awaiting, _) = Client::new(&credentials).negotiate();
        let random = ClientRandom { client_challenge: random(dice), session_key: random(dice) };
        let challenge = STANDARD.decode(token).expect("base64");
        let answered = awaiting.authenticate(&challenge, &random, now()).expect("a sound challenge");
        format!("{} {}", self.scheme, STANDARD.encode(answered.message))
    }
}

/// What a server end knows of the client.
#[derive(Default)]
pub(super) struct ServerLogin {
    awaiting: Option<AwaitingAuthenticate>,
    /// The user that is logged in.
    pub(super) identity: Option<String>,
}

/// A server's answer to an `Authorization`.
pub(super) enum Verdict {
    /// 401, with this in `WWW-Authenticate`.
    Challenge(String),
    LoggedIn,
}

impl ServerLogin {
    /// Continues a login, or begins one with this challenge.
    ///
    /// # Panics
    /// When the message belongs to no login on this connection.
    pub(super) fn answer(&mut self, authorization: &str, server_challenge: u64) -> Verdict {
        let (scheme, token) = authorization.split_once(' ').expect("a scheme and a token");
        let token = STANDARD.decode(token).expect("base64");
        let Some(awaiting) = self.awaiting.take() else {
            let name = || "web".to_owned();
            let server = Server {
                nb_domain: DOMAIN.to_owned(),
                nb_computer: name(),
                dns_domain: name(),
                dns_computer: name(),
            };
            let (awaiting, challenge) = server
                .challenge(&token, server_challenge.to_le_bytes(), now())
                .expect("a login begins with its first message");
            self.awaiting = Some(awaiting);
            self.identity = None;
            return Verdict::Challenge(format!("{scheme} {}", STANDARD.encode(challenge)));
        };
        let hash_of = |_user: &str, _domain: &str| Some(NtHash::of_password(PASSWORD));
        let login = awaiting
            .authenticate(&token, hash_of, ExtendedProtection::Off)
            .expect("an answer to the challenge of this connection");
        self.identity = Some(format!("{}\\{}", login.domain, login.user));
        Verdict::LoggedIn
    }

    /// Whether a challenge was given and must be answered next.
    pub(super) fn is_within(&self) -> bool {
        self.awaiting.is_some()
    }
}
