//! The peers: one host, from as many addresses as it needs for its ports.

use crate::server::{self, ANSWER, PORT, REQUEST};
use anabranch_drivers::pipe::MeshEnd;
use anabranch_sockets::{Host, PathConfig, Stream};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::mpsc::Receiver;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

/// Connections from each pair of addresses at most: there are not many more ports.
const EACH: usize = 50_000;
/// Handshakes at a time.
const AT_ONCE: usize = 64;

/// For so many connections.
pub(crate) fn addresses(connections: usize) -> Vec<IpAddr> {
    let pairs = connections.div_ceil(EACH).max(1);
    (0..pairs).flat_map(pair).collect()
}

fn pair(n: usize) -> [IpAddr; 2] {
    [0, 1].map(|link| Ipv4Addr::new(10, link, 0, n as u8 + 1).into())
}

/// Opens so many connections, uses each, and tells when that is done; then does nothing `until` the
/// other end is gone.
pub(crate) async fn run(
    device: MeshEnd,
    connections: usize,
    done: oneshot::Sender<()>,
    until: Receiver<()>,
) -> io::Result<()> {
    let host = Host::start(device, server::config())?;
    let mut streams = Vec::with_capacity(connections);
    let mut attempts = JoinSet::new();
    for n in 0..connections {
        attempts.spawn(used(host.clone(), pair(n / EACH)));
        if attempts.len() >= AT_ONCE {
            streams.extend(next(&mut attempts).await?);
        }
    }
    while let Some(stream) = next(&mut attempts).await? {
        streams.push(stream);
    }
    // Joins may still be under way.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    let _ = done.send(());
    // The thread does nothing else meanwhile: that is meant.
    let _ = until.recv();
    Ok(())
}

async fn next(attempts: &mut JoinSet<io::Result<Stream>>) -> io::Result<Option<Stream>> {
    match attempts.join_next().await {
        Some(made) => Ok(Some(made.map_err(io::Error::other)??)),
        None => Ok(None),
    }
}

async fn used(host: Host, pair: [IpAddr; 2]) -> io::Result<Stream> {
    let paths = PathConfig::from_addresses(pair);
    let to = SocketAddr::from(([10, 9, 9, 9], PORT));
    let mut stream = host
        .connect_from(paths, to, Default::default(), Bytes::new())
        .await?;
    stream
        .write_chunk(Bytes::from_static(&[1; REQUEST]))
        .await?;
    let mut answered = 0;
    while answered < ANSWER {
        let chunk = stream.read_chunk().await?;
        answered += chunk.ok_or(io::ErrorKind::UnexpectedEof)?.len();
    }
    Ok(stream)
}
