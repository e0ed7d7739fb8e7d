//! The admin endpoint: what it answers, whom, and what it does to connections.

mod access;
mod bounds;
mod connections;
mod documented;
mod orders;
mod state;
mod status;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use serde_json::Value;

use crate::support::{Launch, PATIENCE, Proxy};

/// A stream to the admin endpoint.
trait Stream: Read + Write {}

impl<T: Read + Write> Stream for T {}

/// The admin endpoint of a proxy.
pub(crate) struct Admin {
    pub(crate) address: String,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    /// By name in lower case.
    fields: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The reason of a refusal with this status.
    fn refusal(&self, status: u16) -> String {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(self.fields.get("content-type").map(String::as_str), Some("application/json"), "{self:?}");
        self.json()["error"].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }

    pub(crate) fn field(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("no {name}: {self:?}"))
    }
}

impl Admin {
    /// That of a proxy that was started with `--admin`.
    pub(crate) fn of(proxy: &Proxy) -> Self {
        let line = proxy.wait_to_say("admin endpoint is open");
        let (_, address) = line.split_once("address=").expect("it says where");
        Self { address: address.split(' ').next().unwrap_or_default().to_owned() }
    }

    fn connect(&self) -> Box<dyn Stream> {
        if let Some(path) = self.address.strip_prefix("unix:") {
            let stream = UnixStream::connect(path).expect("it listens");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time");
            return Box::new(stream);
        }
        let stream = TcpStream::connect(&self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time");
        Box::new(stream)
    }

    /// What it answers to these bytes, until it ends its stream.
    fn raw(&self, bytes: &[u8]) -> Reply {
        let mut stream = self.connect();
        // It may answer, and close, before it has read everything.
        let _ = stream.write_all(bytes);
        read_reply(&mut *stream)
    }

    /// Sends a request with these fields besides `Host`.
    fn request(&self, method: &str, target: &str, fields: &[&str]) -> Reply {
        let fields: String = fields.iter().flat_map(|field| [*field, "\r\n"]).collect();
        self.raw(
            format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{fields}\r\n")
                .as_bytes(),
        )
    }

    pub(crate) fn get(&self, target: &str) -> Reply {
        self.request("GET", target, &[])
    }

    /// The value of a path that is there.
    fn json(&self, target: &str) -> Value {
        let reply = self.get(target);
        assert_eq!(reply.status, 200, "{target}: {reply:?}");
        reply.json()
    }
}

fn read_reply(stream: &mut dyn Stream) -> Reply {
    let mut read = Vec::new();
    // What was read before a reset counts.
    let _ = stream.read_to_end(&mut read);
    let text = String::from_utf8(read).expect("text");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no reply: {text:?}"));
    let mut lines = head.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|word| word.parse().ok());
    let fields = lines.filter_map(|line| line.split_once(": "));
    Reply {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        fields: fields.map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect(),
        body: body.to_owned(),
    }
}

/// A proxy with an admin endpoint on loopback.
pub(crate) fn start(launch: Launch) -> (Proxy, Admin) {
    let proxy = launch.flags("--admin 127.0.0.1:0").start();
    let admin = Admin::of(&proxy);
    (proxy, admin)
}
