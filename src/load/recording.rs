//! Logins as sent over the wire: one run records them, another replays them byte for byte.
//!
//! Each login is one line of JSON. The tokens are the base64 text after the scheme in `Authorization` (`type1`, `type3`)
//! and `WWW-Authenticate` (`type2`, and `final` if the last reply has one). `server_challenge` is the challenge in
//! `type2`, in hexadecimal: a server must fix this part so that the login is valid again.
//!
//! ```json
//! {"format":1,"user":"CORP\\alice","scheme":"NTLM","server_challenge":"0123456789abcdef",
//!  "type1":"TlRMTVNTUAABAAAA...","type2":"TlRMTVNTUAACAAAA...","type3":"TlRMTVNTUAADAAAA..."}
//! ```

use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::plan::Scheme;
use crate::protocol::ntlm::{self, Challenge};
use crate::protocol::spnego::{NegTokenInit, NegTokenResp};

/// The version of the lines. Increases when an older reader would misread them.
pub const FORMAT: u32 = 1;

/// A login that was accepted, with every token as it was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Who logged in: `CORP\alice`, or the name alone.
    pub user: String,
    /// The scheme.
    pub scheme: Scheme,
    /// The client's first token.
    pub type1: Vec<u8>,
    /// The server's answer to it.
    pub type2: Vec<u8>,
    /// The client's answer to the challenge.
    pub type3: Vec<u8>,
    /// The token of the last reply.
    pub final_token: Option<Vec<u8>>,
}

/// A line of the file. The order of its fields suits human readers.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    format: u32,
    user: String,
    scheme: Scheme,
    server_challenge: Option<String>,
    type1: String,
    type2: String,
    type3: String,
    #[serde(rename = "final", default, skip_serializing_if = "Option::is_none")]
    final_token: Option<String>,
}

/// The field that is read first: another version may have other fields.
#[derive(Deserialize)]
struct Version {
    format: u32,
}

/// Why a line is not a usable login.
#[derive(Debug, thiserror::Error)]
pub enum LineError {
    /// Not JSON, or a field is missing or unknown.
    #[error("not a recorded login: {0}")]
    NotALogin(String),
    /// Written by another version.
    #[error("format {0} is not supported; this version reads format {FORMAT}")]
    Format(u32),
    /// A token that is not base64.
    #[error("{field} is not base64: {cause}")]
    NotBase64 {
        /// Which.
        field: &'static str,
        /// Why.
        cause: base64::DecodeError,
    },
    /// A token without the expected message.
    #[error("{field} does not contain an NTLM message of type {kind}")]
    OtherMessage {
        /// Which.
        field: &'static str,
        /// The expected type: 1 to 3.
        kind: u8,
    },
    /// Two fields that contradict each other.
    #[error("server_challenge is not the one in type2, which is {0}")]
    OtherChallenge(String),
}

impl Recorded {
    /// The challenge that `type3` answers, in hexadecimal; `None`: the server's token has none.
    pub fn server_challenge(&self) -> Option<String> {
        server_challenge(self.scheme, &self.type2)
    }

