//! WebSocket messages, echoed (RFC 6455), with tungstenite over bytes in memory.

use std::io::{self, Read, Write};

use tungstenite::error::Error;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocket, WebSocketConfig};

use super::stream::{End, Stream};

/// Longest message that is echoed.
const MESSAGE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// The head that accepts an upgrade with this `Sec-WebSocket-Key`.
pub(super) fn accept_head(key: &[u8]) -> Vec<u8> {
    let accept = derive_accept_key(key);
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nServer: Microsoft-IIS/10.0\r\n\
         Connection: Upgrade\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    )
    .into_bytes()
}

/// Echoes until the client closes or violates the protocol.
pub(super) async fn echo(stream: &mut Stream) -> Result<(), End> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(MESSAGE_BYTES_MAX))
        .max_frame_size(Some(MESSAGE_BYTES_MAX));
    let mut socket = WebSocket::from_raw_socket(Memory::default(), Role::Server, Some(config));
    loop {
        let came = stream.received().len();
        socket.get_mut().input.extend_from_slice(stream.received());
        stream.consume(came);
        let goes_on = echo_what_is_there(&mut socket);
        let output = std::mem::take(&mut socket.get_mut().output);
        if !output.is_empty() {
            stream.send(output).await?;
        }
        if !goes_on {
            return Ok(());
        }
        stream.receive().await?;
    }
}

/// Echoes the messages received so far; returns whether more may come.
fn echo_what_is_there(socket: &mut WebSocket<Memory>) -> bool {
    loop {
        match socket.read() {
            Ok(message) if message.is_text() || message.is_binary() => {
                if socket.send(message).is_err() {
                    return false;
                }
            }
            // tungstenite answers pings and the closing handshake itself.
            Ok(_) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return socket.flush().is_ok();
            }
            Err(_) => {
                let _ = socket.flush();
                return false;
            }
        }
    }
}

/// A connection in memory: received bytes, and bytes to send.
#[derive(Default)]
struct Memory {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.input.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let read = (&self.input[..]).read(buffer)?;
        self.input.drain(..read);
        Ok(read)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
