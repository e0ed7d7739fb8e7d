//! Waking tasks of one ring from any thread.

use std::sync::{Arc, Mutex, PoisonError};
use std::task::Waker;
use std::thread::{self, ThreadId};

use super::bell::Bell;

/// Wakes tasks of the thread that made it. A waker of this room's tasks only works on its own thread: here it waits for a
/// bell that its thread hears.
#[derive(Debug)]
pub struct Pager {
    thread: ThreadId,
    bell: Bell,
    called: Mutex<Vec<Waker>>,
}

impl Pager {
    /// For tasks of the calling thread, which calls [`deliver`](Self::deliver) whenever it has heard `bell`.
    pub fn new(bell: Bell) -> Arc<Self> {
        Arc::new(Self { thread: thread::current().id(), bell, called: Mutex::default() })
    }

    /// Wakes a task, soon if it is one of another thread.
    pub fn page(&self, task: Waker) {
        if thread::current().id() == self.thread {
            return task.wake();
        }
        self.called.lock().unwrap_or_else(PoisonError::into_inner).push(task);
        self.bell.ring();
    }

    /// Wakes the tasks that other threads have paged.
    pub fn deliver(&self) {
        let called = std::mem::take(&mut *self.called.lock().unwrap_or_else(PoisonError::into_inner));
        called.into_iter().for_each(Waker::wake);
    }
}
