//! What proxies on the way show of themselves: the version of HTTP, and `Via`.

use super::Id;
use super::visit::Visit;

pub(super) fn probe(visit: &mut Visit<'_>) {
    let Some(reply) = visit.seen.anonymous.clone() else { return };
    if reply.is_http11 {
        visit.fine(Id::HttpVersion, "replies are HTTP/1.1");
    } else {
        visit.broken(
            Id::HttpVersion,
            "replies are HTTP/1.0",
            "a connection ends after each reply, and a login with it",
            "have the proxy speak HTTP/1.1 on both sides (nginx: proxy_http_version 1.1)",
        );
    }
    match reply.header("via") {
        Some(via) => visit.warn(
            Id::Via,
            format!("a proxy on the way says Via: {via}"),
            "IIS lets no login last for requests with Via, and the proxy may add it to requests as well",
            "turn Via off in that proxy (Squid: via off; Apache: ProxyVia Off)",
        ),
        None => visit.fine(Id::Via, "no proxy says Via"),
    }
}
