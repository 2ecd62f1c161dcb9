//! A host of several shards, each on a thread, behind a device of as many queues.

use crate::common::{addr, bytes, read_all};
use anabranch_drivers::pipe::{MeshConfig, MeshEnd, PipeConfig, Steering, mesh};
use anabranch_sockets::{
    ConnectConfig, Host, ListenConfig, Listener, PathConfig, PathEvent, Shards, StackConfig, Stream,
};
use std::collections::BTreeSet;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::sync::mpsc;

const SERVER: &str = "10.0.0.2:80";
const PEER: [&str; 2] = ["10.0.0.1", "10.0.5.1"];

/// Real threads need real time, and no test needs much of it.
fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test)
            .await
            .expect("done in time");
    });
}

/// A device of so many queues, and a host with two addresses that it reaches.
fn device(queues: usize, steering: Steering) -> (Vec<MeshEnd>, Host) {
    let addresses: Vec<IpAddr> = PEER.iter().map(|text| text.parse().unwrap()).collect();
    let config = MeshConfig {
        pipe: PipeConfig::default(),
        queues,
        peers: vec![addresses],
        steering,
    };
    let (queues, mut peers) = mesh(config).unwrap();
    let peer = Host::start(peers.remove(0), StackConfig::default()).unwrap();
    (queues, peer)
}

async fn echo(mut stream: Stream) -> io::Result<()> {
    while let Some(chunk) = stream.read_chunk().await? {
        stream.write_chunk(chunk).await?;
    }
    stream.finish()
}

/// Echoes on every shard; tells on which thread each connection is.
fn serve(shards: &Shards) -> mpsc::UnboundedReceiver<Option<String>> {
    let (tell, told) = mpsc::unbounded_channel();
    let listeners = shards.listen(&ListenConfig::port(80)).unwrap();
    for (shard, listener) in shards.iter().zip(listeners) {
        shard.spawn(accept(listener, tell.clone()));
    }
    told
}

async fn accept(listener: Listener, tell: mpsc::UnboundedSender<Option<String>>) {
    while let Ok(stream) = listener.accept().await {
        let name = std::thread::current().name().map(str::to_owned);
        let _ = tell.send(name);
        tokio::spawn(echo(stream));
    }
}

async fn connect(peer: &Host) -> io::Result<Stream> {
    let local = SocketAddr::new(PEER[0].parse().unwrap(), 0);
    peer.connect(local, addr(SERVER), ConnectConfig::default())
        .await
}

async fn echoed(mut stream: Stream, seed: u64) {
    let data = bytes(seed, 300_000);
    let sent = data.clone();
    let (mut read, mut write) = stream.split();
    let writing = async {
        write.write_chunk(sent).await.unwrap();
        write.finish().unwrap();
    };
    let reading = async {
        let mut all = Vec::new();
        while let Some(chunk) = read.read_chunk().await.unwrap() {
            all.extend_from_slice(&chunk);
        }
        all
    };
    let ((), all) = tokio::join!(writing, reading);
    assert!(all == data, "stream {seed}");
}

#[test]
fn connections_spread_over_threads_and_each_is_served_on_its_own() {
    run(async {
        let (queues, peer) = device(3, Steering::Learn);
        let shards = Shards::start(queues, StackConfig::default()).unwrap();
        let mut told = serve(&shards);
        let mut streams = Vec::new();
        for _ in 0..40 {
            streams.push(connect(&peer).await.unwrap());
        }
        let mut threads = BTreeSet::new();
        for _ in 0..40 {
            threads.insert(told.recv().await.unwrap());
        }
        // All are there, and none has ended.
        let of_each = shards.iter().map(|s| s.connections().len());
        assert_eq!((shards.connections().len(), of_each.sum()), (40, 40));
        let echo = |(seed, stream)| tokio::spawn(echoed(stream, seed));
        let tasks: Vec<_> = (0..).zip(streams).map(echo).collect();
        for task in tasks {
            task.await.unwrap();
        }
        assert_eq!(threads.len(), 3, "{threads:?}");
        let counters = shards.counters();
        assert_eq!(counters["TcpPassiveOpens"], 40);
        assert_eq!(counters["TcpOutRsts"], 0);
    });
}

