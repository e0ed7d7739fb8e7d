//! Servers as they are written: `HOST:PORT,weight=2,backup` on a command line, and in a settings file the same text or
//! `{ address = "HOST:PORT", weight = 2, backup = true }`. The address may be a service: `srv://_http._tcp.DOMAIN`.

use std::borrow::Cow;
use std::fmt;
use std::num::{NonZeroU16, NonZeroU32};

use crate::cli::address::{AddressError, Unresolved};
use crate::cli::nearest::nearest;
use crate::upstream::ServerOptions;
use crate::upstream::names::{Name, SERVICE_PREFIX, domain_of_service};
use crate::uring::Address;

/// The options of a server; those of `SWITCHES` have no value.
pub(super) const OPTIONS: [&str; 4] = ["weight", "max-connections", "backup", "disabled"];
const SWITCHES: [&str; 2] = ["backup", "disabled"];

// As in HAProxy.
const WEIGHT_MAX: u16 = 256;

/// More than any server has.
const CONNECTIONS_MAX: u32 = 10_000_000;

/// Most bytes of a name in DNS, and of a part of it (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 253;
const LABEL_BYTES_MAX: usize = 63;

/// A server and its options, not resolved yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct WrittenServer {
    pub(super) address: Whereabouts,
    pub(super) options: ServerOptions,
}

/// Where a server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// At an address, or at those of a name.
    At(Unresolved),
    /// Where the SRV records of a service say.
    Service(String),
}

impl fmt::Display for Whereabouts {
    /// As written.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(address) => address.fmt(f),
            Self::Service(service) => write!(f, "{SERVICE_PREFIX}{service}"),
        }
    }
}

impl Whereabouts {
    /// The address, if it is no name.
    pub(super) fn known(&self) -> Option<&Address> {
        match self {
            Self::At(address) => address.known(),
            Self::Service(_) => None,
        }
    }

    /// The name, if it is one.
    pub(super) fn name(&self) -> Option<Name> {
        match self {
            Self::At(address) => address.name(),
            Self::Service(service) => Some(Name::Service(service.as_str().into())),
        }
    }

    /// What a server proves to be there: the host as written, without brackets, or the domain whose service it is; `None`
    /// for a Unix socket.
    pub(super) fn host(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::At(address) => address.host(),
            Self::Service(service) => domain_of_service(service).map(Cow::Borrowed),
        }
    }
}

impl WrittenServer {
    /// Parses `ADDRESS` with its options behind it, each after a comma.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (address, written) = parted(text);
        let mut server = Self { address: connectable(address)?, options: ServerOptions::default() };
        let mut seen: Vec<&str> = Vec::new();
        for option in written {
            let (key, value) = match option.split_once('=') {
                Some((key, value)) => (key, Some(value)),
                None => (option, None),
            };
            if seen.contains(&key) {
                return Err(format!("{key} is given twice; remove one of them"));
            }
            seen.push(key);
            set(&mut server.options, key, value)?;
        }
        if matches!(server.address, Whereabouts::Service(_)) && server.options.weight != NonZeroU16::MIN {
            return Err("the weights of a service are in its SRV records; remove weight".to_owned());
        }
        Ok(server)
    }

    /// Its options as keys and values of a settings file, without those that have their defaults.
    pub(super) fn keys(&self) -> Vec<(&'static str, String)> {
        let ServerOptions { weight, connections_max, backup, disabled } = self.options;
        let default = ServerOptions::default();
        let mut keys = Vec::new();
        if weight != default.weight {
            keys.push(("weight", weight.to_string()));
        }
        keys.extend(connections_max.map(|max| ("max-connections", max.to_string())));
        keys.extend(backup.then(|| ("backup", "true".to_owned())));
        keys.extend(disabled.then(|| ("disabled", "true".to_owned())));
        keys
    }
}

/// What is wrong with a key that no option has.
pub(super) fn unknown(key: &str, known: &[&str]) -> String {
    match nearest(key, known) {
        Some(nearest) => format!("unknown option {key:?}; did you mean {nearest}?"),
        None => format!("unknown option {key:?}; give one of {}", known.join(", ")),
    }
}

