//! Connections: taking them, limiting them, ending them.

use super::guard::Names;
use super::router::{Service, router};
use crate::engine;
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Most connections at a time; further ones wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 2048;
/// A request's head must arrive within this time, and an idle connection is closed after it.
const HEAD_PATIENCE: Duration = Duration::from_secs(15);
/// Most bytes of a request's head.
const HEAD_LIMIT: usize = 32 << 10;
/// After a failed `accept` (out of file descriptors, mostly) wait this long, or we would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long a shutdown waits.
#[derive(Debug, Clone, Copy)]
pub struct Grace {
    /// For live answers to end by themselves.
    pub answers: Duration,
    /// Then, for what was cancelled to be written out.
    pub connections: Duration,
}

impl Default for Grace {
    fn default() -> Self {
        Self { answers: Duration::from_secs(5), connections: Duration::from_secs(2) }
    }
}

/// The listening side.
struct Server {
    /// Handed to each connection.
    app: Router,
    /// Where connections come from. Dropped first in a shutdown, so that the port is free at once.
    listener: TcpListener,
    /// One permit per connection, given back when the connection's task ends, however it ends.
    permits: Arc<Semaphore>,
    /// Tells connections to finish, and knows when all have.
    graceful: GracefulShutdown,
    /// Settings of every connection.
    http: http1::Builder,
}

/// Serves until `stop` is ready, then shuts down in steps: no new connections; live answers may end
/// (at most `grace.answers`); the engine is stopped, which cancels the others; what is left to write
/// is written (at most `grace.connections`).
///
/// # Errors
/// If the engine ended by itself: the shutdown is the same, and somebody has to start the process anew.
pub async fn run(
    service: Arc<Service>,
    listener: TcpListener,
    stop: impl Future<Output = ()>,
    grace: Grace,
) -> Result<(), engine::Error> {
    // A listener without an address is none that takes connections.
    let names = listener.local_addr().map_or(Names::Loopback, |address| Names::of(address.ip()));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_PATIENCE).max_header_size(HEAD_LIMIT);
    let server = Server {
        app: router(Arc::clone(&service), names),
        listener,
        permits: Arc::new(Semaphore::new(MOST_CONNECTIONS)),
        graceful: GracefulShutdown::new(),
        http,
    };
    let engine = service.base.engine.clone();
    let ended = tokio::select! {
        () = server.accept() => Ok(()),
        () = stop => Ok(()),
        why = engine.ended() => Err(why),
    };

    // 1. No new connections, and `/ready` says so to those that are open.
    let Server { listener, graceful, .. } = server;
    service.close();
    drop(listener);
    log::info!("stopping: {} answers are under way", service.live());

    // 2. Idle connections close at once; the others after their answer.
    let mut connections = std::pin::pin!(graceful.shutdown());
    let finished = tokio::time::timeout(grace.answers, &mut connections).await.is_ok();

    // 3. The engine ends what is left. It waits for its thread, so not here.
    let stopping = tokio::task::spawn_blocking(move || engine.shutdown());
    if !finished {
        log::info!("stopping: cancelling {} answers", service.live());
        // 4. The streams say that they were cut off, and close.
        let _ = tokio::time::timeout(grace.connections, connections).await;
    }
    if stopping.await.is_err() {
        log::error!("the engine's thread failed");
    }
    ended
}

impl Server {
    /// Takes connections, for ever.
    async fn accept(&self) {
        loop {
            let Ok(permit) = Arc::clone(&self.permits).acquire_owned().await else { return };
            match self.listener.accept().await {
                Ok((stream, _)) => self.serve(stream, permit),
                Err(e) => {
                    log::warn!("cannot take a connection: {e}");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    /// Serves one connection in its own task, which holds `permit`.
    fn serve(&self, stream: TcpStream, permit: OwnedSemaphorePermit) {
        // Tokens are small writes that must leave at once.
        if let Err(e) = stream.set_nodelay(true) {
            log::debug!("TCP_NODELAY: {e}");
        }
        let app = TowerToHyperService::new(self.app.clone());
        let connection = self.http.serve_connection(TokioIo::new(stream), app);
        let connection = self.graceful.watch(connection);
        tokio::spawn(async move {
            // A client that breaks off in the middle is everyday life.
            if let Err(e) = connection.await {
                log::debug!("connection: {e}");
            }
            drop(permit);
        });
    }
}
