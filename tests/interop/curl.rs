//! curl as a client: what it is told, and what it and the server saw.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use sha2::{Digest, Sha256};

use crate::bed::{Bed, SERVER_NAME, Site, User};
use crate::server::{self, Server};

/// How curl logs in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Login {
    /// curl's own NTLM.
    Ntlm,
    /// NTLM of the GSSAPI library, in SPNEGO.
    NegotiateNtlm,
    /// The same after a 401 to a request without a login, as browsers do it.
    NegotiateNtlmWhenAsked,
    /// A ticket that goes with the first request.
    Kerberos,
    /// A ticket that goes with the second request, after a 401, as browsers do it.
    KerberosWhenAsked,
}

impl Login {
    /// The status codes of a login.
    pub(crate) fn statuses(self) -> &'static [u16] {
        match self {
            Self::Ntlm | Self::NegotiateNtlm | Self::KerberosWhenAsked => &[401, 200],
            Self::NegotiateNtlmWhenAsked => &[401, 401, 200],
            Self::Kerberos => &[200],
        }
    }

    /// The user's name when logged in so.
    pub(crate) fn name_of(self, user: &User) -> String {
        match self {
            Self::Ntlm | Self::NegotiateNtlm | Self::NegotiateNtlmWhenAsked => user.ntlm_name(),
            Self::Kerberos | Self::KerberosWhenAsked => user.kerberos_name(),
        }
    }
}

/// One run of curl, which uses one connection for all it fetches, as long as it is left open.
pub(crate) struct Curl<'a> {
    site: &'a Site,
    directory: PathBuf,
    command: Command,
}

/// What came of it.
pub(crate) struct Run {
    /// The code of each status line, interim and refused answers too, in their order.
    pub(crate) statuses: Vec<u16>,
    /// The last answer to each request.
    pub(crate) answers: Vec<Answer>,
    /// The header lines of all answers.
    pub(crate) head: String,
    /// What curl complained about.
    pub(crate) complaint: String,
}

/// An answer to a request.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// How many connections curl opened for it.
    pub(crate) connects: u32,
    /// The user that the server takes the client for; empty for none.
    pub(crate) user: String,
    /// Where the server takes the client to be.
    pub(crate) client_address: String,
    /// Which of the server's connections it came on: Apache tells the client's port, the mock counts.
    pub(crate) connection: String,
    /// Where the body is.
    pub(crate) body: PathBuf,
}

impl Answer {
    /// A value from the page that says who asks.
    pub(crate) fn echoed(&self, name: &str) -> Option<String> {
        server::value(&self.body, name)
    }

    /// The SHA-256 of the body.
    pub(crate) fn sha256(&self) -> String {
        sha256_of_file(&self.body)
    }
}

impl Run {
    /// A value of each answer.
    pub(crate) fn each<'a, T>(&'a self, value: impl Fn(&'a Answer) -> T) -> Vec<T> {
        self.answers.iter().map(value).collect()
    }
}

impl<'a> Curl<'a> {
    /// curl without anything of the caller's: no settings, proxy, credentials or tickets.
    pub(crate) fn new(bed: &Bed, site: &'a Site) -> Self {
        let directory = bed.client_directory();
        let port = site.address.port();
        let mut command = Command::new("/usr/bin/curl");
        command
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("LANG", "C")
            .env("HOME", &directory)
            .env("KRB5_CONFIG", bed.directory.join("krb5.conf"))
            .env("KRB5CCNAME", directory.join("no-tickets"))
            .args([
                "-q",
                "-sS",
                "--http1.1",
                "--noproxy",
                "*",
                "--max-time",
                "60",
                "--max-redirs",
                "3",
                "--cacert",
            ])
            .arg(bed.certificate())
            // A ticket is for a name, not for an address.
            .args(["--resolve", &format!("{SERVER_NAME}:{port}:{}", site.address.ip())])
            .stdin(Stdio::null());
        Self { site, directory, command }
    }

