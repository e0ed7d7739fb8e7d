//! Replies: heads as IIS and HTTP.sys write them, and bodies.

use std::io::Write;
use std::time::SystemTime;

use super::faults::Fault;
use super::pause::pause;
use super::settings::Skew;
use super::stream::{End, Stream};

/// Size of the pieces that a large body is sent in; a multiple of [`LINE`].
const CHUNK_BYTES: usize = 64 * 1024;
/// The text that `/bytes/N` repeats.
const LINE: &[u8; 64] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.\n";
/// Number of pieces of a slow body, with a pause before each.
const SLOW_PIECES: u64 = 8;
const SLOW_PAUSE: std::time::Duration = std::time::Duration::from_millis(250);

/// A final reply.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    /// `WWW-Authenticate` values, one line each.
    pub(super) challenges: Vec<String>,
    /// `Persistent-Auth`, for a user who is logged in.
    pub(super) persistent_auth: Option<bool>,
    pub(super) content_type: &'static str,
    pub(super) body: Content,
    /// Whether HTTP.sys answers instead of IIS.
    pub(super) from_http_sys: bool,
    /// Whether this is the last reply on the connection.
    pub(super) close: bool,
}

/// A reply's body.
#[derive(Debug)]
pub(super) enum Content {
    Bytes(Vec<u8>),
    /// This many bytes of a pattern.
    Pattern(u64),
}

impl Content {
    fn length_bytes(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::Pattern(length_bytes) => *length_bytes,
        }
    }

    /// Appends bytes `from..to` of the body.
    fn write(&self, from: u64, to: u64, out: &mut Vec<u8>) {
        match self {
            // A body in memory is indexed by usize.
            Self::Bytes(bytes) => out.extend_from_slice(&bytes[from as usize..to as usize]),
            Self::Pattern(_) => {
                let mut at = from;
                while at < to {
                    let line_at = (at % LINE.len() as u64) as usize;
                    let take = (LINE.len() - line_at).min(usize::try_from(to - at).unwrap_or(usize::MAX));
                    out.extend_from_slice(&LINE[line_at..line_at + take]);
                    at += take as u64;
                }
            }
        }
    }
}

impl Reply {
    /// 200 from IIS.
    pub(super) fn ok(content_type: &'static str, body: Vec<u8>) -> Self {
        Self {
            status: 200,
            challenges: Vec::new(),
            persistent_auth: None,
            content_type,
            body: Content::Bytes(body),
            from_http_sys: false,
            close: false,
        }
    }

    /// 200 from IIS with this many bytes.
    pub(super) fn pattern(length_bytes: u64) -> Self {
        Self { body: Content::Pattern(length_bytes), ..Self::ok("application/octet-stream", Vec::new()) }
    }

    /// 401 from IIS: no login, or a failed one. The size is the usual one of IIS' page.
    pub(super) fn unauthorized(challenges: Vec<String>) -> Self {
        let mut page = b"<!DOCTYPE html>\r\n<html><head><title>401 - Unauthorized</title></head>\r\n\
            <body><h1>Server Error</h1>\r\n\
            <h2>401 - Unauthorized: Access is denied due to invalid credentials.</h2>\r\n"
            .to_vec();
        pad_page(&mut page, 1293);
        Self { status: 401, challenges, ..Self::ok("text/html", page) }
    }

    /// 401 from HTTP.sys that continues the login. The size is the usual one of its page.
    pub(super) fn go_on(challenge: String) -> Self {
        let mut page = b"<!DOCTYPE html>\r\n<html><head><title>Not Authorized</title></head>\r\n\
            <body><h2>Not Authorized</h2>\r\n"
            .to_vec();
        pad_page(&mut page, 341);
        Self { challenges: vec![challenge], from_http_sys: true, ..Self::error(401, page) }
    }

    /// The answer of HTTP.sys to a request that does not reach IIS; closes the connection.
    pub(super) fn bad_request(status: u16, why: &str) -> Self {
        let reason = reason(status);
        let page = format!(
            "<!DOCTYPE html>\r\n<html><head><title>{reason}</title></head>\r\n\
            <body><h2>{reason}</h2>\r\n<hr><p>HTTP Error {status}. {why}</p>\r\n</body></html>\r\n"
        );
        Self { close: true, from_http_sys: true, ..Self::error(status, page.into_bytes()) }
    }

    /// 404 from IIS.
    pub(super) fn not_found() -> Self {
        Self::error(404, b"<!DOCTYPE html>\r\n<h2>404 - File or directory not found.</h2>\r\n".to_vec())
    }

    fn error(status: u16, page: Vec<u8>) -> Self {
        Self { status, ..Self::ok("text/html; charset=us-ascii", page) }
    }

