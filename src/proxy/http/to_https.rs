//! A service that redirects every request to https. It has no servers.

use std::cell::Cell;

use super::ends::Ends;
use super::request::{Next, Redirect, Request, Requests};
use crate::protocol::http1::response::AnswerTo;
use crate::proxy::record::End;
use crate::proxy::settings::timeouts::REQUEST_GRACE;

/// Redirects `first` and all requests that follow it.
pub(super) async fn serve(ends: &Ends<'_>, requests: &Requests<'_>, first: Box<Request>) -> End {
    let (session, log) = (ends.session, ends.log);
    let (context, timeouts) = (session.context(), session.timeouts());
    let mut request = first;
    loop {
        let Request { body, exchange, .. } = *request;
        log.begin();
        ends.request_is_whole.set(body.is_none());
        // A body is not read: the client sends it again to where it is redirected.
        let stays = body.is_none() && exchange.is_http11 && exchange.keep_alive && !context.is_draining();
        let Some(redirect) = exchange.redirect() else { return End::NoRoute };
        let (status, reply) = (redirect.status.0, reply(redirect, exchange.answer_to, stays));
        log.answered(Some(exchange), status, End::Ok, &reply);
        if let Err(end) = ends.send(&reply, !stays).await {
            return end;
        }
        if !stays {
            ends.linger_close().await;
            return if context.is_draining() { End::Drained } else { End::ClientClose };
        }
        let patience = timeouts.keepalive.min(timeouts.idle);
        let is_over = Cell::new(false);
        let stop = async {
            is_over.set(context.ring.timeout(patience, context.draining()).await.is_none());
            if !is_over.get() {
                context.ring.sleep(REQUEST_GRACE).await;
            }
        };
        request = match requests.next(stop).await {
            Ok(Next::Request(next)) => next,
            Ok(Next::End) => return End::ClientClose,
            Ok(Next::Refused(refusal)) => return ends.refuse(&refusal, None).await,
            Ok(Next::Stop) => {
                ends.linger_close().await;
                return match is_over.get() {
                    false => End::Drained,
                    true if patience < timeouts.keepalive => End::Idle,
                    true => End::KeepaliveTimeout,
                };
            }
            Err(error) => {
                tracing::debug!(%error, "client connection failed; closing");
                return End::ClientReset;
            }
        };
    }
}

/// The complete reply. `stays`: whether the client's connection stays open.
fn reply(redirect: &Redirect, answer_to: AnswerTo, stays: bool) -> String {
    let Redirect { status: (status, reason), location } = redirect;
    let page = format!(
        "<!DOCTYPE html>\n<html><head><title>{status} {reason}</title></head>\n<body><h1>{reason}</h1></body></html>\n"
    );
    format!(
        "HTTP/1.1 {status} {reason}\r\nLocation: {location}\r\nContent-Type: text/html\r\nContent-Length: {}\r\n{}\r\n{}",
        page.len(),
        if stays { "" } else { "Connection: close\r\n" },
        if answer_to == AnswerTo::Head { "" } else { &page },
    )
}
