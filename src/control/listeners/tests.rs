use super::*;
use crate::proxy::routes::Routes;
use crate::upstream::GroupSettings;

fn address(text: &str) -> Address {
    Address::Ip(text.parse().expect("an address"))
}

fn service(name: &str, listeners: &[&Address]) -> Service {
    let listeners = listeners.iter().map(|address| Listener::at((*address).clone())).collect();
    Service::new(name, listeners, Routes::all(Arc::new(GroupSettings::new("g", Vec::new()))))
}

/// The addresses that the services' listeners are bound to, and the sockets of the only worker.
fn take_over(listeners: &mut Listeners, mut services: Vec<Service>) -> (Vec<Address>, Sockets, Difference) {
    let prepared = listeners.prepare(&mut services, 1, &mut Given::default()).expect("free addresses");
    prepared.listen(&[None]).expect("free addresses");
    let (mut sockets, difference) = listeners.commit(prepared, 1);
    let bound = services.iter().flat_map(|service| &service.listeners);
    (bound.map(|listener| listener.address.clone()).collect(), sockets.remove(0), difference)
}

#[test]
fn a_listener_is_kept_by_its_address_and_port_0_by_its_service() {
    let any = address("127.0.0.1:0");
    let mut listeners = Listeners::default();
    let (first, mut sockets, difference) =
        take_over(&mut listeners, vec![service("a", &[&any, &any]), service("b", &[&any])]);
    assert_eq!((sockets.len(), difference.added.len()), (3, 3));
    let [a1, a2, b] = &first[..] else { panic!("three listeners") };

    // The services in another order, and one listener by the number of its port.
    let (second, new, difference) =
        take_over(&mut listeners, vec![service("b", &[&any]), service("a", &[&any, a2])]);
    assert_eq!(second, [b.clone(), a1.clone(), a2.clone()]);
    assert!(new.is_empty() && difference == Difference::default());

    // To another service, and away.
    let (third, new, difference) = take_over(&mut listeners, vec![service("c", &[&any])]);
    assert_eq!((&third[..], new.len(), difference.removed.len()), (&[b.clone()][..], 0, 2));

    // The worker still has the sockets that were left out: they share their address with one that comes back.
    let (fourth, new, difference) = take_over(&mut listeners, vec![service("c", &[b, a1])]);
    assert_eq!((&fourth[..], new.len()), (&[b.clone(), a1.clone()][..], 1));
    assert_eq!(difference, Difference { added: vec![a1.clone()], removed: vec![] });
    sockets.clear();
    take_over(&mut listeners, vec![service("c", &[b])]);
    assert_eq!(listeners.closing.len(), 1, "those that are closed are forgotten");
}

#[test]
fn an_address_of_another_is_not_shared() {
    let held = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
    let taken = Address::Ip(held.local_addr().expect("it is bound"));
    let mut listeners = Listeners::default();
    let (_, _sockets, _) = take_over(&mut listeners, vec![service("a", &[&address("127.0.0.1:0")])]);
    let mut services = [service("a", &[&taken])];
    listeners.prepare(&mut services, 1, &mut Given::default()).expect_err("another one listens there");
}
