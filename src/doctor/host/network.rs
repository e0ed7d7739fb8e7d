//! Ports, backlogs, connection tracking, and how packets come to the cores.

use std::collections::BTreeSet;

use super::readings::Readings;
use super::wanted::Wanted;
use super::{Finding, Findings, Id};

/// The default range has 28,232.
const PORTS_MIN: u64 = 16_384;

/// What the kernel has without syncookies on a small host.
const SYN_BACKLOG_MIN: u32 = 1024;

const CONNTRACK_MIN: u64 = 65_536;
const CONNTRACK_PERCENT_MAX: u64 = 80;

pub(super) fn judge(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    ports(readings, wanted, found);
    backlog(readings, wanted, found);
    syn_backlog(readings, wanted, found);
    conntrack(readings, wanted, found);
    receive_queues(readings, found);
}

/// A connection to a server takes a port of this host for that server's address and port.
pub(super) fn ports(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    const RANGE: &str = "sysctl -w net.ipv4.ip_local_port_range=\"10240 65535\"";
    let id = Id::Ports.as_str();
    let Some(ports) = readings.ports else { return };
    let all = wanted.servers.as_ref().map(|pairs| ports.saturating_mul(pairs.len() as u64));
    let saw = match &wanted.servers {
        None => format!("{ports} local ports: that many connections to each server at once"),
        // Unix sockets, or clients' addresses.
        Some(pairs) if pairs.is_empty() => return,
        Some(pairs) => {
            let servers = pairs.iter().map(|(server, _)| server).collect::<BTreeSet<_>>().len();
            let sources = if pairs.len() > servers { " from each source address" } else { "" };
            let all = all.unwrap_or(0);
            let servers =
                if servers == 1 { "the server".to_owned() } else { format!("each of {servers} servers") };
            format!("{ports} local ports{sources} for {servers}: {all} connections at once")
        }
    };
    let why = "beyond that no server can be connected to; a closed connection may keep its port for a minute";
    match (wanted.connections, all) {
        (Some(connections), Some(all)) if connections > all => {
            let setting = (wanted.named)("max-connections");
            let sources = (wanted.named)("source-address");
            let fix = format!("{RANGE}, more servers, several {sources}, or lower {setting}");
            found.add(Finding::warning(id, format!("{saw}; {setting} is {connections}"), why, fix));
        }
        _ if ports < PORTS_MIN => found.add(Finding::warning(id, saw, why, RANGE)),
        _ => found.add(Finding::fine(id, saw)),
    }
}

/// `listen(2)` takes the smaller of both numbers, silently.
pub(super) fn backlog(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    let id = Id::Backlog.as_str();
    let Some(most) = readings.somaxconn else { return };
    let (asked, setting) = (wanted.backlog, (wanted.named)("backlog"));
    if asked <= most {
        found.add(Finding::fine(id, format!("{setting} is {asked}, net.core.somaxconn {most}")));
        return;
    }
    found.add(Finding::warning(
        id,
        format!("{setting} is {asked}, but net.core.somaxconn allows {most}"),
        "clients that come at the same moment beyond it wait a second or more for their connection",
        format!("sysctl -w net.core.somaxconn={asked}, or lower {setting}"),
    ));
}

fn syn_backlog(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    let id = Id::SynBacklog.as_str();
    let Some(most) = readings.syn_backlog else { return };
    let has_cookies = readings.syn_cookies.is_none_or(|value| value > 0);
    let cookies = if has_cookies { "on" } else { "off" };
    let saw = format!("net.ipv4.tcp_max_syn_backlog is {most}, SYN cookies are {cookies}");
    if has_cookies || most >= wanted.backlog.max(SYN_BACKLOG_MIN) {
        found.add(Finding::fine(id, saw));
        return;
    }
    found.add(Finding::warning(
        id,
        saw,
        "a flood of half-open connections keeps clients out",
        format!(
            "sysctl -w net.ipv4.tcp_syncookies=1 net.ipv4.tcp_max_syn_backlog={}",
            wanted.backlog.max(SYN_BACKLOG_MIN)
        ),
    ));
}

