//! A serving proxy: what is asked of it, until its end.

use std::time::Instant;

use super::admin::Admin;
use super::certificates;
use super::handover::starter::Starter;
use super::handover::{Predecessor, Upgrades};
use super::listeners::Listeners;
use super::logging::Logging;
use super::names::change;
use super::reload::{self, Read, Reading};
use super::running::Running;
use super::service_manager::PassedSockets;
use super::setting;
use super::signals::Signals;
use super::start::start;
use super::supervise::{Command, End, Event, send_later};
use super::totals::Totals;
use super::{Error, Plan, log_limit, logins};
use crate::proxy::orders::Orders;

/// Serves until it is told to stop; `signals` must be blocked before the process starts a second thread, and `logging` has
/// none yet. `read` reads the settings again. `starter` starts what takes over from this process, which takes over from
/// `predecessor`. `passed` are sockets of the service manager.
///
/// # Errors
/// What this host does not allow, or the first failure of a worker.
pub fn serve(
    plan: Plan,
    read: Read,
    signals: Signals,
    (starter, predecessor): (Starter, Option<&Predecessor>),
    logging: &Logging,
    passed: PassedSockets,
) -> Result<(), Error> {
    setting::name(plan.named);
    let (mut running, supervisor) = start(plan, predecessor, logging, passed)?;
    let mut upgrades = Upgrades::new(starter, supervisor.sender()).map_err(Error::Resource)?;
    let mut postponed = Postponed::default();
    let mut reading = Reading::new(read, supervisor.sender());
    signals.forward(supervisor.sender()).map_err(Error::Resource)?;
    running.manager.serves();
    certificates::compare(&running.served);

    let (mut asked, mut has_left) = (None, false);
    let mut ended_before = String::new();
    let end = supervisor.wait(|command| {
        match command {
            Command::Drain => {
                let is_first = asked.is_none();
                asked = Some(Instant::now());
                if is_first {
                    upgrades.give_up();
                    if announce_stop(&running) {
                        return true;
                    }
                }
                drain(&mut running);
            }
            Command::End => {
                ended_before = running.totals().to_string();
                running.end();
            }
            Command::ReopenLog => {
                running.log.reopen();
                running.generations.reopen_logs();
            }
            Command::Reload | Command::TakeOver if asked.is_some() => {
                tracing::warn!("stopping; settings are not reloaded any more");
                // The clients that asked learn it by that.
                drop(running.board.take_askers());
            }
            // What the new process takes over stays as it is until then.
            Command::Reload if upgrades.is_running() => postponed.reload = true,
            Command::TakeOver if upgrades.is_running() => postponed.take_over = true,
            Command::Reload => read_again(&running, &mut reading),
            Command::TakeOver => take_over(&mut running, &mut reading),
            Command::TakeNames => change::take_over(&mut running),
            Command::Upgrade if asked.is_some() => {
                tracing::warn!("stopping; the proxy is not upgraded any more");
                drop(running.board.take_upgrade_askers());
            }
            Command::Upgrade => {
                let askers = running.board.take_upgrade_askers();
                upgrades.begin(|| running.estate(), askers);
            }
            Command::Upgraded => {
                let taken = upgrades.take();
                if asked.is_some() {
                    // It was told to stop, and so was the new process.
                } else if let Some((successor, askers)) = taken {
                    running.board.stop();
                    asked = Some(Instant::now());
                    running.manager.leaves();
                    running.leave(&successor);
                    running.names = None;
                    if std::mem::take(&mut postponed).any() {
                        successor.reload();
                        drop(running.board.take_askers());
                    }
                    successor.tell(askers);
                    has_left = true;
                    return true;
                } else {
                    std::mem::take(&mut postponed).make_up_for(&mut running, &mut reading);
                }
            }
            Command::CloseExtra if asked.is_some() => {}
            Command::CloseExtra => running.close_extra(),
            Command::AskForPipes => running.orders.iter().for_each(Orders::ask_for_pipes),
            Command::Ended => return running.must_stay(),
        }
        false
    });
    let Running { listeners, log, counters, seats, has_requests, admin, manager, .. } = running;
    close(listeners, admin, has_left, manager.keeps_sockets());
    let log_lines_dropped = match &end {
        Ok(End::Drained) => log.finish(),
        _ => 0,
    };
    log_limit::flush();
    if let Some(summary) = logins::summary(&counters) {
        tracing::info!("login totals: {summary}");
    }
    let totals = Totals { counters: &counters, has_requests, times_full: seats.times_full() };
    let drained_ms = asked.map_or(0, |asked| asked.elapsed().as_millis());
    match end? {
        End::Drained => {
            tracing::info!(drained_ms, log_lines_dropped, "stopped; all connections have ended: {totals}");
        }
        End::AtOnce => tracing::info!(
            drained_ms,
            "stopped immediately; totals for connections already closed: {ended_before}"
        ),
    }
    Ok(())
}

