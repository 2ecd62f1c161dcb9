//! Bytes that go with the SYN.

use crate::common::{CLIENT, Pair, SERVER, addr, bytes, read_all, run};
use anabranch_sockets::{ConnectConfig, Counter, ListenConfig, Listener, Stream};
use bytes::Bytes;

const FAST: ConnectConfig = ConnectConfig {
    mptcp: false,
    fast_open: true,
};

fn listen(pair: &Pair) -> Listener {
    let config = ListenConfig {
        fast_open: Some(16),
        ..ListenConfig::at(addr(SERVER))
    };
    pair.server.listen(config).unwrap()
}

async fn request(pair: &Pair, listener: &Listener, config: ConnectConfig, first: Bytes) {
    let connect = pair
        .client
        .connect_with(addr(CLIENT), addr(SERVER), config, first.clone());
    let serve = async {
        let mut server = listener.accept().await.unwrap();
        let mut got = Vec::new();
        while got.len() < first.len() {
            got.extend(server.read_chunk().await.unwrap().expect("more"));
        }
        assert_eq!(got, first);
        server.write_chunk(bytes(7, 1000)).await.unwrap();
    };
    let (client, ()) = tokio::join!(connect, serve);
    let mut client: Stream = client.unwrap();
    assert_eq!(read_all(&mut client).await.unwrap(), bytes(7, 1000));
}

#[test]
fn the_second_request_goes_with_the_syn() {
    run(async {
        let pair = Pair::new();
        let listener = listen(&pair);
        let taken = || {
            pair.server
                .counters()
                .get(Counter::TcpExtTCPFastOpenPassive)
        };
        request(&pair, &listener, FAST, bytes(1, 300)).await;
        assert_eq!(taken(), 0);
        request(&pair, &listener, FAST, bytes(2, 300)).await;
        assert_eq!(taken(), 1);
        // More than a SYN takes, and more than the send buffer.
        request(&pair, &listener, FAST, bytes(3, 20 << 20)).await;
        assert_eq!(taken(), 2);
    });
}

#[test]
fn without_fast_open_the_first_bytes_follow_the_handshake() {
    run(async {
        let pair = Pair::new();
        let listener = listen(&pair);
        for mptcp in [false, true] {
            let config = ConnectConfig {
                mptcp,
                fast_open: false,
            };
            request(&pair, &listener, config, bytes(4, 5000)).await;
        }
        let counters = pair.server.counters();
        assert_eq!(counters.get(Counter::TcpExtTCPFastOpenCookieReqd), 0);
    });
}
