//! h11 and http.client, from Debian's Python.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

pub(crate) const PYTHON: &str = "/usr/bin/python3";

/// What a reader takes a request for. Bytes are shown as characters of Latin-1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) host: String,
    pub(crate) authorization: String,
    /// Nothing where the reader does not say.
    pub(crate) body_bytes: Option<usize>,
    /// The reader answers with an error.
    pub(crate) is_refused: bool,
}

/// What a reader takes a reply for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenReply {
    pub(crate) status: u64,
    pub(crate) body: String,
    pub(crate) fields: Vec<String>,
}

fn run(role: &str, input: &Value) -> Vec<Value> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/alike/read.py");
    let mut command = Command::new(PYTHON);
    command.arg("-B").arg(script).arg(role).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn().expect("Debian's Python");
    let text = input.to_string();
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("the script reads");
    let output = child.wait_with_output().expect("our child");
    assert!(output.status.success(), "read.py {role} ended with {}", output.status);
    serde_json::from_slice(&output.stdout).expect("the script prints JSON")
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

fn text(value: &Value) -> String {
    value.as_str().expect("text").to_owned()
}

/// Has h11 read these streams as a server.
pub(crate) fn read_requests(streams: &[Vec<u8>]) -> Vec<Vec<Seen>> {
    let input = json!(streams.iter().map(|stream| latin1(stream)).collect::<Vec<_>>());
    let seen = |value: &Value| Seen {
        method: text(&value["method"]),
        target: text(&value["target"]),
        host: text(&value["host"]),
        authorization: text(&value["authorization"]),
        body_bytes: value["body_bytes"].as_u64().map(|bytes| bytes as usize),
        is_refused: value["is_refused"].as_bool().expect("true or false"),
    };
    let read = run("requests", &input);
    read.iter().map(|stream| stream.as_array().expect("a list").iter().map(seen).collect()).collect()
}

/// Has h11 and http.client read these replies to requests with these methods: the replies that each finds. A reader that
/// finds something wrong stops there.
pub(crate) fn read_replies(streams: &[(String, Vec<u8>)]) -> Vec<[Vec<SeenReply>; 2]> {
    let input =
        json!(streams.iter().map(|(method, bytes)| json!([method, latin1(bytes)])).collect::<Vec<_>>());
    let seen = |value: &Value| SeenReply {
        status: value["status"].as_u64().expect("a number"),
        body: text(&value["body"]),
        fields: value["fields"].as_array().expect("a list").iter().map(text).collect(),
    };
    let replies = |value: &Value| value.as_array().expect("a list").iter().map(seen).collect();
    run("replies", &input).iter().map(|read| [replies(&read["h11"]), replies(&read["http.client"])]).collect()
}
