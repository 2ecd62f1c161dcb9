//! Listeners of a host, each with the service behind it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use anabranch_sockets::{ListenConfig, Listener, Shards, Stream};
use tokio::sync::mpsc;

use super::args::Listen;
use super::backend::Backend;
use super::relay::relay;

/// Relays that were reset need a moment to reset the other side too.
const FAREWELL: Duration = Duration::from_secs(1);

/// Ports of one host, forwarded to services.
#[derive(Debug)]
pub struct Server {
    host: Shards,
    fast_open: Option<usize>,
    /// Cloned into each task: when all clones are gone, all tasks have ended.
    alive: mpsc::Sender<()>,
    all_gone: mpsc::Receiver<()>,
}

impl Server {
    /// A server on a host, without ports.
    pub fn new(host: impl Into<Shards>) -> Server {
        let (alive, all_gone) = mpsc::channel(1);
        Server {
            host: host.into(),
            fast_open: None,
            alive,
            all_gone,
        }
    }

    /// Ports served from now on take what clients send with their SYN, from so many at a time.
    #[must_use]
    pub fn fast_open(mut self, queue: Option<u32>) -> Server {
        self.fast_open = queue.map(|queue| queue as usize);
        self
    }

    /// Forwards each connection to `listen` to `backend` from now on, in tasks of its
    /// shard.
    ///
    /// # Errors
    /// Those of [`anabranch_sockets::Host::listen`].
    pub fn serve(&self, listen: Listen, backend: Backend) -> io::Result<()> {
        let config = ListenConfig {
            addr: listen.addr,
            fast_open: self.fast_open,
            ..ListenConfig::port(listen.port)
        };
        let listeners = self.host.listen(&config)?;
        tracing::info!("serving {listen}, forwarding to {}", backend.target());
        let backend = Arc::new(backend);
        for (shard, listener) in self.host.iter().zip(listeners) {
            shard.spawn(accept(listener, Arc::clone(&backend), self.alive.clone()));
        }
        Ok(())
    }

    /// Refuses new connections and waits until the open ones have finished; those that have not
    /// when `limit` is over are reset, towards clients and services. Returns whether all finished.
    pub async fn stop(self, limit: impl Future<Output = ()>) -> bool {
        let Server {
            host,
            alive,
            mut all_gone,
            ..
        } = self;
        let finished = host.shutdown(limit).await;
        drop(alive);
        let _ = tokio::time::timeout(FAREWELL, all_gone.recv()).await;
        finished
    }
}

async fn accept(listener: Listener, backend: Arc<Backend>, alive: mpsc::Sender<()>) {
    // Fails only when the host is shut down.
    while let Ok(client) = listener.accept().await {
        let backend = Arc::clone(&backend);
        let alive = alive.clone();
        tokio::spawn(async move {
            forward(client, &backend).await;
            drop(alive);
        });
    }
}

/// One connection, from accepted to ended.
async fn forward(client: Stream, backend: &Backend) {
    let peer = client.peer_addr();
    let service = match backend.connect().await {
        Ok(service) => service,
        Err(error) => {
            tracing::warn!(
                "{} does not answer, a client is reset: {error}",
                backend.target()
            );
            return client.abort();
        }
    };
    let (carried, result) = relay(client, service).await;
    let peer = peer.map_or_else(|_| "a client".to_owned(), |peer| peer.to_string());
    match result {
        Ok(()) => tracing::debug!("{peer}: finished, {carried:?}"),
        Err(error) => tracing::debug!("{peer}: broke off, {carried:?}: {error}"),
    }
}
