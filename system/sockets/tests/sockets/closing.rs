//! Every way for a connection to end, as seen from both sides.

use std::io::ErrorKind;
use std::time::Duration;

use crate::common::{Pair, addr, bytes, read_all, run};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[test]
fn a_half_closed_connection_goes_on_the_other_way() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        client.write_all(b"question").await.unwrap();
        client.shutdown().await.unwrap();
        assert_eq!(read_all(&mut server).await.unwrap(), b"question");
        // The end stays the end.
        assert_eq!(server.read_chunk().await.unwrap(), None);
        let answer = bytes(3, 500_000);
        let sent = answer.clone();
        let writer = tokio::spawn(async move {
            server.write_chunk(sent).await.unwrap();
            server.shutdown().await.unwrap();
            server
        });
        assert!(read_all(&mut client).await.unwrap() == answer);
        drop(writer.await.unwrap());
    });
}

#[test]
fn the_server_may_finish_first() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        server.finish().unwrap();
        assert_eq!(client.read_chunk().await.unwrap(), None);
        client.write_all(b"still heard").await.unwrap();
        drop(client);
        assert_eq!(read_all(&mut server).await.unwrap(), b"still heard");
    });
}

#[test]
fn nothing_is_written_after_the_end() {
    run(async {
        let pair = Pair::new();
        let (mut client, _server) = pair.connected().await;
        client.finish().unwrap();
        assert_eq!(
            client.write(b"x").await.unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        let refused = client.write_chunk("x".into()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn an_abort_is_a_reset_to_the_peer() {
    run(async {
        let pair = Pair::new();
        let (client, mut server) = pair.connected().await;
        client.abort();
        assert_eq!(
            server.read_chunk().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        let refused = server.write_chunk("x".into()).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionReset);
    });
}

#[test]
fn a_reset_wakes_whoever_waits() {
    run(async {
        let pair = Pair::new();
        let (client, server) = pair.connected().await;
        let (mut read, mut write) = server.into_split();
        let reader = tokio::spawn(async move { read.read_chunk().await });
        let watcher = tokio::spawn(async move { write.closed().await });
        tokio::task::yield_now().await;
        client.abort();
        assert_eq!(
            reader.await.unwrap().unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(
            watcher.await.unwrap().unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn what_was_written_is_delivered_after_a_drop() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        let sent = bytes(9, 2_000_000);
        client.write_chunk(sent.clone()).await.unwrap();
        drop(client);
        assert!(read_all(&mut server).await.unwrap() == sent);
    });
}

#[test]
fn a_drop_with_unread_bytes_is_a_reset() {
    run(async {
        let pair = Pair::new();
        let (mut client, server) = pair.connected().await;
        client.write_all(b"never read").await.unwrap();
        while server.info().unwrap().recv_queue == 0 {
            tokio::task::yield_now().await;
        }
        drop(server);
        assert_eq!(
            client.read_chunk().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn bytes_to_a_dropped_peer_are_answered_by_a_reset() {
    run(async {
        let pair = Pair::new();
        let (mut client, server) = pair.connected().await;
        drop(server);
        assert_eq!(client.read_chunk().await.unwrap(), None);
        client.write_all(b"too late").await.unwrap();
        let (_, mut write) = client.split();
        assert_eq!(
            write.closed().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn an_orderly_end_is_seen_by_who_watches_for_it() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        let watcher = tokio::spawn(async move {
            client.finish().unwrap();
            client.closed().await.unwrap();
            client
        });
        assert_eq!(server.read_chunk().await.unwrap(), None);
        server.write_all(b"bye").await.unwrap();
        drop(server);
        // It is over, and what came before the end can still be read.
        assert_eq!(read_all(&mut watcher.await.unwrap()).await.unwrap(), b"bye");
    });
}

#[test]
fn dropping_the_writing_half_finishes_and_the_reading_half_reads_on() {
    run(async {
        let pair = Pair::new();
        let (client, mut server) = pair.connected().await;
        let (mut read, mut write) = client.into_split();
        write.write_all(b"done").await.unwrap();
        drop(write);
        assert_eq!(read_all(&mut server).await.unwrap(), b"done");
        server.write_all(b"me too").await.unwrap();
        drop(server);
        let mut answer = String::new();
        read.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "me too");
    });
}

#[test]
fn nothing_is_left_of_closed_connections_but_time_wait() {
    run(async {
        let pair = Pair::new();
        let listener = pair.listen();
        for _ in 0..50 {
            let (client, server) = tokio::join!(pair.connect(), listener.accept());
            let (client, mut server) = (client.unwrap(), server.unwrap());
            drop(client);
            assert_eq!(server.read_chunk().await.unwrap(), None);
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(pair.server.connections().len(), 0);
        assert_eq!(pair.client.connections().len(), 0);
        assert_eq!(pair.client.memory(), 0);
        assert_eq!(pair.server.memory(), 0);
    });
}

#[test]
fn a_peer_that_vanished_times_out() {
    run(async {
        // The other end of the pipe is a device that nobody reads.
        let (a, _b) = anabranch_drivers::pipe(Default::default()).unwrap();
        let host = anabranch_sockets::Host::start(a, Default::default()).unwrap();
        let (from, to) = (
            addr(crate::common::CLIENT),
            crate::common::addr(crate::common::SERVER),
        );
        let failed = host
            .connect(from, to, Default::default())
            .await
            .unwrap_err();
        assert_eq!(failed.kind(), ErrorKind::TimedOut);
    });
}