    /// The login as a line of the file, without the line's end.
    pub fn to_line(&self) -> String {
        let line = Line {
            format: FORMAT,
            user: self.user.clone(),
            scheme: self.scheme,
            server_challenge: self.server_challenge(),
            type1: STANDARD.encode(&self.type1),
            type2: STANDARD.encode(&self.type2),
            type3: STANDARD.encode(&self.type3),
            final_token: self.final_token.as_ref().map(|token| STANDARD.encode(token)),
        };
        // Text and numbers under fixed names always are JSON.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

impl FromStr for Recorded {
    type Err = LineError;

    fn from_str(text: &str) -> Result<Self, LineError> {
        let Version { format } = serde_json::from_str(text).map_err(|e| not_a_login(&e))?;
        if format != FORMAT {
            return Err(LineError::Format(format));
        }
        let line: Line = serde_json::from_str(text).map_err(|e| not_a_login(&e))?;
        let final_token = line.final_token.as_deref().map(|token| decode("final", token)).transpose()?;
        let recorded = Self {
            user: line.user,
            scheme: line.scheme,
            type1: message("type1", line.scheme, &line.type1, 1)?,
            type2: message("type2", line.scheme, &line.type2, 2)?,
            type3: message("type3", line.scheme, &line.type3, 3)?,
            final_token,
        };
        let challenge =
            recorded.server_challenge().ok_or(LineError::OtherMessage { field: "type2", kind: 2 })?;
        match line.server_challenge {
            Some(stated) if stated.eq_ignore_ascii_case(&challenge) => Ok(recorded),
            _ => Err(LineError::OtherChallenge(challenge)),
        }
    }
}

/// The challenge in a server's token, in hexadecimal.
pub(super) fn server_challenge(scheme: Scheme, token: &[u8]) -> Option<String> {
    let challenge = Challenge::parse(ntlm_message(scheme, token)?).ok()?.server_challenge;
    Some(format!("{:016x}", u64::from_be_bytes(challenge)))
}

/// Without the position that serde adds: the caller prints the line of the file, and serde's own "line 1" would confuse.
fn not_a_login(error: &serde_json::Error) -> LineError {
    let text = error.to_string();
    let reason = text.rsplit_once(" at line ").map_or(text.as_str(), |(reason, _)| reason);
    LineError::NotALogin(format!("{reason} (column {})", error.column()))
}

fn decode(field: &'static str, text: &str) -> Result<Vec<u8>, LineError> {
    STANDARD.decode(text).map_err(|cause| LineError::NotBase64 { field, cause })
}

fn message(field: &'static str, scheme: Scheme, text: &str, kind: u8) -> Result<Vec<u8>, LineError> {
    let token = decode(field, text)?;
    // The type is four bytes after the signature, little-endian (MS-NLMP 2.2.1).
    let is_due =
        ntlm_message(scheme, &token).is_some_and(|message| message.get(8..12) == Some(&[kind, 0, 0, 0]));
    if is_due { Ok(token) } else { Err(LineError::OtherMessage { field, kind }) }
}

/// The NTLM message in a token, which under Negotiate may be wrapped.
fn ntlm_message(scheme: Scheme, token: &[u8]) -> Option<&[u8]> {
    let message = match scheme {
        _ if ntlm::is_message(token) => token,
        Scheme::Ntlm => return None,
        Scheme::Negotiate => match NegTokenInit::parse(token) {
            Ok(first) => first.mech_token?,
            Err(_) => NegTokenResp::parse(token).ok()?.response_token?,
        },
    };
    ntlm::is_message(message).then_some(message)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::protocol::ntlm::{Client, ClientRandom, Credentials, FileTime, Server};
    use crate::protocol::spnego;

    const CHALLENGE: [u8; 8] = [0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef];
    const RANDOM: ClientRandom = ClientRandom { client_challenge: [7; 8], session_key: [9; 16] };

    /// A login of alice as it would have gone over the wire.
    pub(crate) fn recorded(scheme: Scheme) -> Recorded {
        let name = |text: &str| text.to_owned();
        let server = Server {
            nb_domain: name("CORP"),
            nb_computer: name("WEB"),
            dns_domain: name("corp.test"),
            dns_computer: name("web.corp.test"),
        };
        let alice = Credentials::new("CORP", "alice", "secret");
        let now = FileTime(0);
        let (type1, type2, type3) = match scheme {
            Scheme::Ntlm => {
                let (state, type1) = Client::new(&alice).negotiate();
                let (_, type2) = server.challenge(type1, CHALLENGE, now).unwrap();
                let type3 = state.authenticate(&type2, &RANDOM, now).unwrap().message;
                (type1.to_vec(), type2, type3)
            }
            Scheme::Negotiate => {
                let (state, type1) = spnego::Client::new(Client::new(&alice)).negotiate();
                let (_, type2) = spnego::begin(&server, &type1, CHALLENGE, now).unwrap();
                let (_, type3) = state.authenticate(&type2, &RANDOM, now).unwrap();
                (type1, type2, type3)
            }
        };
        let final_token = (scheme == Scheme::Negotiate).then(|| b"done".to_vec());
        Recorded { user: "CORP\\alice".into(), scheme, type1, type2, type3, final_token }
    }

    #[test]
    fn a_line_reads_back_to_the_byte() {
        for scheme in [Scheme::Ntlm, Scheme::Negotiate] {
            let written = recorded(scheme);
            let line = written.to_line();
            assert!(
                !line.contains('\n') && line.starts_with(r#"{"format":1,"user":"CORP\\alice""#),
                "{line}"
            );
            assert!(line.contains(r#""server_challenge":"0123456789abcdef""#), "{line}");
            assert_eq!(line.parse::<Recorded>().unwrap(), written);
        }
    }

    #[test]
    fn what_is_wrong_with_a_line_is_told() {
        let line = recorded(Scheme::Ntlm).to_line();
        let type1 = STANDARD.encode(recorded(Scheme::Ntlm).type1);
        let type2 = STANDARD.encode(recorded(Scheme::Ntlm).type2);
        for (text, expected) in [
            (line[..40].to_owned(), "not a recorded login: EOF while parsing"),
            ("7".to_owned(), "not a recorded login: invalid type: integer `7`"),
            ("{}".to_owned(), "not a recorded login: missing field `format` (column 2)"),
            (
                line.replace(r#""format":1"#, r#""format":2,"new":0"#),
                "format 2 is not supported; this version reads format 1",
            ),
            (line.replace("type3", "type4"), "not a recorded login: unknown field `type4`"),
            (line.replace(r#""NTLM""#, r#""Basic""#), "not a recorded login: unknown variant `Basic`"),
            (line.replace(&type1, "TlRM!"), "type1 is not base64: Invalid symbol"),
            (line.replace(&type1, &type2), "type1 does not contain an NTLM message of type 1"),
            (line.replace(&type2, "TlRNVE1TU1A="), "type2 does not contain an NTLM message of type 2"),
            (
                line.replace("0123456789abcdef", "00"),
                "server_challenge is not the one in type2, which is 0123456789abcdef",
            ),
        ] {
            let complaint = text.parse::<Recorded>().unwrap_err().to_string();
            assert!(complaint.starts_with(expected), "{text}: {complaint}");
            assert!(!complaint.contains("line 1"), "{complaint}");
        }
    }
}
