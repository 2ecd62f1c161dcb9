//! One connection, both directions.

use crate::conn::Conn;
use crate::paths::Paths;
use crate::shared::Shared;
use crate::split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf, reading, writing};
use anabranch_stack::{Congestion, FlowId, FlowInfo, Scheduler, SocketOption, TcpConfig};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// A connection over Multipath TCP or plain TCP.
///
/// Dropping it closes it in good order in the background: what was written is still delivered. If
/// received bytes were left unread, or more arrive, the peer gets a reset (RFC 9293 §3.6.1).
pub struct Stream {
    conn: Conn,
}

impl Stream {
    pub(crate) fn new(shared: Shared, id: FlowId) -> Stream {
        Stream {
            conn: Conn::new(shared, id),
        }
    }

    /// Its paths: what happens to them, joins, priorities, announcements. A connection of plain TCP
    /// has one and tells nothing.
    pub fn paths(&self) -> Paths {
        self.conn.paths()
    }

    pub(crate) async fn established(&self) -> io::Result<()> {
        poll_fn(|cx| self.conn.poll_established(cx)).await
    }

    /// Both directions, to be used at the same time within one task.
    pub fn split(&mut self) -> (ReadHalf<'_>, WriteHalf<'_>) {
        (ReadHalf::new(&self.conn), WriteHalf::new(&self.conn))
    }

    /// Both directions, each for a task of its own. Dropping the writing half finishes sending.
    pub fn into_split(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        let conn = Arc::new(self.conn);
        (
            OwnedReadHalf::new(Arc::clone(&conn)),
            OwnedWriteHalf::new(conn),
        )
    }

    /// Resets the connection: what was not yet delivered either way is lost, and the peer is told
    /// at once.
    pub fn abort(self) {
        self.conn.abort();
    }

    /// Finishes sending and lets go, as dropping does; with [`SocketOption::Linger`] it waits until
    /// the connection has ended, but no longer than that option says. Whatever is not delivered
    /// then is still delivered in the background; with a linger of zero the connection is reset
    /// and nothing is.
    ///
    /// # Errors
    /// `TimedOut`: it had not ended when the time was over. It ended otherwise than in good order:
    /// as `read_chunk`. The device's error once the host has ended.
    pub async fn close(mut self) -> io::Result<()> {
        let linger = self.options()?.socket.linger;
        let Some(limit) = linger.filter(|limit| !limit.is_zero()) else {
            return Ok(());
        };
        self.finish()?;
        match tokio::time::timeout(limit, self.closed()).await {
            Ok(ended) => ended,
            Err(_) => Err(io::ErrorKind::TimedOut.into()),
        }
    }

    /// Sets an option. It holds at once; with Multipath TCP for every subflow, present and future.
    ///
    /// # Errors
    /// `InvalidInput`: the value is out of range. As for writing, where the connection has ended.
    pub fn set_option(&self, option: SocketOption) -> io::Result<()> {
        self.conn.set_option(option)
    }

    /// Uses another scheduler from now on.
    ///
    /// # Errors
    /// `Unsupported`: plain TCP. As for writing, where the connection has ended.
    pub fn set_scheduler(&self, scheduler: &Scheduler) -> io::Result<()> {
        self.conn.set_scheduler(scheduler)
    }

    /// Uses another congestion control from now on, of each subflow for itself or coupled.
    ///
    /// # Errors
    /// `Unsupported`: plain TCP, which cannot be coupled. As for writing, where the connection has
    /// ended.
    pub fn set_congestion(&self, congestion: Congestion) -> io::Result<()> {
        self.conn.set_congestion(congestion)
    }

    /// The options as they are now, in the form they have in a configuration.
    ///
    /// # Errors
    /// The device's error once the host has ended.
    pub fn options(&self) -> io::Result<TcpConfig> {
        self.conn.options()
    }

    /// [`SocketOption::NoDelay`]: send small writes at once.
    ///
    /// # Errors
    /// See [`Stream::set_option`].
    pub fn set_nodelay(&self, on: bool) -> io::Result<()> {
        self.set_option(SocketOption::NoDelay(on))
    }

    /// Our address and port; of Multipath TCP, that of the initial subflow.
    ///
    /// # Errors
    /// The device's error once the host has ended.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.conn.local_addr()
    }

    /// The peer's address and port; of Multipath TCP, that of the initial subflow.
    ///
    /// # Errors
    /// The device's error once the host has ended.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.conn.peer_addr()
    }

    /// The connection and each of its subflows: addresses, round-trip time, congestion window,
    /// bytes, retransmissions.
    ///
    /// # Errors
    /// The device's error once the host has ended.
    pub fn info(&self) -> io::Result<FlowInfo> {
        self.conn.info()
    }
}

reading!(Stream);
writing!(Stream);
