//! The commands in the pages work as written: each page's blocks of `sh` run from top to bottom in a directory of their
//! own. Addresses become loopback addresses with free ports, a site that a load asks by name is a mock, and a load runs for
//! a moment instead of its usual time. What other programs do (`cargo`, `curl`, `sudo` and the like) is not run.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser as _;
use iisplice::cli::Cli;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::page::{Page, repository};
use crate::reserved;

const BINARY: &str = env!("CARGO_BIN_EXE_iisplice");

/// Longer than anything here takes; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(100);

/// Exit code of a missed objective. How fast this machine is proves nothing about a command line.
const EXIT_OBJECTIVE_MISSED: i32 = 4;

/// Exit code of the doctor's warnings: an address has no Kerberos ticket, and loopback is no place for one.
const EXIT_WARNINGS: i32 = 1;

/// Where `iisplice mock` listens unless told otherwise.
const MOCK_LISTEN: &str = "127.0.0.1:8080";

/// A command line of a page.
#[derive(Debug)]
struct Line {
    at: String,
    /// The text of the last block of TOML above it.
    file: Option<String>,
    text: String,
    words: Vec<String>,
}

/// The command lines of a page's `sh` blocks, without comments; `\` at the end continues a line.
fn lines(page: &Page) -> Vec<Line> {
    let mut found = Vec::new();
    for block in page.blocks.iter().filter(|block| block.language == "sh") {
        let mut text = String::new();
        for (number, line) in block.text.lines().enumerate() {
            text += line.trim_end_matches('\\');
            if line.ends_with('\\') {
                continue;
            }
            let at = format!("{}:{}", page.path.display(), block.line + 1 + number);
            let mut files =
                page.blocks.iter().filter(|file| file.language == "toml" && file.line < block.line);
            let file = files.next_back().map(|file| file.text.clone());
            let words = shlex::split(&text).unwrap_or_else(|| panic!("{at}: a quote is not closed"));
            if !words.is_empty() {
                found.push(Line { at, file, text: text.clone(), words });
            }
            text.clear();
        }
    }
    found
}

impl Line {
    /// The arguments of `iisplice`, however the line starts it and wherever it prints to; `None` for other programs.
    fn arguments(&self) -> Option<&[String]> {
        self.all_arguments().map(|all| all.split(|word| word == ">").next().unwrap_or_default())
    }

    fn all_arguments(&self) -> Option<&[String]> {
        let program = self.words.iter().position(|word| !word.contains('=')).unwrap_or_default();
        match self.words[program].as_str() {
            "iisplice" => Some(&self.words[program + 1..]),
            "cargo"
                if self.words.get(1).is_some_and(|word| word == "run")
                    && !self.words.contains(&"--example".to_owned()) =>
            {
                let end = self.words.iter().position(|word| word == "--").expect("cargo run -- COMMAND");
                Some(&self.words[end + 1..])
            }
            _ => None,
        }
    }

    fn environment(&self) -> impl Iterator<Item = (&str, &str)> {
        self.words.iter().map_while(|word| word.split_once('='))
    }
}

/// Addresses as the page writes them, and what stands for them here.
#[derive(Default)]
struct Addresses(BTreeMap<String, String>);

impl Addresses {
    fn real(&mut self, address: &str) -> String {
        let address = if address.contains(':') { address.to_owned() } else { format!("{address}:80") };
        let host = address.rsplit_once(':').expect("a port").0;
        let here = ["0.0.0.0", "127.0.0.1", "[::]", "[::1]", "localhost"].contains(&host);
        let name = if here { address.replacen(host, "127.0.0.1", 1) } else { address };
        self.0.entry(name).or_insert_with(|| reserved::address().to_string()).clone()
    }

    /// A word of a command line with the addresses in it replaced.
    fn replace(&mut self, word: &str, directory: &Path) -> String {
        if let Some((scheme, rest)) = word.split_once("://") {
            let (address, path) = rest.split_once('/').map_or((rest, ""), |(address, path)| (address, path));
            return format!("{scheme}://{}/{path}", self.real(address));
        }
        // A server with options.
        if let Some((address, options)) = word.split_once(',').filter(|(address, _)| is_address(address)) {
            return format!("{},{options}", self.real(address));
        }
        if let Some((name, address)) = word.split_once('=').filter(|(_, address)| is_address(address)) {
            return format!("{name}={}", self.real(address));
        }
        if let Some(path) = word.strip_prefix("unix:/") {
            return format!("unix:{}", directory.join(path.replace('/', "-")).display());
        }
        if let Some(path) = word.strip_prefix('/') {
            return directory.join(path.replace('/', "-")).display().to_string();
        }
        if is_address(word) { self.real(word) } else { word.to_owned() }
    }
}

