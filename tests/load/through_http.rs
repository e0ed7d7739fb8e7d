//! Many users at once through the proxy's HTTP mode, while other clients break off wherever they are.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use super::mock::Mock;
use super::proxy::Proxy;
use super::{measure, number};

/// A client that breaks off: after some of a request, in the middle of a login, or with a reply in its way.
fn break_off(proxy: SocketAddr, random: &mut fastrand::Rng) {
    const REQUEST: &str = "GET /whoami HTTP/1.1\r\nHost: web\r\n\
                           Authorization: NTLM TlRMTVNTUAABAAAAB4IIogAAAAAAAAAAAAAAAAAAAAAKAGFKAAAADw==\r\n\r\n";
    let Ok(mut client) = TcpStream::connect(proxy) else { return };
    client.set_read_timeout(Some(Duration::from_millis(random.u64(1..20)))).unwrap();
    let sent = if random.bool() { REQUEST.len() } else { random.usize(0..REQUEST.len()) };
    let _ = client.write_all(&REQUEST.as_bytes()[..sent]);
    if random.bool() {
        let _ = client.read(&mut [0; 64]);
    }
    if random.bool() {
        let _ = socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO));
    }
}

#[test]
fn fifty_users_on_two_thousand_connections_stay_apart_while_others_break_off() {
    let directory = tempfile::TempDir::new().unwrap();
    let users: Vec<_> = (0..50).map(|user| format!("CORP\\user{user}:secret{user}")).collect();
    let file = directory.path().join("users");
    std::fs::write(&file, users.join("\n")).unwrap();
    let file = format!("--users={}", file.display());
    let mock = Mock::start(&[&file]);
    let site = mock.url.strip_prefix("http://").unwrap().trim_end_matches('/');
    let proxy = Proxy::start(site);
    let url = format!("http://{}/whoami", proxy.address);
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for seed in 0..4 {
            let (is_over, address) = (&is_over, proxy.address);
            scope.spawn(move || {
                let mut random = fastrand::Rng::with_seed(seed);
                while !is_over.load(Ordering::Relaxed) {
                    break_off(address, &mut random);
                }
            });
        }
        // `measure` fails when a reply named another user: exit code 3.
        let result = measure(&[
            &url,
            "--auth=ntlm",
            &file,
            "--verify-identity",
            "--scenario=session",
            "--requests-per-login=4",
            "-c2000",
            "-n16000",
            "--timeout=60s",
        ]);
        is_over.store(true, Ordering::Relaxed);
        assert!(number(&result["counts"]["logins"]) >= 4000, "{}", result["counts"]);
        assert_eq!(result["counts"]["errors"], serde_json::json!({}));
    });
}
