//! Whether the site takes a PROXY header from any client.

use crate::doctor::site::Id;
use crate::doctor::site::visit::Visit;
use crate::doctor::site::wire::Broke;

/// From an address that is reserved for documentation (RFC 5737).
const HEADER: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 49152 80\r\n";

pub(in crate::doctor::site) fn probe(visit: &mut Visit<'_>) {
    let Some(usual) = visit.seen.anonymous.as_ref().map(|reply| reply.status) else { return };
    match ask(visit) {
        Ok(status) if status == usual => visit.warn(
            Id::ProxyHeader,
            "a PROXY header from this host is accepted",
            "every client that reaches this address can name any address as its own, in logs and in rules by address",
            "accept PROXY headers from the proxies before this one only (iisplice: --accept-proxy-from; nginx: \
             set_real_ip_from)",
        ),
        Ok(status) => visit.fine(Id::ProxyHeader, format!("a PROXY header is answered with {status}")),
        Err(broke) => visit.fine(Id::ProxyHeader, format!("a PROXY header is not accepted: {broke}")),
    }
}

fn ask(visit: &Visit<'_>) -> Result<u16, Broke> {
    let Some(way) = visit.way.clone() else { return Err(Broke::Closed) };
    let mut wire = visit.connect(way.address)?;
    wire.send(HEADER)?;
    if let Some((config, name)) = &way.tls {
        wire = wire.encrypt(config, name)?;
    }
    Ok(visit.request(&mut wire, &visit.get(&[]))?.status)
}