/// A proxied connection is two entries: one with the client, one with the server.
pub(super) fn conntrack(readings: &Readings, wanted: &Wanted, found: &mut Findings) {
    let id = Id::Conntrack.as_str();
    let Some((count, most)) = readings.conntrack else { return };
    let needed = wanted.connections.map(|connections| connections.saturating_mul(2));
    let saw = format!("connection tracking has {count} entries of {most}");
    let why = "when it is full the kernel drops the packets of new connections; a proxied connection takes two entries";
    let fix = |entries: u64| {
        format!(
            "sysctl -w net.netfilter.nf_conntrack_max={entries}, or do not track the proxy's ports (NOTRACK)"
        )
    };
    match needed {
        Some(needed) if needed > most => {
            let setting = (wanted.named)("max-connections");
            let saw = format!("{saw}; {setting} needs {needed}");
            found.add(Finding::warning(id, saw, why, fix(needed.saturating_mul(2))));
        }
        _ if count > most / 100 * CONNTRACK_PERCENT_MAX || most < CONNTRACK_MIN => {
            found.add(Finding::warning(id, saw, why, fix(most.saturating_mul(4).max(4 * CONNTRACK_MIN))));
        }
        _ => found.add(Finding::fine(id, saw)),
    }
}

/// A device with fewer queues than cores has its packets processed on few of them, unless RPS spreads them.
fn receive_queues(readings: &Readings, found: &mut Findings) {
    let cores = readings.cpus;
    let mut any_spreads = false;
    for device in &readings.devices {
        let id = Id::ReceiveQueues.as_str();
        let (name, queues) = (&device.name, device.queues);
        let noun = if queues == 1 { "queue" } else { "queues" };
        any_spreads |= device.spreads;
        if queues >= cores || device.spreads || queues == 0 {
            let rps = if device.spreads { ", spread by RPS" } else { "" };
            found
                .add(Finding::fine(id, format!("{name} has {queues} receive {noun} for {cores} cores{rps}")));
            continue;
        }
        found.add(Finding::warning(
            id,
            format!("{name} has {queues} receive {noun} for {cores} cores, and RPS is off"),
            "only as many cores as there are queues process packets; the others wait for them",
            format!(
                "for q in /sys/class/net/{name}/queues/rx-*; do echo {} > $q/rps_cpus; done, or ethtool -L {name} combined \
                 {cores}",
                mask(cores)
            ),
        ));
    }
    flow_steering(readings, any_spreads, found);
}

/// Without flow entries RPS picks a core by hash, and the packet wakes the worker on another one.
fn flow_steering(readings: &Readings, any_spreads: bool, found: &mut Findings) {
    const ENTRIES: u64 = 32_768;
    let id = Id::FlowSteering.as_str();
    let Some(entries) = readings.flow_entries.filter(|_| any_spreads) else { return };
    let without = readings.devices.iter().find(|device| device.spreads && !device.has_flows);
    if entries > 0 && without.is_none() {
        found.add(Finding::fine(id, format!("net.core.rps_sock_flow_entries is {entries}")));
        return;
    }
    let device = without.map_or("DEVICE", |device| &device.name);
    found.add(Finding::warning(
        id,
        format!("RPS is on, and net.core.rps_sock_flow_entries is {entries}, rps_flow_cnt of {device} 0"),
        "packets are processed on another core than the worker that reads them",
        format!(
            "sysctl -w net.core.rps_sock_flow_entries={ENTRIES}; for q in /sys/class/net/{device}/queues/rx-*; do echo 4096 > \
             $q/rps_flow_cnt; done"
        ),
    ));
}

