//! Descriptors and pipes.

use super::readings::Readings;
use super::wanted::Wanted;
use super::{Finding, Findings, Id, Severity};
use crate::words::counted;

/// A limit below this is the default of a shell, not one for an edge host.
const DESCRIPTORS_MIN: u64 = 65_536;

/// What a unit should have.
const DESCRIPTORS_GOOD: u64 = 1_048_576;

/// The share of all open files, in percent, from which on a host is about to run out.
const OPEN_PERCENT_MAX: u64 = 80;

const PAGE_BYTES: u64 = 4096;

pub(super) fn judge(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    let mut limit = descriptors(wanted);
    if limit.severity > Severity::Fine
        && readings.nr_open.is_some_and(|most| most < needed(wanted).unwrap_or(DESCRIPTORS_GOOD))
    {
        let most = needed(wanted).unwrap_or(DESCRIPTORS_GOOD);
        limit.fix = format!("{}; first sysctl -w fs.nr_open={most}", limit.fix);
    }
    found.add(limit);
    open_files(readings, wanted, found);
    granted_pipes(readings, wanted, found);
    pipe_pages(readings, wanted, found);
}

fn needed(wanted: &Wanted) -> Option<u64> {
    let connections = wanted.connections?;
    Some(
        wanted
            .descriptors_reserved
            .saturating_add(connections.saturating_mul(wanted.descriptors_a_connection)),
    )
}

/// Whether the descriptor limit is enough for the connections.
pub fn descriptors(wanted: &Wanted) -> Finding {
    let id = Id::Descriptors.as_str();
    let (limit, fitting) = (wanted.descriptors_max, wanted.fitting());
    let connections = |number| counted(number, "connection", "connections");
    if fitting < wanted.workers as u64 {
        let reserved = wanted.descriptors_reserved;
        return Finding::broken(
            id,
            format!(
                "the descriptor limit of {limit} leaves no room for connections: {reserved} are needed before the first"
            ),
            "the proxy does not start",
            format!(
                "LimitNOFILE={DESCRIPTORS_GOOD} in the unit, or ulimit -n {DESCRIPTORS_GOOD} before the start"
            ),
        );
    }
    let Some((asked, needed)) = wanted.connections.zip(needed(wanted)) else {
        if limit >= DESCRIPTORS_MIN {
            return Finding::fine(
                id,
                format!("the descriptor limit of {limit} allows {}", connections(fitting)),
            );
        }
        return Finding::warning(
            id,
            format!("the descriptor limit of {limit} allows only {}", connections(fitting)),
            "accepting pauses when it is reached",
            format!(
                "LimitNOFILE={DESCRIPTORS_GOOD} in the unit, or ulimit -n {DESCRIPTORS_GOOD} before the start (a service \
                 may have another limit than this shell: systemctl show -p LimitNOFILE iisplice)"
            ),
        );
    };
    let setting = (wanted.named)("max-connections");
    if needed <= limit {
        let saw = format!("{setting} {asked} needs {needed} descriptors of {limit}");
        return Finding::fine(id, saw);
    }
    Finding::warning(
        id,
        format!(
            "{setting} {asked} needs {needed} descriptors, but the limit of {limit} allows only {}",
            connections(fitting)
        ),
        "accepting pauses when it is reached",
        format!("raise the limit to {needed} (LimitNOFILE=, ulimit -n), or lower {setting}"),
    )
}

/// All processes together.
fn open_files(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    let id = Id::OpenFiles.as_str();
    let Some((open, most)) = readings.files_open.zip(readings.files_max) else { return };
    let after = open.saturating_add(needed(wanted).unwrap_or(0));
    let saw = format!("{open} files are open on this host, of {most} (fs.file-max)");
    let fix = || format!("sysctl -w fs.file-max={}", after.saturating_mul(2).max(DESCRIPTORS_GOOD));
    if after > most || open > most / 100 * OPEN_PERCENT_MAX {
        let why = "no process of the host can open a file or accept a connection when it is reached";
        found.add(Finding::warning(id, saw, why, fix()));
    } else {
        found.add(Finding::fine(id, saw));
    }
}

/// The pipes that were granted.
pub(super) fn granted_pipes(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    let id = Id::Pipes.as_str();
    let Some(granted) = readings.pipes.filter(|_| wanted.pipes > 0) else { return };
    let (pipes, size) = ((wanted.named)("pipes"), (wanted.named)("pipe-size"));
    let saw = format!(
        "{} of {} pipes for bulk are granted, of {} KiB",
        granted.pipes,
        wanted.pipes,
        granted.bytes / 1024
    );
    let why = "bulk beyond them is copied, which costs more of a core";
    if granted.pipes < wanted.pipes {
        let pages = (wanted.pipes * wanted.pipe_bytes) as u64 / PAGE_BYTES;
        let fix = format!(
            "sysctl -w fs.pipe-user-pages-soft={pages} (twice that for the two processes of an upgrade), or lower {pipes}, or \
             raise the descriptor limit"
        );
        found.add(Finding::warning(id, saw, why, fix));
    } else if granted.bytes < wanted.pipe_bytes {
        let most = readings.pipe_bytes_max.map_or_else(String::new, |bytes| format!(" (now {bytes})"));
        let fix = format!("sysctl -w fs.pipe-max-size={}{most}, or lower {size}", wanted.pipe_bytes);
        found.add(Finding::warning(
            id,
            format!("{saw} instead of {} KiB", wanted.pipe_bytes / 1024),
            why,
            fix,
        ));
    } else {
        found.add(Finding::fine(id, saw));
    }
}

