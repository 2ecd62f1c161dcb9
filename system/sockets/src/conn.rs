//! A connection as its stream, or the halves of it, use it.

use crate::error;
use crate::paths::Paths;
use crate::shared::{Inner, Shared};
use anabranch_stack::{
    CloseReason, Congestion, FlowError, FlowId, FlowInfo, Recv, Scheduler, SocketOption, TcpConfig,
};
use bytes::{Bytes, BytesMut};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::task::{Context, Poll};
use tokio::io::ReadBuf;

/// The most that one write copies at a time, bytes: what one super-frame carries.
const COPY: usize = 64 * 1024;

/// A flow of the stack that an application holds. Dropping it releases the flow.
pub(crate) struct Conn {
    shared: Shared,
    id: FlowId,
}

impl Conn {
    pub(crate) fn new(shared: Shared, id: FlowId) -> Conn {
        Conn { shared, id }
    }

    pub(crate) fn poll_established(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.shared.lock();
        if inner.is_established(self.id)? {
            return Poll::Ready(Ok(()));
        }
        inner.await_write(self.id, cx.waker());
        Poll::Pending
    }

    // Reading.

    /// The next bytes, `None` at the end; `WouldBlock` while nothing is there. What arrived before
    /// the host ended can still be read.
    fn recv(&self, inner: &mut Inner, max: usize) -> io::Result<Option<Bytes>> {
        let now = inner.now();
        match inner.stack.recv(now, self.id, max).map_err(error::flow)? {
            Recv::Data(chunk) => {
                // The window may have opened enough to tell the peer.
                inner.wake_driver();
                Ok(Some(chunk))
            }
            Recv::Finished => Ok(None),
            Recv::Closed(reason) => Err(error::closed(reason)),
            Recv::Pending => {
                inner.check()?;
                Err(ErrorKind::WouldBlock.into())
            }
        }
    }

    pub(crate) fn try_read_chunk(&self) -> io::Result<Option<Bytes>> {
        self.recv(&mut self.shared.lock(), usize::MAX)
    }

    pub(crate) fn poll_read_chunk(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut inner = self.shared.lock();
        let chunk = self.recv(&mut inner, usize::MAX);
        unless_blocked(chunk, || inner.await_read(self.id, cx.waker()))
    }

    /// Fills `buf` as far as bytes are there.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let mut inner = self.shared.lock();
        while buf.remaining() > 0 {
            match self.recv(&mut inner, buf.remaining()) {
                Ok(Some(chunk)) => buf.put_slice(&chunk),
                _ if buf.filled().len() > before => break,
                end_or_error => {
                    return unless_blocked(end_or_error.map(|_| ()), || {
                        inner.await_read(self.id, cx.waker());
                    });
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    // Writing.

    /// Hands over what fits and says how much that was; `WouldBlock` if nothing does.
    fn send(&self, inner: &mut Inner, data: Bytes) -> io::Result<usize> {
        self.send_with(inner, data, false)
    }

    /// [`Conn::send`], perhaps with `more` to follow.
    fn send_with(&self, inner: &mut Inner, data: Bytes, more: bool) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        inner.check_flow(self.id)?;
        let now = inner.now();
        let taken = inner.stack.send_with(now, self.id, data, more);
        match taken.map_err(error::flow)? {
            0 => Err(ErrorKind::WouldBlock.into()),
            taken => {
                inner.wake_driver();
                Ok(taken)
            }
        }
    }

    /// Hands over what fits of `chunk`, and takes it off its front.
    fn send_chunk(&self, inner: &mut Inner, chunk: &mut Bytes) -> io::Result<usize> {
        let taken = self.send(inner, chunk.clone())?;
        let _ = chunk.split_to(taken);
        Ok(taken)
    }

    pub(crate) fn try_write_chunk(&self, chunk: &mut Bytes) -> io::Result<usize> {
        self.send_chunk(&mut self.shared.lock(), chunk)
    }

    pub(crate) fn poll_write_chunk(
        &self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.shared.lock();
        let taken = self.send_chunk(&mut inner, chunk);
        unless_blocked(taken, || inner.await_write(self.id, cx.waker()))
    }

    pub(crate) fn try_write_more(&self, chunk: &mut Bytes) -> io::Result<usize> {
        let taken = self.send_with(&mut self.shared.lock(), chunk.clone(), true)?;
        let _ = chunk.split_to(taken);
        Ok(taken)
    }

    /// Copies as much of `bufs` as fits.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.shared.lock();
        // At least one byte: only a refused one has the stack tell when there is room.
        let room = inner.stack.send_room(self.id).clamp(1, COPY);
        let taken = self.send(&mut inner, gather(bufs, room));
        unless_blocked(taken, || inner.await_write(self.id, cx.waker()))
    }

    /// Waits until the connection has ended.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.shared.lock();
        match inner.close_reason(self.id) {
            Some(CloseReason::Finished) => return Poll::Ready(Ok(())),
            Some(reason) => return Poll::Ready(Err(error::closed(reason))),
            None => inner.check()?,
        }
        inner.await_write(self.id, cx.waker());
        Poll::Pending
    }

