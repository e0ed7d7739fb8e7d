//! Which logins the site offers, in which order, and what is behind Negotiate.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;

use super::Id;
use super::login::Scheme;
use super::visit::Visit;
use crate::protocol::spnego::{Mechanism, NegTokenResp, neg_token_init};

/// Kerberos before NTLM.
const OFFERED: [Mechanism<'static>; 3] = [Mechanism::MsKerberos, Mechanism::Kerberos, Mechanism::Ntlm];

pub(super) fn probe(visit: &mut Visit<'_>) {
    let Some(reply) = visit.seen.anonymous.clone().filter(|reply| reply.status == 401) else { return };
    let schemes = reply.schemes();
    let listed = if schemes.is_empty() { "nothing".to_owned() } else { schemes.join(", ") };
    let at = |scheme: Scheme| schemes.iter().position(|name| name.eq_ignore_ascii_case(scheme.name()));
    let (negotiate, ntlm) = (at(Scheme::Negotiate), at(Scheme::Ntlm));
    if negotiate.is_none() && ntlm.is_none() {
        visit.broken(
            Id::Providers,
            format!("the site offers {listed}: neither Negotiate nor NTLM"),
            "there is no Windows Authentication here, or a proxy takes it out of the reply",
            "turn Windows Authentication on and add its providers; a proxy must pass WWW-Authenticate on as it is",
        );
    } else {
        visit.fine(Id::Providers, format!("the site offers {listed}"));
    }
    if let (Some(negotiate), Some(ntlm)) = (negotiate, ntlm) {
        if negotiate < ntlm {
            visit.fine(Id::ProviderOrder, "Negotiate is offered before NTLM");
        } else {
            visit.warn(
                Id::ProviderOrder,
                "NTLM is offered before Negotiate",
                "clients that take the first offer never try Kerberos",
                "move Negotiate up in the list of providers",
            );
        }
    }
    if schemes.iter().any(|name| name.eq_ignore_ascii_case("Basic")) {
        if visit.is_tls() {
            visit.fine(Id::Basic, "Basic is offered, over TLS");
        } else {
            visit.broken(
                Id::Basic,
                "Basic is offered without TLS",
                "a client that takes it sends the user's password in the clear",
                "turn Basic authentication off, or serve the site by https only",
            );
        }
    }
    if reply.keep_alive {
        visit.fine(Id::KeepAlive, "the 401 leaves the connection open");
    } else {
        visit.warn(
            Id::KeepAlive,
            "the 401 ends the connection",
            "a login then takes another connection; if the next 401 ends it as well, no login succeeds",
            "turn keep-alive on in the site and in every proxy before it (nginx: proxy_http_version 1.1)",
        );
    }
}

/// Offers Kerberos first, without a ticket: a server that takes it says so, and one that does not chooses NTLM. It leaves half
/// a login behind, so it comes after the probes that a shared connection would pass it on to.
pub(super) fn kerberos(visit: &mut Visit<'_>) {
    if !visit.seen.offers(Scheme::Negotiate) {
        return;
    }
    let token = BASE64_STANDARD.encode(neg_token_init(&OFFERED, None));
    let request = visit.get(&[format!("Authorization: Negotiate {token}")]);
    let answer = visit.open().and_then(|mut wire| visit.request(&mut wire, &request));
    let answered = answer.ok().and_then(|reply| reply.token("Negotiate"));
    let chosen = answered.as_deref().and_then(|token| NegTokenResp::parse(token).ok()?.supported_mech);
    match chosen {
        Some(Mechanism::Kerberos | Mechanism::MsKerberos) => {
            visit.fine(Id::Kerberos, "Negotiate takes Kerberos");
        }
        Some(Mechanism::Ntlm) => visit.warn(
            Id::Kerberos,
            "Negotiate is NTLM only: offered both, the server chooses NTLM",
            "there is no single sign-on to servers behind this one, and no login once NTLM is switched off in the domain",
            "join the server to the domain, and check its SPNs with the commands below",
        ),
        Some(Mechanism::Other(_)) | None => {
            visit.fine(Id::Kerberos, "the server does not say whether Negotiate takes Kerberos");
        }
    }
}