/// What a user without privileges would get, who is not asked when root tries.
fn pipe_pages(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    let id = Id::PipePages.as_str();
    let Some(soft) = readings.pipe_pages_soft.filter(|_| wanted.pipes > 0 && wanted.pipe_bytes > 0) else {
        return;
    };
    let each = (wanted.pipe_bytes as u64).div_ceil(PAGE_BYTES);
    let pages = wanted.pipes as u64 * each;
    if soft == 0 || pages <= soft {
        let limit = if soft == 0 { "no limit".to_owned() } else { format!("{soft} pages") };
        let saw = format!("{pages} pages in pipes are wanted; a user without privileges gets {limit}");
        found.add(Finding::fine(id, saw));
        return;
    }
    found.add(Finding::warning(
        id,
        format!(
            "{} pipes take {pages} pages; a user without CAP_SYS_RESOURCE gets {soft} (fs.pipe-user-pages-soft): {} pipes",
            wanted.pipes,
            soft / each
        ),
        "bulk beyond them is copied, which costs more of a core",
        format!("sysctl -w fs.pipe-user-pages-soft={pages}, or lower {}", (wanted.named)("pipes")),
    ));
}

#[cfg(test)]
mod tests {
    use super::super::readings::Granted;
    use super::super::testing::{only, wanted};
    use super::*;
    use crate::doctor::Severity::{Broken, Fine, Warning};

    fn judged(readings: &Readings, wanted: &Wanted) -> Findings {
        let mut found = Findings::default();
        judge(readings, wanted, &mut found);
        found
    }

    #[test]
    fn descriptors_are_judged_by_the_connections_asked_for() {
        let readings = Readings { nr_open: Some(1_048_576), ..Readings::default() };
        let with = |connections, descriptors_max| {
            judged(&readings, &Wanted { connections, descriptors_max, ..wanted() })
        };
        only(&with(None, 1_048_576), Id::Descriptors, Fine, &["allows 524238 connections"]);
        only(&with(None, 1024), Id::Descriptors, Warning, &["only 462 connections", "LimitNOFILE=1048576"]);
        only(&with(None, 64), Id::Descriptors, Broken, &["64 leaves no room", "100 are needed", "ulimit -n"]);
        only(&with(Some(1000), 4096), Id::Descriptors, Fine, &["needs 2100 descriptors of 4096"]);
        let few = with(Some(5000), 4096);
        only(
            &few,
            Id::Descriptors,
            Warning,
            &["needs 10100 descriptors", "only 1998 connections", "raise the limit to 10100"],
        );
        let beyond = with(Some(1_000_000), 4096);
        only(&beyond, Id::Descriptors, Warning, &["sysctl -w fs.nr_open=2000100"]);
    }

    #[test]
    fn open_files_of_the_host_are_counted() {
        let with = |open, most| {
            let readings = Readings { files_open: Some(open), files_max: Some(most), ..Readings::default() };
            judged(&readings, &wanted())
        };
        only(&with(1000, 100_000), Id::OpenFiles, Fine, &[]);
        only(&with(90_000, 100_000), Id::OpenFiles, Warning, &["sysctl -w fs.file-max="]);
    }

    #[test]
    fn pipes_are_judged_by_what_is_granted() {
        let with = |pipes, bytes| {
            let readings = Readings { pipes: Some(Granted { pipes, bytes }), ..Readings::default() };
            judged(&readings, &wanted())
        };
        only(&with(128, 1 << 20), Id::Pipes, Fine, &["128 of 128"]);
        only(
            &with(20, 1 << 20),
            Id::Pipes,
            Warning,
            &["20 of 128", "sysctl -w fs.pipe-user-pages-soft=32768"],
        );
        only(
            &with(128, 1 << 16),
            Id::Pipes,
            Warning,
            &["64 KiB instead of 1024 KiB", "fs.pipe-max-size=1048576"],
        );
        assert!(judged(&Readings::default(), &Wanted { pipes: 0, ..wanted() }).findings.len() == 1);
    }

    #[test]
    fn pages_in_pipes_are_judged_for_a_user_without_privileges() {
        let with = |soft| judged(&Readings { pipe_pages_soft: Some(soft), ..Readings::default() }, &wanted());
        only(&with(0), Id::PipePages, Fine, &["no limit"]);
        only(&with(32_768), Id::PipePages, Fine, &[]);
        only(&with(16_384), Id::PipePages, Warning, &["64 pipes", "sysctl -w fs.pipe-user-pages-soft=32768"]);
    }
}
