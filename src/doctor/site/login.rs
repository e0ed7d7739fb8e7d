//! A login over one connection, as a browser does it: the first message, the challenge, the proof.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Visit;
use super::reply::Reply;
use super::wire::{Broke, Wire};
use crate::protocol::ntlm::{AvId, Challenge, ChannelBindings, Client, ClientRandom, Credentials, FileTime};
use crate::protocol::spnego;

/// How a login is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Ntlm,
    Negotiate,
}

impl Scheme {
    /// The name in HTTP.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ntlm => "NTLM",
            Self::Negotiate => "Negotiate",
        }
    }

    /// What people call it.
    pub(super) fn title(self) -> &'static str {
        match self {
            Self::Ntlm => "NTLM",
            Self::Negotiate => "NTLM in Negotiate",
        }
    }
}

/// What a login is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Binding {
    /// The certificate that the connection shows, as in browsers.
    Certificate,
    /// Nothing.
    None,
    /// A certificate that does not exist.
    Another,
}

/// How a login ended.
#[derive(Debug)]
pub(super) enum Outcome {
    /// The server took it; the reply is that to the request.
    Accepted(Reply),
    /// The server answered the proof with 401.
    Refused,
    /// The server, or a proxy before it, answered the proof with this error.
    Failed(u16),
    /// The server answered the first message without a challenge, with this status.
    NoChallenge(u16),
    /// The server does not take NTLM in Negotiate.
    NoNtlm,
    /// The challenge came with the end of the connection.
    ClosedWithChallenge,
    /// The connection ended instead of an answer to the proof.
    ClosedAtProof(Broke),
    /// The server's challenge is none.
    BadChallenge(String),
    /// Something else broke.
    Broke(Broke),
    /// There is no user, or a login has failed before.
    NotTried,
}

impl Outcome {
    /// For a sentence.
    pub(super) fn in_words(&self) -> String {
        match self {
            Self::Accepted(reply) => format!("accepted with {}", reply.status),
            Self::Refused => "refused with 401".to_owned(),
            Self::Failed(status) => format!("answered with {status}"),
            Self::NoChallenge(status) => format!("answered with {status} and no challenge"),
            Self::NoNtlm => "NTLM is not taken in Negotiate".to_owned(),
            Self::ClosedWithChallenge => "the challenge ends the connection".to_owned(),
            Self::ClosedAtProof(broke) | Self::Broke(broke) => broke.to_string(),
            Self::BadChallenge(reason) => reason.clone(),
            Self::NotTried => "not tried".to_owned(),
        }
    }
}

/// What the server says about itself in its challenge.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ServerFacts {
    pub(super) target: String,
    pub(super) nb_computer: Option<String>,
    pub(super) nb_domain: Option<String>,
    pub(super) dns_computer: Option<String>,
    pub(super) dns_domain: Option<String>,
    pub(super) dns_tree: Option<String>,
    pub(super) time: Option<SystemTime>,
}

/// A login that waits for its proof.
pub(super) struct Challenged {
    scheme: Scheme,
    token: Vec<u8>,
    /// Whether the connection goes on.
    keep_alive: bool,
}

/// Logs in with a request for the site's page.
pub(super) fn log_in(visit: &Visit<'_>, wire: &mut Wire, scheme: Scheme, binding: Binding) -> Outcome {
    if !visit.budget.is_left() {
        return Outcome::NotTried;
    }
    match begin(visit, wire, scheme) {
        Ok(challenged) => prove(visit, wire, &challenged, binding, &[], &[]),
        Err(outcome) => outcome,
    }
}

/// The first message, which contains nothing about a user.
pub(super) fn begin(visit: &Visit<'_>, wire: &mut Wire, scheme: Scheme) -> Result<Challenged, Outcome> {
    let anonymous = Credentials::new("", "", "");
    let client = Client::new(&anonymous);
    let first = match scheme {
        Scheme::Ntlm => client.negotiate().1.to_vec(),
        Scheme::Negotiate => spnego::Client::new(client).negotiate().1,
    };
    let reply = visit.request(wire, &visit.get(&[authorization(scheme, &first)])).map_err(Outcome::Broke)?;
    match reply.token(scheme.name()).filter(|_| reply.status == 401) {
        Some(token) if scheme == Scheme::Negotiate && refuses_ntlm(&token) => Err(Outcome::NoNtlm),
        Some(token) => Ok(Challenged { scheme, token, keep_alive: reply.keep_alive }),
        None => Err(Outcome::NoChallenge(reply.status)),
    }
}

