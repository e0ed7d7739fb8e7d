//! The bytes of the requests that a run sends.

use bytes::Bytes;

use super::plan::{Plan, Target};
use crate::protocol::http1::response::AnswerTo;

const USER_AGENT: &str = concat!("iisplice/", env!("CARGO_PKG_VERSION"));

/// The requests to one target, built once for each thread.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    /// The request without authentication.
    pub plain: Bytes,
    /// What its replies answer, which decides where they end.
    pub answer_to: AnswerTo,
    /// The service name in Kerberos form, which NTLM clients also send: `HTTP/host`.
    pub service: String,
    /// Request line and header lines, without the empty line and without those about the body.
    head: String,
    /// The rest of a request with its body: `Content-Length` if there is a body, empty line, body.
    body_part: Vec<u8>,
    /// The rest of a request whose body waits for the end of the login: without `Content-Length: 0` IIS answers
    /// 411.
    empty_body_part: &'static str,
}

impl Requests {
    pub(super) fn new(plan: &Plan, target: &Target) -> Self {
        let request = &plan.request;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, target.path);
        let is_given = |name: &str| request.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        let usual = [("Host", target.authority.as_str()), ("User-Agent", USER_AGENT), ("Accept", "*/*")];
        let usual = usual.into_iter().filter(|(name, _)| !is_given(name));
        let given = request.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        for (name, value) in usual.chain(given) {
            head.extend([name, ": ", value, "\r\n"]);
        }
        let (body_part, empty_body_part) = match &request.body {
            Some(body) => {
                let lines = format!("Content-Length: {}\r\n\r\n", body.len());
                ([lines.as_bytes(), body].concat(), "Content-Length: 0\r\n\r\n")
            }
            // RFC 9110 section 8.6: a method that usually has a body announces that there is none.
            None if ["POST", "PUT", "PATCH"].contains(&request.method.as_str()) => {
                (b"Content-Length: 0\r\n\r\n".to_vec(), "Content-Length: 0\r\n\r\n")
            }
            None => (b"\r\n".to_vec(), "\r\n"),
        };
        Self {
            plain: [head.as_bytes(), &body_part].concat().into(),
            answer_to: if request.method == "HEAD" { AnswerTo::Head } else { AnswerTo::Usual },
            service: format!("HTTP/{}", target.host),
            head,
            body_part,
            empty_body_part,
        }
    }

    /// The whole request with this `Authorization`.
    pub(super) fn with_authorization(&self, authorization: &str) -> Bytes {
        self.build(authorization, &self.body_part)
    }

    /// The request with this `Authorization` and an empty body, for the first leg of a handshake.
    pub(super) fn without_body(&self, authorization: &str) -> Bytes {
        self.build(authorization, self.empty_body_part.as_bytes())
    }

    fn build(&self, authorization: &str, rest: &[u8]) -> Bytes {
        [self.head.as_bytes(), b"Authorization: ", authorization.as_bytes(), b"\r\n", rest].concat().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::plan::tests::plan;

    #[test]
    fn given_header_lines_replace_the_usual_ones() {
        let mut plan = plan("http://127.0.0.1:1/a?b");
        plan.request.headers = vec![("host".into(), "site.test".into()), ("X-A".into(), "1".into())];
        let requests = Requests::new(&plan, &plan.targets[0]);
        let expected = format!(
            "GET /a?b HTTP/1.1\r\nUser-Agent: {USER_AGENT}\r\nAccept: */*\r\nhost: site.test\r\nX-A: 1\r\n\r\n"
        );
        assert_eq!(std::str::from_utf8(&requests.plain), Ok(expected.as_str()));
    }

    #[test]
    fn a_post_without_a_body_says_so() {
        let mut plan = plan("http://127.0.0.1:1/");
        for (method, says_so) in [("POST", true), ("PUT", true), ("GET", false), ("DELETE", false)] {
            plan.request.method = method.into();
            let requests = Requests::new(&plan, &plan.targets[0]);
            for request in
                [&requests.plain, &requests.with_authorization("NTLM x"), &requests.without_body("NTLM x")]
            {
                assert_eq!(request.ends_with(b"\r\nContent-Length: 0\r\n\r\n"), says_so, "{request:?}");
            }
        }
    }

    #[test]
    fn the_body_is_held_back_until_the_last_leg() {
        let mut plan = plan("http://127.0.0.1:1/");
        plan.request.method = "POST".into();
        plan.request.body = Some(Bytes::from_static(b"hello"));
        let requests = Requests::new(&plan, &plan.targets[0]);
        let first = requests.without_body("NTLM x");
        let last = requests.with_authorization("NTLM y");
        assert!(first.ends_with(b"Authorization: NTLM x\r\nContent-Length: 0\r\n\r\n"), "{first:?}");
        assert!(last.ends_with(b"Authorization: NTLM y\r\nContent-Length: 5\r\n\r\nhello"), "{last:?}");
    }
}
