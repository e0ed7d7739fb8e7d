//! nginx and Apache, each as one process on a port of its own, which log what they take a client's bytes for.

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

use crate::capture::{PATIENCE, await_listener, connect};
use crate::python::Seen;
use crate::reserved;

pub(crate) const NGINX: &str = "/usr/sbin/nginx";
pub(crate) const APACHE: &str = "/usr/sbin/apache2";

/// Says how long the body is.
const COUNT_CGI: &str = "#!/bin/sh\nbytes=$(wc -c)\nprintf 'X-Body-Bytes: %d\\r\\n\\r\\n' \"$bytes\"\n";

/// What says that a request is not understood; others are about what it asks for.
const REFUSALS: [u16; 9] = [400, 408, 411, 413, 414, 431, 494, 501, 505];
/// Fields of a line of either log, with tabs between them.
const FIELDS: usize = 7;

/// A running server, ended when this is dropped.
pub(crate) struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    directory: TempDir,
}

impl Server {
    pub(crate) fn nginx() -> Self {
        let address = reserved::address();
        Self::start("nginx", address, |directory| {
            let path = directory.display();
            // The body is in `$request_body` only where something is done with it.
            let config = format!(
                "daemon off; master_process off; pid {path}/pid; error_log {path}/error.log;\n\
                 events {{}}\n\
                 http {{\n\
                   client_body_temp_path {path}/body; proxy_temp_path {path}/proxy; fastcgi_temp_path {path}/fastcgi;\n\
                   uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;\n\
                   client_body_buffer_size 1m; large_client_header_buffers 4 64k; merge_slashes off;\n\
                   log_format seen escape=json '$remote_addr\\t$request_method\\t$request_uri\\t$http_host\\t\
                 $http_authorization\\t$status\\t$request_body';\n\
                   server {{ listen unix:{path}/sink; access_log off; location / {{ return 200 ok; }} }}\n\
                   server {{ listen {address}; access_log {path}/seen.log seen;\n\
                     location / {{ proxy_pass http://unix:{path}/sink:/; }} }}\n\
                 }}\n"
            );
            fs::write(directory.join("config"), config).expect("a directory of ours");
            let mut command = Command::new(NGINX);
            command.arg("-p").arg(directory).arg("-c").arg(directory.join("config"));
            command.arg("-e").arg(directory.join("error.log"));
            command
        })
    }

    pub(crate) fn apache() -> Self {
        let address = reserved::address();
        Self::start("Apache", address, |directory| {
            let path = directory.display();
            let module =
                |name: &str| format!("LoadModule {name}_module /usr/lib/apache2/modules/mod_{name}.so\n");
            let modules: String =
                ["mpm_prefork", "authz_core", "alias", "cgi"].iter().map(|name| module(name)).collect();
            let config = format!(
                "{modules}ServerRoot {path}\nServerName a\nPidFile {path}/pid\nListen {address}\n\
                 DefaultRuntimeDir {path}\nErrorLog {path}/error.log\nKeepAlive On\nKeepAliveTimeout 20\n\
                 MaxKeepAliveRequests 0\nAllowEncodedSlashes NoDecode\nTraceEnable Off\n\
                 LogFormat \"%a\\t%m\\t%r\\t%{{Host}}i\\t%{{Authorization}}i\\t%>s\\t%{{X-Body-Bytes}}o\" seen\n\
                 CustomLog {path}/seen.log seen\nAliasMatch .* {path}/count\n\
                 <Directory {path}>\nRequire all granted\nOptions +ExecCGI\n</Directory>\n\
                 <If \"-n req('Content-Length') || -n req('Transfer-Encoding') || %{{REQUEST_METHOD}} !~ /^(GET|HEAD)$/\">\nSetHandler cgi-script\n</If>\n"
            );
            fs::write(directory.join("config"), config).expect("a directory of ours");
            let count = directory.join("count");
            fs::write(&count, COUNT_CGI).expect("a directory of ours");
            fs::set_permissions(&count, fs::Permissions::from_mode(0o755)).expect("a file of ours");
            let mut command = Command::new(APACHE);
            // One process, for one connection after the other.
            command.arg("-X").arg("-f").arg(directory.join("config"));
            command
        })
    }

