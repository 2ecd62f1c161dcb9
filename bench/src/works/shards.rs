//! What a second core brings: shards and their peers in one process, over queues in memory.

use crate::cpu::busy_seconds;
use crate::work::{Cell, Goal, Length, Sample, Unit, Work};
use anabranch_drivers::pipe::{MeshConfig, MeshEnd, PipeConfig, Steering, mesh};
use anabranch_sockets::{
    Host, ListenConfig, Listener, PathConfig, Shard, Shards, StackConfig, Stream,
};
use bytes::Bytes;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

pub(crate) const WORK: Work = Work {
    name: "shards",
    about: "A host of one and of two shards in memory, 64 connections with two subflows each, bulk to \
            it: each shard has a core, and shares it with a peer that has its part of the \
            connections. Beside: a connection belongs to the shard beside its peer; anywhere: to \
            either, so that half of all packets cross to the other core.",
    unit: Unit::GBITS,
    goals: &[Goal::times("two shards", 1.6, "one shard").in_rows("beside")],
    cells,
};

const CONNECTIONS: usize = 64;
const PORT: u16 = 80;
const CHUNK: usize = 256 << 10;

fn cells() -> io::Result<Vec<Cell>> {
    let mut cells = Vec::new();
    let rows = [("beside", Steering::Beside), ("anywhere", Steering::Learn)];
    for (row, steering) in rows {
        for (shards, who) in [(1, "one shard"), (2, "two shards")] {
            cells.push(Cell::new(row, who, move |length| {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()?;
                runtime.block_on(sample(shards, steering, length))
            }));
        }
    }
    Ok(cells)
}

async fn sample(count: usize, steering: Steering, length: Length) -> io::Result<Sample> {
    let addresses = |peer| [0, 1].map(|link| IpAddr::from(Ipv4Addr::new(10, link, 0, peer)));
    let (queues, peers) = mesh(MeshConfig {
        pipe: PipeConfig::default(),
        queues: count,
        peers: (0..count as u8).map(|it| addresses(it).to_vec()).collect(),
        steering,
    })?;
    let shards = Shards::start(queues, StackConfig::default())?;
    let received = Arc::new(AtomicU64::new(0));
    let listeners = shards.listen(&ListenConfig::port(PORT))?;
    let mut started = Vec::new();
    for ((shard, listener), (number, peer)) in shards
        .iter()
        .zip(listeners)
        .zip(peers.into_iter().enumerate())
    {
        shard.spawn(read_all(listener, Arc::clone(&received)));
        let locals = addresses(number as u8);
        started.push(beside(shard, peer, locals, CONNECTIONS / count)?);
    }
    for started in started {
        let connected = started.await.map_err(io::Error::other)?;
        connected?;
    }
    tokio::time::sleep(Duration::from_secs_f64(length.warm_up())).await;
    let (start, busy) = (Instant::now(), busy_seconds()?);
    let before = received.load(Ordering::Relaxed);
    tokio::time::sleep(Duration::from_secs_f64(length.seconds)).await;
    let bytes = received.load(Ordering::Relaxed) - before;
    let (seconds, busy) = (start.elapsed().as_secs_f64(), busy_seconds()? - busy);
    shards.shutdown(async {}).await;
    Ok(Sample {
        value: bytes as f64 * 8.0 / seconds / 1e9,
        cpu: Some(busy / (bytes as f64 / 1e9)),
    })
}

/// Starts a peer on the thread of a shard, which connects and then writes without end.
fn beside(
    shard: &Shard,
    device: MeshEnd,
    locals: [IpAddr; 2],
    connections: usize,
) -> io::Result<oneshot::Receiver<io::Result<()>>> {
    let (tell, told) = oneshot::channel();
    shard.spawn(async move {
        let connected = async {
            let host = Host::start(device, StackConfig::default())?;
            for _ in 0..connections {
                let paths = PathConfig::from_addresses(locals);
                let to = SocketAddr::from(([10, 9, 9, 9], PORT));
                let stream = host.connect_from(paths, to, Default::default(), Bytes::new());
                tokio::spawn(write_all(stream.await?));
            }
            Ok(())
        };
        // Nobody listens where another peer has failed.
        let _ = tell.send(connected.await);
    });
    Ok(told)
}

async fn write_all(mut stream: Stream) {
    let zeroes = Bytes::from(vec![0; CHUNK]);
    // It ends when the sample does.
    while stream.write_chunk(zeroes.clone()).await.is_ok() {}
}

async fn read_all(listener: Listener, received: Arc<AtomicU64>) {
    while let Ok(mut stream) = listener.accept().await {
        let received = Arc::clone(&received);
        tokio::spawn(async move {
            while let Ok(Some(chunk)) = stream.read_chunk().await {
                received.fetch_add(chunk.len() as u64, Ordering::Relaxed);
            }
        });
    }
}
