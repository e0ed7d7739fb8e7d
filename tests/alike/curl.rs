//! curl, with a server that sends what it is told to.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::thread;

use crate::capture::find;

/// What curl takes a reply for: its status and body; nothing where it finds something wrong.
pub(crate) fn read(method: &str, reply: &[u8]) -> Option<(u64, Vec<u8>)> {
    let server = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let url = format!("http://{}/", server.local_addr().expect("bound"));
    thread::scope(|scope| {
        scope.spawn(|| {
            let (mut client, _) = server.accept().expect("curl connects");
            let mut request = Vec::new();
            let mut more = [0; 4096];
            while find(&request, b"\r\n\r\n").is_none() {
                let count = client.read(&mut more).expect("curl asks");
                request.extend_from_slice(&more[..count]);
            }
            // It may have had enough.
            let _ = client.write_all(reply);
        });
        let mut command = Command::new("/usr/bin/curl");
        command.args(["-q", "-s", "--max-time", "20", "--noproxy", "*", "-w", "%{stderr}%{http_code}"]);
        if method == "HEAD" {
            command.args(["-I", "-o", "/dev/null"]);
        }
        let output = command.arg(url).output().expect("curl can be run");
        let status = String::from_utf8_lossy(&output.stderr).parse().expect("a status");
        output.status.success().then_some((status, output.stdout))
    })
}
