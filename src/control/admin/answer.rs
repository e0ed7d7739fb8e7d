//! Answers, and refusals with the reason in words: `{"error": "..."}`.

use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;

/// What a client is sent.
pub(super) type Answer = Response<Full<Bytes>>;

/// Why a request is not carried out.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) why: String,
    /// The methods that would do.
    allow: Option<&'static str>,
    /// The challenge of a request without a token.
    challenge: Option<&'static str>,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into(), allow: None, challenge: None }
    }

    pub(super) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    pub(super) fn method(allow: &'static str) -> Self {
        let why = format!("this path takes {allow} only");
        Self { allow: Some(allow), ..Self::new(StatusCode::METHOD_NOT_ALLOWED, why) }
    }

    /// A request without the token: none, or (`is_wrong`) another one.
    pub(super) fn unauthorized(is_wrong: bool) -> Self {
        let (why, challenge) = if is_wrong {
            (
                "this is not the token of --admin-token-file",
                "Bearer realm=\"iisplice admin\", error=\"invalid_token\"",
            )
        } else {
            (
                "send the token of --admin-token-file as Authorization: Bearer TOKEN",
                "Bearer realm=\"iisplice admin\"",
            )
        };
        Self { challenge: Some(challenge), ..Self::new(StatusCode::UNAUTHORIZED, why) }
    }

    pub(super) fn answer(self) -> Answer {
        let Self { status, why, allow, challenge } = self;
        let mut answer = json(status, &Error { error: &why });
        let headers = answer.headers_mut();
        if let Some(allow) = allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if let Some(challenge) = challenge {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        answer
    }
}

#[derive(Serialize)]
struct Error<'a> {
    error: &'a str,
}

/// An answer for programs.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    // Plain structs with names as keys: nothing of them can fail.
    let mut body = serde_json::to_vec(value).unwrap_or_default();
    body.push(b'\n');
    with_body(status, "application/json", body)
}

/// An answer of this type.
pub(super) fn with_body(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    answer
}
