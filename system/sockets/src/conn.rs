//! A connection as its stream, or the halves of it, use it.

use crate::error;
use crate::shared::{Inner, Shared};
use anabranch_stack::{CloseReason, FlowError, FlowId, FlowInfo, Recv};
use bytes::{Bytes, BytesMut};
use std::io::{self, ErrorKind, IoSlice};
use std::net::SocketAddr;
use std::sync::MutexGuard;
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

    fn lock(&self) -> io::Result<MutexGuard<'_, Inner>> {
        let inner = self.shared.lock();
        inner.check()?;
        Ok(inner)
    }

    pub(crate) fn poll_established(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock()?;
        if inner.is_established(self.id)? {
            return Poll::Ready(Ok(()));
        }
        inner.await_write(self.id, cx.waker());
        Poll::Pending
    }

    // Reading.

    fn recv(&self, inner: &mut Inner, max: usize) -> io::Result<Recv> {
        let now = inner.now();
        let recv = inner.stack.recv(now, self.id, max).map_err(error::flow)?;
        if let Recv::Data(_) = recv {
            // The window may have opened enough to tell the peer.
            inner.wake_driver();
        }
        Ok(recv)
    }

    pub(crate) fn try_read_chunk(&self) -> io::Result<Option<Bytes>> {
        let mut inner = self.lock()?;
        match self.recv(&mut inner, usize::MAX)? {
            Recv::Data(chunk) => Ok(Some(chunk)),
            Recv::Finished => Ok(None),
            Recv::Pending => Err(ErrorKind::WouldBlock.into()),
            Recv::Closed(reason) => Err(error::closed(reason)),
        }
    }

    pub(crate) fn poll_read_chunk(&self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut inner = self.lock()?;
        match self.recv(&mut inner, usize::MAX)? {
            Recv::Data(chunk) => Poll::Ready(Ok(Some(chunk))),
            Recv::Finished => Poll::Ready(Ok(None)),
            Recv::Closed(reason) => Poll::Ready(Err(error::closed(reason))),
            Recv::Pending => {
                inner.await_read(self.id, cx.waker());
                Poll::Pending
            }
        }
    }

    /// Fills `buf` as far as bytes are there.
    pub(crate) fn poll_read(
        &self,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let mut inner = self.lock()?;
        while buf.remaining() > 0 {
            match self.recv(&mut inner, buf.remaining())? {
                Recv::Data(chunk) => buf.put_slice(&chunk),
                _ if buf.filled().len() > before => break,
                Recv::Finished => break,
                Recv::Closed(reason) => return Poll::Ready(Err(error::closed(reason))),
                Recv::Pending => {
                    inner.await_read(self.id, cx.waker());
                    return Poll::Pending;
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    // Writing.

    /// Hands over what fits and says how much that was; 0 means that `Writable` follows.
    fn send(&self, inner: &mut Inner, data: Bytes) -> io::Result<usize> {
        let now = inner.now();
        let taken = inner.stack.send(now, self.id, data).map_err(error::flow)?;
        if taken > 0 {
            inner.wake_driver();
        }
        Ok(taken)
    }

    pub(crate) fn try_write_chunk(&self, chunk: &mut Bytes) -> io::Result<usize> {
        let mut inner = self.lock()?;
        let taken = self.send(&mut inner, chunk.clone())?;
        if taken == 0 && !chunk.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let _ = chunk.split_to(taken);
        Ok(taken)
    }

    /// Hands over what fits, and waits while that is nothing.
    pub(crate) fn poll_write_chunk(
        &self,
        cx: &mut Context<'_>,
        chunk: &mut Bytes,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.lock()?;
        let taken = self.send(&mut inner, chunk.clone())?;
        if taken == 0 && !chunk.is_empty() {
            inner.await_write(self.id, cx.waker());
            return Poll::Pending;
        }
        let _ = chunk.split_to(taken);
        Poll::Ready(Ok(()))
    }

    /// Copies as much of `bufs` as fits.
    pub(crate) fn poll_write(
        &self,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut inner = self.lock()?;
        // At least one byte: only a refused one has the stack tell when there is room.
        let room = inner.stack.send_room(self.id).clamp(1, COPY);
        let data = gather(bufs, room);
        let nothing = data.is_empty();
        let taken = self.send(&mut inner, data)?;
        if taken == 0 && !nothing {
            inner.await_write(self.id, cx.waker());
            return Poll::Pending;
        }
        Poll::Ready(Ok(taken))
    }

    /// Waits until the connection has ended.
    pub(crate) fn poll_closed(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut inner = self.lock()?;
        match inner.close_reason(self.id) {
            Some(CloseReason::Finished) => Poll::Ready(Ok(())),
            Some(reason) => Poll::Ready(Err(error::closed(reason))),
            None => {
                inner.await_write(self.id, cx.waker());
                Poll::Pending
            }
        }
    }

    pub(crate) fn shutdown(&self) -> io::Result<()> {
        let mut inner = self.lock()?;
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

    // Looking.

    pub(crate) fn info(&self) -> io::Result<FlowInfo> {
        let inner = self.lock()?;
        inner
            .stack
            .info(self.id)
            .ok_or_else(|| error::flow(FlowError::NoSuchFlow))
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
