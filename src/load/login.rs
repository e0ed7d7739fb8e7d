//! A login over one connection, like a browser's, with a sample for each leg.
//!
//! ```text
//! anonymous request -> 401 that names the schemes      AnonymousTo401
//! Type 1            -> 401 with a Type 2               Type1ToType2
//! Type 3            -> the reply to the request        Type3ToFinal
//! ```

use std::sync::mpsc::Sender;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::connection::{Connection, Reply};
use super::failure::Failure;
use super::handshake::{Answer, Handshake};
use super::identity::Witness;
use super::plan::{IdentitySource, Proof, Scheme};
use super::recorder::{Leg, Recorder};
use super::recording::{Recorded, server_challenge};
use super::request::Requests;
use crate::protocol::http1::response::ResponseHead;

/// A login: its proof, its requests, and where it is recorded.
pub(super) struct Login<'a> {
    pub proof: Proof<'a>,
    pub requests: &'a Requests,
    pub recorder: &'a std::cell::RefCell<Recorder>,
    pub identity: Option<&'a IdentitySource>,
    pub record: Option<&'a Sender<Recorded>>,
}

/// The result of the anonymous request.
pub(super) enum Anonymous {
    /// The server requires the scheme, and the connection can carry the login.
    Challenged,
    /// The server requires the scheme and closed the connection: continue on another.
    ChallengedAndClosed,
    /// The server answered without requiring a login.
    Unprotected(Reply<()>),
}

impl Login<'_> {
    /// The first leg: the request without authentication.
    pub(super) async fn ask_anonymously(
        &self,
        connection: &mut Connection,
        witness: &mut Witness,
    ) -> Result<Anonymous, Failure> {
        let began = Instant::now();
        let scheme = self.proof.scheme();
        let reply = self
            .exchange(connection, began, self.requests.plain.clone(), witness, |head| {
                is_offered(head, scheme)
            })
            .await?;
        if reply.status != 401 {
            let Reply { status, ended, keep_alive, .. } = reply;
            return Ok(Anonymous::Unprotected(Reply { status, seen: (), ended, keep_alive }));
        }
        if !reply.seen {
            return Err(Failure::SchemeNotOffered(scheme.name()));
        }
        self.challenged(Leg::AnonymousTo401, began, reply.ended);
        Ok(if reply.keep_alive { Anonymous::Challenged } else { Anonymous::ChallengedAndClosed })
    }

    /// The other two legs. Returns the reply to the request.
    pub(super) async fn authenticate(
        &self,
        connection: &mut Connection,
        witness: &mut Witness,
    ) -> Result<Reply<()>, Failure> {
        let scheme = self.proof.scheme();
        let bindings = connection.channel_bindings();
        let (handshake, type1) = Handshake::begin(self.proof, &self.requests.service, bindings);
        let began = Instant::now();
        let request = self.requests.without_body(&self.authorization(&type1));
        let reply = self.exchange(connection, began, request, witness, |head| token_of(head, scheme)).await?;
        let Some(type2) = reply.seen.filter(|_| reply.status == 401) else {
            return Err(Failure::NoChallenge(reply.status));
        };
        self.challenged(Leg::Type1ToType2, began, reply.ended);
        if !reply.keep_alive {
            return Err(Failure::ClosedInHandshake);
        }
        let Answer { token: type3, awaiting, is_for_another } = handshake.answer(&type2)?;
        if is_for_another && let Some(counts) = self.recorder.borrow_mut().counts(began) {
            counts.other_challenges += 1;
        }

        let began = Instant::now();
        let request = self.requests.with_authorization(&self.authorization(&type3));
        let reply = self.exchange(connection, began, request, witness, |head| token_of(head, scheme)).await?;
        if reply.status == 401 {
            return Err(self.refused(&type2));
        }
        if let (Some(awaiting), Some(token)) = (awaiting, &reply.seen) {
            awaiting.finish(token)?;
        }
        self.recorder.borrow_mut().sample(Leg::Type3ToFinal, began, reply.ended);
        let Reply { status, seen: final_token, ended, keep_alive } = reply;
        if let Some(record) = self.record {
            let user = self.proof.user().to_string();
            // The receiver is gone if the file cannot be written; the end of the run reports that.
            let _ = record.send(Recorded { user, scheme, type1, type2, type3, final_token });
        }
        Ok(Reply { status, seen: (), ended, keep_alive })
    }

    /// Why the server refused Type 3.
    fn refused(&self, type2: &[u8]) -> Failure {
        let user = self.proof.user().to_string();
        match self.proof {
            Proof::Recorded(recorded) if recorded.type2 != type2 => {
                let hex = |token| server_challenge(recorded.scheme, token);
                let none = || "none".to_owned();
                let recorded_challenge = hex(&recorded.type2).unwrap_or_else(none);
                let found = match hex(type2) {
                    Some(same) if same == recorded_challenge => {
                        "the same challenge with other names or another time".to_owned()
                    }
                    found => found.unwrap_or_else(none),
                };
                Failure::OtherChallenge { user, recorded: recorded_challenge, found }
            }
            _ => Failure::LoginRefused(user),
        }
    }

    async fn exchange<T>(
        &self,
        connection: &mut Connection,
        began: Instant,
        request: Bytes,
        witness: &mut Witness,
        see: impl Fn(&ResponseHead<'_, '_>) -> T,
    ) -> Result<Reply<T>, Failure> {
        // Both closures of the exchange write to it, in turn.
        let witness = std::cell::RefCell::new(witness);
        let see = |head: &ResponseHead<'_, '_>| {
            if let Some(source) = self.identity {
                witness.borrow_mut().see_head(head, source);
            }
            see(head)
        };
        let content = |piece: &[u8]| {
            if let Some(source) = self.identity {
                witness.borrow_mut().see_content(piece, source);
            }
        };
        connection.exchange(began, request, self.requests.answer_to, see, content).await
    }

    fn authorization(&self, token: &[u8]) -> String {
        format!("{} {}", self.proof.scheme().name(), STANDARD.encode(token))
    }

    fn challenged(&self, leg: Leg, began: Instant, ended: Instant) {
        let mut recorder = self.recorder.borrow_mut();
        recorder.sample(leg, began, ended);
        if let Some(counts) = recorder.counts(began) {
            counts.challenges += 1;
        }
    }
}