    /// Logs in, when asked or at once.
    pub(crate) fn login(mut self, bed: &Bed, login: Login, user: &User) -> Self {
        match login {
            Login::Ntlm => {
                let credentials = format!("{}:{}", user.ntlm_name(), user.password);
                self.command.args(["--ntlm", "-u", &credentials]);
            }
            Login::NegotiateNtlm | Login::NegotiateNtlmWhenAsked => {
                let file = bed.directory.join(format!("ntlm-{}", user.file));
                let how = if login == Login::NegotiateNtlm { "--negotiate" } else { "--anyauth" };
                self.command.args([how, "-u", ":"]).env("NTLM_USER_FILE", file);
            }
            Login::Kerberos | Login::KerberosWhenAsked => {
                let tickets = bed.directory.join(format!("tickets-{}", user.file));
                let how = if login == Login::Kerberos { "--negotiate" } else { "--anyauth" };
                self.command.args([how, "-u", ":"]).env("KRB5CCNAME", tickets);
            }
        }
        self
    }

    /// Any other options.
    pub(crate) fn options(mut self, options: &[&str]) -> Self {
        self.command.args(options);
        self
    }

    /// Sends a file with each request. Who asks before ("Expect: 100-continue") waits for the answer, however
    /// busy the machine is.
    pub(crate) fn post(mut self, file: &Path) -> Self {
        self.command.args(["--expect100-timeout", "60"]);
        self.command.arg("--data-binary").arg(format!("@{}", file.display()));
        self
    }

    /// Fetches the paths one after another.
    pub(crate) fn get(mut self, paths: &[&str]) -> Run {
        const LINE: &str = "%{http_code} %{num_connects} \
                            %header{x-user} %header{x-client-address} %header{x-client-port}\\n";
        let head = self.directory.join("head");
        self.command.arg("-D").arg(&head).args(["-w", LINE]);
        for (index, path) in paths.iter().enumerate() {
            let (body, url) = (self.body(index), self.url(path));
            self.command.arg("-o").arg(body).arg(url);
        }
        let output = self.command.output().expect("curl can be run");
        let head = fs::read_to_string(head).unwrap_or_default();
        Run {
            statuses: head.lines().filter(|line| line.starts_with("HTTP/")).map(status_of).collect(),
            answers: String::from_utf8_lossy(&output.stdout)
                .lines()
                .enumerate()
                .map(|(index, line)| answer(line, self.site.server, self.body(index)))
                .collect(),
            complaint: String::from_utf8_lossy(&output.stderr).into_owned(),
            head,
        }
    }

    /// Fetches one path and keeps no more of it than the SHA-256 of the body.
    pub(crate) fn download(mut self, path: &str) -> String {
        let url = self.url(path);
        let mut child =
            self.command.args(["--fail", &url]).stdout(Stdio::piped()).spawn().expect("curl can be run");
        let sum = sha256(child.stdout.take().expect("it is a pipe"));
        let status = child.wait().expect("the child is ours");
        assert!(status.success(), "{}: curl ended with {status} while it fetched {path}", self.site);
        sum
    }

    fn url(&self, path: &str) -> String {
        format!("{}://{SERVER_NAME}:{}{path}", self.site.scheme, self.site.address.port())
    }

    fn body(&self, index: usize) -> PathBuf {
        self.directory.join(format!("body-{index}"))
    }
}

/// The SHA-256 of a file, in hexadecimal; a missing file counts as an empty one.
pub(crate) fn sha256_of_file(path: &Path) -> String {
    File::open(path).map_or_else(|_| sha256(&[][..]), sha256)
}

fn sha256(mut from: impl Read) -> String {
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = from.read(&mut buffer).expect("a pipe or file can be read");
        if count == 0 {
            return hasher.finalize().iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
        }
        hasher.update(&buffer[..count]);
    }
}

fn status_of(line: &str) -> u16 {
    line.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn answer(line: &str, server: Server, body: PathBuf) -> Answer {
    let mut values = line.split(' ');
    // curl leaves the end of an empty header's line on (7.88).
    let mut next = || values.next().unwrap_or_default().trim_end().to_owned();
    let mut answer = Answer {
        status: next().parse().unwrap_or(0),
        connects: next().parse().unwrap_or(0),
        user: next(),
        client_address: next(),
        connection: next(),
        body,
    };
    if server == Server::Mock {
        // It has no such headers.
        answer.user = answer.echoed("user").unwrap_or_default();
        answer.connection = answer.echoed("connection").unwrap_or_default();
    }
    answer
}
