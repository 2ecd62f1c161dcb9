//! Listeners and hosts: what they refuse, and how they end.

use std::future::{pending, ready};
use std::io::ErrorKind;
use std::time::Duration;

use crate::common::{Pair, addr, bytes, read_all, run};
use anabranch_sockets::{Host, ListenConfig, StackConfig};
use tokio::io::AsyncWriteExt;

#[test]
fn a_port_without_listener_refuses() {
    run(async {
        let pair = Pair::new();
        let refused = pair.connect().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    });
}

#[test]
fn a_port_is_taken_until_its_listener_is_dropped() {
    run(async {
        let pair = Pair::new();
        let config = ListenConfig::at(addr(crate::common::SERVER));
        let first = pair.server.listen(config.clone()).unwrap();
        let second = pair.server.listen(config.clone()).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::AddrInUse);
        drop(first);
        let again = pair.server.listen(config).unwrap();
        let (client, server) = tokio::join!(pair.connect(), again.accept());
        assert!(client.is_ok() && server.is_ok());
        let zero = pair.server.listen(ListenConfig::port(0)).unwrap_err();
        assert_eq!(zero.kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn accepted_connections_outlive_their_listener() {
    run(async {
        let pair = Pair::new();
        let listener = pair.listen();
        let (client, server) = tokio::join!(pair.connect(), listener.accept());
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        drop(listener);
        assert_eq!(
            pair.connect().await.unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        client.write_all(b"still here").await.unwrap();
        drop(client);
        assert_eq!(read_all(&mut server).await.unwrap(), b"still here");
    });
}

#[test]
fn connections_that_nobody_accepted_are_reset_with_the_listener() {
    run(async {
        let pair = Pair::new();
        let listener = pair.listen();
        let mut client = pair.connect().await.unwrap();
        drop(listener);
        assert_eq!(
            client.read_chunk().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
    });
}

#[test]
fn several_tasks_accept_from_one_listener() {
    run(async {
        let pair = Pair::new();
        let listener = std::sync::Arc::new(pair.listen());
        let mut acceptors = tokio::task::JoinSet::new();
        for _ in 0..10 {
            let listener = listener.clone();
            acceptors.spawn(async move { listener.accept().await.unwrap().peer_addr().unwrap() });
        }
        tokio::task::yield_now().await;
        let mut clients = Vec::new();
        for _ in 0..10 {
            clients.push(pair.connect().await.unwrap());
        }
        let mut peers: Vec<_> = acceptors.join_all().await;
        let mut expected: Vec<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
        peers.sort();
        expected.sort();
        assert_eq!(peers, expected);
    });
}

#[test]
fn what_came_before_accept_can_be_read() {
    run(async {
        let pair = Pair::new();
        let listener = pair.listen();
        let mut client = pair.connect().await.unwrap();
        client.write_all(b"early").await.unwrap();
        drop(client);
        while pair.server.connections()[0].recv_queue == 0 {
            tokio::task::yield_now().await;
        }
        let mut server = listener.accept().await.unwrap();
        assert_eq!(read_all(&mut server).await.unwrap(), b"early");
    });
}

#[test]
fn a_connection_attempt_that_is_given_up_leaves_nothing() {
    run(async {
        let (device, _nobody) = anabranch_drivers::pipe(Default::default()).unwrap();
        let host = Host::start(device, StackConfig::default()).unwrap();
        let attempt = host.connect(
            addr(crate::common::CLIENT),
            addr(crate::common::SERVER),
            Default::default(),
        );
        let given_up = tokio::time::timeout(Duration::from_secs(3), attempt).await;
        assert!(given_up.is_err());
        tokio::task::yield_now().await;
        assert_eq!(host.connections().len(), 0);
    });
}

#[test]
fn shutdown_lets_open_connections_finish() {
    run(async {
        let pair = Pair::new();
        let listener = pair.listen();
        let (client, server) = tokio::join!(pair.connect(), listener.accept());
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let host = pair.server.clone();
        let shutdown = tokio::spawn(async move { host.shutdown(pending()).await });
        tokio::task::yield_now().await;
        // Nobody new, and whoever waits for them is told.
        assert_eq!(
            listener.accept().await.unwrap_err().kind(),
            ErrorKind::ConnectionAborted
        );
        assert_eq!(
            pair.connect().await.unwrap_err().kind(),
            ErrorKind::ConnectionRefused
        );
        let sent = bytes(4, 3 << 20);
        client.write_chunk(sent.clone()).await.unwrap();
        client.finish().unwrap();
        client.write_all(b"").await.unwrap_or(());
        assert!(read_all(&mut server).await.unwrap() == sent);
        assert!(!shutdown.is_finished());
        server.write_all(b"thanks").await.unwrap();
        drop(server);
        assert_eq!(read_all(&mut client).await.unwrap(), b"thanks");
        assert!(shutdown.await.unwrap());
        assert_eq!(
            pair.server.closed().await.kind(),
            ErrorKind::ConnectionAborted
        );
    });
}

#[test]
fn shutdown_waits_until_what_was_received_has_been_read() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        client.write_all(b"read me").await.unwrap();
        drop(client);
        server.finish().unwrap();
        let host = pair.server.clone();
        let shutdown = tokio::spawn(async move { host.shutdown(pending()).await });
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(read_all(&mut server).await.unwrap(), b"read me");
        drop(server);
        assert!(shutdown.await.unwrap());
    });
}

#[test]
fn when_the_limit_is_over_the_rest_is_reset() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        let limit = tokio::time::sleep(Duration::from_secs(5));
        assert!(!pair.server.shutdown(limit).await);
        assert_eq!(
            client.read_chunk().await.unwrap_err().kind(),
            ErrorKind::ConnectionReset
        );
        assert_eq!(
            server.read_chunk().await.unwrap_err().kind(),
            ErrorKind::ConnectionAborted
        );
    });
}

