//! The proxy under test, as a process.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use procfs::process::{FDTarget, Process};
use tempfile::TempDir;

use super::{wait_for, wait_until};

/// How the proxy is to be started. What is not said: one listener on a free port, one worker that is not pinned (so
/// that tests do not queue up on one CPU), an access log as text.
#[derive(Default)]
pub(crate) struct Launch {
    wrapper: Vec<String>,
    environment: Vec<(String, String)>,
    /// Instead of the binary that was built.
    binary: Option<PathBuf>,
    arguments: Vec<String>,
    /// The settings file says where the access log goes.
    logs_by_file: bool,
    /// The settings file says how many workers there are.
    workers_by_file: bool,
}

/// Read by the tests only: features of `io_uring` that every proxy does without. See `masked.rs`.
pub(crate) const WITHOUT: &str = "IISPLICE_TEST_IO_URING_WITHOUT";

/// Read by the tests only: a directory for the system calls of every proxy. See `scripts/system-calls`.
const TRACES: &str = "IISPLICE_TEST_TRACES";

/// The start of a command whose system calls, and those of what it starts, go to a file of their own. It stays the parent of
/// nothing: the tracer is started aside.
fn tracer() -> Vec<String> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let Ok(directory) = std::env::var(TRACES) else { return Vec::new() };
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    let file = format!("{directory}/{}-{next}", std::process::id());
    ["strace", "-D", "-f", "-qq", "-s", "0", "-o", &file].map(str::to_owned).into()
}

fn without() -> Option<String> {
    std::env::var(WITHOUT).ok().filter(|features| !features.is_empty())
}

impl Launch {
    /// Relays to `upstream`.
    pub(crate) fn to(upstream: &str) -> Self {
        Self::default().flags(&format!("--upstream {upstream}"))
    }

    /// Relays to where routes say only.
    pub(crate) fn by_routes() -> Self {
        Self::default()
    }

    /// Serves what the settings file says.
    pub(crate) fn by_file(path: &Path) -> Self {
        Self::default().argument("--config").argument(&path.display().to_string())
    }

    /// Leaves the access log to the settings file.
    pub(crate) fn logs_by_file(mut self) -> Self {
        self.logs_by_file = true;
        self
    }

    /// Runs what stands at this path.
    pub(crate) fn binary(mut self, path: &Path) -> Self {
        self.binary = Some(path.to_owned());
        self
    }

    /// Adds arguments, separated by spaces.
    pub(crate) fn flags(mut self, flags: &str) -> Self {
        self.arguments.extend(flags.split_whitespace().map(str::to_owned));
        self
    }

    /// Adds an argument, which may have spaces.
    pub(crate) fn argument(mut self, argument: &str) -> Self {
        self.arguments.push(argument.to_owned());
        self
    }

    /// With this variable in its environment.
    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Is started by this command, whose words are separated by spaces.
    pub(crate) fn started_by(mut self, command: &str) -> Self {
        self.wrapper = command.split_whitespace().map(str::to_owned).collect();
        self
    }

    /// Started by this command, which its own follows.
    pub(crate) fn wrapped(mut self, words: &[&str]) -> Self {
        self.wrapper = words.iter().map(|word| (*word).to_owned()).collect();
        self
    }

    /// Has at most this many descriptors.
    pub(crate) fn descriptors_max(mut self, most: usize) -> Self {
        let limited = format!("ulimit -n {most} && exec \"$0\" \"$@\"");
        self.wrapper = vec!["sh".to_owned(), "-c".to_owned(), limited];
        self
    }

    /// Leaves the number of workers to the settings file.
    pub(crate) fn workers_by_file(mut self) -> Self {
        self.workers_by_file = true;
        self
    }

    fn has(&self, flag: &str) -> bool {
        self.arguments.iter().any(|argument| argument == flag)
    }

