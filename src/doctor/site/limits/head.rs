//! The largest header that passes: a Kerberos ticket comes in one.

use crate::doctor::site::Id;
use crate::doctor::site::login::Scheme;
use crate::doctor::site::visit::Visit;

/// Sizes of tickets, in thousands of bytes. In a header they take a third more. Windows issues tickets of 48 at most
/// (`MaxTokenSize`); with 12, a head just fits the 16 KiB that HTTP.sys takes by default.
const TICKETS_KB: [usize; 6] = [4, 8, 12, 24, 36, 48];

pub(in crate::doctor::site) fn probe(visit: &mut Visit<'_>) {
    let Some(usual) = visit.seen.anonymous.as_ref().map(|reply| reply.status) else { return };
    let mut passed = None;
    let mut refused = None;
    for kb in TICKETS_KB {
        match send(visit, kb, usual) {
            Ok(()) => passed = Some(kb),
            Err(how) => {
                refused = Some((kb, how));
                break;
            }
        }
    }
    let Some((kb, how)) = refused else {
        visit.fine(Id::RequestHead, "a header as large as a Kerberos ticket of 48 KB passes");
        return;
    };
    let largest = passed.map_or_else(String::new, |passed| format!("one of {passed} KB passes, "));
    let saw = format!("of headers as large as a Kerberos ticket, {largest}one of {kb} KB is {how}");
    if !visit.seen.offers(Scheme::Negotiate) {
        visit.fine(Id::RequestHead, saw);
        return;
    }
    visit.warn(
        Id::RequestHead,
        saw,
        "users in many groups have tickets of up to 48 KB, and cannot log in by Kerberos",
        "raise the limit of the server or proxy that answered: HTTP.sys MaxFieldLength and MaxRequestBytes to 65534; nginx \
         large_client_header_buffers 4 64k; HAProxy tune.bufsize 65536; iisplice --head-limit",
    );
}

/// Sends a request with a header of the size; `Err` says how it was refused.
fn send(visit: &Visit<'_>, kb: usize, usual: u16) -> Result<(), String> {
    // Base64 takes four characters for three bytes.
    let line = format!("X-Iisplice-Doctor: {}", "a".repeat(kb * 1000 / 3 * 4));
    let reply = visit.open().and_then(|mut wire| visit.request(&mut wire, &visit.get(&[line])));
    match reply {
        Ok(reply) if reply.status == usual => Ok(()),
        Ok(reply) => {
            let by = reply.header("server").map_or_else(String::new, |server| format!(" by {server}"));
            Err(format!("answered with {}{by}", reply.status))
        }
        Err(broke) => Err(format!("not answered: {broke}")),
    }
}
