//! Python's requests with requests-ntlm as a client, remote-controlled through `python_client.py`.

use std::cell::{Cell, RefCell};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::bed::{Bed, Site, User, folder, python};

/// A Python process with any number of sessions, of which one works at a time.
pub(crate) struct Python {
    child: Child,
    pipes: RefCell<(ChildStdin, BufReader<ChildStdout>)>,
    names: Cell<u32>,
}

/// A client with connections of its own, which it keeps until it is dropped.
pub(crate) struct Session<'a> {
    python: &'a Python,
    name: u32,
    pub(crate) site: &'a Site,
}

/// What a session got for a request.
#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(crate) struct Reply {
    /// The status codes on the way to the last answer, and that one's.
    pub(crate) statuses: Vec<u16>,
    /// The user that the server takes the client for; empty for none.
    pub(crate) user: String,
    /// Which of the server's connections it came on, as curl's answers have it.
    pub(crate) connection: String,
    /// Why there was no answer.
    pub(crate) error: Option<String>,
}

impl Python {
    /// Starts the process.
    pub(crate) fn start(bed: &Bed) -> Self {
        let mut child = Command::new(python())
            .arg("-B")
            .arg(folder().join("python_client.py"))
            .arg(bed.certificate())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the Python of setup.sh can be run");
        let pipes = child.stdin.take().zip(child.stdout.take().map(BufReader::new)).expect("both are pipes");
        Self { child, pipes: RefCell::new(pipes), names: Cell::new(0) }
    }

    /// Opens a session for a user.
    pub(crate) fn user<'a>(&'a self, site: &'a Site, user: &User) -> Session<'a> {
        self.open(site, &json!(user.ntlm_name()), &json!(user.password))
    }

    /// Opens a session without credentials.
    pub(crate) fn visitor<'a>(&'a self, site: &'a Site) -> Session<'a> {
        self.open(site, &Value::Null, &Value::Null)
    }

    fn open<'a>(&'a self, site: &'a Site, user: &Value, password: &Value) -> Session<'a> {
        let name = self.names.replace(self.names.get() + 1);
        self.call(&json!({"open": name, "user": user, "password": password})).expect("Python is there");
        Session { python: self, name, site }
    }

    fn call(&self, request: &Value) -> std::io::Result<Reply> {
        let (stdin, stdout) = &mut *self.pipes.borrow_mut();
        writeln!(stdin, "{request}")?;
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        Ok(serde_json::from_str(&line)?)
    }
}

impl Session<'_> {
    /// Sends a request, and logs in when asked to.
    pub(crate) fn get(&self, path: &str) -> Reply {
        self.python.call(&json!({"get": self.url(path), "session": self.name})).expect("Python is there")
    }

    /// Sends a file, and logs in when asked to; the answer's page goes into another.
    pub(crate) fn post(&self, path: &str, body: &Path, page: &Path) -> Reply {
        let request = json!({"post": self.url(path), "session": self.name, "body": body, "page": page});
        self.python.call(&request).expect("Python is there")
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{}{path}", self.site.scheme, self.site.address)
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        // It fails only when Python has ended, and the connections with it.
        let _ = self.python.call(&json!({"close": self.name}));
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
