//! The binary on a terminal: colours, the live view, and how wide the lines are.

mod colours;
mod live;
mod pty;
