//! TLS: the handshake, old versions, the certificate, HTTP/2.

mod certificate;
mod old;

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ClientConfig, Resumption};
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, ProtocolVersion};

use super::Id;
use super::visit::{Visit, Way};
use super::wire::Broke;

/// The name that a client asks for and looks for in the certificate.
pub(super) fn server_name(host: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(host.to_owned()).ok()
}

/// A client that accepts what `verifier` does and offers these protocols.
pub(super) fn config(
    verifier: &Arc<dyn ServerCertVerifier>,
    protocols: &[&[u8]],
) -> Result<Arc<ClientConfig>, rustls::Error> {
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::clone(verifier))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    config.resumption = Resumption::disabled();
    Ok(Arc::new(config))
}

/// Returns the way to the address, if it can be used. An address with the certificate of an earlier one needs no
/// further look.
pub(super) fn probe(visit: &mut Visit<'_>, address: SocketAddr) -> Option<Way> {
    let Some(trust) = visit.settings.trust.as_ref().filter(|_| visit.is_tls()) else {
        return Some(Way { address, tls: None });
    };
    let name = server_name(visit.host())?;
    // With the suites and versions of this build it does not fail.
    let plain = config(&trust.any, &[b"http/1.1"]).ok()?;
    let both = config(&trust.any, &[b"h2", b"http/1.1"]).ok()?;
    let wire = match visit.open_with(address, &both) {
        Ok(wire) => wire,
        Err(broke) => {
            refused(visit, address, &broke);
            return None;
        }
    };
    let version = match wire.tls_version() {
        Some(ProtocolVersion::TLSv1_3) => "TLS 1.3",
        _ => "TLS 1.2",
    };
    visit.fine(Id::Tls, format!("{address} completes a handshake with {version}"));
    let (chain, chooses_h2) = (wire.chain().to_vec(), wire.alpn() == Some(b"h2"));
    // A simple server serves one connection after the other.
    drop(wire);
    let shown = chain.first().map(|certificate| certificate.to_vec());
    match &visit.seen.certificate {
        Some(first) if shown.as_ref() == Some(first) => {}
        Some(_) => visit.warn(
            Id::CertificateSame,
            format!("{address} shows another certificate than the address before it"),
            "logins that are bound to the certificate (Extended Protection) work at one of them only",
            "install the same certificate everywhere",
        ),
        None => {
            visit.seen.certificate = shown;
            certificate::probe(visit, address, &chain);
            http2(visit, address, chooses_h2, &plain);
            old::probe(visit, address);
        }
    }
    Some(Way { address, tls: Some((plain, name)) })
}

fn refused(visit: &mut Visit<'_>, address: SocketAddr, broke: &Broke) {
    let fix = match broke {
        Broke::Tls(rustls::Error::InvalidMessage(_)) => "use http:// if this port is meant to be plain HTTP",
        Broke::Tls(rustls::Error::AlertReceived(AlertDescription::ProtocolVersion)) => {
            "turn TLS 1.2 on at the server (Windows: SCHANNEL\\Protocols)"
        }
        Broke::Tls(rustls::Error::AlertReceived(AlertDescription::HandshakeFailure)) => {
            "turn on cipher suites with forward secrecy (ECDHE and AES-GCM) at the server"
        }
        Broke::Tls(rustls::Error::AlertReceived(AlertDescription::UnrecognisedName)) => {
            "add a binding with this host name at the server"
        }
        Broke::Closed | Broke::Reset(_) => {
            "check the server's binding: without a certificate for this address or name HTTP.sys closes the connection (netsh \
             http show sslcert)"
        }
        _ => "check the server's certificate, its versions of TLS and its cipher suites",
    };
    let reason = match broke {
        Broke::Tls(error) => error.to_string(),
        other => other.to_string(),
    };
    let saw = format!("{address} completes no TLS handshake: {reason}");
    visit.broken(Id::Tls, saw, "clients cannot connect by https", fix);
}

/// Windows Authentication needs HTTP/1.1: a server that chooses HTTP/2 must be able to do without.
fn http2(visit: &mut Visit<'_>, address: SocketAddr, chooses_h2: bool, plain: &Arc<ClientConfig>) {
    if !chooses_h2 {
        visit.fine(Id::Http2, "HTTP/2 is not offered");
        return;
    }
    match visit.open_with(address, plain) {
        Ok(_) => visit.warn(
            Id::Http2,
            "HTTP/2 is offered (ALPN h2)",
            "Windows Authentication does not work over HTTP/2: browsers try again with HTTP/1.1 if the server tells them so, \
             as IIS does; behind a proxy that ends TLS nothing tells them",
            "offer http/1.1 only where TLS ends (nginx: no http2 on the listener; HAProxy: alpn http/1.1)",
        ),
        Err(broke) => visit.broken(
            Id::Http2,
            format!("HTTP/2 is offered, and a client that speaks HTTP/1.1 only is refused: {broke}"),
            "Windows Authentication does not work over HTTP/2",
            "offer http/1.1 by ALPN where TLS ends",
        ),
    }
}
