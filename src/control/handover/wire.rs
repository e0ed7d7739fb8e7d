//! Messages between processes of one proxy: a packet of JSON each, with descriptors.
//!
//! The sockets are pairs (`SOCK_SEQPACKET`), which have no name that others could connect to. Every message has a bound, and
//! every wait an end.

use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Most bytes of a message.
const BYTES_MAX: usize = 64 * 1024;

/// Most descriptors of a message; the kernel's own limit is 253 (unix(7)).
pub(super) const DESCRIPTORS_MAX: usize = 64;

/// A message, and the descriptors that came with it.
pub(super) type Message<T> = (T, Vec<OwnedFd>);

/// Two sockets that are connected with each other. They close on exec.
pub(super) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (kind, flags) = (SocketType::SEQPACKET, SocketFlags::CLOEXEC);
    Ok(socketpair(AddressFamily::UNIX, kind, flags, None)?)
}

/// Sends a message with descriptors, of which there may be [`DESCRIPTORS_MAX`].
///
/// # Errors
/// The other end is gone, or takes nothing until `deadline`.
pub(super) fn send(
    socket: impl AsFd,
    message: &impl Serialize,
    descriptors: &[BorrowedFd<'_>],
    deadline: Instant,
) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > BYTES_MAX || descriptors.len() > DESCRIPTORS_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message is too long"));
    }
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    loop {
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a message has too many descriptors"));
        }
        let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
        match sendmsg(&socket, &[IoSlice::new(&bytes)], &mut ancillary, flags) {
            Ok(_all) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => wait(&[socket.as_fd()], PollFlags::POLLOUT, Some(deadline))?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Waits for a message. `None`: the other end is closed.
///
/// # Errors
/// No message until `deadline`, or one that is too long, has too many descriptors or is of another kind.
pub(super) fn receive<T: DeserializeOwned>(
    socket: impl AsFd,
    deadline: Instant,
) -> io::Result<Option<Message<T>>> {
    wait(&[socket.as_fd()], PollFlags::POLLIN, Some(deadline))?;
    receive_now(socket)
}

/// The message that has arrived. `None`: the other end is closed.
///
/// # Errors
/// There is none, or it is one that is too long, has too many descriptors or is of another kind.
pub(super) fn receive_now<T: DeserializeOwned>(socket: impl AsFd) -> io::Result<Option<Message<T>>> {
    let mut bytes = vec![0; BYTES_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags);
    let received = match received {
        // An end that was closed while it had not read all resets its other end.
        Err(rustix::io::Errno::CONNRESET) => return Ok(None),
        received => received?,
    };
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(sent) = message {
            descriptors.extend(sent);
        }
    }
    // What did arrive is closed here. The space is rounded up: a few more than the most may fit.
    if received.flags.contains(ReturnFlags::CTRUNC) || descriptors.len() > DESCRIPTORS_MAX {
        let why = "a message has more descriptors than can be taken; is the limit (ulimit -n) reached?";
        return Err(io::Error::new(io::ErrorKind::InvalidData, why));
    }
    if received.flags.contains(ReturnFlags::TRUNC) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    if received.bytes == 0 {
        return Ok(None);
    }
    Ok(Some((serde_json::from_slice(&bytes[..received.bytes])?, descriptors)))
}

