//! A program on a terminal of our own, and what that terminal shows.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::num::NonZero;
use std::os::fd::AsFd as _;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::pty::{OpenptyResult, Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::sys::termios::{LocalFlags, Termios, tcgetattr};
use nix::unistd::Pid;
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::termios::{Winsize as Size, tcsetwinsize};

/// What programs print in a terminal of this many lines stays on its screen.
const ROWS: u16 = 200;

/// A test that waits longer than that for a picture fails and says what the screen shows instead.
const PATIENCE: Duration = Duration::from_secs(60);

/// Which of the program's streams the terminal gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Streams {
    /// Standard output and standard error.
    Both,
    /// Standard error; standard output goes nowhere.
    Error,
}

/// A program that runs on a terminal.
pub(crate) struct Terminal {
    child: Child,
    master: File,
    parser: vt100::Parser,
    bytes: Vec<u8>,
    /// Read, and not on the screen yet.
    unread: Vec<u8>,
}

/// `iisplice` with these arguments, on what every terminal is today. Nothing else of the tests' environment reaches it:
/// `NO_COLOR`, `CLICOLOR`, `COLUMNS` and `CI` (which has colours whatever TERM says) are each test's own.
pub(crate) fn iisplice(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iisplice"));
    command.args(arguments).env_clear().env("TERM", "xterm-256color");
    command
}

/// A terminal whose ends no program inherits but as its streams: it would keep its own terminal open.
fn open(size: Winsize) -> OpenptyResult {
    let pair = openpty(&size, None).expect("a terminal");
    for end in [&pair.master, &pair.slave] {
        fcntl_setfd(end, FdFlags::CLOEXEC).expect("a descriptor");
    }
    pair
}

impl Terminal {
    /// Starts it on a terminal of this width.
    pub(crate) fn start(mut command: Command, columns: u16, streams: Streams) -> Self {
        let size = Winsize { ws_row: ROWS, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = open(size);
        let slave = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
        let output = if streams == Streams::Both { slave() } else { Stdio::null() };
        let child =
            command.stdin(Stdio::null()).stdout(output).stderr(slave()).spawn().expect("it was built");
        // The command holds the child's ends; without them the last byte is followed by an end.
        drop(command);
        Self::of(child, pair.master.into(), (ROWS, columns))
    }

    /// Starts it on a terminal of so many lines and columns that is all its own: keys and signals come from there.
    pub(crate) fn take(command: &Command, size: (u16, u16)) -> Self {
        let window = Winsize { ws_row: size.0, ws_col: size.1, ws_xpixel: 0, ws_ypixel: 0 };
        let pair = open(window);
        let mut session = Command::new("setsid");
        session.arg("--ctty").arg(command.get_program()).args(command.get_args());
        // The tests' own environment does not reach it, but for where programs are.
        session.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let slave = || Stdio::from(pair.slave.try_clone().expect("a descriptor"));
        let child = session.stdin(slave()).stdout(slave()).stderr(slave()).spawn().expect("a program");
        drop(session);
        Self::of(child, pair.master.into(), size)
    }

    fn of(child: Child, master: File, (rows, columns): (u16, u16)) -> Self {
        let cells = |count| NonZero::new(count).expect("a terminal has cells");
        let parser = vt100::Parser::new(cells(rows), cells(columns), 0);
        Self { child, master, parser, bytes: Vec::new(), unread: Vec::new() }
    }

    /// Presses keys.
    pub(crate) fn press(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).expect("it takes keys");
    }

    /// Gives the terminal another size.
    pub(crate) fn resize(&mut self, (rows, columns): (u16, u16)) {
        let size = Size { ws_row: rows, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).expect("a terminal");
        let cells = |count| NonZero::new(count).expect("a terminal has cells");
        self.parser.screen_mut().set_size(cells(rows), cells(columns));
    }

    /// Reads on until the screen is like that; panics when the program ends before, or takes too long.
    pub(crate) fn wait_for(&mut self, what: &str, is_there: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let screen = self.screen();
            if is_there(&screen) {
                return screen;
            }
            assert!(Instant::now() < deadline, "{what}: not after {PATIENCE:?}:\n{screen}");
            assert!(self.read(), "{what}: it ended first:\n{screen}");
        }
    }

    /// What the terminal shows now.
    pub(crate) fn screen(&self) -> String {
        self.parser.screen().contents()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().cast_signed()), signal).expect("it runs");
    }

    /// Reads to the program's end: what the terminal shows then, all bytes that it got, and how the program ended.
    pub(crate) fn end(mut self) -> (String, String, ExitStatus) {
        while self.read() {}
        let status = self.child.wait().expect("it was started");
        (self.screen(), String::from_utf8_lossy(&self.bytes).into_owned(), status)
    }

    /// The exit code, once the program has ended and the terminal is as a shell wants it.
    pub(crate) fn restored(self) -> Option<i32> {
        self.restored_with_screen().1
    }

    /// The same, and what the terminal shows then.
    pub(crate) fn restored_with_screen(mut self) -> (String, Option<i32>) {
        while self.read() {}
        let status = self.child.wait().expect("it was started");
        let (screen, shown) = (self.parser.screen(), self.screen());
        assert!(!screen.alternate_screen() && !screen.hide_cursor() && !screen.bracketed_paste(), "{shown}");
        let state: Termios = tcgetattr(&self.master).expect("a terminal");
        let usual = LocalFlags::ICANON | LocalFlags::ECHO | LocalFlags::ISIG;
        assert!(state.local_flags.contains(usual), "{:?}", state.local_flags);
        (shown, status.code())
    }

    /// Reads what there is, up to the next carriage return, which begins a new picture of the bar: a test that runs late
    /// sees every picture all the same. False at the end.
    fn read(&mut self) -> bool {
        if self.unread.is_empty() {
            let mut ready = [PollFd::new(self.master.as_fd(), PollFlags::POLLIN)];
            let patience = PollTimeout::try_from(PATIENCE).expect("it fits");
            let events = poll(&mut ready, patience).expect("a terminal");
            assert!(events > 0, "nothing more to read, and no end, for {PATIENCE:?}:\n{}", self.screen());
            let mut buffer = [0; 4096];
            // A terminal that no process holds any more fails with EIO.
            let count = self.master.read(&mut buffer).unwrap_or(0);
            self.unread.extend_from_slice(&buffer[..count]);
        }
        let next = self.unread.iter().skip(1).position(|byte| *byte == b'\r');
        let picture: Vec<u8> = self.unread.drain(..next.map_or(self.unread.len(), |at| at + 1)).collect();
        self.bytes.extend_from_slice(&picture);
        self.parser.process(&picture);
        !picture.is_empty()
    }
}
