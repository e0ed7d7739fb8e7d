//! The keeper of a stock: it opens connections ahead, watches them while they wait, and closes them in time.

use std::future::{pending, poll_fn};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_lite::future::or;

use super::demand::{Demand, part};
use super::stock::{News, Stock, Watch};
use crate::proxy::connection::Connection;
use crate::proxy::context::Context;
use crate::proxy::service::Service;
use crate::proxy::tls::handshake;
use crate::upstream::{Failure, Group, Server, WarmPlace, connect_ahead};
use crate::uring::{Shortage, SocketOptions, is_out_of_descriptors};

/// How long a connection waits for a client. IIS closes one that sends no request after 120 s (`connectionTimeout`); it has
/// to be gone well before, since a close that crosses a client's first request cannot be told from a failure.
const AGE_MIN: Duration = Duration::from_secs(75);
const AGE_SPREAD: Duration = Duration::from_secs(15);

/// A server that acts on a connection within this time did not wait for a client.
const AT_ONCE: Duration = Duration::from_secs(1);

/// How often the keeper looks for what gives no notice: servers that are left out or come back, pauses that are over.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Opens connections ahead for the groups of these services from now on, and closes those for the services before. Groups
/// that go on as they are keep theirs.
pub(in crate::proxy) fn keep(context: &Rc<Context>, services: &[Rc<Service>]) {
    let mut stocks: Vec<Rc<Stock>> = Vec::new();
    for service in services {
        let options = service.settings.tcp;
        for group in service.routes.groups().filter(|group| group.settings().opens_ahead()) {
            if stocks.iter().any(|stock| stock.is_for(group, &options)) {
                continue;
            }
            stocks.push(context.stocks.of(group, &options).unwrap_or_else(|| {
                let stock = Rc::new(stock(context, group, options));
                context.ring.spawn(run(Rc::clone(context), Rc::clone(&stock)));
                stock
            }));
        }
    }
    context.stocks.replace(stocks);
}

/// A stock of the worker's part of the group's connections: as many as before for the same servers, where there was one,
/// otherwise as many as there may be.
fn stock(context: &Context, group: &Rc<Group>, options: SocketOptions) -> Stock {
    let settings = group.settings();
    let (first, most) = part(settings.warm_max, context.number(), context.workers());
    let mut wanted = vec![0; settings.servers.len()];
    match context.stocks.before(group) {
        Some(before) if before.group.settings().warm_max == settings.warm_max => {
            let known = std::iter::zip(&before.group.settings().servers, before.wanted());
            for (server, before) in known {
                let now = settings.servers.iter().position(|now| now.is_same(server));
                if let Some(nth) = now {
                    wanted[nth] = before;
                }
            }
        }
        _ => {
            let is_first_choice = |nth: &usize| {
                let server = &settings.servers[*nth];
                !server.options().backup && server.takes_connections()
            };
            let places: Vec<_> = (0..wanted.len()).filter(is_first_choice).collect();
            if !places.is_empty() {
                (first..first + most).for_each(|number| wanted[places[number % places.len()]] += 1);
            }
        }
    }
    Stock::new(&context.ring, Rc::clone(group), options, most, &wanted)
}

/// Keeps the stock until it is closed, or the worker drains.
async fn run(context: Rc<Context>, stock: Rc<Stock>) {
    let waker = poll_fn(|cx| Poll::Ready(cx.waker().clone())).await;
    let _summons = stock.group.settings().queue.summon(&context.pager, waker);
    let serve = async {
        loop {
            stock.give_up();
            for (nth, place) in stock.places() {
                context.ring.spawn(open(Rc::clone(&context), Rc::clone(&stock), nth, place));
            }
            let look = async {
                if stock.is_in_use() { context.ring.sleep(LOOK_INTERVAL).await } else { pending().await }
            };
            or(stock.called(), look).await;
        }
    };
    or(stock.closed(), or(context.draining(), serve)).await;
    stock.close();
}

