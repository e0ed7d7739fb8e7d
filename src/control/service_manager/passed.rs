//! Listening sockets that the service manager passed on at the start: `LISTEN_FDS` of `sd_listen_fds`(3).
//!
//! ```text
//!   socket unit, or the store of an earlier process --LISTEN_FDS--> PassedSockets::take --given--> listeners by address
//! ```
//!
//! One that no listener has is a mistake: its clients would wait for ever. So is one that is no listener's.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::os::fd::{OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, absolute};
use std::process;

use socket2::{Domain, SockRef, Type};

use super::store;
use crate::control::AdminSettings;
use crate::control::given::Given;
use crate::control::handover::{At, Description, Role};
use crate::control::setting::setting;
use crate::proxy::settings::Service;
use crate::uring::{self, Address};

/// The number of the first one.
const FIRST: RawFd = 3;

/// See the module docs.
#[derive(Debug, Default)]
pub struct PassedSockets(Vec<Passed>);

/// A socket that was passed on.
#[derive(Debug)]
struct Passed {
    /// What the service manager calls it: mostly its unit.
    name: String,
    socket: OwnedFd,
    /// As bound.
    address: Address,
    /// Whether it has clients by IPv4 as well.
    has_ipv4_too: bool,
    /// The number of the worker that had it, if it is one that this program stored.
    worker: Option<usize>,
}

/// What is wrong with descriptors that were passed on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PassedFault {
    /// The number of them cannot be right.
    #[error(
        "LISTEN_FDS={0:?} in the environment is not the number of descriptors that the service manager passed on"
    )]
    Number(OsString),
    /// One is no socket that a listener can have.
    #[error(
        "descriptor {number} ({name}) of the service manager is {found}; a socket unit needs ListenStream= and Accept=no"
    )]
    NoListener {
        /// Its number.
        number: RawFd,
        /// What the service manager calls it.
        name: String,
        /// What it is.
        found: &'static str,
    },
    /// No listener has the address of one.
    #[error(
        "the service manager passed on a socket for {address} ({name}), which is no listener's; {advice}"
    )]
    Unwanted {
        /// Where it is bound.
        address: Address,
        /// What the service manager calls it.
        name: String,
        /// What to do.
        advice: String,
    },
}

impl PassedSockets {
    /// Those of this process. To be called once, before it opens anything.
    ///
    /// # Errors
    /// One that no listener can have.
    pub fn take() -> Result<Self, PassedFault> {
        let Some((count, names)) = passed(|name| env::var_os(name), process::id())? else {
            return Ok(Self::default());
        };
        let wrong_number = |_| PassedFault::Number(count.to_string().into());
        let sockets = uring::take_inherited(FIRST..FIRST.saturating_add(count)).map_err(wrong_number)?;
        let all = std::iter::zip((FIRST..).zip(sockets), names);
        all.map(|((number, socket), name)| Passed::new(number, name, socket))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// Gives those to listeners and the admin endpoint that are at their addresses, and closes the others that this program
    /// stored. Returns the names of all that it stored.
    ///
    /// # Errors
    /// One that a socket unit has, at another address.
    pub(in crate::control) fn give_to(
        self,
        given: &mut Given,
        services: &[Service],
        admin: Option<&AdminSettings>,
    ) -> Result<Vec<String>, PassedFault> {
        let Self(all) = self;
        let listeners =
            services.iter().flat_map(|service| &service.listeners).map(|listener| &listener.address);
        let admin = admin.map(|admin| &admin.address);
        let wanted: Vec<_> = listeners.chain(admin).collect();
        let stored = all.iter().filter(|one| one.worker.is_some()).map(|one| one.name.clone()).collect();
        for (nth, passed) in all.into_iter().enumerate() {
            let address = wanted.iter().find(|wanted| is_same(wanted, &passed.address));
            match address {
                Some(address) if passed.worker.is_none() || passed.is_reachable() => {
                    let role = if Some(*address) == admin { Role::Admin } else { Role::Listener };
                    given.add(passed.description(role, address, nth), passed.socket);
                }
                _ if passed.worker.is_some() => {
                    let address = &passed.address;
                    tracing::info!(%address, "no client can reach a listener by a socket that the service manager kept; closing it");
                }
                _ => return Err(passed.unwanted(&wanted)),
            }
        }
        Ok(stored)
    }
}

impl Passed {
    fn new(number: RawFd, name: String, socket: OwnedFd) -> Result<Self, PassedFault> {
        let fault = |found| PassedFault::NoListener { number, name: name.clone(), found };
        let view = SockRef::from(&socket);
        let kind = view.r#type().map_err(|_| fault("no socket"))?;
        if kind != Type::STREAM {
            return Err(fault("a socket for datagrams"));
        }
        let address = view.local_addr().map_err(|_| fault("a socket without an address"))?;
        let domain = view.domain().map_err(|_| fault("no socket"))?;
        let at = match (address.as_socket(), address.as_pathname()) {
            (Some(address), _) => Address::Ip(address),
            (_, Some(path)) => Address::Unix(path.to_owned()),
            _ if domain == Domain::UNIX => return Err(fault("a Unix socket without a path")),
            _ => return Err(fault("a socket of another family than IPv4, IPv6 and Unix")),
        };
        if !view.is_listener().unwrap_or_default() {
            return Err(fault("a socket that does not listen"));
        }
        // Workers that share it must not wait for a client that another of them has accepted.
        view.set_nonblocking(true).map_err(|_| fault("a socket that it may not change"))?;
        let has_ipv4_too = domain == Domain::IPV6 && view.only_v6().is_ok_and(|only| !only);
        let worker = store::worker(&name);
        Ok(Self { name, socket, address: at, has_ipv4_too, worker })
    }