/// The items of `WWW-Authenticate` over all its lines: IIS sends a line for each scheme, other servers a list.
fn challenges<'h>(head: &'h ResponseHead<'_, '_>) -> impl Iterator<Item = &'h [u8]> {
    head.values("www-authenticate").flat_map(|line| line.split(|&byte| byte == b',')).map(<[u8]>::trim_ascii)
}

fn is_offered(head: &ResponseHead<'_, '_>, scheme: Scheme) -> bool {
    challenges(head).any(|item| after_scheme(item, scheme).is_some())
}

/// The token that the server sent with the scheme.
fn token_of(head: &ResponseHead<'_, '_>, scheme: Scheme) -> Option<Vec<u8>> {
    let tokens = challenges(head).filter_map(|item| after_scheme(item, scheme));
    tokens.filter(|token| !token.is_empty()).find_map(|token| STANDARD.decode(token).ok())
}

/// The rest of an item that begins with the scheme's name.
fn after_scheme(item: &[u8], scheme: Scheme) -> Option<&[u8]> {
    let name = scheme.name().as_bytes();
    let (start, rest) = item.split_at_checked(name.len())?;
    let is_whole_word = rest.first().is_none_or(u8::is_ascii_whitespace);
    (start.eq_ignore_ascii_case(name) && is_whole_word).then(|| rest.trim_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::http1::response::{AnswerTo, read_head};

    fn with_head<T>(lines: &str, see: impl FnOnce(&ResponseHead<'_, '_>) -> T) -> T {
        let head = format!("HTTP/1.1 401 Unauthorized\r\n{lines}Content-Length: 0\r\n\r\n");
        read_head(head.as_bytes(), AnswerTo::Usual, see).unwrap().unwrap()
    }

    #[test]
    fn schemes_are_found_on_lines_and_in_lists_as_whole_words() {
        for (lines, ntlm, negotiate) in [
            ("WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n", true, true),
            ("www-authenticate: negotiate, ntlm\r\n", true, true),
            ("WWW-Authenticate: NTLM TlRM, Negotiate\r\n", true, true),
            ("WWW-Authenticate: Nego2 YQ==\r\nWWW-Authenticate: NTLMX\r\n", false, false),
            ("WWW-Authenticate: Basic realm=\"NTLM\"\r\n", false, false),
        ] {
            let found = with_head(lines, |h| (is_offered(h, Scheme::Ntlm), is_offered(h, Scheme::Negotiate)));
            assert_eq!(found, (ntlm, negotiate), "{lines}");
        }
    }

    #[test]
    fn the_token_of_the_scheme_is_decoded() {
        let lines = "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM TlRMTQ==\r\n";
        assert_eq!(with_head(lines, |h| token_of(h, Scheme::Ntlm)).as_deref(), Some(&b"NTLM"[..]));
        assert_eq!(with_head(lines, |h| token_of(h, Scheme::Negotiate)), None);
    }
}