#[test]
fn subflows_that_reach_another_shard_find_their_connection() {
    for steering in [Steering::Learn, Steering::Hash] {
        run(async move {
            let (queues, peer) = device(4, steering);
            let shards = Shards::start(queues, StackConfig::default()).unwrap();
            let _told = serve(&shards);
            for seed in 0..12 {
                let locals = PEER.map(|text| text.parse().unwrap());
                let paths = PathConfig::from_addresses(locals);
                let config = ConnectConfig::default();
                let stream = peer.connect_from(paths, addr(SERVER), config, bytes(0, 0));
                let stream = stream.await.unwrap();
                let paths = stream.paths();
                loop {
                    match paths.next().await {
                        Some(PathEvent::SubflowUp(_)) => break,
                        Some(PathEvent::SubflowGone(_, why)) => panic!("refused: {why:?}"),
                        Some(_) => {}
                        None => panic!("the connection ended"),
                    }
                }
                echoed(stream, seed).await;
            }
            let counters = shards.counters();
            assert_eq!(counters["MPTcpExtMPJoinNoTokenFound"], 0);
            assert_eq!(counters["MPTcpExtMPJoinAckRx"], 12);
            assert_eq!(counters["StraysDropped"], 0);
            // Three joins of four; what follows them only where the device does not learn.
            assert!(counters["StraysReceived"] > 0);
        });
    }
}

#[test]
fn one_device_makes_one_shard_on_the_current_runtime() {
    run(async {
        let (queues, peer) = device(1, Steering::Learn);
        let shards = Shards::start(queues, StackConfig::default()).unwrap();
        let mut told = serve(&shards);
        echoed(connect(&peer).await.unwrap(), 1).await;
        let here = std::thread::current().name().map(str::to_owned);
        assert_eq!(told.recv().await.unwrap(), here);
        assert_eq!(shards.counters()["StraysSent"], 0);
    });
}

#[test]
fn there_is_no_host_of_no_shards() {
    run(async {
        let started = Shards::start(Vec::<MeshEnd>::new(), StackConfig::default());
        assert_eq!(started.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn a_shutdown_lets_connections_of_all_shards_finish() {
    run(async {
        let (queues, peer) = device(3, Steering::Learn);
        let shards = Shards::start(queues, StackConfig::default()).unwrap();
        let mut told = serve(&shards);
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(connect(&peer).await.unwrap());
            // Accepted: what waits to be is reset.
            told.recv().await.unwrap();
        }
        let stopping = tokio::spawn({
            let shards = shards.clone();
            async move { shards.shutdown(std::future::pending()).await }
        });
        for (seed, stream) in (0..).zip(streams) {
            echoed(stream, seed).await;
        }
        assert!(stopping.await.unwrap());
        assert_eq!(shards.closed().await.kind(), ErrorKind::ConnectionAborted);
        assert!(connect(&peer).await.is_err(), "nobody is there any more");
    });
}

#[test]
fn a_shutdown_that_lasts_too_long_resets_connections_of_all_shards() {
    run(async {
        let (queues, peer) = device(3, Steering::Learn);
        let shards = Shards::start(queues, StackConfig::default()).unwrap();
        let mut told = serve(&shards);
        let mut streams = Vec::new();
        for _ in 0..20 {
            streams.push(connect(&peer).await.unwrap());
            // Accepted: what waits to be is reset.
            told.recv().await.unwrap();
        }
        assert!(!shards.shutdown(async {}).await);
        for mut stream in streams {
            let error = read_all(&mut stream).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    });
}

#[test]
fn hosts_that_nobody_holds_end_with_their_threads() {
    run(async {
        let (queues, peer) = device(3, Steering::Learn);
        drop(Shards::start(queues, StackConfig::default()).unwrap());
        // All queues of the device are closed.
        assert_eq!(peer.closed().await.kind(), ErrorKind::BrokenPipe);
    });
}
