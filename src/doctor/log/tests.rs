//! Whole logs, and what is found in them.

use super::*;
use crate::doctor::Severity;
use crate::proxy::access_log;
use crate::proxy::record::{Record, RequestRecord};

const FIELDS: &str = "#Software: Microsoft Internet Information Services 10.0\r\n#Version: 1.0\r\n\
                      #Date: 2026-03-02 08:00:00\r\n#Fields: date time s-ip cs-method cs-uri-stem cs-uri-query s-port \
                      cs-username c-ip cs(User-Agent) sc-status sc-substatus sc-win32-status time-taken\r\n";

fn found(log: &str) -> Findings {
    read(log.as_bytes()).unwrap_or_else(|error| panic!("{error}"))
}

/// The findings with this id, each as its severity and all of its text.
fn all(findings: &Findings, id: Id) -> Vec<(Severity, String)> {
    let of_it = findings.findings.iter().filter(|finding| finding.id == id.as_str());
    of_it
        .map(|finding| (finding.severity, format!("{}; {}; {}", finding.saw, finding.why, finding.fix)))
        .collect()
}

#[track_caller]
fn only(findings: &Findings, id: Id, severity: Severity, texts: &[&str]) {
    let all = all(findings, id);
    let [(found, text)] = &all[..] else { panic!("{all:?}") };
    assert_eq!(*found, severity, "{text}");
    for part in texts {
        assert!(text.contains(part), "{part}: {text}");
    }
}

fn row(second: u32, client: &str, path: &str, user: &str, status: &str) -> String {
    let time = format!("2026-03-02 08:{:02}:{:02}", second / 60, second % 60);
    format!("{time} 10.0.0.5 GET {path} - 80 {user} {client} Mozilla/5.0 {status} 3\r\n")
}

fn combined(client: &str, path: &str, status: u16, bytes: u32) -> String {
    format!(
        "{client} - - [02/Mar/2026:08:15:42 +0000] \"GET {path} HTTP/1.1\" {status} {bytes} \"-\" \"curl/8\"\n"
    )
}

#[test]
fn a_log_of_iis_tells_who_is_not_let_in_and_why() {
    let mut log = FIELDS.to_owned();
    for (nth, status) in ["401 2 5", "401 1 2148074254", "200 0 0", "200 0 0"].into_iter().enumerate() {
        log += &row(nth as u32, "192.0.2.1", "/app", "CORP\\alice", status);
    }
    for nth in 0..12 {
        let status = ["401 2 5", "401 1 2148074254", "401 1 2148074248"][nth % 3];
        log += &row(nth as u32, "2001:db8::7", "/app", "-", status);
    }
    for nth in 0..6 {
        let status = ["401 2 5", "401 1 2148074254", "401 1 1326"][nth % 3];
        log += &row(nth as u32, "192.0.2.3", "/app", "-", status);
    }
    let findings = found(&log);
    let loops = all(&findings, Id::Loop);
    let [pooled, password] = &loops[..] else { panic!("{loops:?}") };
    assert!(
        pooled
            .1
            .starts_with("2001:db8::7: 12 times 401 for /app, 2026-03-02T08:00:00Z to 2026-03-02T08:00:11Z"),
        "{pooled:?}"
    );
    assert!(
        pooled.1.contains("401.1 with 2148074248 (0x80090308)") && pooled.1.contains("different connections"),
        "{pooled:?}"
    );
    assert!(
        password.1.starts_with("192.0.2.3: 6 times 401") && password.1.contains("password is wrong"),
        "{password:?}"
    );
    assert_eq!(findings.exit_code(), 2);
    only(&findings, Id::Read, Severity::Fine, &["22 requests (IIS W3C)"]);
}

#[test]
fn a_log_without_trouble_is_fine() {
    let mut log = String::new();
    for client in ["192.0.2.1", "2001:db8::2"] {
        for status in [401, 401, 200, 200, 304] {
            log += &combined(client, "/", status, 5);
        }
    }
    let findings = found(&log);
    assert_eq!((findings.exit_code(), findings.findings.len()), (0, 1), "{findings:?}");
    assert_eq!(found("").exit_code(), 0);
    only(&found(FIELDS), Id::Read, Severity::Fine, &["0 requests (IIS W3C)"]);
}

#[test]
fn a_log_of_nginx_tells_who_is_not_let_in() {
    let mut log = String::new();
    for bytes in [1293, 341, 1293, 341, 1293, 341] {
        log += &combined("192.0.2.7", "/", 401, bytes);
    }
    only(
        &found(&log),
        Id::Loop,
        Severity::Broken,
        &["192.0.2.7: 6 times 401 for /", "pools upstream connections"],
    );
}

#[test]
fn iisplices_own_log_tells_the_cause_by_its_steps() {
    let line = |step: &str, request: u32| {
        format!(
            "time=2026-03-02T08:15:42.118Z listener=0.0.0.0:80 client=192.0.2.7:51234 user=- method=GET target=/ status=401 \
             request_bytes=1 reply_bytes=1 total_ms=0.9 upstream_ms=0.8 upstream=iis1:80 request=3a9-{request} step={step} \
             mechanism=ntlm end=ok\n"
        )
    };
    let log: String =
        (0..9).map(|nth| line(["challenged", "type1", "type3-refused"][nth % 3], nth as u32)).collect();
    only(
        &found(&log),
        Id::Loop,
        Severity::Broken,
        &["192.0.2.7: 9 times 401", "refused the last message", "the password"],
    );
    let monitor: String = (0..9).map(|nth| line("challenged", nth)).collect();
    let findings = found(&monitor);
    only(&findings, Id::NoCredentials, Severity::Warning, &["never sends credentials"]);
    assert_eq!(findings.exit_code(), 1);
}

