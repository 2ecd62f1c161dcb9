//! A sender waits for a receiver that does not read, and is woken when it does.

use std::time::Duration;

use crate::common::{Pair, bytes, run};
use anabranch_drivers::pipe::PipeConfig;
use anabranch_sockets::{Limits, StackConfig};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const BUFFER: usize = 64 * 1024;

fn small_buffers() -> Pair {
    let limits = Limits {
        recv_buffer: BUFFER,
        send_buffer: BUFFER,
        ..Limits::default()
    };
    Pair::with(
        PipeConfig::default(),
        StackConfig {
            limits,
            ..StackConfig::default()
        },
    )
}

#[test]
fn writing_waits_while_nobody_reads() {
    run(async {
        let pair = small_buffers();
        let (mut client, mut server) = pair.connected().await;
        let sent = bytes(1, 4 << 20);
        let data = sent.clone();
        let writer = tokio::spawn(async move {
            client.write_all(&data).await.unwrap();
            client
        });
        // Long enough for persist probes (RFC 9293 §3.8.6.1), in paused time.
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(!writer.is_finished());
        let waiting = server.info().unwrap().recv_queue;
        assert!(
            (BUFFER / 2..=2 * BUFFER).contains(&waiting),
            "{waiting} bytes wait"
        );
        let mut received = vec![0; sent.len()];
        server.read_exact(&mut received).await.unwrap();
        assert!(received == sent);
        drop(writer.await.unwrap());
    });
}

#[test]
fn a_slow_reader_gets_everything() {
    run(async {
        let pair = small_buffers();
        let (mut client, mut server) = pair.connected().await;
        let sent = bytes(2, 1 << 20);
        let data = sent.clone();
        let writer = tokio::spawn(async move {
            client.write_chunk(data).await.unwrap();
            client.finish().unwrap();
            client
        });
        let mut received = Vec::new();
        let mut buf = [0; 10_000];
        loop {
            tokio::time::sleep(Duration::from_millis(50)).await;
            match server.read(&mut buf).await.unwrap() {
                0 => break,
                n => received.extend_from_slice(&buf[..n]),
            }
        }
        assert!(received == sent);
        drop(writer.await.unwrap());
    });
}

#[test]
fn both_directions_full_at_once_do_not_block_each_other() {
    run(async {
        let pair = small_buffers();
        let (client, server) = pair.connected().await;
        let ends = [(client, 1), (server, 2)].map(|(stream, seed)| {
            let (mut read, mut write) = stream.into_split();
            let writer = tokio::spawn(async move {
                write.write_chunk(bytes(seed, 1 << 20)).await.unwrap();
                write.finish().unwrap();
                write
            });
            let reader = tokio::spawn(async move {
                let mut all = Vec::new();
                read.read_to_end(&mut all).await.unwrap();
                assert!(all == bytes(3 - seed, 1 << 20));
            });
            (writer, reader)
        });
        for (writer, reader) in ends {
            reader.await.unwrap();
            drop(writer.await.unwrap());
        }
    });
}

#[test]
fn a_connection_that_is_not_read_holds_up_no_other() {
    run(async {
        let pair = small_buffers();
        let listener = pair.listen();
        let (stuck, unread) = tokio::join!(pair.connect(), listener.accept());
        let (mut stuck, _unread) = (stuck.unwrap(), unread.unwrap());
        let writer = tokio::spawn(async move { stuck.write_all(&bytes(1, 1 << 20)).await });
        let (client, server) = tokio::join!(pair.connect(), listener.accept());
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        for i in 0..100 {
            client.write_chunk(bytes(i, 10_000)).await.unwrap();
            let mut received = vec![0; 10_000];
            server.read_exact(&mut received).await.unwrap();
            assert!(received == bytes(i, 10_000));
        }
        assert!(!writer.is_finished());
        writer.abort();
    });
}

#[test]
fn a_device_with_little_room_loses_nothing() {
    run(async {
        let link = PipeConfig {
            capacity: 2,
            offload: false,
            ..PipeConfig::default()
        };
        let pair = Pair::with(link, StackConfig::default());
        let (mut client, mut server) = pair.connected().await;
        let sent = bytes(5, 1 << 20);
        let data = sent.clone();
        let writer = tokio::spawn(async move {
            client.write_chunk(data).await.unwrap();
            client
        });
        let mut received = vec![0; sent.len()];
        server.read_exact(&mut received).await.unwrap();
        assert!(received == sent);
        let client = writer.await.unwrap();
        assert_eq!(client.info().unwrap().subflows[0].tcp.stats.retransmits, 0);
    });
}
