//! The binary on a terminal: colours, the live views, and how wide the lines are.

mod colours;
mod live;
mod pty;
mod top;
