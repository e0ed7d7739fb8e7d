//! `iisplice doctor` as an operator runs it: against the mock with each fault, and against servers that are scripted.

mod compare;
mod host;
mod identity;
mod limits;
mod log;
mod logins;
mod protection;
mod providers;
mod reach;
mod run;
mod script;
mod site;
mod time;
mod tls;
