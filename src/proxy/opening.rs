//! The first bytes of a client as far as they decide its route: a TLS handshake with the proxy, or a TLS hello that the
//! proxy reads without taking it.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::record::End;
use super::service::Service;
use super::tls::handshake;
use crate::protocol::client_hello::{self, Hello, HelloError, Progress};
use crate::upstream::Group;
use crate::uring::{Address, Expect, Ring};

/// Performs the client's TLS handshake, where TLS ends here.
///
/// # Errors
/// How the session ends; the cause is logged here.
pub(super) async fn secure(
    ring: &Ring,
    service: &Service,
    client: &Connection,
    address: &Address,
) -> Result<(), End> {
    let Some(tls) = &service.settings.client_tls else { return Ok(()) };
    match handshake::accept(ring, client, Arc::clone(&tls.config), service.settings.timeouts.client_tls).await
    {
        Ok(()) => {
            service.cells.handshakes(handshake::kind(client)).increase();
            Ok(())
        }
        Err(handshake::Error::Left) => Err(End::ClientLeft),
        Err(error) => {
            service.cells.handshakes(error.outcome()).increase();
            let cause = error.cause();
            tracing::warn!(client = %address, cause, %error, "client TLS handshake failed; closing");
            Err(End::TlsClient)
        }
    }
}

/// Performs the client's TLS handshake where TLS ends here, and chooses a group.
///
/// # Errors
/// How the session ends; the cause is logged here.
pub(super) async fn choose(
    ring: &Ring,
    service: &Service,
    client: &Connection,
    address: &Address,
) -> Result<Rc<Group>, End> {
    let Service { settings, routes, .. } = service;
    if settings.client_tls.is_some() {
        secure(ring, service, client, address).await?;
        let name = client.tls().and_then(super::tls::Tls::server_name);
        return routes.choose(name.as_deref(), std::iter::empty()).cloned().ok_or_else(|| {
            tracing::warn!(client = %address, server_name = name, "no route matches the client's server name; closing");
            End::NoRoute
        });
    }
    let hello = if routes.depend_on_hello() {
        peek(ring, settings.timeouts.peek, client, address).await?
    } else {
        None
    };
    let name = hello.as_ref().and_then(|hello| hello.server_name.as_deref());
    let protocols = hello.iter().flat_map(Hello::alpn);
    routes.choose(name, protocols).cloned().ok_or_else(|| {
        tracing::warn!(client = %address, server_name = name, "no route matches the client's server name or protocols; closing");
        End::NoRoute
    })
}

/// Reads the hello without taking it; nothing when the client does not use TLS.
async fn peek(
    ring: &Ring,
    timeout: Duration,
    client: &Connection,
    address: &Address,
) -> Result<Option<Hello>, End> {
    ring.timeout(timeout, peek_all(client, address)).await.unwrap_or_else(|| {
        tracing::warn!(client = %address, ?timeout, "TLS hello not received in time; closing");
        Err(End::HelloTimeout)
    })
}

async fn peek_all(client: &Connection, address: &Address) -> Result<Option<Hello>, End> {
    loop {
        match client_hello::parse(&client.unread()) {
            Ok(Progress::Hello(hello)) => return Ok(Some(hello)),
            Ok(Progress::Incomplete) => {}
            Err(error @ HelloError::NameTooLong) => {
                tracing::warn!(client = %address, %error, "no route matches the client's server name or protocols; closing");
                return Err(End::NoRoute);
            }
            Err(error) => {
                tracing::debug!(%error, "client sent no readable TLS hello; routing without it");
                return Ok(None);
            }
        }
        match client.receive(Expect::Now).await {
            Ok(Some(_)) => {}
            Ok(None) if client.unread().is_empty() => return Err(End::ClientLeft),
            // The server judges what the client has sent.
            Ok(None) => return Ok(None),
            Err(error) => {
                tracing::debug!(%error, "client connection failed; closing");
                return Err(End::ClientReset);
            }
        }
    }
}