    fn start(name: &'static str, address: SocketAddr, prepare: impl FnOnce(&Path) -> Command) -> Self {
        let directory = TempDir::new().expect("a directory for temporary files");
        let mut command = prepare(directory.path());
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o777))
            .expect("a directory of ours");
        if geteuid().is_root()
            && let Ok(Some(user)) = User::from_name("www-data")
        {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        let said = fs::File::create(directory.path().join("said")).expect("a directory of ours");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said);
        let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let mut server = Self { name, child, address, directory };
        await_listener(&mut server.child, address, name);
        server
    }

    /// Has the server read these bytes, each of which is all that comes on a connection; what it took each for.
    pub(crate) fn read(&self, streams: &[Vec<u8>]) -> Vec<Vec<Seen>> {
        let mut clients = Vec::new();
        for stream in streams {
            let mut client = connect(self.address);
            clients.push(client.local_addr().expect("connected").ip().to_string());
            client.write_all(stream).expect("the server reads");
            let mut replies = Vec::new();
            let began = Instant::now();
            // It may reset what it does not read.
            let _ = client.read_to_end(&mut replies);
            assert!(
                began.elapsed() < PATIENCE,
                "{} waits for more behind {}",
                self.name,
                stream.escape_ascii()
            );
        }
        let log = self.log();
        let of = |client: &String| {
            log.iter().filter(|(of, _)| of == client).map(|(_, seen)| seen.clone()).collect()
        };
        clients.iter().map(of).collect()
    }

    /// By the client's address.
    fn log(&self) -> Vec<(String, Seen)> {
        // A line may be written a moment after its connection has ended.
        std::thread::sleep(Duration::from_millis(200));
        let log = fs::read(self.directory.path().join("seen.log")).unwrap_or_default();
        log.split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| self.parse(line))
            .collect()
    }

    fn parse(&self, line: &[u8]) -> (String, Seen) {
        let fields: Vec<String> =
            line.split(|&byte| byte == b'\t').map(|field| latin1(&unescape(field))).collect();
        assert_eq!(fields.len(), FIELDS, "{}: {}", self.name, line.escape_ascii());
        let text = |at: usize| if fields[at] == "-" { String::new() } else { fields[at].clone() };
        let (target, body_bytes) = if self.name == "nginx" {
            (text(2), Some(text(6).chars().count()))
        } else {
            // `GET /target HTTP/1.1`
            let target = text(2).split(' ').nth(1).unwrap_or_default().to_owned();
            (target, fields[6].parse().ok())
        };
        let status: u16 = fields[5].parse().expect("a status");
        let seen = Seen {
            method: text(1),
            target,
            host: text(3),
            authorization: text(4),
            body_bytes,
            is_refused: REFUSALS.contains(&status),
        };
        (fields[0].clone(), seen)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Both fail only when it has ended already.
        let _ = kill(Pid::from_raw(self.child.id() as i32), Signal::SIGTERM);
        let _ = self.child.wait();
        if std::thread::panicking() {
            for name in ["said", "error.log"] {
                let said = fs::read_to_string(self.directory.path().join(name)).unwrap_or_default();
                let last: Vec<_> = said.lines().rev().take(10).collect();
                eprintln!("{} said, last first:\n{}", self.name, last.join("\n"));
            }
        }
    }
}

fn latin1(bytes: &[u8]) -> String {
    bytes.iter().map(|&byte| char::from(byte)).collect()
}

/// What both logs do to quotes, backslashes and controls: `\"`, `\\`, `\n`, `\x1f`, `\u001F`.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = field.iter().copied();
    let hex = |digits: Vec<u8>| {
        let digits = String::from_utf8(digits).expect("hexadecimal digits");
        u8::from_str_radix(&digits, 16).expect("hexadecimal digits of a byte")
    };
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            out.push(byte);
            continue;
        }
        out.push(match rest.next() {
            Some(b'x') => hex(rest.by_ref().take(2).collect()),
            Some(b'u') => hex(rest.by_ref().take(4).collect()),
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'v') => 11,
            other => other.unwrap_or(b'\\'),
        });
    }
    out
}
