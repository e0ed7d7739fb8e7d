//! The server and the realm that a test uses, and who may log in there.

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use crate::reserved;
use crate::server::Server;

/// Who logs in. `bed.sh` knows them as well.
pub(crate) struct User {
    /// The name without a domain.
    pub(crate) name: &'static str,
    /// What is typed as password.
    pub(crate) password: &'static str,
    /// What the files with this user's NTLM credentials and Kerberos tickets end with.
    pub(crate) file: &'static str,
}

pub(crate) const ALICE: User = User { name: "alice", password: "Alice-Passw0rd", file: "alice" };
pub(crate) const BOB: User = User { name: "bob", password: "Bob-Passw0rd", file: "bob" };
/// Alice's name with a wrong password, and without a ticket.
pub(crate) const IMPOSTOR: User = User { name: "alice", password: "wrong", file: "wrong" };

impl User {
    /// As NTLM knows this user.
    pub(crate) fn ntlm_name(&self) -> String {
        format!("CORP\\{}", self.name)
    }

    /// As Kerberos knows this user.
    pub(crate) fn kerberos_name(&self) -> String {
        format!("{}@CORP.TEST", self.name)
    }
}

/// The name of the server in the realm and in its certificate.
pub(crate) const SERVER_NAME: &str = "web.corp.test";

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
        })
    }
}

/// Where clients go.
pub(crate) struct Site {
    pub(crate) server: Server,
    pub(crate) scheme: Scheme,
    pub(crate) address: SocketAddr,
    /// How the server is reached there, for messages.
    pub(crate) way: &'static str,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} {}", self.server, self.scheme, self.way)
    }
}

/// What the tests need and this machine lacks; empty when they can run.
pub(crate) fn missing() -> Vec<String> {
    let setup = Command::new(folder().join("setup.sh"))
        .arg("check")
        .env("CARGO_TARGET_DIR", target())
        .output()
        .expect("setup.sh can be run");
    let mut missing: Vec<String> =
        String::from_utf8_lossy(&setup.stdout).lines().map(str::to_owned).collect();
    if !setup.status.success() {
        missing.push(format!("setup.sh check ended with {}", setup.status));
    }
    missing
}

/// Where requests-ntlm is installed.
pub(crate) fn python() -> PathBuf {
    target().join("interop-venv/bin/python")
}

/// This folder.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop")
}

fn target() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("cargo's directory for tests is below target")
}

/// A running server and realm; they end when this is dropped, or when this process ends in any way.
pub(crate) struct Bed {
    /// Everything of this bed is in here, and goes with it.
    pub(crate) directory: PathBuf,
    /// Who answers at its sites.
    pub(crate) server: Server,
    /// Where Apache expects a PROXY header first (http).
    pub(crate) proxy_protocol: SocketAddr,
    http: SocketAddr,
    https: SocketAddr,
    supervisor: Child,
    /// `bed.sh` takes everything down when this closes.
    lifeline: Option<ChildStdin>,
    names: AtomicU32,
}

impl Bed {
    /// Starts a bed of its own, in a process group of its own, so that a signal for this test's group
    /// does not keep it from tidying up.
    pub(crate) fn start(server: Server) -> Self {
        let mock = (server == Server::Mock).then_some(env!("CARGO_BIN_EXE_iisplice"));
        let mut supervisor = Command::new(folder().join("bed.sh"))
            .args(mock)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("bed.sh can be run");
        let lifeline = supervisor.stdin.take();
        let stdout = supervisor.stdout.take().expect("it is a pipe");
        let lines: Vec<String> =
            BufReader::new(stdout).lines().map_while(Result::ok).take_while(|line| line != "ready").collect();
        let value = |name: &str| {
            lines
                .iter()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='))
                .unwrap_or_else(|| panic!("the bed did not start: no {name} from bed.sh, see its messages"))
        };
        let address: IpAddr = value("address").parse().expect("bed.sh prints an address");
        let port = |name| SocketAddr::new(address, value(name).parse().expect("bed.sh prints ports"));
        Self {
            directory: value("directory").into(),
            server,
            proxy_protocol: port("proxy_protocol"),
            http: port("http"),
            https: port("https"),
            supervisor,
            lifeline,
            names: AtomicU32::new(0),
        }
    }

    /// The server itself.
    pub(crate) fn site(&self, scheme: Scheme) -> Site {
        let address = if scheme == Scheme::Http { self.http } else { self.https };
        Site { server: self.server, scheme, address, way: "directly (control, no proxy)" }
    }

    /// The certificate that clients trust.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.directory.join("certificate.pem")
    }

    /// Its key.
    pub(crate) fn key(&self) -> PathBuf {
        self.directory.join("key.pem")
    }

    /// A file that the server has for anyone, and under `/auth` for those who log in.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.join("www").join(name)
    }

    /// An empty directory for a client.
    pub(crate) fn client_directory(&self) -> PathBuf {
        let name = self.names.fetch_add(1, Ordering::Relaxed);
        let directory = self.directory.join("clients").join(name.to_string());
        fs::create_dir(&directory).expect("the bed's directory is writable");
        directory
    }

    /// An address with a free port on this bed's loopback address, which no other test uses.
    pub(crate) fn free_address(&self) -> SocketAddr {
        SocketAddr::new(self.http.ip(), reserved::address().port())
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = fs::read_to_string(self.directory.join("log/error.log")).unwrap_or_default();
            eprintln!("The server's errors:");
            log.lines().filter(|line| !line.contains(":notice]")).for_each(|line| eprintln!("{line}"));
        }
        drop(self.lifeline.take());
        // It has no more to say that anyone could hear.
        let _ = self.supervisor.wait();
    }
}