/// Waits until one of the sockets is ready.
///
/// # Errors
/// None is until `deadline` ([`io::ErrorKind::TimedOut`]).
pub(super) fn wait(sockets: &[BorrowedFd<'_>], what: PollFlags, deadline: Option<Instant>) -> io::Result<()> {
    loop {
        let mut polled: Vec<_> = sockets.iter().map(|socket| PollFd::new(*socket, what)).collect();
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        // Rounded up: it is not to look again and again within the last millisecond.
        let timeout = left.map_or(PollTimeout::NONE, |left| {
            PollTimeout::try_from(left.as_millis().saturating_add(1)).unwrap_or(PollTimeout::MAX)
        });
        match poll(&mut polled, timeout) {
            Ok(0) if left.is_some_and(|left| left.is_zero()) => {
                return Err(io::ErrorKind::TimedOut.into());
            }
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_some) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_message_brings_its_descriptors_and_an_end_is_told() {
        let (one, other) = pair().expect("sockets");
        let (mut read, write) = io::pipe().expect("a pipe");
        send(&one, &("a", 1), &[write.as_fd()], soon()).expect("it fits");
        send(&one, &("b", 2), &[], soon()).expect("it fits");
        drop(write);
        let ((word, number), sent) =
            receive::<(String, u32)>(&other, soon()).expect("a message").expect("no end");
        assert_eq!((&*word, number, sent.len()), ("a", 1, 1));
        let mut end = std::fs::File::from(sent.into_iter().next().expect("one"));
        end.write_all(b"here").expect("it is the pipe");
        drop(end);
        let mut said = String::new();
        read.read_to_string(&mut said).expect("text");
        assert_eq!(said, "here");
        let next = receive::<(String, u32)>(&other, soon()).expect("a message").expect("no end");
        assert_eq!(next.0, ("b".to_owned(), 2));
        drop(one);
        assert!(receive::<(String, u32)>(&other, soon()).expect("an end").is_none());
    }

    #[test]
    fn what_is_too_long_malformed_or_late_is_an_error() {
        let (one, other) = pair().expect("sockets");
        send(&one, &"x".repeat(BYTES_MAX), &[], soon()).expect_err("too long");
        let many = vec![one.as_fd(); DESCRIPTORS_MAX + 1];
        send(&one, &1, &many, soon()).expect_err("too many descriptors");
        send(&one, &"text", &[], soon()).expect("it fits");
        receive::<u32>(&other, soon()).expect_err("another kind");
        let late = receive::<u32>(&other, Instant::now()).expect_err("nothing was sent");
        assert_eq!(late.kind(), io::ErrorKind::TimedOut);
        let raw = vec![b'1'; BYTES_MAX + 1];
        rustix::net::send(&one, &raw, SendFlags::empty()).expect("the buffers are larger");
        receive::<u32>(&other, soon()).expect_err("longer than a message");
        for half in [&b"[1"[..], b"\"text", b"\xff", b"[[[[[[[["] {
            rustix::net::send(&one, half, SendFlags::empty()).expect("it fits");
            receive::<(u32, u32)>(&other, soon()).expect_err("half of a message");
        }
        let full = std::iter::repeat_with(|| send(&one, &"x".repeat(BYTES_MAX / 2), &[], Instant::now()));
        let refused = full.take(1000).find_map(Result::err).expect("nothing is read, so it fills up");
        assert_eq!(refused.kind(), io::ErrorKind::TimedOut);
    }

    #[test]
    fn descriptors_that_come_in_excess_or_with_what_is_refused_are_closed() {
        let (one, other) = pair().expect("sockets");
        let refused = |bytes: &[u8], count: usize, flood: usize| {
            let (mut read, write) = io::pipe().expect("a pipe");
            let many = vec![write.as_fd(); count];
            let mut space = vec![MaybeUninit::uninit(); SendAncillaryMessage::ScmRights(&many).size()];
            for _ in 0..flood {
                let mut ancillary = SendAncillaryBuffer::new(&mut space);
                assert!(ancillary.push(SendAncillaryMessage::ScmRights(&many)), "the space is for them");
                sendmsg(&one, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::empty()).expect("it fits");
                receive::<u32>(&other, soon()).expect_err("it is refused");
            }
            drop(many);
            drop(write);
            let mut nothing = Vec::new();
            read.read_to_end(&mut nothing).expect("an end: no descriptor is left");
        };
        refused(b"1", DESCRIPTORS_MAX + 1, 3);
        // The most that the kernel sends at once.
        refused(b"1", 253, 3);
        refused(b"\"another kind\"", 3, 3);
        refused(b"1 2", DESCRIPTORS_MAX, 3);
        refused(&vec![b' '; BYTES_MAX + 1], 1, 1);
    }
}