/// Says that the proxy stops. Whether it serves for a while yet, so that those who send clients here hear of it first.
fn announce_stop(running: &Running) -> bool {
    running.board.stop();
    let delay = running.drain_delay;
    running.manager.stops(delay.saturating_add(running.drain_timeout()));
    if delay.is_zero() {
        return false;
    }
    if let Err(error) = send_later(running.events.clone(), delay, Event::Waited) {
        tracing::warn!(%error, "cannot wait before the drain; draining now");
        return false;
    }
    tracing::info!(?delay, "stopping; accepting clients until the drain begins");
    true
}

/// Begins the drain.
fn drain(running: &mut Running) {
    let drain_timeout = running.drain_timeout();
    tracing::info!(?drain_timeout, "draining; accepting no more clients; a second signal stops immediately");
    running.drain();
    // Clients that are served have their servers.
    running.names = None;
}

/// Closes the endpoints of a process that serves no more; one before a successor (`has_left`) waits for those whom its admin
/// endpoint answers. Removes the files of Unix sockets, but for those that the service manager keeps.
fn close(listeners: Listeners, admin: Option<Admin>, has_left: bool, are_kept: bool) {
    if are_kept && !has_left {
        listeners.leave_all();
    }
    if let Some(admin) = admin {
        if has_left {
            admin.wait_for_answers();
        }
        admin.finish();
    }
    drop(listeners);
}

/// What waits for the end of an upgrade.
#[derive(Debug, Default, Clone, Copy)]
struct Postponed {
    /// Settings that were read.
    take_over: bool,
    /// Settings that are to be read.
    reload: bool,
}

impl Postponed {
    fn any(self) -> bool {
        self.take_over || self.reload
    }

    fn make_up_for(self, running: &mut Running, reading: &mut Reading) {
        if self.take_over {
            take_over(running, reading);
        }
        if self.reload {
            read_again(running, reading);
        }
    }
}

/// Begins to read the settings again.
fn read_again(running: &Running, reading: &mut Reading) {
    running.manager.reloads();
    if let Err(error) = reading.begin(running.board.take_askers()) {
        running.manager.reloaded(Err(error));
    }
}

