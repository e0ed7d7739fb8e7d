//! The kernel's door.

mod address;

pub use address::Address;