    fn head(&self, now: SystemTime, date_skew: Skew) -> Vec<u8> {
        let mut head = Vec::with_capacity(512);
        let server = if self.from_http_sys { "Microsoft-HTTPAPI/2.0" } else { "Microsoft-IIS/10.0" };
        let date = httpdate::HttpDate::from(date_skew.shown_at(now));
        // Writing to a Vec cannot fail.
        let _ = write!(
            head,
            "HTTP/1.1 {} {}\r\nContent-Type: {}\r\nServer: {server}\r\n",
            self.status,
            reason(self.status),
            self.content_type,
        );
        for challenge in &self.challenges {
            let _ = write!(head, "WWW-Authenticate: {challenge}\r\n");
        }
        if let Some(persistent) = self.persistent_auth {
            let _ = write!(head, "Persistent-Auth: {persistent}\r\n");
        }
        if !self.from_http_sys {
            head.extend_from_slice(b"X-Powered-By: ASP.NET\r\n");
        }
        let _ = write!(head, "Date: {date}\r\n");
        if self.close {
            head.extend_from_slice(b"Connection: close\r\n");
        }
        let _ = write!(head, "Content-Length: {}\r\n\r\n", self.body.length_bytes());
        head
    }

    /// Sends the reply, without its body if it answers `HEAD`. The first piece of the body is sent with the head.
    ///
    /// Returns `Ok(false)` if a fault has cut it short, so that nothing can follow on this connection.
    pub(super) async fn send(
        &self,
        stream: &mut Stream,
        to_head: bool,
        date_skew: Skew,
        fault: Option<Fault>,
    ) -> Result<bool, End> {
        let mut out = self.head(SystemTime::now(), date_skew);
        if to_head {
            stream.send(out).await?;
            return Ok(true);
        }
        let whole_bytes = self.body.length_bytes();
        let end = if fault == Some(Fault::Truncate) { whole_bytes / 2 } else { whole_bytes };
        let slow = fault == Some(Fault::SlowBody);
        let piece_bytes = if slow { whole_bytes.div_ceil(SLOW_PIECES).max(1) } else { CHUNK_BYTES as u64 };
        let mut at = 0;
        if !slow {
            at = end.min(piece_bytes);
            self.body.write(0, at, &mut out);
        }
        out = stream.send(out).await?;
        while at < end {
            if slow {
                pause(SLOW_PAUSE).await?;
            }
            let next = end.min(at + piece_bytes);
            out.clear();
            self.body.write(at, next, &mut out);
            out = stream.send(out).await?;
            at = next;
        }
        Ok(end == whole_bytes && fault != Some(Fault::Truncate))
    }
}

/// Fills a page up to its size on IIS, and closes the HTML.
fn pad_page(page: &mut Vec<u8>, size_bytes: usize) {
    const END: &[u8] = b"</body></html>\r\n";
    page.resize(size_bytes - END.len(), b' ');
    page.extend_from_slice(END);
}

fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        401 => "Unauthorized",
        404 => "Not Found",
        411 => "Length Required",
        413 => "Request Entity Too Large",
        417 => "Expectation Failed",
        426 => "Upgrade Required",
        501 => "Not Implemented",
        _ => "Internal Server Error",
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;

    #[test]
    fn the_pages_have_the_sizes_they_have_on_iis() {
        assert_eq!(Reply::unauthorized(vec![]).body.length_bytes(), 1293);
        assert_eq!(Reply::go_on(String::new()).body.length_bytes(), 341);
    }

    #[test]
    fn a_head_as_iis_writes_it() {
        let mut reply = Reply::unauthorized(vec!["Negotiate".into(), "NTLM".into()]);
        reply.close = true;
        let skew = Skew::Ahead(std::time::Duration::from_secs(3661));
        let head = String::from_utf8(reply.head(UNIX_EPOCH, skew)).unwrap();
        let expected = "HTTP/1.1 401 Unauthorized\r\nContent-Type: text/html\r\nServer: Microsoft-IIS/10.0\r\n\
            WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM\r\nX-Powered-By: ASP.NET\r\n\
            Date: Thu, 01 Jan 1970 01:01:01 GMT\r\nConnection: close\r\nContent-Length: 1293\r\n\r\n";
        assert_eq!(head, expected);
    }

    #[test]
    fn the_pattern_is_the_same_however_it_is_cut() {
        let whole = |cuts: &[u64]| {
            let mut out = Vec::new();
            for pair in cuts.windows(2) {
                Content::Pattern(200).write(pair[0], pair[1], &mut out);
            }
            out
        };
        assert_eq!(whole(&[0, 200]), whole(&[0, 1, 63, 64, 65, 199, 200]));
        assert_eq!(whole(&[0, 200]).len(), 200);
    }
}
