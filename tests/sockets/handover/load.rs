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
    let pid = Cell::new(own_pid(&proxy));
    let once = || pid.set(upgrade(&proxy, pid.get()));
    let failures = failures_during(&address, [once; 6]);
    assert_eq!(failures, [""; 0]);
    for client in &mut held {
        talk(client).expect("it is still served");
    }
}