    pub(crate) fn shutdown(&self) -> io::Result<()> {
        let mut inner = self.shared.lock();
        inner.check()?;
        let now = inner.now();
        inner.stack.shutdown(now, self.id);
        inner.wake_driver();
        Ok(())
    }

    pub(crate) fn abort(&self) {
        let mut inner = self.shared.lock();
        let now = inner.now();
        inner.stack.abort(now, self.id);
        inner.wake_driver();
    }

    pub(crate) fn paths(&self) -> Paths {
        Paths::new(self.shared.clone(), self.id)
    }

    // Options.

    pub(crate) fn set_option(&self, option: SocketOption) -> io::Result<()> {
        let mut inner = self.shared.lock();
        inner.check_flow(self.id)?;
        let now = inner.now();
        inner
            .stack
            .set_option(now, self.id, &option)
            .map_err(error::flow)?;
        // What was held back may leave, timers may have changed.
        inner.wake_driver();
        Ok(())
    }

    pub(crate) fn set_scheduler(&self, scheduler: &Scheduler) -> io::Result<()> {
        let mut inner = self.shared.lock();
        inner.check_flow(self.id)?;
        inner.set_scheduler(self.id, scheduler)
    }

    pub(crate) fn set_congestion(&self, congestion: Congestion) -> io::Result<()> {
        let mut inner = self.shared.lock();
        inner.check_flow(self.id)?;
        inner.set_congestion(self.id, congestion)
    }

    pub(crate) fn options(&self) -> io::Result<TcpConfig> {
        let inner = self.shared.lock();
        let options = inner.stack.options(self.id);
        options.ok_or_else(|| error::flow(FlowError::NoSuchFlow))
    }

    // Looking.

    pub(crate) fn info(&self) -> io::Result<FlowInfo> {
        let inner = self.shared.lock();
        let info = inner.stack.info(self.id);
        info.ok_or_else(|| error::flow(FlowError::NoSuchFlow))
    }

    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        self.info().map(|info| info.local)
    }

    pub(crate) fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.info().map(|info| info.remote)
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.shared.lock().release(self.id);
    }
}

/// `Pending` instead of `WouldBlock`, with the waker put where `wait` puts it.
fn unless_blocked<T>(result: io::Result<T>, wait: impl FnOnce()) -> Poll<io::Result<T>> {
    match result {
        Err(error) if error.kind() == ErrorKind::WouldBlock => {
            wait();
            Poll::Pending
        }
        result => Poll::Ready(result),
    }
}

/// The first `max` bytes of `bufs` in one piece.
fn gather(bufs: &[IoSlice<'_>], max: usize) -> Bytes {
    let whole: usize = bufs.iter().map(|buf| buf.len()).sum();
    let mut data = BytesMut::with_capacity(whole.min(max));
    for buf in bufs {
        let n = buf.len().min(max - data.len());
        data.extend_from_slice(&buf[..n]);
    }
    data.freeze()
}
