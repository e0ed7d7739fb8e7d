//! Files and TCP ports: the process reaches what its settings name, and nothing else (landlock(7)).
//!
//! Rules stick to what stands at a path when the process enters, so directories are allowed in the place of files that others
//! will replace. They can only become stricter: what a reload names elsewhere is denied, and [`denies`] knows it.

use std::env;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, LandlockStatus, NetPort, PathBeneath, PathFd, Ruleset,
    RulesetAttr as _, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::needs::{Needs, Ports, Use, directory};
use crate::control::names::Resolver;
use crate::proxy::settings::Service;

/// What this program knows. Of later ones, the right to connect to Unix sockets would take servers from it.
const KNOWN: ABI = ABI::V6;

/// The ports of the rules in force, if they are about ports; one for the process.
static IN_FORCE: OnceLock<Option<Ports>> = OnceLock::new();

/// Limits this thread and those that it will start to that. Without Landlock the process goes on, and says so. Returns what is
/// limited, as the start-up line has it.
pub(super) fn limit(needs: &Needs) -> Vec<&'static str> {
    match enter(needs) {
        Ok(limited) => {
            let ports = needs.ports.clone().filter(|_| limited.iter().any(|one| one.starts_with("tcp")));
            // A process enters once.
            let _ = IN_FORCE.set(ports);
            limited
        }
        Err(error) => {
            tracing::info!(error, "the kernel has no Landlock; serving without limits on files and ports");
            Vec::new()
        }
    }
}

fn enter(needs: &Needs) -> Result<Vec<&'static str>, String> {
    let status = restrict(needs).map_err(|error| error.to_string())?;
    let abi = match status.landlock {
        LandlockStatus::NotEnabled => return Err("not enabled at boot".to_owned()),
        LandlockStatus::NotImplemented => return Err("not in this kernel".to_owned()),
        LandlockStatus::Available { .. } if status.ruleset == RulesetStatus::NotEnforced => {
            return Err("not enforced".to_owned());
        }
        LandlockStatus::Available { effective_abi, .. } => effective_abi,
    };
    let tcp = needs.ports.as_ref().map(|ports| if ports.connect.is_some() { "tcp" } else { "tcp-bind" });
    let tcp = tcp.filter(|_| abi >= ABI::V4);
    let scopes = (abi >= ABI::V6).then_some("scopes");
    Ok(["files"].into_iter().chain(tcp).chain(scopes).collect())
}

fn restrict(needs: &Needs) -> Result<landlock::RestrictionStatus, landlock::RulesetError> {
    let mut ruleset = Ruleset::default().handle_access(AccessFs::from_all(KNOWN))?.scope(scopes())?;
    if let Some(ports) = &needs.ports {
        ruleset = ruleset.handle_access(AccessNet::BindTcp)?;
        if ports.connect.is_some() {
            ruleset = ruleset.handle_access(AccessNet::ConnectTcp)?;
        }
    }
    let mut ruleset = ruleset.create()?;
    for (path, of) in &needs.paths {
        if let Ok(path) = PathFd::new(path) {
            // What belongs to no file system, such as a pipe at /dev/stdout, takes no rule and needs none.
            let _ = (&mut ruleset).add_rule(PathBeneath::new(path, rights(*of)));
        }
    }
    if let Some(ports) = &needs.ports {
        for port in &ports.bind {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::BindTcp))?;
        }
        for port in ports.connect.iter().flatten() {
            ruleset = ruleset.add_rule(NetPort::new(*port, AccessNet::ConnectTcp))?;
        }
    }
    ruleset.restrict_self()
}

fn rights(of: Use) -> BitFlags<AccessFs> {
    match of {
        Use::Read => AccessFs::ReadFile | AccessFs::ReadDir,
        Use::Write => AccessFs::WriteFile | AccessFs::MakeReg,
        Use::Sockets => AccessFs::MakeSock | AccessFs::RemoveFile,
    }
}

/// No signal leaves the process, and no abstract Unix socket of others is reached, unless the service manager listens there.
fn scopes() -> BitFlags<Scope> {
    let is_abstract =
        env::var_os("NOTIFY_SOCKET").is_some_and(|address| address.as_encoded_bytes().starts_with(b"@"));
    if is_abstract { Scope::Signal.into() } else { Scope::Signal | Scope::AbstractUnixSocket }
}

/// Whether it is the sandbox that denies this access to the file, or to its directory if there is none: access(2) knows the
/// file's permissions only.
pub(in crate::control) fn denies(path: &Path, wanted: AccessFlags, error: &io::Error) -> bool {
    let is_allowed = || match access(path, wanted) {
        Err(Errno::ENOENT) => access(directory(path), AccessFlags::W_OK | AccessFlags::X_OK).is_ok(),
        allowed => allowed.is_ok(),
    };
    IN_FORCE.get().is_some() && error.kind() == io::ErrorKind::PermissionDenied && is_allowed()
}

/// Whether it is the sandbox that does not let the process bind to that port.
pub(in crate::control) fn denies_port(port: u16, error: &io::Error) -> bool {
    let ports = IN_FORCE.get().and_then(Option::as_ref);
    error.kind() == io::ErrorKind::PermissionDenied && ports.is_some_and(|ports| !ports.bind.contains(&port))
}

