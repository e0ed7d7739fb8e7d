//! The proxy.

pub mod record;
pub mod settings;
