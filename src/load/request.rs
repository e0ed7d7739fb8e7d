//! The bytes of the requests a run sends.

use std::fmt::Write as _;

use bytes::Bytes;

use super::plan::{Plan, Target};
use crate::protocol::http1::response::AnswerTo;

/// The requests to one target, built once for each thread.
#[derive(Debug, Clone)]
pub(super) struct Requests {
    /// The request without authentication.
    pub plain: Bytes,
    /// How replies to it end.
    pub answer_to: AnswerTo,
}

impl Requests {
    pub(super) fn new(plan: &Plan, target: &Target) -> Self {
        let request = &plan.request;
        let mut head = format!("{} {} HTTP/1.1\r\n", request.method, target.path);
        let line = |head: &mut String, name: &str, value: &str| {
            // Writing to a string cannot fail.
            let _ = write!(head, "{name}: {value}\r\n");
        };
        let is_given = |name: &str| request.headers.iter().any(|(n, _)| n.eq_ignore_ascii_case(name));
        for (name, value) in
            [("Host", target.authority.as_str()), ("User-Agent", USER_AGENT), ("Accept", "*/*")]
        {
            if !is_given(name) {
                line(&mut head, name, value);
            }
        }
        for (name, value) in &request.headers {
            line(&mut head, name, value);
        }
        let body = request.body.as_deref().unwrap_or_default();
        if request.body.is_some() {
            line(&mut head, "Content-Length", &body.len().to_string());
        }
        head.push_str("\r\n");
        Self {
            plain: [head.as_bytes(), body].concat().into(),
            answer_to: if request.method == "HEAD" { AnswerTo::Head } else { AnswerTo::Usual },
        }
    }
}

const USER_AGENT: &str = concat!("iisplice/", env!("CARGO_PKG_VERSION"));