    fn command(&self, directory: &Path) -> Command {
        let mut words = self.wrapper.clone();
        words.extend(tracer());
        let built = Path::new(env!("CARGO_BIN_EXE_iisplice"));
        words.push(self.binary.as_deref().unwrap_or(built).display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("proxy").args(&self.arguments);
        if !self.has("--listen") && !self.has("--config") {
            command.args(["--listen", "127.0.0.1:0"]);
        }
        if !self.has("--workers") && !self.workers_by_file {
            command.args(["--workers", "1", "--no-pin"]);
        }
        if let Some(features) = without() {
            command.args(["--io-uring-without", &features]);
        }
        if !self.has("--access-log") && !self.logs_by_file {
            command.arg("--access-log").arg(directory.join("access.log"));
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Starts it and waits until it serves.
    pub(crate) fn start(self) -> Proxy {
        let directory = TempDir::new().expect("a directory for temporary files");
        let mut child = self.command(directory.path()).spawn().expect("the binary was built");
        let said = Lines::read(child.stderr.take().expect("it is piped"));
        let printed = Lines::read(child.stdout.take().expect("it is piped"));
        let mut proxy = Proxy {
            child,
            said,
            printed,
            listeners: Vec::new(),
            listening_sockets: 0,
            ended: None,
            directory,
        };
        let line = wait_for("the proxy's start-up line", || {
            let line = proxy.said.find("serving listeners=");
            assert!(
                line.is_some() || proxy.child.try_wait().expect("our child").is_none(),
                "it ended at once"
            );
            line
        });
        let (_, listeners) = line.split_once("listeners=").expect("it was found by this");
        let listeners = listeners.split(' ').next().unwrap_or_default();
        let without = without().map(|features| format!(" io-uring-without={features} "));
        assert!(without.is_none_or(|without| line.contains(&without)), "it has these features: {line}");
        proxy.listeners = listeners.split(',').map(str::to_owned).collect();
        proxy.listening_sockets = proxy.sockets();
        proxy
    }

    /// Starts it where it cannot serve: its exit code and what it said.
    pub(crate) fn fail(self) -> (Option<i32>, Vec<String>) {
        let directory = TempDir::new().expect("a directory for temporary files");
        let mut child = self.command(directory.path()).spawn().expect("the binary was built");
        let said = Lines::read(child.stderr.take().expect("it is piped"));
        let status = wait_for("the proxy to give up", || {
            let status = child.try_wait().expect("our child");
            if status.is_none() && said.find("serving").is_some() {
                child.kill().expect("our child");
                panic!("it serves, though it should not be able to");
            }
            status
        });
        (status.code(), said.all_at_end())
    }
}

/// A running `iisplice proxy`; ended when this is dropped.
pub(crate) struct Proxy {
    child: Child,
    said: Lines,
    printed: Lines,
    listeners: Vec<String>,
    listening_sockets: usize,
    ended: Option<ExitStatus>,
    directory: TempDir,
}

impl Proxy {
    /// Where its first listener is.
    pub(crate) fn address(&self) -> &str {
        &self.listeners[0]
    }

    /// Where its listeners are.
    pub(crate) fn listeners(&self) -> &[String] {
        &self.listeners
    }

    /// Lines of its log that contain `text`. The advice that each proxy gets where root runs the tests counts only where
    /// it is asked for by its id.
    pub(crate) fn said(&self, text: &str) -> Vec<String> {
        const ADVICE: &str = "host-user";
        let is_asked_for = |line: &String| line.contains(text) && (text == ADVICE || !line.contains(ADVICE));
        self.said.all().into_iter().filter(is_asked_for).collect()
    }

    /// Waits for as many lines of its log that contain `text`, and gives all of them.
    pub(crate) fn wait_to_say_times(&self, text: &str, times: usize) -> Vec<String> {
        wait_for(&format!("the proxy to say {text:?} {times} times"), || {
            Some(self.said(text)).filter(|said| said.len() >= times)
        })
    }

    /// Waits for a line of its log that contains `text`.
    pub(crate) fn wait_to_say(&self, text: &str) -> String {
        wait_for(&format!("the proxy to say {text:?}"), || self.said.find(text))
    }

    pub(crate) fn access_log(&self) -> PathBuf {
        self.directory.path().join("access.log")
    }

    /// Waits for the access log to have `count` lines, and gives all that it has.
    pub(crate) fn records(&self, count: usize) -> Vec<Record> {
        wait_for(&format!("{count} lines in the access log"), || {
            let text = fs::read_to_string(self.access_log()).unwrap_or_default();
            let whole = text.rfind('\n').map_or("", |end| &text[..end]);
            let records: Vec<Record> = whole.lines().map(Record::parse).collect();
            (records.len() >= count).then_some(records)
        })
    }

    /// Waits for the first line of the access log.
    pub(crate) fn record(&self) -> Record {
        self.records(1).remove(0)
    }

    /// Lines on standard output so far.
    pub(crate) fn printed(&self) -> Vec<String> {
        self.printed.all()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("our child");
    }

    /// Waits until no process listens where it listened, as is so when its only worker drains. A client that tried to
    /// connect instead could be among the last that are accepted.
    pub(crate) fn wait_until_closed(&self) {
        let address = self.address();
        wait_until("the listener to close", || !listens(address));
        assert!(TcpStream::connect(address).is_err(), "a closed listener accepts clients");
    }

    /// The processes that have taken over, the last one at the end.
    pub(crate) fn successors(&self) -> Vec<i32> {
        let lines = self.said("the new process serves");
        let pid = |line: &String| line.split_once("pid=")?.1.split(' ').next()?.parse().ok();
        lines.iter().filter_map(pid).collect()
    }

    /// Waits for its end: exit code.
    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        let status = wait_for("the proxy to end", || self.child.try_wait().expect("our child"));
        self.ended = Some(status);
        status.code()
    }

    pub(crate) fn process(&self) -> Process {
        Process::new(self.child.id() as i32).expect("it runs")
    }

    fn open(&self, is_kind: impl Fn(&FDTarget) -> bool) -> usize {
        let open = self.process().fd().expect("our child");
        open.filter(|found| found.as_ref().is_ok_and(|found| is_kind(&found.target))).count()
    }

    /// Sockets it has open, listening ones among them, besides the one to its starter.
    pub(crate) fn sockets(&self) -> usize {
        self.open(|target| matches!(target, FDTarget::Socket(_))) - 1
    }

    /// All its descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        self.open(|_| true)
    }

    /// Waits until it has no socket open but those it listens on.
    pub(crate) fn wait_until_idle(&self) {
        let what = "the proxy to have closed every connection";
        wait_until(what, || self.sockets() == self.listening_sockets);
    }

    /// Memory of its own that it has touched, in bytes.
    pub(crate) fn memory(&self) -> u64 {
        1024 * self.process().status().expect("our child").rssanon.expect("Linux 4.5 or newer")
    }

    /// Processor time it took so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = self.process().stat().expect("our child");
        Duration::from_secs_f64((stat.utime + stat.stime) as f64 / procfs::ticks_per_second() as f64)
    }