/// `HOST:PORT`, and not `A:B` or a user with a password.
fn is_address(word: &str) -> bool {
    word.rsplit_once(':').is_some_and(|(host, port)| {
        let host_like = |c: char| c.is_ascii_alphanumeric() || ".-[]:".contains(c);
        port.parse::<u16>().is_ok() && host.chars().all(host_like) && host.parse::<f64>().is_err()
    })
}

/// A server of the page; it is told to stop when the page ends, or when another one wants its address.
struct Server {
    at: String,
    process: Child,
    listens: Vec<String>,
}

impl Server {
    fn start(line: &Line, mut command: Command, listens: Vec<String>) -> Self {
        let process = command.stdout(Stdio::null()).spawn().expect("it was built");
        let mut server = Self { at: line.at.clone(), process, listens };
        let started = Instant::now();
        for address in server.listens.clone() {
            let path = address.strip_prefix("unix:");
            while !path.map_or_else(|| TcpStream::connect(&address).is_ok(), |path| Path::new(path).exists())
            {
                let ended = server.process.try_wait().expect("it is our child");
                assert!(ended.is_none(), "{}: it ended with {ended:?}: {}", line.at, line.text);
                assert!(started.elapsed() < PATIENCE, "{}: it does not listen at {address}", line.at);
                thread::sleep(Duration::from_millis(5));
            }
        }
        server
    }

