//! Waiting for connections.

use crate::manage::Change;
use crate::shared::Shared;
use crate::stream::Stream;
use anabranch_stack::{ListenerId, SocketOption};
use std::future::poll_fn;
use std::io;
use std::task::{Context, Poll};
use std::time::Duration;

/// A port that accepts connections. Dropping it closes the port: connections not yet accepted are
/// reset, accepted ones go on.
pub struct Listener {
    shared: Shared,
    id: ListenerId,
}

impl Listener {
    pub(crate) fn new(shared: Shared, id: ListenerId) -> Listener {
        Listener { shared, id }
    }

    /// The next connection that a peer opened. Several tasks may wait; a dropped future loses
    /// nothing.
    ///
    /// # Errors
    /// `ConnectionAborted` once the host is shut down; the device's error if it failed. Both are
    /// final.
    pub async fn accept(&self) -> io::Result<Stream> {
        poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// Sets an option of the connections to come.
    ///
    /// # Errors
    /// `InvalidInput`: the value is out of range.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        let mut inner = self.shared.lock();
        let set = inner.stack.set_listener_option(self.id, &option);
        set.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))
    }

    /// Accept plain TCP connections only once something arrived on them, or so much time has
    /// passed; `None`: at once.
    pub fn set_defer_accept(&self, limit: Option<Duration>) {
        let mut inner = self.shared.lock();
        inner.stack.set_defer_accept(self.id, limit);
    }

    /// As [`Listener::accept`].
    pub fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        let mut inner = self.shared.lock();
        inner.check()?;
        if !inner.is_listening(self.id) {
            let message = "the host is shutting down";
            return Poll::Ready(Err(io::Error::new(
                io::ErrorKind::ConnectionAborted,
                message,
            )));
        }
        let Some(flow) = inner.stack.accept(self.id) else {
            inner.await_accept(self.id, cx.waker());
            return Poll::Pending;
        };
        inner.add_flow(flow);
        inner.tell(flow, Change::Established);
        drop(inner);
        Poll::Ready(Ok(Stream::new(self.shared.clone(), flow)))
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.shared.lock().close_listener(self.id);
    }
}

impl std::fmt::Debug for Listener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Listener")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
