//! Healthy is a server that answers a request with one of the expected statuses.

use super::connection::Connection;
use super::{Probe, Unhealthy};
use crate::upstream::names::{SERVICE_PREFIX, domain_of_service};

/// Most bytes of a reply's head that are read: as many as HTTP.sys sends in one.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// Most fields of a head.
const FIELDS_MAX: usize = 256;

pub(super) async fn run(probe: &Probe<'_>) -> Result<(), Unhealthy> {
    let Reply { status, .. } = ask(probe).await?;
    if probe.expects(status) { Ok(()) } else { Err(Unhealthy::Status(status)) }
}

/// What matters of a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// Whether it offers NTLM or Negotiate.
    pub(super) offers_windows_login: bool,
}

/// Sends one request and reads the head of its reply.
pub(super) async fn ask(probe: &Probe<'_>) -> Result<Reply, Unhealthy> {
    let mut connection = Connection::open(probe.target).await?;
    let host = probe.checks.host.clone().unwrap_or_else(|| host_of(probe));
    let path = &probe.checks.path;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: iisplice-check\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    );
    connection.send(request.as_bytes()).await?;
    let mut head = Vec::new();
    loop {
        if let Some(reply) = parse(&mut head)? {
            return Ok(reply);
        }
        if head.len() > HEAD_BYTES_MAX {
            return Err(Unhealthy::LongHead(HEAD_BYTES_MAX));
        }
        if !connection.receive(&mut head).await? {
            return Err(Unhealthy::Closed);
        }
    }
}

/// The server's name, without the port that its protocol has anyway.
fn host_of(probe: &Probe<'_>) -> String {
    let name = &**probe.target.server.name();
    let port = if probe.target.tls.is_some() { ":443" } else { ":80" };
    if name.starts_with("unix:") {
        "localhost".to_owned()
    } else if let Some(domain) = name.strip_prefix(SERVICE_PREFIX).and_then(domain_of_service) {
        domain.to_owned()
    } else {
        name.strip_suffix(port).unwrap_or(name).to_owned()
    }
}

/// The reply whose head is complete; drops interim replies before it.
fn parse(head: &mut Vec<u8>) -> Result<Option<Reply>, Unhealthy> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
        let mut response = httparse::Response::new(&mut fields);
        let length = match response.parse(head).map_err(Unhealthy::NotHttp)? {
            httparse::Status::Partial => return Ok(None),
            httparse::Status::Complete(length) => length,
        };
        let status = response.code.unwrap_or_default();
        if (100..200).contains(&status) && status != 101 {
            head.drain(..length);
            continue;
        }
        let offers =
            response.headers.iter().filter(|field| field.name.eq_ignore_ascii_case("www-authenticate"));
        let offers_windows_login = offers.into_iter().any(|field| is_windows_login(field.value));
        return Ok(Some(Reply { status, offers_windows_login }));
    }
}

/// Whether a value of `WWW-Authenticate` offers NTLM or Negotiate; several challenges may share a field.
fn is_windows_login(value: &[u8]) -> bool {
    let challenges = value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii);
    let schemes = challenges.filter_map(|challenge| challenge.split(u8::is_ascii_whitespace).next());
    { schemes }
        .any(|scheme| scheme.eq_ignore_ascii_case(b"NTLM") || scheme.eq_ignore_ascii_case(b"Negotiate"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(head: &str) -> Option<Reply> {
        parse(&mut head.as_bytes().to_vec()).expect("HTTP")
    }

    #[test]
    fn every_prefix_of_a_head_is_incomplete() {
        let head =
            "HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\n\r\n";
        for end in 0..head.len() {
            assert_eq!(parsed(&head[..end]), None, "{end} bytes");
        }
        assert_eq!(parsed(head), Some(Reply { status: 401, offers_windows_login: true }));
    }

    #[test]
    fn interim_replies_are_not_the_reply() {
        let head = "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n";
        assert_eq!(parsed(head), Some(Reply { status: 200, offers_windows_login: false }));
    }

    #[test]
    fn windows_logins_are_found_among_other_offers() {
        for (value, offers) in [
            ("NTLM", true),
            ("negotiate", true),
            ("Basic realm=\"a, b\", Negotiate", true),
            ("Negotiate TlRMTVNTUAAC", true),
            ("Basic realm=\"NTLM\"", false),
            ("Bearer", false),
            ("NTLMX", false),
            ("", false),
        ] {
            assert_eq!(is_windows_login(value.as_bytes()), offers, "{value}");
        }
    }
}