    /// It waits for a second rather than spin, whatever state it is in.
    pub(crate) fn expect_sleep(&self) {
        let before = self.cpu_time();
        thread::sleep(Duration::from_secs(1));
        let taken = self.cpu_time().saturating_sub(before);
        assert!(
            taken < Duration::from_millis(250),
            "it had nothing to do for a second and took {taken:?} of CPU"
        );
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // Those that have taken over outlive what they were started by.
        for pid in self.successors() {
            let is_ours = fs::read_link(format!("/proc/{pid}/exe"))
                .is_ok_and(|exe| exe == Path::new(env!("CARGO_BIN_EXE_iisplice")));
            if is_ours {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        if self.ended.is_none() {
            // It may have ended by itself.
            let _ = self.child.kill();
            let status = self.child.wait();
            if thread::panicking() {
                println!("the proxy was ended by the test: {status:?}");
            }
        }
        if thread::panicking() {
            // Its last lines may still be on their way.
            thread::sleep(Duration::from_millis(200));
            println!("the proxy said:\n{}", self.said.all().join("\n"));
            let log = fs::read_to_string(self.access_log()).unwrap_or_default();
            println!("its access log:\n{}", log.lines().take(100).collect::<Vec<_>>().join("\n"));
        }
    }
}

/// A line of the access log in text.
pub(crate) struct Record {
    line: String,
    fields: BTreeMap<String, String>,
}

impl Record {
    pub(crate) fn parse(line: &str) -> Self {
        let field = |field: &str| {
            let (name, value) = field.split_once('=').unwrap_or_else(|| panic!("not a field in: {line}"));
            (name.to_owned(), value.to_owned())
        };
        Self { line: line.to_owned(), fields: line.split(' ').map(field).collect() }
    }

    pub(crate) fn get(&self, name: &str) -> &str {
        self.fields.get(name).unwrap_or_else(|| panic!("no {name} in: {}", self.line))
    }

    pub(crate) fn number(&self, name: &str) -> f64 {
        self.get(name).parse().unwrap_or_else(|error| panic!("{name}: {error}: {}", self.line))
    }

    pub(crate) fn bytes(&self, name: &str) -> u64 {
        self.get(name).parse().unwrap_or_else(|error| panic!("{name}: {error}: {}", self.line))
    }

    pub(crate) fn expect_end(&self, word: &str) {
        assert_eq!(self.get("end"), word, "in: {}", self.line);
    }
}

/// What a process writes, line by line, as it comes.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: thread::JoinHandle<()>,
}

impl Lines {
    fn read(from: impl Read + Send + 'static) -> Self {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let into = Arc::clone(&lines);
        let reader = thread::spawn(move || {
            for line in BufReader::new(from).lines() {
                into.lock().expect("no panic while locked").push(line.expect("text"));
            }
        });
        Self { lines, reader }
    }

    fn all(&self) -> Vec<String> {
        self.lines.lock().expect("no panic while locked").clone()
    }

    fn all_at_end(self) -> Vec<String> {
        self.reader.join().expect("it wrote text");
        std::mem::take(&mut *self.lines.lock().expect("no panic while locked"))
    }

    fn find(&self, text: &str) -> Option<String> {
        self.all().into_iter().find(|line| line.contains(text))
    }
}

/// Whether a socket listens at this IPv4 address.
fn listens(address: &str) -> bool {
    let (_, port) = address.rsplit_once(':').expect("an IP address");
    let place = format!(":{:04X}", port.parse::<u16>().expect("a port"));
    let sockets = fs::read_to_string("/proc/self/net/tcp").expect("the kernel has it");
    sockets.lines().skip(1).any(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields[1].ends_with(&place) && fields[3] == "0A"
    })
}