#[test]
fn what_the_proxy_writes_is_read_in_every_format() {
    let record = RequestRecord { status: 401, ..RequestRecord::example() };
    for format in [access_log::Format::Text, access_log::Format::Json, access_log::Format::Combined] {
        let mut log = String::new();
        (0..4).for_each(|_| format.append_request_line(&record, &mut log));
        only(
            &found(&log),
            Id::Loop,
            Severity::Broken,
            &["192.0.2.7: 4 times 401 for /a, 2023-11-14T22:13:20Z"],
        );
    }
    for format in [access_log::Format::Text, access_log::Format::Json] {
        let mut log = String::new();
        format.append_line(&Record::example(), &mut log);
        only(&found(&log), Id::NoStatus, Severity::Warning, &["1 line of connections"]);
    }
}

#[test]
fn connections_have_no_status() {
    let line = "time=2026-03-02T08:15:42.118Z listener=a client=192.0.2.7:1 proxied=- upstream=- connect_ms=- \
                first_byte_ms=- duration_ms=0.999 to_upstream_bytes=0 to_client_bytes=0 spliced=0.000 end=refused\n";
    let findings = found(&line.repeat(3));
    only(&findings, Id::NoStatus, Severity::Warning, &["3 lines of connections", "--mode http"]);
}

#[test]
fn clients_that_log_in_each_time_are_named() {
    let log: String =
        (0..20).flat_map(|_| [401, 401, 200]).map(|status| combined("192.0.2.7", "/", status, 1)).collect();
    only(
        &found(&log),
        Id::EachRequest,
        Severity::Warning,
        &["40 401s for 20 other replies", "authPersistSingleRequest"],
    );
}

#[test]
fn lines_that_cannot_be_read_are_counted_and_said() {
    let mut log = format!("\u{feff}{FIELDS}") + &row(0, "192.0.2.1", "/", "-", "200 0 0");
    log += "2026-03-02 08:00:00 10.0.0.5 GET\r\n";
    log += "#Fields: date time c-ip cs-uri-stem time-taken\r\n2026-03-02 08:00:00 192.0.2.1 / 3\r\n";
    log += "#Fields: c-ip sc-status\r\n192.0.2.9 200\r\n";
    log += &combined("192.0.2.1", "/", 200, 1).repeat(3);
    log += &"x".repeat(200_000);
    log += "\nnonsense without end";
    only(
        &found(&log),
        Id::Read,
        Severity::Fine,
        &[
            "5 requests (IIS W3C, combined)",
            "4 lines could not be read",
            "1 longer than 128 KiB (first: line 14)",
            "2 not as long as the #Fields: line above (first: line 6)",
            "1 without c-ip or sc-status in the #Fields: line above (first: line 8)",
        ],
    );
}

#[test]
fn a_log_of_which_most_cannot_be_read_is_a_warning() {
    let rows = row(0, "192.0.2.1", "/", "-", "401 2 5").repeat(3);
    let findings = found(&(rows + &combined("192.0.2.1", "/", 200, 1)));
    only(&findings, Id::Read, Severity::Warning, &["3 in no known format (first: line 1)", "not judged"]);
}

#[test]
fn a_file_in_no_known_format_is_an_error() {
    let error = |bytes: &[u8]| read(bytes).expect_err("no log").to_string();
    assert!(error(b"hello\nworld\n").contains("#Fields:"));
    assert!(
        error(
            b"# A list

of things
"
        )
        .contains("#Fields:")
    );
    assert!(error(b"\x7fELF\x02\x01\x01\0\0\0").contains("no line is in a known format"));
    assert!(error(b"\xff\xfe#\0F\0").contains("iconv"));
    assert!(error(b"\x1f\x8b\x08\0").contains("zcat"));
    assert!(error(b"2026-03-02 08:00:00 192.0.2.1 200\n").contains("#Fields:"));
    let nonsense = std::io::BufReader::new(Nonsense);
    assert!(read(nonsense).is_err());
}

/// A stream that never ends and is no log.
struct Nonsense;

impl io::Read for Nonsense {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        for pair in buffer.chunks_mut(2) {
            pair.copy_from_slice(&b"y\n"[..pair.len()]);
        }
        Ok(buffer.len())
    }
}

#[test]
fn twenty_clients_have_a_finding_and_the_rest_is_counted() {
    let log: String = (0..30)
        .flat_map(|nth| vec![format!("192.0.2.{nth}"); 3 + nth])
        .map(|client| combined(&client, "/", 401, 1))
        .collect();
    let findings = found(&log);
    let loops = all(&findings, Id::Loop);
    assert_eq!(loops.len(), 20);
    assert!(loops[0].1.starts_with("192.0.2.29: 32 times"), "{loops:?}");
    only(&findings, Id::MoreLoops, Severity::Broken, &["10 more clients"]);
}

#[test]
fn many_clients_fit() {
    let mut counted = 0;
    let lines = std::iter::from_fn(|| {
        counted += 1;
        (counted < 60_000)
            .then(|| combined(&format!("2001:db8::{:x}:{:x}", counted >> 12, counted & 0xfff), "/", 401, 1))
    });
    let log: String = lines.collect();
    only(&found(&log), Id::Read, Severity::Fine, &["59999 requests", "clients were not followed to the end"]);
}
