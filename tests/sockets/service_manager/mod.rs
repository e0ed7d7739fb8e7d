//! What a service manager is told, by one that the test plays: a datagram socket (`sd_notify`(3)).

mod notify;
mod sockets;
mod watchdog;

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::thread;
use std::time::Duration;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, recvmsg, sendmsg,
};
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

/// Sockets that a service manager passes on to a proxy, with their names.
struct Passing {
    sockets: Vec<(String, OwnedFd)>,
    /// How many there are, in words.
    count: String,
}

/// Takes sockets from the test, gives them the numbers from 3 on, and becomes the proxy: `LISTEN_PID` has to be its own.
const PASS_ON: &str = r"
import fcntl, os, socket, sys
path, names, count = sys.argv[1:4]
test = socket.socket(socket.AF_UNIX)
test.connect(path)
descriptors = socket.recv_fds(test, 1, 64)[1]
apart = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, 100) for one in descriptors]
test.detach()
os.closerange(3, 100)
for number, one in enumerate(apart, 3):
    os.dup2(one, number, inheritable=True)
os.environ.update(LISTEN_FDS=count, LISTEN_PID=str(os.getpid()), LISTEN_FDNAMES=names)
os.execvp(sys.argv[4], sys.argv[4:])
";

impl Passing {
    fn of(sockets: Vec<(&str, OwnedFd)>) -> Self {
        Self::named(sockets.into_iter().map(|(name, socket)| (name.to_owned(), socket)).collect())
    }

    fn named(sockets: Vec<(String, OwnedFd)>) -> Self {
        Self { count: sockets.len().to_string(), sockets }
    }

    /// Says that there are so many.
    fn counting(self, count: &str) -> Self {
        Self { count: count.to_owned(), ..self }
    }

    /// Passes them on to this proxy once it is started.
    fn with(self, launch: Launch) -> Launch {
        let directory = TempDir::new().expect("a directory for temporary files");
        let path = directory.path().join("pass");
        let listener = UnixListener::bind(&path).expect("a free path");
        let names: Vec<_> = self.sockets.iter().map(|(name, _)| &**name).collect();
        let words = ["python3", "-c", PASS_ON, &path.display().to_string(), &names.join(":"), &self.count];
        let launch = launch.wrapped(&words);
        thread::spawn(move || {
            let _directory = directory;
            let (stream, _) = listener.accept().expect("the proxy is started");
            let sockets: Vec<_> = self.sockets.iter().map(|(_, socket)| socket.as_fd()).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(64))];
            let mut ancillary = SendAncillaryBuffer::new(&mut space);
            assert!(sockets.is_empty() || ancillary.push(SendAncillaryMessage::ScmRights(&sockets)));
            sendmsg(&stream, &[IoSlice::new(b"x")], &mut ancillary, SendFlags::empty()).expect("it waits");
        });
        launch
    }
}

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
        self.receive().map(|(told, _)| told)
    }

    /// The next message, and descriptors that came with it.
    fn receive(&self) -> Option<(Told, Vec<OwnedFd>)> {
        let mut bytes = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let into = &mut [IoSliceMut::new(&mut bytes)];
        let len = recvmsg(&self.socket, into, &mut ancillary, RecvFlags::CMSG_CLOEXEC).ok()?.bytes;
        let sent = ancillary.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sent) => Some(sent.collect::<Vec<_>>()),
            _ => None,
        });
        let sent = sent.flatten().collect();
        let text = String::from_utf8(bytes[..len].to_vec()).expect("text");
        assert!(text.ends_with('\n'), "{text:?}");
        Some((Told(text.lines().map(str::to_owned).collect()), sent))
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
