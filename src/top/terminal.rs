//! The terminal while the view has it, and its way back to how it was, whatever ends the view.
//!
//! Drop, a panic's hook and the thread that receives signals can all take the way back; who comes second finds nothing to
//! do.

use std::io::{self, Stdout, Write as _};
use std::panic;
use std::process;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, SigmaskHow, Signal, kill, raise};
use nix::unistd::Pid;
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::cursor::{Hide, Show};
use ratatui::crossterm::event::{DisableBracketedPaste, EnableBracketedPaste};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};

/// Exit code of a panic.
const PANICKED: i32 = 101;

/// Whether the view has the terminal.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);

/// See the module docs.
pub struct Screen(ratatui::Terminal<CrosstermBackend<Stdout>>);

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// There is none, or it has gone.
    pub fn open() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(restore_at_panic);
        take()?;
        match ratatui::Terminal::new(CrosstermBackend::new(io::stdout())) {
            Ok(terminal) => Ok(Self(terminal)),
            Err(error) => {
                restore();
                Err(error)
            }
        }
    }

    /// Draws a picture.
    ///
    /// # Errors
    /// The terminal has gone.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Buffer)) -> io::Result<()> {
        self.0.draw(|frame| picture(frame.buffer_mut())).map(drop)
    }

    /// Forgets what the terminal shows: the next picture is drawn as a whole.
    ///
    /// # Errors
    /// The terminal has gone.
    pub fn clear(&mut self) -> io::Result<()> {
        // Its own clear asks the terminal where the cursor is, and the answer would go to who reads the keys.
        let size = self.0.size()?;
        self.0.resize(size.into())
    }

    /// Gives the terminal back and stops; takes it again when told to go on. For the thread that started first.
    ///
    /// # Errors
    /// The terminal has gone.
    pub fn suspend(&mut self, whom: Whom) -> io::Result<()> {
        restore();
        let stop: SigSet = [Signal::SIGTSTP].into_iter().collect();
        let old = stop.thread_swap_mask(SigmaskHow::SIG_UNBLOCK)?;
        // The kernel gives it to the first thread if that takes it, and it stops here. It does not where no shell
        // could have it go on.
        let stopped = match whom {
            Whom::Job => kill(Pid::from_raw(0), Signal::SIGTSTP),
            Whom::Process => raise(Signal::SIGTSTP),
        };
        old.thread_set_mask()?;
        stopped?;
        self.resume()
    }

    /// Takes the terminal once more, after a stop, and draws the next picture as a whole.
    ///
    /// # Errors
    /// The terminal has gone.
    pub fn resume(&mut self) -> io::Result<()> {
        // A shell may have changed the terminal meanwhile; only what is given back can be taken.
        disable_raw_mode()?;
        take()?;
        self.clear()
    }
}

/// What stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whom {
    /// All processes of the shell's job, as when the terminal itself has the key.
    Job,
    /// This one.
    Process,
}

impl Drop for Screen {
    fn drop(&mut self) {
        restore();
    }
}

fn take() -> io::Result<()> {
    IS_TAKEN.store(true, Ordering::SeqCst);
    let taken = enable_raw_mode()
        .and_then(|()| execute!(io::stdout(), EnterAlternateScreen, EnableBracketedPaste, Hide));
    if taken.is_err() {
        restore();
    }
    taken
}

/// Gives the terminal back as it was, if it has been taken.
pub fn restore() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        // A terminal that has gone needs nothing.
        let _ = disable_raw_mode();
        let mut output = io::stdout();
        let _ = execute!(output, DisableBracketedPaste, LeaveAlternateScreen, Show);
        let _ = output.flush();
    }
}

/// Gives back what can be given back without waiting for the terminal to take anything.
pub(super) fn give_up() {
    let _ = disable_raw_mode();
}

/// Has a panic of any thread end the process on a terminal that is as it was, so that its message can be read.
fn restore_at_panic() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |panic| {
        let was_taken = IS_TAKEN.load(Ordering::SeqCst);
        restore();
        usual(panic);
        if was_taken {
            process::exit(PANICKED);
        }
    }));
}
