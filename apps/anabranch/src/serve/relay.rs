//! Copies between a client of ours and a service of the kernel's TCP, both ways at once.
//!
//! Whatever one side does is done to the other: bytes in order, the end of one direction as the end
//! of that direction alone, a reset as a reset. A side that does not read is not read for.

use std::cell::RefCell;
use std::io::{self, ErrorKind, IoSlice};
use std::pin::pin;

use anabranch_sockets::{ReadHalf, Stream, WriteHalf};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;
use tokio::io::{AsyncWriteExt, Interest};
use tokio::net::{TcpStream, tcp};

/// The most that is read from the service at a time, bytes: what one super-frame carries.
const CHUNK: usize = 64 * 1024;

/// Chunks written at once: as many packets as a super-frame carries.
const MAX_CHUNKS: usize = 48;

/// A read of fewer bytes than this is copied out, so that it does not keep a whole buffer alive.
const SMALL: usize = CHUNK / 4;

thread_local! {
    /// What the next read fills. One for all connections of the thread: an idle connection holds
    /// no buffer.
    static BUFFER: RefCell<BytesMut> = RefCell::new(BytesMut::with_capacity(CHUNK));
}

/// Payload bytes that were carried.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Carried {
    /// From the client to the service.
    pub up: u64,
    /// From the service to the client.
    pub down: u64,
}

/// Carries bytes until both directions have ended.
///
/// # Errors
/// Whichever side broke off; the other one has been reset.
pub async fn relay(mut client: Stream, mut backend: TcpStream) -> (Carried, io::Result<()>) {
    let mut carried = Carried::default();
    let result = both_ways(&mut client, &mut backend, &mut carried).await;
    if result.is_err() {
        client.abort();
        // Closing resets, as the last bytes are not to be waited for.
        let _ = backend.set_zero_linger();
    }
    (carried, result)
}

async fn both_ways(
    client: &mut Stream,
    backend: &mut TcpStream,
    carried: &mut Carried,
) -> io::Result<()> {
    let (client_read, client_write) = client.split();
    let (backend_read, backend_write) = backend.split();
    let mut up = pin!(up(client_read, backend_write, &mut carried.up));
    let mut down = pin!(down(&backend_read, client_write, &mut carried.down));
    tokio::select! {
        ended = &mut up => {
            ended?;
            down.await?;
            Ok(())
        }
        ended = &mut down => {
            // Nothing is read from the service nor written to the client any more, which is how
            // either one's reset would have been noticed.
            let mut client = ended?;
            tokio::select! {
                ended = up => ended,
                error = broken(&backend_read) => Err(error),
                Err(error) = client.closed() => Err(error),
            }
        }
    }
}

/// Client to service, until the client has finished.
async fn up(
    mut client: ReadHalf<'_>,
    mut backend: tcp::WriteHalf<'_>,
    carried: &mut u64,
) -> io::Result<()> {
    let mut chunks = SmallVec::new();
    while let Some(chunk) = client.read_chunk().await? {
        chunks.push(chunk);
        gather(&mut client, &mut chunks);
        *carried += write_all(&mut backend, &chunks).await?;
        chunks.clear();
    }
    backend.shutdown().await
}

/// What is written at once: one super-frame, or as much of single packets.
type Chunks = SmallVec<[Bytes; 4]>;

/// Adds what else has arrived, up to about [`CHUNK`] bytes. An end or an error is found again.
fn gather(client: &mut ReadHalf<'_>, chunks: &mut Chunks) {
    let mut bytes = chunks.iter().map(Bytes::len).sum::<usize>();
    while bytes < CHUNK
        && chunks.len() < MAX_CHUNKS
        && let Ok(Some(chunk)) = client.try_read_chunk()
    {
        bytes += chunk.len();
        chunks.push(chunk);
    }
}

/// Writes all of `chunks`, in one call if the service takes them; says how many bytes it was.
async fn write_all(backend: &mut tcp::WriteHalf<'_>, chunks: &Chunks) -> io::Result<u64> {
    let slices = chunks.iter().map(|chunk| IoSlice::new(chunk));
    let mut slices: SmallVec<[IoSlice<'_>; MAX_CHUNKS]> = slices.collect();
    let (mut left, mut written) = (&mut slices[..], 0);
    while !left.is_empty() {
        match backend.write_vectored(left).await? {
            0 => return Err(ErrorKind::WriteZero.into()),
            n => {
                written += n as u64;
                IoSlice::advance_slices(&mut left, n);
            }
        }
    }
    Ok(written)
}

/// Service to client, until the service has finished. Gives the client back.
async fn down<'a>(
    backend: &tcp::ReadHalf<'_>,
    mut client: WriteHalf<'a>,
    carried: &mut u64,
) -> io::Result<WriteHalf<'a>> {
    loop {
        tokio::select! {
            biased;
            ready = backend.readable() => ready?,
            Err(error) = client.closed() => return Err(error),
        }
        match read(backend) {
            Ok(Some(chunk)) => {
                *carried += chunk.len() as u64;
                client.write_chunk(chunk).await?;
            }
            Ok(None) => {
                client.finish()?;
                return Ok(client);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
}

/// What waits in the service's socket; `None` at its end.
fn read(backend: &tcp::ReadHalf<'_>) -> io::Result<Option<Bytes>> {
    BUFFER.with_borrow_mut(|buffer| {
        buffer.reserve(CHUNK);
        let n = backend.try_read_buf(buffer)?;
        let chunk = if n < SMALL {
            let copy = Bytes::copy_from_slice(buffer);
            buffer.clear();
            copy
        } else {
            buffer.split().freeze()
        };
        Ok((n > 0).then_some(chunk))
    })
}

/// Waits until the service breaks off, without reading.
async fn broken(backend: &tcp::ReadHalf<'_>) -> io::Error {
    match backend.ready(Interest::ERROR).await {
        Ok(_) => ErrorKind::ConnectionReset.into(),
        Err(error) => error,
    }
}