/// Opens a connection, and has it watched as long as it waits.
async fn open(context: Rc<Context>, stock: Rc<Stock>, nth: usize, place: WarmPlace) {
    let Some(server) = place.server() else { return };
    let opened = or(async { Some(establish(&context, &stock, server).await) }, async {
        stock.closed().await;
        None
    });
    let Some(opened) = opened.await else { return };
    match opened {
        Ok(connection) => {
            let since = context.ring.now();
            if !place.is_over(stock.group.settings(), since) {
                place.note_success(since);
            }
            if let Some(watch) = stock.opened(nth, connection, place) {
                hold(&context, &stock, nth, &watch, since).await;
            }
        }
        Err(failed) => {
            let now = context.ring.now();
            if stock.not_opened(nth) {
                failed.note(&place, stock.with_demand(nth, |demand| demand.paused_for(now)));
                if failed.is_of_server() {
                    place.note_failure(now);
                }
            }
        }
    }
    stock.call_keeper();
}

/// Why a connection was not opened ahead.
enum Failed {
    Connect(Failure, io::Error),
    Tls(handshake::Error),
}

impl Failed {
    /// Whether the server is at fault, and not this host.
    fn is_of_server(&self) -> bool {
        !matches!(self, Self::Connect(Failure::LocalLimit, _))
    }

    fn note(&self, place: &WarmPlace, pause: Duration) {
        let Some(server) = place.server() else { return };
        let (name, address) = (&**server.name(), server.address());
        match self {
            Self::Connect(_, error) => {
                tracing::warn!(upstream = name, %address, ?pause, %error, "cannot open a connection ahead; pausing");
            }
            Self::Tls(error) => {
                let cause = error.cause();
                tracing::warn!(upstream = name, %address, ?pause, cause, %error, "server TLS handshake failed on a connection opened ahead; pausing");
            }
        }
    }
}

/// Connects and performs the TLS handshake, as far as a session would before anything is known of its client.
async fn establish(context: &Context, stock: &Stock, server: &Server) -> Result<Connection, Failed> {
    let (ring, group) = (&context.ring, &stock.group);
    let timeout = group.settings().connect_timeout;
    ring.set_up_turn().await;
    let connected = connect_ahead(ring, server, group.origin(None), &stock.options, timeout).await;
    let socket = connected.map_err(|(failure, error)| {
        if is_out_of_descriptors(&error) {
            ring.note_shortage(Shortage::Descriptors);
        }
        Failed::Connect(failure, error)
    })?;
    let connection = Connection::to_server(socket);
    // A PROXY header comes before TLS, and names a client.
    if let Some(config) = group.tls()
        && group.settings().send_proxy.is_none()
        && let Some(name) = server.tls_name().cloned()
    {
        let secured = handshake::connect(ring, &connection, Arc::clone(config), name, timeout).await;
        secured.map_err(Failed::Tls)?;
    }
    Ok(connection)
}

/// Watches a connection until it is taken, or closes it: when it is old, or its server acts.
async fn hold(context: &Context, stock: &Stock, nth: usize, watch: &Rc<Watch>, since: Instant) {
    let age_max = AGE_MIN + AGE_SPREAD.mul_f64(stock.spread());
    let news = context.ring.timeout(age_max, watch.news()).await;
    let now = context.ring.now();
    let was_at_once = now.saturating_duration_since(since) < AT_ONCE;
    if news == Some(News::Taken) {
        return stock.with_demand(nth, Demand::proved);
    }
    stock.close_one(nth, watch);
    let is_paused = stock.with_demand(nth, |demand| {
        demand.was_unused(now);
        let is_useless = news.is_some() && was_at_once || news == Some(News::Spoke);
        if !is_useless {
            demand.proved();
        }
        is_useless && demand.failed(now)
    });
    if is_paused {
        log_useless(stock, nth, news);
    }
}

fn log_useless(stock: &Stock, nth: usize, news: Option<News>) {
    let server = &stock.group.settings().servers[nth];
    let (name, address) = (&**server.name(), server.address());
    if news == Some(News::Spoke) {
        tracing::warn!(
            upstream = name,
            %address,
            "server sent bytes on a connection opened ahead, before its client did; closing it and pausing"
        );
    } else {
        tracing::info!(upstream = name, %address, "server closed a connection opened ahead at once; pausing");
    }
}
