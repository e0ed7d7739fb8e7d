//! What a proxy needs once it runs: by its settings, and of its host as every program does.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::control::LogTarget;
use crate::control::names::Resolver;
use crate::proxy::settings::Service;
use crate::upstream::Sources;
use crate::upstream::names::Name;
use crate::uring::Address;

/// Most links that are followed to a file, as in the kernel.
const LINKS_MAX: usize = 40;

/// The port of DNS.
const DNS_PORT: u16 = 53;

/// What lookups of names read, with the modules of the name service and all that they link to, the authorities that this host
/// trusts, and what the host says of itself. Paths that are missing are left out.
const OF_THIS_HOST: &[&str] = &[
    // Replaced by other files as long as the process runs, so that no rule for a file would last.
    "/etc",
    "/run/NetworkManager",
    "/run/connman",
    "/run/resolvconf",
    "/run/systemd/resolve",
    "/usr/etc",
    "/var/lib/sss",
    // Modules.
    "/gnu/store",
    "/lib",
    "/lib32",
    "/lib64",
    "/nix/store",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    // Authorities, to which files in /etc link.
    "/usr/local/share/ca-certificates",
    "/usr/share/ca-certificates",
    "/usr/share/pki",
    "/var/lib/ca-certificates",
    // The kernel. It shows little of other processes to one with Landlock (ptrace(2)).
    "/dev/urandom",
    "/proc",
    "/sys/class/net",
    "/sys/devices",
    "/sys/fs/cgroup",
];

/// Files of lookups that can be links to anywhere.
const LINKED: &[&str] = &["/etc/hosts", "/etc/nsswitch.conf", "/etc/resolv.conf"];

/// Files that are there for everybody; a directory there is not for a log or a setting to be in.
const SHARED: &[&str] = &["/dev", "/proc", "/sys"];

/// A use of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// Files are read.
    Read,
    /// Files are made and written to.
    Write,
    /// Unix sockets are made and removed.
    Sockets,
}

/// See the module docs.
#[derive(Debug, Default)]
pub(in crate::control) struct Needs {
    /// Each path with what it is used for, and everything below it.
    pub(super) paths: Vec<(PathBuf, Use)>,
    /// TCP ports; none if all can be needed.
    pub(super) ports: Option<Ports>,
}

/// TCP ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ports {
    /// Those of servers; none if all can be needed.
    pub(super) connect: Option<BTreeSet<u16>>,
    /// Those of listeners; 0 stands for one that the kernel chooses.
    pub(super) bind: BTreeSet<u16>,
}

impl Needs {
    /// What belongs to the host and to the service manager's directories for this process.
    pub(in crate::control) fn of_this_host() -> Self {
        let mut needs = Self::default();
        needs.paths.extend(OF_THIS_HOST.iter().map(|path| (path.into(), Use::Read)));
        for path in LINKED {
            needs.file(Path::new(path), Use::Read);
        }
        // Its own symbols, for what is said of a panic.
        needs.paths.extend(env::current_exe().map(|own| (own, Use::Read)));
        needs.paths.push(("/dev/null".into(), Use::Read));
        needs.paths.push(("/dev/null".into(), Use::Write));
        for (variable, of) in [
            ("SSL_CERT_FILE", Use::Read),
            ("SSL_CERT_DIR", Use::Read),
            ("CONFIGURATION_DIRECTORY", Use::Read),
            ("LOGS_DIRECTORY", Use::Write),
            ("RUNTIME_DIRECTORY", Use::Sockets),
        ] {
            let paths = env::var_os(variable);
            needs.paths.extend(paths.iter().flat_map(env::split_paths).map(|path| (path, of)));
        }
        needs
    }

    /// Files that are read again: the settings, what they name, and what may come in the place of either.
    pub(in crate::control) fn files(&mut self, files: &[PathBuf]) {
        for file in files {
            self.file(file, Use::Read);
        }
    }

    /// The log, which is opened again after it was moved away.
    pub(in crate::control) fn log(&mut self, log: &LogTarget) {
        if let LogTarget::File(path) = log {
            self.file(path, Use::Write);
        }
    }

    /// The files of Unix sockets, which are removed at the end.
    pub(in crate::control) fn sockets<'a>(&mut self, sockets: impl IntoIterator<Item = &'a Path>) {
        let directories = sockets.into_iter().map(directory).filter(|path| !is_shared(path));
        self.paths.extend(directories.map(|path| (path.to_owned(), Use::Sockets)));
    }

    /// The ports of settings, in which no reload can change them.
    pub(in crate::control) fn ports(&mut self, services: &[Arc<Service>], resolver: &Resolver) {
        self.ports = Some(Ports::of(services.iter().map(Arc::as_ref), resolver));
    }

    fn file(&mut self, path: &Path, of: Use) {
        self.paths.push((path.to_owned(), of));
        let directories = directories(path).into_iter().filter(|path| !is_shared(path));
        self.paths.extend(directories.map(|path| (path, of)));
    }
}

