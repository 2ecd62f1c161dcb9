//! Standard input to the connection, and the connection to standard output.

use std::cell::Cell;
use std::io;

use anabranch_sockets::{ReadHalf, Stream, WriteHalf};
use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// The most that is read at a time, bytes: what one super-frame carries.
const CHUNK: usize = 64 * 1024;

/// Payload bytes that were carried so far.
#[derive(Default, Debug)]
pub(super) struct Carried {
    pub(super) sent: Cell<u64>,
    pub(super) received: Cell<u64>,
}

/// Which side broke off.
#[derive(Debug)]
pub(super) enum Broken {
    /// The connection.
    Connection(io::Error),
    /// Standard input or output.
    Local(&'static str, io::Error),
}

/// Carries bytes until both directions have ended, and the connection with them.
pub(super) async fn carry(
    stream: &mut Stream,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
    carried: &Carried,
) -> Result<(), Broken> {
    let (reader, writer) = stream.split();
    tokio::try_join!(
        send(input, writer, carried),
        receive(reader, output, carried)
    )?;
    stream.closed().await.map_err(Broken::Connection)
}

async fn send(
    mut input: impl AsyncRead + Unpin,
    mut to: WriteHalf<'_>,
    carried: &Carried,
) -> Result<(), Broken> {
    let mut buffer = BytesMut::new();
    loop {
        buffer.reserve(CHUNK);
        let read = tokio::select! {
            biased;
            read = input.read_buf(&mut buffer) => read,
            Err(error) = to.closed() => return Err(Broken::Connection(error)),
        };
        let read = read.map_err(|error| Broken::Local("standard input", error))?;
        if read == 0 {
            return to.finish().map_err(Broken::Connection);
        }
        let chunk = buffer.split().freeze();
        to.write_chunk(chunk).await.map_err(Broken::Connection)?;
        carried.sent.set(carried.sent.get() + read as u64);
    }
}

async fn receive(
    mut from: ReadHalf<'_>,
    mut output: impl AsyncWrite + Unpin,
    carried: &Carried,
) -> Result<(), Broken> {
    let local = |error| Broken::Local("standard output", error);
    while let Some(chunk) = from.read_chunk().await.map_err(Broken::Connection)? {
        output.write_all(&chunk).await.map_err(local)?;
        output.flush().await.map_err(local)?;
        carried
            .received
            .set(carried.received.get() + chunk.len() as u64);
    }
    Ok(())
}
