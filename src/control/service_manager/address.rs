//! Where the service manager listens: `NOTIFY_SOCKET` of `sd_notify`(3).

use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::SocketAddr;

use socket2::Type;

/// See the module docs.
#[derive(Debug, Clone)]
pub(super) enum NotifyAddress {
    /// A datagram socket: a path, or a name that is no file (`@name`).
    Unix(SocketAddr),
    /// The host of a virtual machine.
    Vsock {
        /// As written, if the address says it.
        kind: Option<Type>,
        cid: u32,
        port: u32,
    },
}

impl NotifyAddress {
    /// The address that is written like this.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn parse(text: &OsStr) -> io::Result<Self> {
        match text.as_bytes() {
            [b'/', _, ..] => Ok(Self::Unix(SocketAddr::from_pathname(text)?)),
            [b'@', name @ ..] if !name.is_empty() => Ok(Self::Unix(SocketAddr::from_abstract_name(name)?)),
            _ => text.to_str().and_then(vsock).ok_or_else(|| io::ErrorKind::InvalidInput.into()),
        }
    }
}

/// `vsock:CID:PORT`, where the type of the socket may stand behind `vsock`.
fn vsock(text: &str) -> Option<NotifyAddress> {
    let (scheme, rest) = text.split_once(':')?;
    let kind = match scheme {
        "vsock" => None,
        "vsock-stream" => Some(Type::STREAM),
        "vsock-dgram" => Some(Type::DGRAM),
        "vsock-seqpacket" => Some(Type::SEQPACKET),
        _ => return None,
    };
    let (cid, port) = rest.split_once(':')?;
    Some(NotifyAddress::Vsock { kind, cid: cid.parse().ok()?, port: port.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn parse(text: &str) -> Option<NotifyAddress> {
        NotifyAddress::parse(OsStr::new(text)).ok()
    }

    #[test]
    fn an_address_is_a_path_a_name_or_a_host_of_a_virtual_machine() {
        let Some(NotifyAddress::Unix(path)) = parse("/run/systemd/notify") else { panic!("a path") };
        assert_eq!(path.as_pathname(), Some(Path::new("/run/systemd/notify")));
        let Some(NotifyAddress::Unix(name)) = parse("@a/b") else { panic!("a name") };
        assert_eq!(name.as_abstract_name(), Some(&b"a/b"[..]));
        for (text, wanted) in [
            ("vsock:2:1234", None),
            ("vsock-stream:2:1234", Some(Type::STREAM)),
            ("vsock-dgram:2:1234", Some(Type::DGRAM)),
            ("vsock-seqpacket:2:1234", Some(Type::SEQPACKET)),
        ] {
            let Some(NotifyAddress::Vsock { kind, cid: 2, port: 1234 }) = parse(text) else {
                panic!("{text}")
            };
            assert_eq!(kind, wanted, "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_address() {
        let long = format!("/{}", "x".repeat(200));
        for text in
            ["", "/", "@", "run/notify", "vsock", "vsock:2", "vsock:2:x", "vsock:-1:1", "tcp:2:1", &long]
        {
            assert!(parse(text).is_none(), "{text}");
        }
    }
}
