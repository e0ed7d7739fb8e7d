//! Upgrades one after the other while clients come and go.

use super::*;

#[test]
fn no_client_is_refused_or_reset_by_upgrades() {
    let server = echo();
    let flags = "--workers 2 --no-pin --drain-timeout 1h";
    let proxy = Launch::to(&server).flags(flags).start();
    let address = proxy.address().to_owned();
    let mut held: Vec<_> = (0..50).map(|_| connect(&address).expect("it listens")).collect();
    for client in &mut held {
        talk(client).expect("it is served");
    }
    let (is_over, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    let failures: Vec<String> = thread::scope(|scope| {
        let come_and_go = || {
            while !is_over.load(Ordering::Relaxed) {
                connect(&address)
                    .and_then(|mut client| talk(&mut client))
                    .map_err(|error| error.to_string())?;
                count.fetch_add(1, Ordering::Relaxed);
            }
            Ok::<_, String>(())
        };
        let clients: Vec<_> = (0..4).map(|_| scope.spawn(come_and_go)).collect();
        let mut pid = own_pid(&proxy);
        for _ in 0..6 {
            let before = count.load(Ordering::Relaxed);
            pid = upgrade(&proxy, pid);
            wait_until("clients to be served", || count.load(Ordering::Relaxed) > before + 20);
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().filter_map(|client| client.join().expect("no panic").err()).collect()
    });
    assert_eq!(failures, [""; 0]);
    for client in &mut held {
        talk(client).expect("it is still served");
    }
}
