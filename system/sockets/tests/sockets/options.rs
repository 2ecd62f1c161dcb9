//! Options of sockets, end to end.

use crate::common::{CLIENT, Pair, SERVER, addr, bytes, read_all, run};
use anabranch_sockets::{Algorithm, ConnectConfig, Keepalive, SocketOption};
use std::io::ErrorKind;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

#[test]
fn what_is_set_is_what_is_seen_and_bytes_pass_whatever_it_is() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        let keepalive = Keepalive {
            time: Duration::from_secs(5),
            interval: Duration::from_secs(1),
            probes: 3,
        };
        for option in [
            SocketOption::NoDelay(true),
            SocketOption::Cork(true),
            SocketOption::QuickAck(true),
            SocketOption::Keepalive(Some(keepalive)),
            SocketOption::UserTimeout(Some(Duration::from_secs(30))),
            SocketOption::MaxSegment(500),
            SocketOption::NotSentLowat(Some(20_000)),
            SocketOption::MaxPacingRate(Some(5_000_000)),
            SocketOption::SendBuffer(30_000),
            SocketOption::RecvBuffer(10_000),
            SocketOption::Congestion(Algorithm::NewReno),
            SocketOption::RtoMin(Duration::from_millis(50)),
        ] {
            client.set_option(option).unwrap();
            server.set_option(option).unwrap();
        }
        let options = client.options().unwrap();
        assert!(!options.nagle && options.socket.cork);
        assert_eq!(options.keepalive, Some(keepalive));
        assert_eq!(options.socket.not_sent_lowat, Some(20_000));
        assert_eq!(options.congestion.pacing.max_rate, Some(5_000_000));
        let info = client.info().unwrap();
        assert_eq!(info.subflows[0].tcp.algorithm, "newreno");
        let sent = bytes(1, 300_000);
        let data = sent.clone();
        let writer = tokio::spawn(async move {
            client.write_all(&data).await.unwrap();
            client.shutdown().await.unwrap();
            client
        });
        assert!(read_all(&mut server).await.unwrap() == sent);
        drop(writer.await.unwrap());
    });
}

#[test]
fn a_listeners_options_and_those_of_connect_hold_from_the_start() {
    run(async {
        let pair = Pair::new();
        let listener = pair.listen();
        listener.set_option(SocketOption::NoDelay(true)).unwrap();
        let options = [SocketOption::Congestion(Algorithm::NewReno)];
        let connect = pair.client.connect_with_options(
            addr(CLIENT),
            addr(SERVER),
            ConnectConfig::default(),
            &options,
        );
        let (client, server) = tokio::join!(connect, listener.accept());
        assert!(!server.unwrap().options().unwrap().nagle);
        let info = client.unwrap().info().unwrap();
        assert_eq!(info.subflows[0].tcp.algorithm, "newreno");
    });
}

#[test]
fn values_out_of_range_are_refused() {
    run(async {
        let pair = Pair::new();
        let listener = pair.listen();
        let bad = SocketOption::MaxSegment(10);
        let refused = |result: std::io::Result<()>| result.unwrap_err().kind();
        assert_eq!(refused(listener.set_option(bad)), ErrorKind::InvalidInput);
        let (client, _server) = tokio::join!(pair.connect(), listener.accept());
        let client = client.unwrap();
        assert_eq!(refused(client.set_option(bad)), ErrorKind::InvalidInput);
        let (config, options) = (ConnectConfig::default(), [bad]);
        let connect =
            pair.client
                .connect_with_options(addr(CLIENT), addr(SERVER), config, &options);
        assert_eq!(connect.await.unwrap_err().kind(), ErrorKind::InvalidInput);
    });
}

#[test]
fn closing_waits_as_long_as_the_application_lingers() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        let linger = SocketOption::Linger(Some(Duration::from_secs(10)));
        client.set_option(linger).unwrap();
        let sent = bytes(3, 100_000);
        client.write_all(&sent).await.unwrap();
        let (closed, got) = tokio::join!(client.close(), async {
            let got = read_all(&mut server).await.unwrap();
            server.finish().unwrap();
            got
        });
        closed.unwrap();
        assert!(got == sent);
    });
}

#[test]
fn closing_waits_no_longer_than_that_and_delivers_all_the_same() {
    run(async {
        let pair = Pair::new();
        let (mut client, mut server) = pair.connected().await;
        let linger = SocketOption::Linger(Some(Duration::from_secs(1)));
        client.set_option(linger).unwrap();
        let sent = bytes(4, 100_000);
        client.write_all(&sent).await.unwrap();
        // The peer does not read, let alone finish.
        assert_eq!(
            client.close().await.unwrap_err().kind(),
            ErrorKind::TimedOut
        );
        assert!(read_all(&mut server).await.unwrap() == sent);
    });
}

#[test]
fn a_linger_of_zero_resets() {
    run(async {
        let pair = Pair::new();
        let (client, mut server) = pair.connected().await;
        client
            .set_option(SocketOption::Linger(Some(Duration::ZERO)))
            .unwrap();
        drop(client);
        let ended = server.read_chunk().await.unwrap_err();
        assert_eq!(ended.kind(), ErrorKind::ConnectionReset);
    });
}
