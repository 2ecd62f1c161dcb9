//! The two directions of a connection, apart.

use crate::conn::Conn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// The methods of whatever reads from a `conn`.
macro_rules! reading {
    ($name:ident $(<$life:lifetime>)?) => {
        impl $name $(<$life>)? {
            /// The next bytes received, as they lie in the receive buffer; `None` when the peer has
            /// finished. A dropped future loses nothing.
            ///
            /// # Errors
            /// `ConnectionReset`, `TimedOut`, `ConnectionAborted`, after everything that arrived
            /// before was read; the device's error once the host has ended.
            pub async fn read_chunk(&mut self) -> std::io::Result<Option<bytes::Bytes>> {
                std::future::poll_fn(|cx| self.conn.poll_read_chunk(cx)).await
            }

            /// As `read_chunk`, without waiting.
            ///
            /// # Errors
            /// `WouldBlock` when nothing is there, and those of `read_chunk`.
            pub fn try_read_chunk(&mut self) -> std::io::Result<Option<bytes::Bytes>> {
                self.conn.try_read_chunk()
            }
        }

        impl tokio::io::AsyncRead for $name $(<$life>)? {
            fn poll_read(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &mut tokio::io::ReadBuf<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                self.conn.poll_read(cx, buf)
            }
        }
    };
}

/// The methods of whatever writes to a `conn`.
macro_rules! writing {
    ($name:ident $(<$life:lifetime>)?) => {
        impl $name $(<$life>)? {
            /// Hands `chunk` over without copying; waits while the send buffer is full. A dropped
            /// future may have handed over a part.
            ///
            /// # Errors
            /// `BrokenPipe` after shutdown; `ConnectionReset`, `TimedOut`, `ConnectionAborted`; the
            /// device's error once the host has ended.
            pub async fn write_chunk(&mut self, mut chunk: bytes::Bytes) -> std::io::Result<()> {
                while !chunk.is_empty() {
                    std::future::poll_fn(|cx| self.conn.poll_write_chunk(cx, &mut chunk)).await?;
                }
                Ok(())
            }

            /// Hands over what fits of `chunk`, takes it off its front, and says how much it was.
            ///
            /// # Errors
            /// `WouldBlock` when nothing fits, and those of `write_chunk`.
            pub fn try_write_chunk(&mut self, chunk: &mut bytes::Bytes) -> std::io::Result<usize> {
                self.conn.try_write_chunk(chunk)
            }

            /// As `try_write_chunk`; and more follows soon: a segment that is not full waits for it,
            /// 200 ms at most.
            ///
            /// # Errors
            /// Those of `try_write_chunk`.
            pub fn try_write_more(&mut self, chunk: &mut bytes::Bytes) -> std::io::Result<usize> {
                self.conn.try_write_more(chunk)
            }

            /// Finishes sending: after what was written the peer reads the end.
            ///
            /// # Errors
            /// The device's error once the host has ended.
            pub fn finish(&mut self) -> std::io::Result<()> {
                self.conn.shutdown()
            }

            /// Waits until the connection has ended. What arrived before can still be read. A
            /// dropped future loses nothing.
            ///
            /// # Errors
            /// It did not end in good order: as `read_chunk`.
            pub async fn closed(&mut self) -> std::io::Result<()> {
                std::future::poll_fn(|cx| self.conn.poll_closed(cx)).await
            }
        }

        impl tokio::io::AsyncWrite for $name $(<$life>)? {
            fn poll_write(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                buf: &[u8],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.conn.poll_write(cx, &[std::io::IoSlice::new(buf)])
            }

            fn poll_write_vectored(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
                bufs: &[std::io::IoSlice<'_>],
            ) -> std::task::Poll<std::io::Result<usize>> {
                self.conn.poll_write(cx, bufs)
            }

            fn is_write_vectored(&self) -> bool {
                true
            }

            /// What was written is on its way already.
            fn poll_flush(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn poll_shutdown(
                self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<std::io::Result<()>> {
                std::task::Poll::Ready(self.conn.shutdown())
            }
        }

        impl std::fmt::Debug for $name $(<$life>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use {reading, writing};

/// The receiving direction of a [`Stream`](crate::Stream), borrowed.
pub struct ReadHalf<'a> {
    conn: &'a Conn,
}

/// The sending direction of a [`Stream`](crate::Stream), borrowed. Dropping it does nothing.
pub struct WriteHalf<'a> {
    conn: &'a Conn,
}

/// The receiving direction of a [`Stream`](crate::Stream).
pub struct OwnedReadHalf {
    conn: Arc<Conn>,
}

/// The sending direction of a [`Stream`](crate::Stream). Dropping it finishes sending.
pub struct OwnedWriteHalf {
    conn: Arc<Conn>,
}

impl<'a> ReadHalf<'a> {
    pub(crate) fn new(conn: &'a Conn) -> ReadHalf<'a> {
        ReadHalf { conn }
    }
}

impl<'a> WriteHalf<'a> {
    pub(crate) fn new(conn: &'a Conn) -> WriteHalf<'a> {
        WriteHalf { conn }
    }
}

impl OwnedReadHalf {
    pub(crate) fn new(conn: Arc<Conn>) -> OwnedReadHalf {
        OwnedReadHalf { conn }
    }

    /// The peer's address and port, see [`Stream::peer_addr`](crate::Stream::peer_addr).
    ///
    /// # Errors
    /// The device's error once the host has ended.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        self.conn.peer_addr()
    }
}

impl OwnedWriteHalf {
    pub(crate) fn new(conn: Arc<Conn>) -> OwnedWriteHalf {
        OwnedWriteHalf { conn }
    }

    /// Resets the connection, see [`Stream::abort`](crate::Stream::abort).
    pub fn abort(self) {
        self.conn.abort();
    }
}

impl Drop for OwnedWriteHalf {
    fn drop(&mut self) {
        // A host that has ended has no peer to tell.
        let _ = self.conn.shutdown();
    }
}

reading!(ReadHalf<'_>);
reading!(OwnedReadHalf);
writing!(WriteHalf<'_>);
writing!(OwnedWriteHalf);
