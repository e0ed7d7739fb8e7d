//! Several services in one process, by a settings file: HTTP mode, TLS that is passed through to two groups, and TLS that
//! ends at the proxy and begins again.

use std::fs;

use crate::bed::{Bed, SERVER_NAME, Scheme, Site};
use crate::proxy::Proxy;

/// Shows a claim through each listener of one process. Clients see the server's own certificate each time.
pub(crate) fn by_one_file(bed: &Bed, claim: impl Fn(&Site)) {
    let [http, https] = [Scheme::Http, Scheme::Https].map(|scheme| bed.site(scheme).address);
    let [web, tls, bridge] = [(); 3].map(|()| bed.free_address());
    let (certificate, key) = (bed.certificate(), bed.key());
    let (certificate, key) = (certificate.display(), key.display());
    // Who goes to the address in place of the name asks for no name, and gets the group without a route.
    let text = format!(
        r#"
            [service.web]
            listen = "{web}"
            mode = "http"
            upstream = "plain"

            [service.tls]
            listen = "{tls}"
            routes = [
              {{ sni = "{SERVER_NAME}", upstream = "named" }},
              {{ sni = "*.apps.corp.test", upstream = "unnamed" }},
            ]
            upstream = "unnamed"

            [service.bridge]
            listen = "{bridge}"
            tls-cert = "{certificate}"
            tls-key = "{key}"
            upstream = "bridged"

            [group.plain]
            servers = "{http}"

            [group.named]
            servers = "{https}"

            [group.unnamed]
            servers = "{https}"

            [group.bridged]
            servers = "{https}"
            upstream-tls = true
            upstream-ca = "{certificate}"
        "#
    );
    let file = bed.client_directory().join("iisplice.toml");
    fs::write(&file, text).expect("the bed's directory is writable");
    let proxy = Proxy::by_file(bed, &file, web);
    for (scheme, address, way) in [
        (Scheme::Http, web, "through a service in HTTP mode"),
        (Scheme::Https, tls, "through a service that routes by the hello"),
        (Scheme::Https, bridge, "through a service that bridges TLS"),
    ] {
        claim(&Site { address, ..proxy.site_by(scheme, way) });
    }
}