impl Ports {
    pub(super) fn of<'a>(services: impl IntoIterator<Item = &'a Service>, resolver: &Resolver) -> Self {
        let services: Vec<_> = services.into_iter().collect();
        let groups = || services.iter().flat_map(|service| service.groups());
        let mut connect: BTreeSet<_> = resolver.servers.iter().map(std::net::SocketAddr::port).collect();
        if connect.is_empty() {
            connect.insert(DNS_PORT);
        }
        let servers = groups().flat_map(|group| &group.servers);
        connect.extend(servers.filter_map(|server| port(server.address())));
        // A name may have had no address yet.
        let mut names = groups().flat_map(|group| group.names()).map(|(name, _)| name);
        let is_known = names.all(|name| match name {
            Name::Host { port, .. } => {
                connect.insert(*port);
                true
            }
            Name::Service(_) => false,
        });
        let listeners = services.iter().flat_map(|service| &service.listeners);
        let mut bind: BTreeSet<_> = listeners.filter_map(|listener| port(&listener.address)).collect();
        if groups().any(|group| group.sources != Sources::Kernel) {
            bind.insert(0);
        }
        Self { connect: is_known.then_some(connect), bind }
    }

    /// A port to connect to that is not among these; 0 stands for any.
    pub(super) fn first_beside(&self, others: &BTreeSet<u16>) -> Option<u16> {
        self.connect.as_ref().map_or(Some(0), |ports| ports.difference(others).next().copied())
    }
}

fn port(address: &Address) -> Option<u16> {
    match address {
        Address::Ip(ip) => Some(ip.port()),
        Address::Unix(_) => None,
    }
}

/// The directory in which that is.
pub(super) fn directory(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The directories on the way to a file: its own, and those of the links that lead to it.
fn directories(path: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut path = path.to_owned();
    for _ in 0..LINKS_MAX {
        let directory = directory(&path).to_owned();
        let next = fs::read_link(&path).map(|target| directory.join(target));
        found.push(directory);
        let Ok(next) = next else { break };
        path = next;
    }
    found
}

/// Whether a directory has what everybody uses, and so is not allowed for what one file of it is.
fn is_shared(directory: &Path) -> bool {
    let Ok(directory) = directory.canonicalize() else { return false };
    directory == Path::new("/") || SHARED.iter().any(|shared| directory.starts_with(shared))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;
    use crate::proxy::routes::Routes;
    use crate::proxy::settings::Listener;
    use crate::upstream::{GroupSettings, Server};

    fn ports(listener: &str, server: &str, sources: Sources, resolver: &Resolver) -> Ports {
        let server = Server::new(server, Address::Ip(server.parse().expect("an address")), None);
        let group =
            GroupSettings { sources, ..GroupSettings::new("g", vec![Arc::new(server.expect("a server"))]) };
        let listener = Listener::at(Address::Ip(listener.parse().expect("an address")));
        let service = Service::new("s", vec![listener], Routes::all(Arc::new(group)));
        Ports::of([&service], resolver)
    }

    #[test]
    fn ports_are_those_of_servers_listeners_and_dns() {
        let found = ports("127.0.0.1:80", "127.0.0.1:8080", Sources::Kernel, &Resolver::default());
        assert_eq!(found, Ports { connect: Some([53, 8080].into()), bind: [80].into() });
        let dns =
            Resolver { servers: vec!["127.0.0.1:5353".parse().expect("an address")], ..Resolver::default() };
        let found = ports("127.0.0.1:80", "127.0.0.1:8080", Sources::Client, &dns);
        assert_eq!(found, Ports { connect: Some([5353, 8080].into()), bind: [0, 80].into() });
    }

    #[test]
    fn every_directory_on_the_way_to_a_file_is_known() {
        let directory = TempDir::new().expect("a directory for temporary files");
        let [live, archive] = ["live", "archive"].map(|name| directory.path().join(name));
        fs::create_dir(&live).expect("a free name");
        fs::create_dir(&archive).expect("a free name");
        fs::write(archive.join("key3.pem"), "").expect("a file");
        symlink("../archive/key3.pem", live.join("key.pem")).expect("a link");
        assert_eq!(directories(&live.join("key.pem")), [live.clone(), live.join("../archive")]);
        assert_eq!(directories(Path::new("iisplice.toml")), [Path::new(".")]);
    }

    #[test]
    fn a_directory_of_everybody_is_not_allowed_for_one_file() {
        for (path, expected) in [("/", true), ("/dev", true), ("/proc/self/fd", true), ("/tmp", false)] {
            assert_eq!(is_shared(Path::new(path)), expected, "{path}");
        }
        let mut needs = Needs::default();
        needs.log(&LogTarget::File("/dev/null".into()));
        needs.files(&["/iisplice.toml".into()]);
        let expected = [("/dev/null".into(), Use::Write), ("/iisplice.toml".into(), Use::Read)];
        assert_eq!(needs.paths, expected);
    }
}