/// A port to which the process cannot connect, of those that these services need.
pub(in crate::control) fn first_denied<'a>(
    services: impl IntoIterator<Item = &'a Service>,
    resolver: &Resolver,
) -> Option<u16> {
    let limited = IN_FORCE.get()?.as_ref()?.connect.as_ref()?;
    Ports::of(services, resolver).first_beside(limited)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::net::{TcpListener, TcpStream};
    use std::os::linux::net::SocketAddrExt as _;
    use std::os::unix::net::{SocketAddr, UnixListener, UnixStream};
    use std::panic::resume_unwind;
    use std::path::PathBuf;
    use std::thread;

    use nix::sys::signal::kill;
    use nix::unistd::getppid;
    use tempfile::TempDir;

    use super::*;
    use crate::control::LogTarget;

    /// Does that on a thread which is limited, if this kernel can; with what is limited.
    fn limited(needs: &Needs, then: impl FnOnce(&str) + Send) {
        let work = || match limit(needs).join(",").as_str() {
            "" => println!("SKIPPED: this kernel has no Landlock"),
            limits => then(limits),
        };
        thread::scope(|scope| scope.spawn(work).join().unwrap_or_else(|panic| resume_unwind(panic)));
    }

    fn is_denied(error: &io::Error) -> bool {
        error.kind() == io::ErrorKind::PermissionDenied
    }

    #[test]
    fn files_are_those_of_the_settings_and_what_replaces_them() {
        let [known, elsewhere] = [(); 2].map(|()| TempDir::new().expect("a directory for temporary files"));
        let [own, key, other, log] = [
            known.path().join("own"),
            known.path().join("key"),
            elsewhere.path().join("other"),
            elsewhere.path().join("log"),
        ];
        for file in [&own, &other] {
            fs::write(file, "text").expect("a file");
        }
        let mut needs = Needs::of_this_host();
        needs.files(&[own.clone(), key.clone()]);
        limited(&needs, |limits| {
            assert!(limits.starts_with("files"), "{limits}");
            fs::read(&own).expect("it is named");
            let error = fs::read(&key).expect_err("there is none yet");
            assert_eq!(error.kind(), io::ErrorKind::NotFound);
            let error = fs::read(&other).expect_err("it is not named");
            assert!(is_denied(&error) && denies(&other, AccessFlags::R_OK, &error), "{error}");
            let error = fs::write(&log, "").expect_err("it is not named");
            assert!(denies(&log, AccessFlags::W_OK, &error), "{error}");
            let error = OpenOptions::new().append(true).open(&own).expect_err("it is read only");
            assert!(is_denied(&error), "{error}");
            assert!(fs::remove_file(&own).is_err_and(|error| is_denied(&error)));
            assert!(std::process::Command::new("/bin/true").status().is_err_and(|error| is_denied(&error)));
            fs::read("/etc/passwd").expect("lookups read it");
            fs::read("/proc/self/status").expect("the process reads of itself");
            fs::write("/dev/null", "").expect("it takes everything");
        });
    }

    #[test]
    fn ports_are_those_of_the_settings() {
        let [server, other] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
        let [at, elsewhere] = [&server, &other].map(|one| one.local_addr().expect("it is bound"));
        for (connect, expected) in
            [(Some([at.port()].into()), "files,tcp,scopes"), (None, "files,tcp-bind,scopes")]
        {
            let is_limited = connect.is_some();
            let ports = Some(Ports { connect, bind: [0].into() });
            limited(&Needs { ports, ..Needs::default() }, |limits| {
                if limits != expected {
                    println!("SKIPPED: this kernel has less: {limits}");
                    return;
                }
                TcpStream::connect(at).expect("it is a server's port");
                let refused = TcpStream::connect(elsewhere).err();
                assert_eq!(refused.as_ref().is_some_and(is_denied), is_limited, "{refused:?}");
                TcpListener::bind("127.0.0.1:0").expect("any port");
                assert!(TcpListener::bind("127.0.0.1:1").is_err_and(|error| is_denied(&error)));
            });
        }
    }

    #[test]
    fn signals_and_abstract_sockets_end_at_the_process() {
        let name =
            SocketAddr::from_abstract_name(format!("iisplice-test-{}", std::process::id())).expect("a name");
        let _listener = UnixListener::bind_addr(&name).expect("a free name");
        limited(&Needs::default(), |limits| {
            if !limits.contains("scopes") {
                println!("SKIPPED: this kernel has less: {limits}");
                return;
            }
            assert!(UnixStream::connect_addr(&name).is_err_and(|error| is_denied(&error)));
            assert_eq!(kill(getppid(), None), Err(Errno::EPERM));
        });
    }

    #[test]
    fn a_log_is_written_and_a_socket_made_and_removed_where_they_were() {
        let [logs, sockets] = [(); 2].map(|()| TempDir::new().expect("a directory for temporary files"));
        let [log, socket]: [PathBuf; 2] = [logs.path().join("log"), sockets.path().join("socket")];
        fs::write(&log, "").expect("a file");
        let mut needs = Needs::default();
        needs.log(&LogTarget::File(log.clone()));
        needs.sockets([socket.as_path()]);
        fs::remove_file(&log).expect("it is there");
        limited(&needs, |_| {
            OpenOptions::new().append(true).create(true).open(&log).expect("a new log");
            assert!(fs::read(&log).is_err_and(|error| is_denied(&error)), "a log is not read");
            drop(UnixListener::bind(&socket).expect("a new socket"));
            fs::remove_file(&socket).expect("its own");
            assert!(fs::write(&socket, "").is_err_and(|error| is_denied(&error)), "only sockets");
        });
    }
}