/// Whether an option has no value, and is `true` in a settings file.
pub(super) fn is_switch(key: &str) -> bool {
    SWITCHES.contains(&key)
}

/// Sets the option `key` to `value`.
pub(super) fn set(options: &mut ServerOptions, key: &str, value: Option<&str>) -> Result<(), String> {
    match (key, value) {
        ("weight", Some(value)) => options.weight = weight(value)?,
        ("max-connections", Some(value)) => options.connections_max = Some(connections_max(value)?),
        ("backup", None) => options.backup = true,
        ("disabled", None) => options.disabled = true,
        (key, Some(_)) if is_switch(key) => return Err(format!("{key} has no value; give {key} alone")),
        (key, None) if OPTIONS.contains(&key) => return Err(format!("{key} needs a value; give {key}=N")),
        (key, _) => return Err(unknown(key, &OPTIONS)),
    }
    Ok(())
}

fn weight(value: &str) -> Result<NonZeroU16, String> {
    let weight = value.parse().ok().filter(|weight: &NonZeroU16| weight.get() <= WEIGHT_MAX);
    weight.ok_or_else(|| {
        format!(
            "weight: give a whole number from 1 to {WEIGHT_MAX}; disabled is for a server without connections"
        )
    })
}

fn connections_max(value: &str) -> Result<NonZeroU32, String> {
    let max = value.parse().ok().filter(|max: &NonZeroU32| max.get() <= CONNECTIONS_MAX);
    max.ok_or_else(|| {
        format!("max-connections: give a whole number from 1 to {CONNECTIONS_MAX}; disabled is for a server without connections")
    })
}

/// Parts an address from its options. A comma in the path of a Unix socket is a part of the path, unless something like
/// an option follows.
fn parted(text: &str) -> (&str, Vec<&str>) {
    let is_option = |part: &str| {
        let key = part.split('=').next().unwrap_or_default();
        !text.starts_with("unix:")
            || OPTIONS.contains(&key)
            || (part.contains('=') && nearest(key, OPTIONS).is_some())
    };
    let mut address = text;
    let mut options = Vec::new();
    while let Some((before, part)) = address.rsplit_once(',').filter(|(_, part)| is_option(part)) {
        address = before;
        options.insert(0, part);
    }
    (address, options)
}

/// Parses an address to connect to.
fn connectable(text: &str) -> Result<Whereabouts, String> {
    if let Some(service) = text.strip_prefix(SERVICE_PREFIX) {
        return self::service(service).map(|()| Whereabouts::Service(service.to_owned()));
    }
    let address: Unresolved = text.parse().map_err(|error: AddressError| error.to_string())?;
    if address.has_port_zero() {
        return Err("port 0 cannot be connected to; give the server's port".to_owned());
    }
    Ok(Whereabouts::At(address))
}

