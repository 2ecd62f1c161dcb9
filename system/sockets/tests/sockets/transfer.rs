//! Bytes arrive as they were sent, by chunks and by buffers, on one connection and on many.

use crate::common::{Pair, addr, bytes, read_all, run};
use anabranch_drivers::pipe::PipeConfig;
use anabranch_sockets::{Listener, StackConfig, Stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const MIB: usize = 1 << 20;

/// Sends back what each of `count` connections brings.
fn echo(listener: Listener, count: usize) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        let mut echoes = tokio::task::JoinSet::new();
        for _ in 0..count {
            let stream = listener.accept().await.unwrap();
            echoes.spawn(echo_one(stream));
        }
        while let Some(echoed) = echoes.join_next().await {
            echoed.unwrap();
        }
    })
}

async fn echo_one(mut stream: Stream) {
    while let Some(chunk) = stream.read_chunk().await.unwrap() {
        stream.write_chunk(chunk).await.unwrap();
    }
    stream.finish().unwrap();
}

/// Sends `data` and reads at the same time; gives what came back.
async fn round_trip(stream: Stream, data: bytes::Bytes) -> Vec<u8> {
    let (mut read, mut write) = stream.into_split();
    let writer = async move {
        write.write_chunk(data).await.unwrap();
        write.finish().unwrap();
        // Kept until everything came back.
        write
    };
    let reader = async move {
        let mut all = Vec::new();
        read.read_to_end(&mut all).await.unwrap();
        all
    };
    tokio::join!(writer, reader).1
}

#[test]
fn a_greeting_comes_back() {
    run(async {
        let pair = Pair::new();
        let echo = echo(pair.listen(), 1);
        let back = round_trip(pair.connect().await.unwrap(), "hello".into()).await;
        assert_eq!(back, b"hello");
        echo.await.unwrap();
    });
}

#[test]
fn every_length_around_a_segment_and_a_chunk() {
    run(async {
        let pair = Pair::new();
        let lengths = [0, 1, 2, 1447, 1448, 1449, 65_535, 65_536, 65_537, 200_001];
        let echo = echo(pair.listen(), lengths.len());
        for len in lengths {
            let sent = bytes(len as u64, len);
            let back = round_trip(pair.connect().await.unwrap(), sent.clone()).await;
            assert!(back == sent, "{len} bytes");
        }
        echo.await.unwrap();
    });
}

fn a_mebibyte_on_each_of_100_connections(offload: bool) {
    run(async move {
        let link = PipeConfig {
            offload,
            ..PipeConfig::default()
        };
        let pair = Pair::with(link, StackConfig::default());
        let echo = echo(pair.listen(), 100);
        let mut clients = tokio::task::JoinSet::new();
        for i in 0..100 {
            let stream = pair.connect().await.unwrap();
            clients.spawn(async move {
                let sent = bytes(i, MIB);
                assert!(
                    round_trip(stream, sent.clone()).await == sent,
                    "connection {i}"
                );
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        echo.await.unwrap();
    });
}

#[test]
fn a_mebibyte_on_each_of_100_connections_in_super_frames() {
    a_mebibyte_on_each_of_100_connections(true);
}

#[test]
fn a_mebibyte_on_each_of_100_connections_in_single_packets() {
    a_mebibyte_on_each_of_100_connections(false);
}

#[test]
fn buffers_of_every_size_are_copied_right() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        let sent = bytes(7, 300_000);
        let data = sent.clone();
        let writer = tokio::spawn(async move {
            let mut rest = &data[..];
            for size in (1..).map(|n| n * 37 % 5003) {
                let n = size.min(rest.len());
                client.write_all(&rest[..n]).await.unwrap();
                rest = &rest[n..];
                if rest.is_empty() {
                    break;
                }
            }
            client.shutdown().await.unwrap();
            client
        });
        let mut received = Vec::new();
        for size in (1..).map(|n| n * 41 % 7001 + 1) {
            let mut buf = vec![0; size];
            let n = server.read(&mut buf).await.unwrap();
            if n == 0 {
                break;
            }
            received.extend_from_slice(&buf[..n]);
        }
        assert!(received == sent);
        drop(writer.await.unwrap());
    });
}

#[test]
fn several_slices_go_in_one_write() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        let slices = [&b"one "[..], b"", b"two ", b"three"].map(std::io::IoSlice::new);
        assert_eq!(client.write_vectored(&slices).await.unwrap(), 13);
        drop(client);
        assert_eq!(read_all(&mut server).await.unwrap(), b"one two three");
    });
}

#[test]
fn an_empty_write_is_no_end() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        assert_eq!(client.write(b"").await.unwrap(), 0);
        client.write_chunk(bytes::Bytes::new()).await.unwrap();
        client.write_all(b"x").await.unwrap();
        assert_eq!(server.read_chunk().await.unwrap().unwrap(), "x");
    });
}

#[test]
fn without_waiting() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        let nothing = server.try_read_chunk().unwrap_err();
        assert_eq!(nothing.kind(), std::io::ErrorKind::WouldBlock);
        let mut chunk = bytes::Bytes::from("now");
        assert_eq!(client.try_write_chunk(&mut chunk).unwrap(), 3);
        assert!(chunk.is_empty());
        assert_eq!(server.read_chunk().await.unwrap().unwrap(), "now");
    });
}

#[test]
fn both_ends_know_whom_they_talk_to() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        assert_eq!(server.local_addr().unwrap(), addr(crate::common::SERVER));
        assert_eq!(client.peer_addr().unwrap(), addr(crate::common::SERVER));
        assert_eq!(server.peer_addr().unwrap(), client.local_addr().unwrap());
        assert!(client.local_addr().unwrap().port() >= 49152);
        client.write_chunk(bytes(1, 100_000)).await.unwrap();
        client.finish().unwrap();
        read_all(&mut server).await.unwrap();
        let info = server.info().unwrap();
        assert_eq!(info.bytes_received, 100_000);
        assert_eq!(info.subflows.len(), 1);
        assert_eq!(info.subflows[0].remote, client.local_addr().unwrap());
        assert_eq!(pair.server.connections().len(), 1);
    });
}