    /// Whether clients reach it: the file of a Unix socket may be gone, as with its directory over a restart, and a process that
    /// ended before it could take a closed listener's socket back has turned them away.
    fn is_reachable(&self) -> bool {
        match &self.address {
            Address::Ip(_) => !uring::turns_new_clients_away(&self.socket),
            Address::Unix(path) => fs::metadata(path).is_ok_and(|found| found.file_type().is_socket()),
        }
    }

    /// What it is to the listener at this address, as it is written there; it was the `nth`.
    fn description(&self, role: Role, address: &Address, nth: usize) -> Description {
        let file = match &self.address {
            // The file of a unit's is the service manager's.
            Address::Unix(path) if self.worker.is_some() => {
                fs::metadata(path).map(|found| (found.dev(), found.ino())).ok()
            }
            _ => None,
        };
        Description {
            role,
            address: At::from(address),
            written: At::from(address),
            service: String::new(),
            worker: self.worker.unwrap_or(nth),
            file,
            is_of_unit: self.worker.is_none(),
        }
    }

    fn unwanted(&self, wanted: &[&Address]) -> PassedFault {
        let Self { name, address, has_ipv4_too, .. } = self;
        let ipv4 = wanted.iter().find(|wanted| match (wanted, address) {
            (Address::Ip(wanted), Address::Ip(own)) => {
                *has_ipv4_too && wanted.is_ipv4() && own.ip().is_unspecified() && wanted.port() == own.port()
            }
            _ => false,
        });
        let advice = match ipv4 {
            Some(ipv4) => format!("for {ipv4} write ListenStream={ipv4} into its unit"),
            None => format!("add {}, or remove it from its unit", setting("listen").of(&address.to_string())),
        };
        PassedFault::Unwanted { address: address.clone(), name: name.clone(), advice }
    }
}

/// How many descriptors were passed on to the process with this id, and their names.
fn passed(
    variable: impl Fn(&str) -> Option<OsString>,
    pid: u32,
) -> Result<Option<(RawFd, Vec<String>)>, PassedFault> {
    let text = |name| variable(name).and_then(|text| text.into_string().ok());
    // The process that it names can be another one, which passed its environment on.
    if text("LISTEN_PID").is_none_or(|named| named != pid.to_string()) {
        return Ok(None);
    }
    let Some(count) = variable("LISTEN_FDS") else { return Ok(None) };
    let number = count.to_str().and_then(|text| text.parse().ok()).filter(|number| *number >= 0);
    let number: RawFd = number.ok_or(PassedFault::Number(count))?;
    let all = text("LISTEN_FDNAMES").unwrap_or_default();
    // What has no name is called so by systemd, too.
    let names = all.split(':').chain(std::iter::repeat(""));
    let names = names.map(|name| if name.is_empty() { "unknown" } else { name }.to_owned());
    Ok(Some((number, names.take(number as usize).collect())))
}

/// Whether a listener at one address is one at the other: paths may be written in several ways.
fn is_same(wanted: &Address, passed: &Address) -> bool {
    let place = |path: &Path| {
        let file = fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
        (absolute(path).ok(), file)
    };
    match (wanted, passed) {
        (Address::Unix(wanted), Address::Unix(passed)) => {
            let ((wanted, one), (passed, other)) = (place(wanted), place(passed));
            wanted == passed || (one.is_some() && one == other)
        }
        _ => wanted == passed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(variables: &[(&str, &str)]) -> Result<Option<(RawFd, Vec<String>)>, PassedFault> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        passed(|name| find(name).map(|(_, value)| value.into()), 17)
    }

    #[test]
    fn a_socket_that_turns_its_clients_away_is_not_reachable() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let passed = Passed::new(3, "iisplice-worker-0-x".to_owned(), socket.into()).expect("it listens");
        assert!(passed.is_reachable());
        uring::turn_new_clients_away(&passed.socket).expect("a TCP socket");
        assert!(!passed.is_reachable());
    }

    #[test]
    fn descriptors_are_for_the_process_that_is_named() {
        assert_eq!(count(&[]), Ok(None));
        assert_eq!(count(&[("LISTEN_FDS", "1")]), Ok(None));
        assert_eq!(count(&[("LISTEN_FDS", "1"), ("LISTEN_PID", "18")]), Ok(None));
        assert_eq!(count(&[("LISTEN_PID", "17")]), Ok(None));
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let own = [("LISTEN_FDS", "2"), ("LISTEN_PID", "17")];
        assert_eq!(count(&own), Ok(Some((2, all(&["unknown", "unknown"])))));
        let named = [("LISTEN_FDNAMES", "web.socket:b:c"), own[0], own[1]];
        assert_eq!(count(&named), Ok(Some((2, all(&["web.socket", "b"])))));
        for number in ["", "-1", "x", "9999999999999"] {
            let fault = PassedFault::Number(number.into());
            assert_eq!(count(&[("LISTEN_FDS", number), own[1]]), Err(fault), "{number}");
        }
    }
}
