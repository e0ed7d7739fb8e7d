//! The proxy.

pub mod access_log;
pub mod record;
pub mod settings;
