//! A server that sends back what it gets, and clients that come and go meanwhile.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use super::{PATIENCE, wait_until};

/// A server that sends back what it gets; its address.
pub(crate) fn echo() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for client in listener.incoming() {
            let mut client = client.expect("a client");
            thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = client.read(&mut buffer) {
                    if client.write_all(&buffer[..read]).is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// A message there and back.
pub(crate) fn talk(client: &mut (impl Read + Write)) -> io::Result<()> {
    client.write_all(b"hello")?;
    let mut answer = [0; 5];
    client.read_exact(&mut answer)?;
    assert_eq!(&answer, b"hello");
    Ok(())
}

pub(crate) fn connect(address: &str) -> io::Result<TcpStream> {
    let client = TcpStream::connect(address)?;
    client.set_read_timeout(Some(PATIENCE))?;
    Ok(client)
}

/// Has clients end also where a thing fails.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Does these things one after the other while four clients come and go, and talk. What they have met.
pub(crate) fn failures_during(address: &str, things: impl IntoIterator<Item = impl FnOnce()>) -> Vec<String> {
    let (is_over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let come_and_go = || {
        while !is_over.load(Ordering::Relaxed) {
            let talked = connect(address).and_then(|mut client| talk(&mut client));
            talked.map_err(|error| error.to_string())?;
            count.fetch_add(1, Ordering::Relaxed);
        }
        Ok::<_, String>(())
    };
    thread::scope(|scope| {
        let over = Over(&is_over);
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(come_and_go)).collect();
        for thing in things {
            let before = count.load(Ordering::Relaxed);
            thing();
            let some_are_left = || clients.iter().any(|client| !client.is_finished());
            wait_until("clients to be served", || {
                count.load(Ordering::Relaxed) > before + 20 || !some_are_left()
            });
        }
        drop(over);
        clients.into_iter().filter_map(|client| client.join().expect("no panic").err()).collect()
    })
}