    fn stop(mut self) {
        kill(Pid::from_raw(self.process.id().cast_signed()), Signal::SIGTERM).expect("it runs");
        let status = wait(&mut self.process, &self.at);
        assert_eq!(status.code(), Some(0), "{}: SIGTERM ended it so", self.at);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn wait(process: &mut Child, at: &str) -> ExitStatus {
    let started = Instant::now();
    loop {
        if let Some(status) = process.try_wait().expect("it is our child") {
            return status;
        }
        if started.elapsed() > PATIENCE {
            let _ = process.kill();
            panic!("{at}: it does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn is_result(word: &str) -> bool {
    Path::new(word).extension().is_some_and(|extension| extension == "json")
}

/// The values of a flag that may be repeated.
fn values<'a>(arguments: &'a [String], flag: &str) -> Vec<&'a str> {
    arguments.windows(2).filter(|pair| pair[0] == flag).map(|pair| pair[1].as_str()).collect()
}

/// Gives a flag a value, in place of the one that it has.
fn set(arguments: &mut Vec<String>, names: &[&str], value: &str) {
    match arguments.iter().position(|word| names.contains(&word.as_str())) {
        Some(place) => value.clone_into(&mut arguments[place + 1]),
        None => arguments.splice(1..1, [names[0].to_owned(), value.to_owned()]).for_each(drop),
    }
}

/// A page on its way from top to bottom.
struct Walk {
    directory: tempfile::TempDir,
    addresses: Addresses,
    servers: Vec<Server>,
    ran: usize,
}

impl Walk {
    fn begin() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let walk = Self { directory, addresses: Addresses::default(), servers: vec![], ran: 0 };
        walk.make_files();
        walk
    }

    /// What the pages take for granted: accounts, a site's certificate and key, and its authority.
    fn make_files(&self) {
        let names = ["intranet.corp.example", "iis1.corp.example", "localhost"].map(str::to_owned);
        let made = rcgen::generate_simple_self_signed(names).expect("a certificate");
        let (certificate, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let files = [
            ("users.txt", "CORP\\alice:secret\nCORP\\bob:secret\n"),
            ("site.pem", &certificate),
            ("site.key", &key),
            ("corp-ca.pem", &certificate),
        ];
        for (name, text) in files {
            fs::write(self.directory.path().join(name), text).expect("it is written");
        }
    }

    fn command(&self, line: &Line, arguments: &[String]) -> Command {
        let mut command = Command::new(BINARY);
        command.args(arguments).envs(line.environment()).current_dir(self.directory.path());
        command
    }

    fn stop_servers(&mut self, of: impl Fn(&Server) -> bool) {
        let (stopping, going_on) = self.servers.drain(..).partition(of);
        self.servers = going_on;
        stopping.into_iter().for_each(Server::stop);
    }

    fn serve(&mut self, line: &Line, mut arguments: Vec<String>) {
        if arguments[0] == "mock" && values(&arguments, "--listen").is_empty() {
            arguments.extend(["--listen".to_owned(), self.addresses.real(MOCK_LISTEN)]);
        }
        let mut listens: Vec<String> =
            values(&arguments, "--listen").into_iter().map(str::to_owned).collect();
        for file in values(&arguments, "--config") {
            let text = fs::read_to_string(self.directory.path().join(file)).expect("it was written");
            let of_listeners = text.lines().filter(|line| line.starts_with("listen"));
            listens
                .extend(of_listeners.flat_map(|line| line.split('"').skip(1).step_by(2)).map(str::to_owned));
        }
        self.stop_servers(|server| server.listens.iter().any(|address| listens.contains(address)));
        let server = Server::start(line, self.command(line, &arguments), listens);
        self.servers.push(server);
    }

    /// The site behind a proxy or a name, where the page has not started one.
    fn serve_site(&mut self, line: &Line, address: &str) {
        if TcpStream::connect(address).is_err() {
            let arguments = ["mock", "--users", "users.txt", "--listen", address];
            self.serve(line, arguments.map(str::to_owned).to_vec());
        }
    }

    fn measure(&mut self, line: &Line, mut arguments: Vec<String>) {
        match arguments[0].as_str() {
            "load" => {
                for url in arguments.clone().iter().filter_map(|word| word.strip_prefix("http://")) {
                    self.serve_site(line, url.split('/').next().expect("an address"));
                }
                if !arguments.iter().any(|word| word == "--requests" || word == "-n") {
                    set(&mut arguments, &["--duration", "-d"], "300ms");
                    set(&mut arguments, &["--warmup"], "0s");
                }
                // As the machine of a reader has it: the file is new.
                for record in values(&arguments, "--record") {
                    let _ = fs::remove_file(self.directory.path().join(record));
                }
            }
            "demo" => set(&mut arguments, &["--duration", "-d"], "600ms"),
            "report" => self.make_results(line, &arguments),
            _ => {}
        }
        let mut process = self.command(line, &arguments).stdout(Stdio::null()).spawn().expect("it was built");
        let code = wait(&mut process, &line.at).code();
        let judged = arguments.iter().any(|word| word == "--objective" || word == "--fail-over");
        assert!(
            code == Some(0)
                || (judged && code == Some(EXIT_OBJECTIVE_MISSED))
                || (arguments[0] == "doctor" && code == Some(EXIT_WARNINGS)),
            "{}: exit code {code:?}: {}",
            line.at,
            line.text
        );
    }

    /// The results of other machines that a report reads: their loads go on at the same time.
    fn make_results(&self, line: &Line, report: &[String]) {
        let Some(server) = self.servers.last() else { return };
        let url = format!("http://{}/whoami", server.listens[0]);
        let load = |name: &String| {
            let mut arguments =
                "load --auth ntlm --users users.txt --duration 600ms --warmup 0s -c 2 --json".to_owned();
            arguments.extend([" ", name, " ", &url]);
            let arguments: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
            self.command(line, &arguments).stdout(Stdio::null()).spawn().expect("it was built")
        };
        let inputs = report.iter().take_while(|word| *word != "--merge").filter(|word| is_result(word));
        let missing = inputs.filter(|name| !self.directory.path().join(name).exists());
        let loads: Vec<Child> = missing.map(load).collect();
        for mut load in loads {
            assert!(wait(&mut load, &line.at).success(), "{}: no result to report", line.at);
        }
    }

    /// The settings file of the page, with addresses and paths of this test.
    fn write_settings(&mut self, line: &Line, name: &str) {
        let text = line.file.as_ref().unwrap_or_else(|| panic!("{}: no block of TOML is above it", line.at));
        // Both are the loopback address here.
        let text = text.replace(", \"[::]:80\"", "");
        let directory = self.directory.path().to_owned();
        let replaced = text.split('"').enumerate().map(|(number, part)| match number % 2 {
            0 => part.to_owned(),
            _ => self.addresses.replace(part, &directory),
        });
        fs::write(directory.join(name), replaced.collect::<Vec<_>>().join("\"")).expect("it is written");
    }

    fn step(&mut self, line: &Line) {
        let Some(arguments) = line.arguments() else {
            if line.words[0] == "printf" {
                let status =
                    Command::new("sh").args(["-c", &line.text]).current_dir(self.directory.path()).status();
                assert!(status.expect("a shell").success(), "{}: {}", line.at, line.text);
            }
            return;
        };
        let directory = self.directory.path().to_owned();
        let arguments =
            arguments.iter().map(|word| self.addresses.replace(word, &directory)).collect::<Vec<_>>();
        for file in values(&arguments, "--config") {
            self.write_settings(line, file);
        }
        match arguments[0].as_str() {
            "proxy" if arguments.iter().any(|word| word == "--check") => self.measure(line, arguments),
            // Without a terminal there is nothing to watch it on.
            "top" if !arguments.iter().any(|word| word == "--once") => {
                self.measure(line, [arguments, vec!["--once".to_owned()]].concat());
            }
            "proxy" | "mock" if !arguments.iter().any(|word| word == "--help") => self.serve(line, arguments),
            _ => self.measure(line, arguments),
        }
        self.ran += 1;
    }
}

/// Runs the commands of a page.
fn walk(path: &str) {
    let mut walk = Walk::begin();
    for line in lines(&Page::read(path)) {
        walk.step(&line);
    }
    walk.stop_servers(|_| true);
    assert_ne!(walk.ran, 0, "{path} has no command");
}

macro_rules! pages {
    ($($name:ident $path:literal)*) => {
        $(#[test]
        fn $name() {
            walk($path);
        })*

        const WALKED: &[&str] = &[$($path),*];
    };
}

pages! {
    the_readme_s_commands_work "README.md"
    access_log_s_commands_work "docs/access-log.md"
    admin_s_commands_work "docs/admin.md"
    config_s_commands_work "docs/config.md"
    doctor_s_commands_work "docs/doctor.md"
    from_haproxy_s_commands_work "docs/from-haproxy.md"
    from_nginx_s_commands_work "docs/from-nginx.md"
    groups_s_commands_work "docs/groups.md"
    http_mode_s_commands_work "docs/http-mode.md"
    install_s_commands_work "docs/install.md"
    load_s_commands_work "docs/load.md"
    metrics_s_commands_work "docs/metrics.md"
    mock_s_commands_work "docs/mock.md"
    tls_s_commands_work "docs/tls.md"
    top_s_commands_work "docs/top.md"
    troubleshooting_s_commands_work "docs/troubleshooting.md"
}

#[test]
fn no_page_with_commands_is_left_out() {
    for page in Page::all() {
        let runs = lines(&page).iter().any(|line| line.arguments().is_some());
        let path = page.path.to_str().expect("UTF-8");
        assert!(!runs || WALKED.contains(&path), "{path} has commands that no test runs");
    }
}

#[test]
fn every_command_line_is_understood() {
    let mut seen = 0;
    for line in Page::all().iter().flat_map(lines) {
        if let Some(arguments) = line.arguments() {
            let parsed = Cli::try_parse_from([&["iisplice".to_owned()], arguments].concat());
            if let Err(error) = parsed {
                assert!(!error.use_stderr(), "{}: {}\n{error}", line.at, line.text);
            }
            seen += 1;
        }
    }
    assert!(seen > 20, "the pages were not understood: {seen} commands");
}

#[test]
fn scripts_and_targets_that_the_pages_start_exist() {
    for line in Page::all().iter().flat_map(lines) {
        let program = &line.words[0];
        if program.starts_with("scripts/") || program.starts_with("tests/") {
            assert!(repository().join(program).exists(), "{}: there is no {program}", line.at);
        }
        if program == "cargo" {
            for (flag, directory) in [("--test", "tests"), ("--bench", "benches"), ("--example", "examples")]
            {
                for name in values(&line.words, flag) {
                    let place = repository().join(directory).join(name);
                    let exists = place.with_extension("rs").exists() || place.join("main.rs").exists();
                    assert!(exists, "{}: there is no target {name}", line.at);
                }
            }
        }
    }
}
