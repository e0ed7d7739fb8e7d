//! `iisplice doctor` as an operator runs it: against the mock with each fault, and against servers that are scripted.

mod log;
mod reach;
mod run;
