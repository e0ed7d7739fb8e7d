//! Examples and exit codes at the end of each command's help. Each example is a command that runs as written, given
//! the files and hosts that it names.

/// Of `iisplice`.
pub(super) const IISPLICE: &str = "\
Examples:
  iisplice demo
  iisplice proxy --listen 0.0.0.0:80 --upstream iis1.corp.example:80
  iisplice help proxy

Exit codes: 0 success; 1 an error on this host (a name that does not resolve, a
file without permission, a port in use, io_uring denied); 2 an error in the
command line, or a file of the wrong kind; load and report have more: see their
help";

/// Of `iisplice demo`.
pub(super) const DEMO: &str = "\
Examples:
  iisplice demo
  iisplice demo --duration 20s --connections 64 --html demo.html

Exit codes: 0 success; 1 an error on this host; 2 an error in the command line;
3 a reply named a user other than its connection's";

/// Of `iisplice proxy`.
pub(super) const PROXY: &str = "\
Examples:
  A site in stream mode: logins and bytes pass unchanged
    iisplice proxy --listen 0.0.0.0:80 --upstream iis1.corp.example:80
  HTTP mode
    iisplice proxy --mode http --listen 0.0.0.0:80 --upstream iis1:80
  IPv4 and IPv6 ([::] accepts IPv6 only, as nginx's ipv6only=on)
    iisplice proxy --listen 0.0.0.0:80 --listen '[::]:80' --upstream iis1:80
  TLS passed through, routed by server name: Extended Protection works
    iisplice proxy --listen 0.0.0.0:443 --sni-route web.corp.example=iis1:443
  TLS terminated here, and TLS again to the servers
    iisplice proxy --listen 0.0.0.0:443 --tls-cert site.pem --upstream-tls \\
      --upstream iis1.corp.example:443
  Several services in one process: check their settings file
    iisplice proxy --config iisplice.toml --check

Signals: TERM, QUIT and INT drain; HUP reloads settings and certificates; USR1
reopens the access log; USR2 hands over to a new process, see iisplice upgrade

Exit codes: 0 stopped by a signal; 1 an error on this host (a name that does
not resolve, a file without permission, a port in use, io_uring denied); 2 an
error in the command line, or a file of the wrong kind";

/// Of `iisplice upgrade`.
pub(super) const UPGRADE: &str = "\
Examples:
  iisplice upgrade
  iisplice upgrade --admin 127.0.0.1:9000

The new process is the binary that stands at the path of the running one, with
the same arguments. It takes the listening sockets; the old process serves the
connections that it has to their ends, or until drain-timeout

Exit codes: 0 the new process serves; 1 it does not, and the old one goes on;
2 no proxy answers, or an error in the command line";

/// Of `iisplice mock`.
pub(super) const MOCK: &str = "\
Examples:
  iisplice mock --user 'CORP\\alice:secret'
  iisplice mock --listen 127.0.0.1:8443 --tls --user 'CORP\\alice:secret'
  iisplice mock --users users.txt --verify-delay 20ms --fault reset=0.01

Exit codes: 0 stopped by a signal; 1 an error on this host; 2 an error in the
command line, or a file of the wrong kind";

/// Of `iisplice load`.
pub(super) const LOAD: &str = "\
Examples:
  iisplice load http://127.0.0.1:8080/
  iisplice load http://iis1/whoami --auth ntlm --user 'CORP\\alice:secret'
  iisplice load https://iis1/ --ca corp-ca.pem --rate 500 --objective 'p99<50ms'
  iisplice load http://127.0.0.1:8080/ --duration 30s --json run.json

Exit codes: 0 success; 1 an error on this host, every request failed, or
--verify-identity found no user; 2 an error in the command line, or a file of
the wrong kind; 3 a reply named a user other than its connection's; 4 the
objective was missed; 130 stopped by Ctrl-C";

/// Of `iisplice doctor`.
pub(super) const DOCTOR: &str = "\
Examples:
  iisplice doctor https://intranet.corp.example/
  iisplice doctor https://intranet.corp.example/ --json
  iisplice doctor https://intranet.corp.example/ \\
    --user 'CORP\\alice' --password-file secret
  iisplice doctor --host --config /etc/iisplice.toml
  iisplice doctor --log u_ex260302.log

Exit codes: 0 all is fine; 1 there are warnings, or an error on this host; 2 an
error in the command line, or something is broken";

/// Of `iisplice status`.
pub(super) const STATUS: &str = "\
Examples:
  iisplice status
  iisplice status --admin 127.0.0.1:9180 --json
  iisplice status --admin proxy.corp:9180 --token-file token

Exit codes: 0 the proxy is ready; 1 it is not: a group has no server up, or it
is stopping; 2 an error in the command line, or no proxy answers";

/// Of `iisplice top`.
pub(super) const TOP: &str = "\
Examples:
  iisplice top
  iisplice top --admin proxy.corp:9180 --token-file token --interval 5s
  iisplice top --admin 127.0.0.1:9180 --once

Exit codes: 0 ended by a key, or the picture is printed; 1 an error on this
host, or the terminal has gone; 2 an error in the command line, or no proxy
answers; 128 + n ended by signal n";

/// Of `iisplice report`.
pub(super) const REPORT: &str = "\
Examples:
  iisplice report run.json
  iisplice report new.json --compare old.json --fail-over 5
  iisplice report a.json b.json --merge both.json --html both.html

Exit codes: 0 success; 1 an error on this host, a file that is not a result, or
runs that --fail-over cannot judge (their loads differ, or the base has no
successful reply); 2 an error in the command line, or runs that cannot be
merged; 4 worse than --fail-over allows";

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::Cli;

    /// As a shell splits it: at blanks, but not between single quotes.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut is_quoted = false;
        for c in line.chars() {
            match c {
                '\'' => is_quoted = !is_quoted,
                ' ' if is_quoted => words.last_mut().expect("at least one").push(c),
                ' ' if words.last().is_some_and(String::is_empty) => {}
                ' ' => words.push(String::new()),
                _ => words.last_mut().expect("at least one").push(c),
            }
        }
        words
    }

    #[test]
    fn every_example_is_a_command_line_that_is_accepted() {
        for (text, least) in [
            (IISPLICE, 3),
            (DEMO, 2),
            (PROXY, 6),
            (MOCK, 3),
            (LOAD, 4),
            (DOCTOR, 5),
            (STATUS, 3),
            (TOP, 3),
            (REPORT, 3),
        ] {
            let joined = text.replace("\\\n", "");
            let examples = joined.lines().map(str::trim).filter(|line| line.starts_with("iisplice "));
            let mut count = 0;
            for example in examples {
                count += 1;
                match Cli::try_parse_from(words(example)) {
                    Ok(_) => {}
                    Err(help) if help.kind() == clap::error::ErrorKind::DisplayHelp => {}
                    Err(error) => panic!("{example}: {error}"),
                }
            }
            assert_eq!(count, least, "{text}");
            for line in text.lines() {
                assert!(line.chars().count() <= 80, "too wide: {line}");
            }
        }
    }
}
