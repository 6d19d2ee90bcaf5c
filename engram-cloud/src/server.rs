//! The accept loop: bounded connections, time-outs, and an end in order.

use crate::app::Peer;
use crate::config::Timeouts;
use crate::timed::Timed;
use axum::Router;
use axum::body::Body;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tower::Service;

/// How long to wait when the system gives no more connections, typically for want of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves until `shutdown`, then answers what waits, finishes what is under way, and returns within the drain time.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    timeouts: Timeouts,
    connections_max: usize,
    draining: watch::Sender<bool>,
    shutdown: impl Future<Output = ()>,
) {
    let graceful = GracefulShutdown::new();
    let slots = Arc::new(Semaphore::new(connections_max));
    let builder = Arc::new(builder(timeouts));
    tokio::pin!(shutdown);
    loop {
        let next = async {
            let slot = Arc::clone(&slots).acquire_owned().await;
            (listener.accept().await, slot)
        };
        let (accepted, slot) = tokio::select! {
            next = next => next,
            () = &mut shutdown => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let connection = connection(&builder, stream, Peer(from.ip()), router.clone(), timeouts.write);
        let watched = graceful.watch(connection);
        tokio::spawn(async move {
            // Broken connections are the peer's business; what was asked on them was answered or will be asked again.
            let _ = watched.await;
            drop(slot);
        });
    }
    drop(listener);
    let _ = draining.send(true);
    if tokio::time::timeout(timeouts.drain, graceful.shutdown()).await.is_err() {
        tracing::warn!("some requests were cut off: they took longer than the time for a shutdown");
    }
}

fn builder(timeouts: Timeouts) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(timeouts.head);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(timeouts.head)
        .keep_alive_timeout(timeouts.write)
        .max_concurrent_streams(128);
    builder
}

fn connection(
    builder: &auto::Builder<TokioExecutor>,
    stream: TcpStream,
    peer: Peer,
    router: Router,
    write: Duration,
) -> impl hyper_util::server::graceful::GracefulConnection<Error: Send> + Send + 'static {
    let service = hyper::service::service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        // A router is always ready.
        router.clone().call(request.map(Body::new))
    });
    builder.serve_connection(TokioIo::new(Timed::new(stream, write)), service).into_owned()
}
