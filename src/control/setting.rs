//! Names of settings in messages: flags, or keys where a settings file was given.
//!
//! The rooms below say what ran out, or name a setting without dashes; this room says what to change in the operator's own
//! form.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::unistd::AccessFlags;

use super::{ADVICE_ON_SANDBOX, sandbox};
use crate::proxy;
use crate::uring::{self, Address};

/// Where settings come from, and so what an operator can change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Named {
    /// The command line.
    Flags,
    /// A settings file.
    Keys,
}

/// Whether messages name keys. One for the process, as its log is.
static KEYS: AtomicBool = AtomicBool::new(false);

/// Sets how all messages name settings from now on.
pub(super) fn name(named: Named) {
    KEYS.store(named == Named::Keys, Ordering::Relaxed);
}

fn named() -> Named {
    if KEYS.load(Ordering::Relaxed) { Named::Keys } else { Named::Flags }
}

/// A setting, by the name of its flag without dashes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Setting<'a> {
    name: &'a str,
    value: Option<&'a str>,
}

/// A setting.
pub(super) fn setting(name: &str) -> Setting<'_> {
    Setting { name, value: None }
}

impl<'a> Setting<'a> {
    /// The setting with a value to give.
    pub(super) fn of(self, value: &'a str) -> Self {
        Self { value: Some(value), ..self }
    }

    fn write(self, named: Named, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (named, self.name, self.value) {
            (Named::Flags, name, None) => write!(f, "--{name}"),
            (Named::Flags, name, Some(value)) => {
                write!(f, "--{name} {}", crate::protocol::shell::quoted(value))
            }
            (Named::Keys, "sni-route", _) => f.write_str("routes"),
            (Named::Keys, name, None) => f.write_str(name),
            (Named::Keys, name, Some(value)) => write!(f, "{name} = {value:?}"),
        }
    }
}

impl Display for Setting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write(named(), f)
    }
}

/// An error of the rooms below, with the settings that help.
pub(super) fn advised(error: &proxy::Error) -> String {
    match error {
        proxy::Error::Kernel(uring::Error::Limit { .. }) => {
            format!("{error}, or lower {} or {}", setting("ring-entries"), setting("buffers"))
        }
        proxy::Error::Bind { address: Address::Unix(path), source }
            if sandbox::denies(path, AccessFlags::W_OK, source) =>
        {
            format!("cannot listen on unix:{}: {source}; {ADVICE_ON_SANDBOX}", path.display())
        }
        proxy::Error::Bind { address: Address::Ip(ip), source }
            if sandbox::denies_port(ip.port(), source) =>
        {
            format!("cannot listen on {ip}: {source}; {ADVICE_ON_SANDBOX}")
        }
        _ => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct As<'a>(Named, Setting<'a>);

    impl Display for As<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            let Self(named, setting) = self;
            setting.write(*named, f)
        }
    }

    #[test]
    fn a_setting_is_named_as_it_is_given() {
        for (setting, flag, key) in [
            (setting("buffers"), "--buffers", "buffers"),
            (setting("upstream-name").of("a b"), "--upstream-name 'a b'", "upstream-name = \"a b\""),
            (setting("sni-route"), "--sni-route", "routes"),
        ] {
            assert_eq!(As(Named::Flags, setting).to_string(), flag);
            assert_eq!(As(Named::Keys, setting).to_string(), key);
        }
    }

    #[test]
    fn a_ring_that_does_not_fit_is_an_advice_to_make_it_smaller() {
        let errno = nix::errno::Errno::ENOMEM;
        let error = proxy::Error::Kernel(uring::Error::Limit { call: uring::Call::Setup, errno });
        let advised = advised(&error);
        assert!(
            advised.contains("raise the limits (ulimit -l, -n), or lower --ring-entries or --buffers"),
            "{advised}"
        );
    }
}