#[test]
fn the_device_is_closed_when_shutdown_returns() {
    run(async {
        let pair = Pair::new();
        assert!(pair.server.shutdown(ready(())).await);
        // Its other end notices at once.
        assert_eq!(pair.client.closed().await.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_host_ends_when_nobody_holds_it_and_its_connections_are_closed() {
    run(async {
        let Pair { client, server } = Pair::new();
        let listener = server
            .listen(ListenConfig::at(addr(crate::common::SERVER)))
            .unwrap();
        let (from, to) = (addr(crate::common::CLIENT), addr(crate::common::SERVER));
        let (mut stream, accepted) = tokio::join!(
            async { client.connect(from, to, Default::default()).await.unwrap() },
            async { listener.accept().await.unwrap() }
        );
        drop((server, listener));
        let mut accepted = accepted;
        accepted.write_all(b"last words").await.unwrap();
        drop(accepted);
        assert_eq!(read_all(&mut stream).await.unwrap(), b"last words");
        drop(stream);
        assert_eq!(client.closed().await.kind(), ErrorKind::BrokenPipe);
    });
}

#[test]
fn a_device_that_fails_ends_everything() {
    run(async {
        let (device, other_end) = anabranch_drivers::pipe(Default::default()).unwrap();
        let host = Host::start(device, StackConfig::default()).unwrap();
        let listener = host.listen(ListenConfig::port(80)).unwrap();
        let accepting = tokio::spawn(async move { listener.accept().await.unwrap_err() });
        tokio::task::yield_now().await;
        drop(other_end);
        let error = accepting.await.unwrap();
        assert_eq!(error.kind(), ErrorKind::BrokenPipe);
        assert!(error.to_string().contains("device"), "{error}");
        assert_eq!(
            host.listen(ListenConfig::port(81)).unwrap_err().kind(),
            ErrorKind::BrokenPipe
        );
        let (from, to) = (addr(crate::common::CLIENT), addr(crate::common::SERVER));
        let refused = host
            .connect(from, to, Default::default())
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::BrokenPipe);
    });
}
