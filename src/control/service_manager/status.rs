//! What the proxy does, in one line for people: `STATUS=`, which `systemctl status` shows.

use super::super::admin::Board;
use super::message::one_line;

/// What the last reload came to.
#[derive(Debug, Clone, Default)]
pub(super) enum Reload {
    /// There was none, or its settings are in force.
    #[default]
    Fine,
    /// One is in progress.
    Reads,
    /// It failed, for this reason.
    Failed(String),
}

/// The line.
pub(super) fn line(board: &Board, reload: &Reload) -> String {
    let view = board.view();
    let connections: u64 =
        view.metrics.iter().flat_map(|sources| &sources.counters).map(|worker| worker.active().get()).sum();
    let connections = number(connections, "connection");
    let mut line = if board.is_stopping() {
        format!("stopping, {connections} left")
    } else {
        let listeners = view.services.iter().map(|service| service.listeners.len() as u64).sum();
        let services = number(view.services.len() as u64, "service");
        format!("serving {services} on {}, {connections}", number(listeners, "address"))
    };
    for fault in board.stuck.faults() {
        line.push_str("; ");
        line.push_str(&fault);
    }
    match reload {
        Reload::Fine => {}
        Reload::Reads => line += "; reading the settings again",
        Reload::Failed(why) => {
            line.push_str("; cannot reload settings, those from before stay in force: ");
            line.push_str(why);
        }
    }
    one_line(&line)
}

/// `1 address`, `2 addresses`.
fn number(count: u64, noun: &str) -> String {
    let plural = match noun {
        _ if count == 1 => "",
        "address" => "es",
        _ => "s",
    };
    format!("{count} {noun}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::View;

    #[test]
    fn numbers_have_their_nouns() {
        let of = |count| number(count, "address") + ", " + &number(count, "service");
        assert_eq!(
            [0, 1, 2].map(of),
            ["0 addresses, 0 services", "1 address, 1 service", "2 addresses, 2 services"]
        );
    }

    #[test]
    fn a_reload_that_failed_stays_in_the_line() {
        let board = Board::default();
        board.show(View::default());
        let failed = Reload::Failed("a.toml:3:1: no such\nkey".to_owned());
        let serving = "serving 0 services on 0 addresses, 0 connections";
        assert_eq!(line(&board, &Reload::Fine), serving);
        assert_eq!(
            line(&board, &failed),
            format!(
                "{serving}; cannot reload settings, those from before stay in force: a.toml:3:1: no such key"
            )
        );
        board.stop();
        assert_eq!(line(&board, &Reload::Fine), "stopping, 0 connections left");
    }
}
