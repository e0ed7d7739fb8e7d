//! What is counted for a name while its addresses come and go: no number ever shrinks.

use super::{CHANGED, Host, OFTEN};
use crate::admin::Admin;
use crate::metrics::Metrics;
use crate::support::{Dns, Peer, wait_until};

#[test]
fn what_an_address_counted_stays_with_its_name() {
    let (dns, host) = (Dns::new(), Host::of(2));
    // There is no server at the ninth.
    dns.set("iis.test", &["127.0.0.1", "127.0.0.9"]);
    let flags = format!(
        "{OFTEN} --admin 127.0.0.1:0 --health tcp --health-interval 50ms --health-fall 1 --eject-after 1 \
         --eject-time 1h"
    );
    let proxy = host.launch(&dns, "").flags(&flags).start();
    let admin = Admin::of(&proxy);
    let name = format!("iis.test:{}", host.port);
    let count = |metric: &str| Metrics::of(&admin).sum(metric, &[("group", "default"), ("server", &name)]);
    let changes = || count("iisplice_server_state_changes_total");
    wait_until("the check to fail", || changes() == 1);
    dns.set("iis.test", &["127.0.0.1"]);
    proxy.wait_to_say(CHANGED);
    assert_eq!(count("iisplice_server_state"), 1, "one address is left");
    assert_eq!(changes(), 1);
    dns.set("iis.test", &["127.0.0.1", "127.0.0.8"]);
    wait_until("the check of the next one to fail", || changes() == 2);
    // One that comes back is known to be down.
    dns.set("iis.test", &["127.0.0.9", "127.0.0.8"]);
    proxy.wait_to_say_times(CHANGED, 3);
    assert_eq!(changes(), 2);
    let connected = || count("iisplice_upstream_connections_total");
    let before = connected();
    Peer::connect(proxy.address()).expect_end();
    assert_eq!(connected(), before);
}
