//! What a service manager is told, by one that the test plays: a datagram socket (`sd_notify`(3)).

mod notify;
mod watchdog;

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use tempfile::TempDir;

use crate::support::{Launch, wait_for};

/// A service manager.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
}

/// A message, as lines of `NAME=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Told(Vec<String>);

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory for temporary files");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a free path");
        socket.set_read_timeout(Some(Duration::from_millis(100))).expect("a time");
        Self { socket, directory }
    }

    /// The value of `NOTIFY_SOCKET`.
    fn address(&self) -> String {
        self.directory.path().join("notify").display().to_string()
    }

    /// Is to be told by this proxy.
    fn of(&self, launch: Launch) -> Launch {
        launch.environment("NOTIFY_SOCKET", &self.address())
    }

    fn next(&self) -> Option<Told> {
        let mut bytes = [0; 4096];
        let len = self.socket.recv(&mut bytes).ok()?;
        let text = String::from_utf8(bytes[..len].to_vec()).expect("text");
        assert!(text.ends_with('\n'), "{text:?}");
        Some(Told(text.lines().map(str::to_owned).collect()))
    }

    /// Waits for the first message with this line, or one that begins so, and gives all up to it.
    fn all_until(&self, line: &str) -> Vec<Told> {
        let mut all: Vec<Told> = Vec::new();
        wait_for(&format!("the service manager to be told {line:?}"), || {
            all.extend(self.next());
            all.last().is_some_and(|last| last.has(line)).then(|| all.clone())
        })
    }

    /// As above: the last one.
    fn wait(&self, line: &str) -> Told {
        self.all_until(line).pop().expect("it came")
    }
}

impl Told {
    fn has(&self, begin: &str) -> bool {
        self.0.iter().any(|line| line.starts_with(begin))
    }

    fn get(&self, name: &str) -> &str {
        let value = |line: &'_ String| line.starts_with(&format!("{name}="));
        let line = self.0.iter().find(|line| value(line)).unwrap_or_else(|| panic!("no {name}: {self:?}"));
        &line[name.len() + 1..]
    }
}
