//! The first reply, to a request without a login: does it ask for one, or lead elsewhere?

use url::Url;

use super::Id;
use super::visit::Visit;
use super::wire::Broke;

pub(super) fn probe(visit: &mut Visit<'_>) {
    let reply = match visit.ask_anonymously() {
        Ok(reply) => reply,
        Err(broke) => {
            let fix = match &broke {
                Broke::SpeaksTls => "use https:// in the URL",
                Broke::NotHttp(_) => "check the port: this one does not speak HTTP",
                Broke::Closed | Broke::Reset(_) if !visit.is_tls() => {
                    "check the port: this one may want TLS (https://), or a PROXY header before each request"
                }
                _ => "check the server's log",
            };
            let saw = format!("a request without a login got no reply: {broke}");
            visit.broken(Id::Protected, saw, "the site cannot be used at all", fix);
            return;
        }
    };
    let status = reply.status;
    match status {
        401 => visit.fine(Id::Protected, "a request without a login is answered with 401"),
        300..=399 => redirected(visit, status, reply.header("location").unwrap_or_default()),
        407 => visit.broken(
            Id::Protected,
            "a request is answered with 407: a forward proxy asks for a login",
            "the login ends at that proxy, not at the site",
            "reach the site without the forward proxy, or give the URL of the site itself",
        ),
        500..=599 => visit.broken(
            Id::Protected,
            format!("a request without a login is answered with {status}"),
            "the site, or the proxy before it, fails before it asks for a login",
            "read the log of the server that sent it; 502 to 504: the proxy does not reach the site",
        ),
        _ => visit.warn(
            Id::Protected,
            format!("a request without a login is answered with {status}: this page asks for none"),
            "the probes of logins need a page that asks for one",
            "give the URL of a page with Windows Authentication and without anonymous authentication",
        ),
    }
    visit.seen.anonymous = Some(reply);
}

fn redirected(visit: &mut Visit<'_>, status: u16, location: &str) {
    let to = visit.url.join(location).ok();
    let same_host = |to: &Url| to.host_str() == visit.url.host_str();
    let to_name = to.as_ref().and_then(Url::host_str).unwrap_or(location).to_owned();
    if to.as_ref().is_some_and(same_host) {
        let saw = format!("a request without a login is answered with {status} to {location}");
        visit.warn(
            Id::Protected,
            saw,
            "the probes of logins need a page that asks for one",
            format!(
                "probe where it leads: iisplice doctor {}",
                to.map_or_else(String::new, |to| to.to_string())
            ),
        );
        return;
    }
    visit.warn(
        Id::Redirect,
        format!("the site leads to another name, with {status} to {location}"),
        "the login happens there: another certificate, another Kerberos name, another zone in browsers",
        format!(
            "probe {to_name} as well; if it is meant to stay here, correct the application's own address"
        ),
    );
}
