//! The model, the keys and the pictures, over scrapes that are made here.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::style::Color;

use super::column::{Column, Section};
use super::draw::{self, Setting};
use super::figures::Counts;
use super::keys::{self, Command};
use super::model::{Model, Row, Tone};
use super::scrape::{Scrape, Server, Service};
use super::view::{Mode, Order, Verb, View};

mod drawing;
mod figures;
mod pressed;

const ADDRESS: &str = "unix:/run/iisplice/admin.sock";

/// A proxy that counts.
#[derive(Clone)]
struct Proxy {
    at: Instant,
    started: u64,
    servers: Vec<(&'static str, String, &'static str)>,
    connections: u64,
    logins: u64,
    refused: u64,
    bytes: u64,
    /// Replies that took up to 1 ms, up to 10 ms and longer.
    replies: [u64; 3],
    workers: usize,
    is_ready: bool,
}

impl Proxy {
    fn new() -> Self {
        let servers = ["iis1:80", "iis2:80"].map(|name| ("iis", name.to_owned(), "up"));
        Self {
            at: Instant::now(),
            started: 1_790_000_000,
            servers: servers.to_vec(),
            connections: 1000,
            logins: 500,
            refused: 3,
            bytes: 1 << 30,
            replies: [10, 20, 30],
            workers: 2,
            is_ready: true,
        }
    }

    /// A moment later.
    fn later(&self, seconds: f64) -> Self {
        Self { at: self.at + Duration::from_secs_f64(seconds), ..self.clone() }
    }

    fn text(&self) -> String {
        let mut text = "# TYPE iisplice_build info\niisplice_build_info{version=\"1.2.3\"} 1\n".to_owned();
        // Writing to a String does not fail.
        let mut line = |name: &str, labels: &str, value: u64| {
            let _ = writeln!(text, "{name}{{{labels}}} {value}");
        };
        line("iisplice_connections_accepted_total", "service=\"web\"", self.connections);
        line("iisplice_connections_active", "service=\"web\"", 1);
        for (group, name, _) in &self.servers {
            let of = format!("service=\"web\",group=\"{group}\",server=\"{name}\"");
            line("iisplice_upstream_connections_total", &of, self.connections);
            line("iisplice_connections_active", &of, 7);
            line("iisplice_to_client_bytes_total", &of, self.bytes);
            line("iisplice_logins_accepted_total", &format!("{of},mechanism=\"ntlm\""), self.logins);
            line("iisplice_logins_accepted_total", &format!("{of},mechanism=\"kerberos\""), 2 * self.logins);
            line("iisplice_logins_refused_total", &format!("{of},mechanism=\"ntlm\""), self.refused);
            let mut sum = 0;
            for (count, bound) in self.replies.iter().zip(["0.001", "0.01", "+Inf"]) {
                sum += count;
                line("iisplice_reply_head_seconds_bucket", &format!("le=\"{bound}\",{of}"), sum);
            }
        }
        for number in 0..self.workers {
            let of = format!("worker=\"{number}\"");
            line("iisplice_worker_connections_accepted_total", &of, self.connections);
            line("iisplice_worker_connections_active", &of, 4);
        }
        text + &format!("process_start_time_seconds {}\n# EOF\n", self.started)
    }

    fn scrape(&self) -> Scrape {
        let servers = self.servers.iter().map(|(group, name, state)| Server {
            group: (*group).to_owned(),
            name: name.clone(),
            state: (*state).to_owned(),
            connections: 7,
        });
        let groups = vec!["iis".to_owned()];
        Scrape {
            at: self.at,
            counts: Counts::parse(&self.text()).expect("numbers of iisplice"),
            services: vec![Service { name: "web".to_owned(), mode: "http".to_owned(), tls: true, groups }],
            servers: servers.collect(),
            is_ready: self.is_ready,
            reasons: if self.is_ready { vec![] } else { vec!["the proxy is stopping".to_owned()] },
            uptime: Some(Duration::from_secs(3700)),
        }
    }

    /// A model of this proxy and what it counts within a second.
    fn watched(&self) -> Model {
        let mut model = Model::new(self.scrape());
        let busy = Self {
            connections: self.connections + 50,
            logins: self.logins + 10,
            bytes: self.bytes + (3 << 20),
            replies: [self.replies[0] + 90, self.replies[1] + 10, self.replies[2]],
            ..self.later(1.0)
        };
        model.add(busy.scrape());
        model
    }
}

fn row<'a>(model: &'a Model, section: Section, name: &str) -> &'a Row {
    let rows = model.rows(section);
    rows.iter().find(|row| row.name == name).unwrap_or_else(|| panic!("no {name}: {rows:?}"))
}

fn close_to(value: Option<f64>, expected: f64) -> bool {
    value.is_some_and(|value| (value - expected).abs() < expected.abs() * 1e-9 + 1e-12)
}

/// Presses keys; each but the named ones is a character.
fn press(view: &mut View, model: &Model, codes: &[KeyCode]) -> Vec<Command> {
    let press = |code: &KeyCode| keys::press(view, model, KeyEvent::new(*code, KeyModifiers::NONE));
    codes.iter().filter_map(press).collect()
}

fn typed(text: &str) -> Vec<KeyCode> {
    text.chars().map(KeyCode::Char).collect()
}
