//! `proxy::access_log`: formatting lines, which the log's own thread does, and the hand-over by the worker.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use iisplice::proxy::access_log::{Entry, Format, channel};
use iisplice::proxy::record::{End, Record, RequestRecord, RequestWords};
use iisplice::uring::Address;

use crate::inputs::{REFERER, USER_AGENT};

pub(crate) fn benches(criterion: &mut Criterion) {
    lines(criterion);
    hand_over(criterion);
}

fn lines(criterion: &mut Criterion) {
    for (format, name, in_session, in_request) in [
        (Format::Text, "text", " end=client-close\n", "user=\"CORP\\\\alice\" method=GET target=\"/sites/"),
        (
            Format::Json,
            "JSON",
            "\"end\":\"client-close\"}\n",
            "\"user\":\"CORP\\\\alice\",\"method\":\"GET\"",
        ),
        (
            Format::Combined,
            "combined",
            "",
            "192.0.2.7 - CORP\\x5Calice [14/Nov/2023:22:13:20 +0000] \"GET /sites/",
        ),
    ] {
        // The writer keeps its buffer from line to line.
        let mut line = String::with_capacity(4096);
        let (session, request) = (session(), request());
        // Only requests have lines in this format.
        if format != Format::Combined {
            format.append_line(&session, &mut line);
            assert!(line.ends_with(in_session), "{line}");
            criterion.bench_function(&format!("access_log/connection/{name}"), |b| {
                b.iter(|| {
                    line.clear();
                    format.append_line(black_box(&session), &mut line);
                });
            });
        }
        line.clear();
        format.append_request_line(&request, &mut line);
        assert!(line.contains(in_request) && line.ends_with('\n'), "{line}");
        criterion.bench_function(&format!("access_log/request/{name}"), |b| {
            b.iter(|| {
                line.clear();
                format.append_request_line(black_box(&request), &mut line);
            });
        });
    }
}

/// Puts a record into the channel, which the worker does, and takes it out, which the writer does.
fn hand_over(criterion: &mut Criterion) {
    let (sender, receiver) = channel(64);
    sender.send(session());
    assert!(matches!(receiver.try_recv(), Ok(Entry::Record(record)) if record.end == End::ClientClose));
    criterion.bench_function("access_log/connection/to the writer", |b| {
        b.iter_batched(
            session,
            |record| {
                sender.send(record);
                receiver.try_recv()
            },
            BatchSize::SmallInput,
        );
    });
    criterion.bench_function("access_log/request/to the writer", |b| {
        b.iter_batched(
            request,
            |record| {
                sender.send_request(record);
                receiver.try_recv()
            },
            BatchSize::SmallInput,
        );
    });
    assert_eq!(sender.dropped_lines().load(std::sync::atomic::Ordering::Relaxed), 0);
}

fn address(text: &str) -> Address {
    Address::Ip(text.parse().expect("an address"))
}

/// The connection of a browser, open for three minutes.
fn session() -> Record {
    Record {
        listener: "0.0.0.0:443".into(),
        client: address("192.0.2.7:51234"),
        proxied: Some(address("203.0.113.195:40022")),
        upstream: Some("web01.corp.example.com:80".into()),
        connect_time: Some(Duration::from_micros(412)),
        first_byte_time: Some(Duration::from_micros(3_771)),
        duration: Duration::from_millis(187_310),
        upstream_bytes: 48_113,
        client_bytes: 2_911_004,
        spliced_bytes: 1_572_864,
        ..Record::example()
    }
}

/// A request for a page by a user who is logged in.
fn request() -> RequestRecord {
    RequestRecord {
        listener: "0.0.0.0:443".into(),
        upstream: Some("web01.corp.example.com:80".into()),
        id: (0x1f3a_77c0_0000_00ab, 3),
        request: Some(RequestWords {
            method: "GET".into(),
            target: (*b"/sites/finance/Lists/Invoices/AllItems.aspx?View=%7B5F2A%7D&page=3").into(),
            is_http11: true,
            referer: Some(REFERER.as_bytes().into()),
            user_agent: Some(USER_AGENT.as_bytes().into()),
        }),
        request_bytes: 1_204,
        reply_bytes: 18_713,
        reply_head_bytes: 371,
        total_time: Duration::from_micros(5_412),
        upstream_time: Some(Duration::from_micros(4_870)),
        ..RequestRecord::example()
    }
}