/// The first so many CPUs as the files of RPS have them: hexadecimal words of 32 bits.
fn mask(cpus: usize) -> String {
    let (words, rest) = (cpus / 32, cpus % 32);
    let mut parts = vec!["ffffffff".to_owned(); words];
    if rest > 0 || words == 0 {
        parts.insert(0, format!("{:x}", (1_u64 << rest) - 1));
    }
    parts.join(",")
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, SocketAddr};

    use super::super::readings::Device;
    use super::super::testing::{only, wanted};
    use super::*;
    use crate::doctor::Severity::{Fine, Warning};

    fn judged(readings: &Readings, wanted: &Wanted) -> Findings {
        let mut found = Findings::default();
        judge(readings, wanted, &mut found);
        found
    }

    #[test]
    fn ports_are_judged_by_the_number_of_servers() {
        let with = |ports, servers: Option<u8>, sources: &[Option<IpAddr>], connections| {
            let pair = |nth, source| (SocketAddr::from(([192, 0, 2, nth], 80)), source);
            let pairs =
                |count| (0..count).flat_map(|nth| sources.iter().map(move |source| pair(nth, *source)));
            let servers = servers.map(|count| pairs(count).collect());
            judged(
                &Readings { ports: Some(ports), ..Readings::default() },
                &Wanted { connections, servers, ..wanted() },
            )
        };
        let kernel = &[None];
        let two = &[1, 2].map(|nth| Some(IpAddr::from([10, 0, 0, nth])));
        only(
            &with(28_232, None, kernel, None),
            Id::Ports,
            Fine,
            &["28232 local ports: that many connections to each server"],
        );
        only(&with(28_232, Some(1), kernel, None), Id::Ports, Fine, &["for the server: 28232 connections"]);
        only(&with(28_232, Some(3), kernel, Some(80_000)), Id::Ports, Fine, &["each of 3 servers: 84696"]);
        let beyond = with(28_232, Some(1), kernel, Some(50_000));
        only(
            &beyond,
            Id::Ports,
            Warning,
            &["--max-connections is 50000", "ip_local_port_range", "--source-address"],
        );
        let from_two = with(28_232, Some(1), two, Some(50_000));
        only(&from_two, Id::Ports, Fine, &["from each source address for the server: 56464"]);
        only(
            &with(1_000, None, kernel, None),
            Id::Ports,
            Warning,
            &["1000 local ports", "ip_local_port_range"],
        );
        assert!(with(1_000, Some(0), kernel, None).findings.is_empty(), "Unix sockets have no ports");
    }

    #[test]
    fn backlogs_are_judged_by_what_listeners_ask_for() {
        let with =
            |somaxconn| judged(&Readings { somaxconn: Some(somaxconn), ..Readings::default() }, &wanted());
        only(&with(4096), Id::Backlog, Fine, &["--backlog is 4096, net.core.somaxconn 4096"]);
        only(&with(128), Id::Backlog, Warning, &["allows 128", "sysctl -w net.core.somaxconn=4096"]);
        let syn = |most, cookies| {
            let readings =
                Readings { syn_backlog: Some(most), syn_cookies: Some(cookies), ..Readings::default() };
            judged(&readings, &wanted())
        };
        only(&syn(256, 1), Id::SynBacklog, Fine, &["SYN cookies are on"]);
        only(&syn(8192, 0), Id::SynBacklog, Fine, &[]);
        only(&syn(256, 0), Id::SynBacklog, Warning, &["sysctl -w net.ipv4.tcp_syncookies=1"]);
    }

    #[test]
    fn connection_tracking_needs_two_entries_a_connection() {
        let with = |count, most, connections| {
            let readings = Readings { conntrack: Some((count, most)), ..Readings::default() };
            judged(&readings, &Wanted { connections, ..wanted() })
        };
        only(&with(10, 262_144, Some(100_000)), Id::Conntrack, Fine, &["10 entries of 262144"]);
        only(
            &with(10, 262_144, Some(200_000)),
            Id::Conntrack,
            Warning,
            &["needs 400000", "nf_conntrack_max=800000"],
        );
        only(&with(250_000, 262_144, None), Id::Conntrack, Warning, &["nf_conntrack_max=1048576"]);
        only(&with(10, 4096, None), Id::Conntrack, Warning, &["nf_conntrack_max=262144"]);
        assert!(judged(&Readings::default(), &wanted()).findings.is_empty());
    }

    #[test]
    fn packets_are_to_be_spread_over_the_cores() {
        let with = |queues, spreads, has_flows, flow_entries| {
            let device = Device { name: "eth0".to_owned(), queues, spreads, has_flows };
            let flow_entries = Some(flow_entries);
            judged(
                &Readings { devices: vec![device], cpus: 4, flow_entries, ..Readings::default() },
                &wanted(),
            )
        };
        only(&with(4, false, false, 0), Id::ReceiveQueues, Fine, &["4 receive queues for 4 cores"]);
        only(
            &with(1, false, false, 0),
            Id::ReceiveQueues,
            Warning,
            &["echo f > $q/rps_cpus", "ethtool -L eth0"],
        );
        only(&with(1, true, false, 0), Id::ReceiveQueues, Fine, &["spread by RPS"]);
        only(
            &with(1, true, false, 0),
            Id::FlowSteering,
            Warning,
            &["rps_sock_flow_entries=32768", "rps_flow_cnt"],
        );
        only(&with(1, true, true, 32_768), Id::FlowSteering, Fine, &["is 32768"]);
    }

    #[test]
    fn a_mask_has_a_bit_a_cpu() {
        for (cpus, expected) in
            [(1, "1"), (2, "3"), (8, "ff"), (32, "ffffffff"), (40, "ff,ffffffff"), (64, "ffffffff,ffffffff")]
        {
            assert_eq!(mask(cpus), expected);
        }
    }
}