/// Whether the answer to an offer of NTLM alone is no, or another mechanism.
fn refuses_ntlm(token: &[u8]) -> bool {
    spnego::NegTokenResp::parse(token).is_ok_and(|answer| {
        answer.state == Some(spnego::NegState::Reject)
            || answer.supported_mech.is_some_and(|mechanism| mechanism != spnego::Mechanism::Ntlm)
    })
}

/// The proof, with other header lines and a body if the request has them.
pub(super) fn prove(
    visit: &Visit<'_>,
    wire: &mut Wire,
    challenged: &Challenged,
    binding: Binding,
    lines: &[String],
    body: &[u8],
) -> Outcome {
    if !challenged.keep_alive {
        return Outcome::ClosedWithChallenge;
    }
    let bindings = match binding {
        Binding::Certificate => wire.bindings(),
        Binding::None => None,
        Binding::Another => Some(ChannelBindings::of_certificate_hash(&[0xd0; 32])),
    };
    let service = format!("HTTP/{}", visit.host());
    let Some((pending, proof)) = visit.budget.prove(|user| proof(user, challenged, &service, bindings))
    else {
        return Outcome::NotTried;
    };
    let token = match proof {
        Ok(token) => token,
        Err(reason) => {
            // Nothing was sent.
            pending.accepted();
            return Outcome::BadChallenge(reason);
        }
    };
    let mut all = vec![authorization(challenged.scheme, &token)];
    all.extend_from_slice(lines);
    let request = if body.is_empty() { visit.get(&all) } else { visit.post(&all, body) };
    match visit.request(wire, &request) {
        Ok(reply) if reply.status == 401 => Outcome::Refused,
        // Not known to be accepted: it counts as one that failed.
        Ok(reply) if reply.status == 400 || reply.status >= 500 => Outcome::Failed(reply.status),
        Ok(reply) => {
            pending.accepted();
            Outcome::Accepted(reply)
        }
        Err(broke) => Outcome::ClosedAtProof(broke),
    }
}

fn proof(
    user: &Credentials,
    challenged: &Challenged,
    service: &str,
    bindings: Option<ChannelBindings>,
) -> Result<Vec<u8>, String> {
    let mut client = Client::new(user).target_name(service);
    if let Some(bindings) = bindings {
        client = client.channel_bindings(bindings);
    }
    let mut random = ClientRandom { client_challenge: [0; 8], session_key: [0; 16] };
    fastrand::fill(&mut random.client_challenge);
    fastrand::fill(&mut random.session_key);
    let now = FileTime::from_system_time(SystemTime::now());
    match challenged.scheme {
        Scheme::Ntlm => {
            let answered = client.negotiate().0.authenticate(&challenged.token, &random, now);
            answered.map(|answered| answered.message).map_err(|error| error.to_string())
        }
        Scheme::Negotiate => {
            let answered =
                spnego::Client::new(client).negotiate().0.authenticate(&challenged.token, &random, now);
            answered.map(|(_, token)| token).map_err(|error| error.to_string())
        }
    }
}

pub(super) fn authorization(scheme: Scheme, token: &[u8]) -> String {
    format!("Authorization: {} {}", scheme.name(), BASE64_STANDARD.encode(token))
}

impl Challenged {
    /// The NTLM challenge, alone or inside SPNEGO.
    fn ntlm(&self) -> Option<Vec<u8>> {
        match self.scheme {
            Scheme::Ntlm => Some(self.token.clone()),
            Scheme::Negotiate => {
                Some(spnego::NegTokenResp::parse(&self.token).ok()?.response_token?.to_vec())
            }
        }
    }

    /// What the server says about itself.
    pub(super) fn facts(&self) -> Option<ServerFacts> {
        let message = self.ntlm()?;
        let challenge = Challenge::parse(&message).ok()?;
        let pairs = challenge.target_info;
        let text = |id| pairs.and_then(|pairs| pairs.text(id).ok()?).filter(|name| !name.is_empty());
        Some(ServerFacts {
            nb_computer: text(AvId::NbComputerName),
            nb_domain: text(AvId::NbDomainName),
            dns_computer: text(AvId::DnsComputerName),
            dns_domain: text(AvId::DnsDomainName),
            dns_tree: text(AvId::DnsTreeName),
            time: pairs.and_then(|pairs| pairs.timestamp().ok()?).and_then(system_time),
            target: challenge.target_name,
        })
    }
}

fn system_time(time: FileTime) -> Option<SystemTime> {
    let epoch = FileTime::from_system_time(UNIX_EPOCH).0;
    // Units of 100 ns.
    let since = time.0.checked_sub(epoch)?;
    UNIX_EPOCH.checked_add(Duration::from_micros(since / 10))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_time_is_read_back() {
        let now = UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
        assert_eq!(system_time(FileTime::from_system_time(now)), Some(now));
        assert_eq!(system_time(FileTime(0)), None);
    }
}
