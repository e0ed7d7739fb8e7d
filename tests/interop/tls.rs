//! What the proxy does with TLS: looks at the hello, terminates it, or terminates it and uses TLS to the server; and
//! with what is in it: bytes, or HTTP.

use crate::bed::{Bed, SERVER_NAME, Scheme, Site};
use crate::proxy::Proxy;

/// Shows a claim through a proxy for each of these. Clients see the server's own certificate each time.
pub(crate) fn every_way(bed: &Bed, claim: impl Fn(&Site)) {
    let [http, https] = [Scheme::Http, Scheme::Https].map(|scheme| bed.site(scheme).address.to_string());
    let (certificate, key) = (bed.certificate().display().to_string(), bed.key().display().to_string());
    let route = format!("{SERVER_NAME}={https}");
    // Who goes to the address in place of the name asks for no name.
    let passed_through = ["--sni-route", &route, "--upstream", &https];
    let terminated = ["--tls-cert", &certificate, "--tls-key", &key, "--upstream", &http];
    let bridged = [
        "--tls-cert",
        &certificate,
        "--tls-key",
        &key,
        "--upstream",
        &https,
        "--upstream-tls",
        "--upstream-ca",
        &certificate,
    ];
    let plain = ["--upstream", &http];
    for (scheme, mode, way, flags) in [
        (Scheme::Https, "stream", "through the proxy, which routes by the hello", &passed_through[..]),
        (Scheme::Https, "stream", "through the proxy, where TLS ends", &terminated),
        (Scheme::Https, "stream", "through the proxy, which bridges TLS", &bridged),
        (Scheme::Http, "http", "through the proxy in HTTP mode", &plain),
        (Scheme::Https, "http", "through the proxy in HTTP mode, where TLS ends", &terminated),
        (Scheme::Https, "http", "through the proxy in HTTP mode, which bridges TLS", &bridged),
    ] {
        let proxy = Proxy::start(bed, &[flags, &["--mode", mode]].concat());
        claim(&proxy.site_by(scheme, way));
    }
}