/// Checks the name of a service.
fn service(name: &str) -> Result<(), String> {
    if let Some((name, port)) = name.split_once(':') {
        return Err(format!(
            "the ports of a service are in its SRV records; write {SERVICE_PREFIX}{name} without :{port}"
        ));
    }
    let is_label = |label: &str| {
        let is_character = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=LABEL_BYTES_MAX).contains(&label.len()) && label.bytes().all(is_character)
    };
    let is_name =
        name.len() <= NAME_BYTES_MAX && name.strip_suffix('.').unwrap_or(name).split('.').all(is_label);
    if is_name && domain_of_service(name).is_some() {
        Ok(())
    } else {
        Err(format!(
            "this is not a service; write {SERVICE_PREFIX}_SERVICE._PROTOCOL.DOMAIN, like {SERVICE_PREFIX}_http._tcp.corp.example"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> ServerOptions {
        WrittenServer::parse(text).expect(text).options
    }

    #[test]
    fn options_stand_behind_the_address() {
        let default = ServerOptions::default();
        let weight = |weight: u16| ServerOptions { weight: weight.try_into().expect("not 0"), ..default };
        assert_eq!(options("iis1:80"), default);
        assert_eq!(options("iis1:80,weight=256"), weight(256));
        assert_eq!(options("[::1]:80,weight=1"), default);
        let max = |max| ServerOptions { connections_max: NonZeroU32::new(max), ..default };
        assert_eq!(options("iis1:80,max-connections=500"), max(500));
        assert_eq!(options("iis1:80,backup,weight=2"), ServerOptions { backup: true, ..weight(2) });
        assert_eq!(options("unix:/run/a,disabled"), ServerOptions { disabled: true, ..default });
    }

    #[test]
    fn a_service_stands_in_place_of_an_address() {
        let server =
            WrittenServer::parse("srv://_http._tcp.corp.example,max-connections=5").expect("a service");
        assert_eq!(server.address.to_string(), "srv://_http._tcp.corp.example");
        assert_eq!(server.address.name(), Some(Name::Service("_http._tcp.corp.example".into())));
        assert_eq!(server.address.host().as_deref(), Some("corp.example"));
        assert_eq!(server.options.connections_max, NonZeroU32::new(5));
    }

    #[test]
    fn the_path_of_a_unix_socket_may_have_commas() {
        for path in ["unix:/run/a,b", "unix:/run/a,b=c,", "unix:/run/,backup,x"] {
            let server = WrittenServer::parse(path).expect(path);
            assert_eq!(
                (server.address.to_string().as_str(), server.options),
                (path, ServerOptions::default())
            );
        }
        let server = WrittenServer::parse("unix:/run/a,b,weight=3,backup").expect("a path and options");
        assert_eq!(server.address.to_string(), "unix:/run/a,b");
        assert_eq!(server.keys(), [("weight", "3".to_owned()), ("backup", "true".to_owned())]);
    }

    #[test]
    fn every_mistake_says_what_would_be_right() {
        for (text, expected) in [
            ("iis1:80,", "unknown option \"\"; give one of weight, max-connections, backup, disabled"),
            ("iis1:80,wieght=2", "unknown option \"wieght\"; did you mean weight?"),
            ("unix:/run/a,wieght=2", "unknown option \"wieght\"; did you mean weight?"),
            (
                "iis1:80,iis2:80",
                "unknown option \"iis2:80\"; give one of weight, max-connections, backup, disabled",
            ),
            ("iis1:80,weight", "weight needs a value; give weight=N"),
            ("iis1:80,backup=yes", "backup has no value; give backup alone"),
            ("iis1:80,backup,backup", "backup is given twice; remove one of them"),
            ("iis1,weight=2", "the port is missing; write iis1:PORT"),
            (",weight=2", "the host is missing; write HOST:PORT"),
            (
                "srv://",
                "this is not a service; write srv://_SERVICE._PROTOCOL.DOMAIN, like srv://_http._tcp.corp.example",
            ),
            (
                "srv://corp.example",
                "this is not a service; write srv://_SERVICE._PROTOCOL.DOMAIN, like srv://_http._tcp.corp.example",
            ),
            (
                "srv://_http._tcp.a/b",
                "this is not a service; write srv://_SERVICE._PROTOCOL.DOMAIN, like srv://_http._tcp.corp.example",
            ),
            (
                "srv://_http._tcp..a",
                "this is not a service; write srv://_SERVICE._PROTOCOL.DOMAIN, like srv://_http._tcp.corp.example",
            ),
            (
                "srv://_http._tcp.corp.example:80",
                "the ports of a service are in its SRV records; write srv://_http._tcp.corp.example without :80",
            ),
            (
                "srv://_http._tcp.corp.example,weight=2",
                "the weights of a service are in its SRV records; remove weight",
            ),
            ("iis1:0,weight=2", "port 0 cannot be connected to; give the server's port"),
        ] {
            assert_eq!(WrittenServer::parse(text).expect_err(text), expected, "{text:?}");
        }
        for max in ["0", "-1", "10000001", "", "x"] {
            let said = WrittenServer::parse(&format!("iis1:80,max-connections={max}")).expect_err(max);
            assert!(said.starts_with("max-connections: give a whole number from 1 to"), "{said}");
        }
        for weight in ["0", "257", "-1", "1.5", "", " 2"] {
            let said = WrittenServer::parse(&format!("iis1:80,weight={weight}")).expect_err(weight);
            assert!(said.starts_with("weight: give a whole number from 1 to 256"), "{said}");
        }
    }
}