fn take_over(running: &mut Running, reading: &mut Reading) {
    if let Some(taken) = reading.take() {
        let outcome = reload::take_over(running, taken);
        if !reading.is_in_progress() {
            running.manager.reloaded(outcome);
        }
    }
}
#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener, TcpStream};
    use std::sync::Arc;
    use std::sync::mpsc::channel;
    use std::thread;
    use std::time::Duration;

    use super::super::given::Given;
    use super::super::handover::{At, Description, Role};
    use super::super::running::{Workers, close_extra, start_workers};
    use super::super::supervise::Request;
    use super::*;
    use crate::proxy::bind;
    use crate::proxy::routes::Routes;
    use crate::proxy::settings::{Listener, Service, WorkerSettings};
    use crate::upstream::{GroupSettings, Server};
    use crate::uring::{Address, PipeSet, SocketOptions};

    const PATIENCE: Duration = Duration::from_secs(60);

    /// A server that sends each client a byte.
    fn server() -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        thread::spawn(move || {
            for client in listener.incoming() {
                client.and_then(|mut client| client.write_all(b"x")).expect("a client");
            }
        });
        Server::new(address.to_string(), Address::Ip(address), None).expect("a server")
    }

    /// Sockets of a process with three workers.
    fn given(listener: &Listener, tcp: &SocketOptions) -> (Given, SocketAddr) {
        let bound = bind::bind(listener, tcp, 3, None).expect("a free port");
        bind::listen(&bound.sockets, listener, tcp, &[None; 3], false).expect("a free port");
        let Address::Ip(at) = bound.address else { panic!("an IP address") };
        let mut given = Given::default();
        for (worker, socket) in bound.sockets.iter().enumerate() {
            let (role, service) = (Role::Listener, "a".to_owned());
            let (address, written) = (At::Ip(at), At::Ip(at));
            let description =
                Description { role, address, written, service, worker, file: None, is_of_unit: false };
            given.add(description, socket.try_clone().expect("a descriptor"));
        }
        (given, at)
    }

    /// How many sockets listen at this port.
    fn listening(port: u16) -> usize {
        let sockets = std::fs::read_to_string("/proc/self/net/tcp").expect("it is there");
        let (place, listens) = (format!(":{port:04X}"), "0A");
        let is_it = |line: &&str| {
            let fields: Vec<_> = line.split_whitespace().collect();
            fields[1].ends_with(&place) && fields[3] == listens
        };
        sockets.lines().skip(1).filter(is_it).count()
    }

    #[test]
    fn sockets_of_workers_that_are_no_more_are_closed_after_a_while() {
        let tcp = SocketOptions::default();
        let listener = Listener::at(Address::Ip(([127, 0, 0, 1], 0).into()));
        let (mut given, at) = given(&listener, &tcp);
        let group = GroupSettings::new("g", vec![Arc::new(server())]);
        let listener = Listener::at(Address::Ip(at));
        let mut services = [Service::new("a", vec![listener], Routes::all(Arc::new(group)))];
        let mut listeners = Listeners::default();
        let prepared = listeners.prepare(&mut services, 1, &mut given).expect("they are given");
        drop(given);
        prepared.listen(&[None]).expect("they listen");
        let (sockets, _) = listeners.commit(prepared, 1);
        assert!(listeners.has_extra(1));
        let settings =
            [WorkerSettings { buffers: 16, pipes: 0, ring_entries: 64, ..WorkerSettings::default() }];
        let services = services.map(Arc::new);
        let Workers { supervisor, orders, .. } =
            start_workers(&services, 64, &settings, sockets, PipeSet::open(1, 0, 0), None).expect("a worker");
        // It serves all clients, however the kernel would have chosen among the sockets.
        let serves = || {
            for _ in 0..20 {
                let mut client = TcpStream::connect(at).expect("it listens");
                client.set_read_timeout(Some(PATIENCE)).expect("not zero");
                client.read_exact(&mut [0]).expect("it is served");
            }
        };
        serves();
        assert_eq!(listening(at.port()), 3);

        let events = supervisor.sender();
        let (quiet, closed) = channel();
        send_later(events.clone(), Duration::from_millis(50), Event::Quiet).expect("a thread");
        let serving = thread::spawn(move || {
            supervisor.wait(|command| {
                match command {
                    Command::CloseExtra => {
                        close_extra(&orders, &mut listeners);
                        quiet.send(listeners.has_extra(1)).expect("it is waited for");
                    }
                    Command::Drain => orders.iter().for_each(Orders::drain),
                    Command::End => orders.iter().for_each(Orders::end),
                    _ => {}
                }
                false
            })
        });
        assert_eq!(closed.recv_timeout(PATIENCE), Ok(false), "it still knows of them");
        let deadline = Instant::now() + PATIENCE;
        while listening(at.port()) > 1 {
            assert!(Instant::now() < deadline, "they are not closed");
            thread::sleep(Duration::from_millis(1));
        }
        serves();
        events.send(Event::Request(Request::Stop)).expect("it runs");
        serving.join().expect("no panic").expect("no worker fails");
    }
}
