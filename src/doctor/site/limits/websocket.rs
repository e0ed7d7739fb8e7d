//! A WebSocket behind the login.

use crate::doctor::site::Id;
use crate::doctor::site::persistence::logged_in;
use crate::doctor::site::visit::Visit;

pub(in crate::doctor::site) fn probe(visit: &mut Visit<'_>) {
    let Some(path) = visit.settings.websocket_path.clone() else { return };
    let lines = [
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        // RFC 6455 section 1.3.
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    ];
    let request = visit.head("GET", &path, &lines.map(str::to_owned));
    let held = logged_in(visit);
    let behind = if held.is_some() { "behind a login" } else { "without a login" };
    let wire = held.map_or_else(|| visit.open(), Ok);
    match wire.and_then(|mut wire| visit.request(&mut wire, &request)) {
        Ok(reply) if reply.status == 101 => {
            visit.fine(Id::WebSocket, format!("{path} upgrades to WebSocket {behind}"));
        }
        Ok(reply) => {
            let status = reply.status;
            visit.broken(
                Id::WebSocket,
                format!("{path} does not upgrade to WebSocket {behind}: {status}"),
                "applications with WebSocket (SignalR, Blazor) fall back to polling or fail",
                "have the proxy pass Upgrade and Connection on (nginx: proxy_set_header), and turn WebSocket on in IIS; with 401: \
                 give --user, or the login does not last",
            );
        }
        Err(broke) => visit.broken(
            Id::WebSocket,
            format!("{path} does not upgrade to WebSocket {behind}: {broke}"),
            "applications with WebSocket (SignalR, Blazor) fall back to polling or fail",
            "have the proxy pass Upgrade and Connection on (nginx: proxy_set_header)",
        ),
    }
}
