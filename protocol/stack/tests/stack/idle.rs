//! Ten thousand connections: idle ones cost nothing.

use crate::pair::*;
use anabranch_stack::{Config, ConnectConfig, Counter, ListenConfig};
use std::time::Duration;

const MANY: usize = 10_000;

#[test]
fn idle_connections_are_not_looked_at() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let backlog = ListenConfig {
        backlog: 2 * MANY,
        ..ListenConfig::port(PORT)
    };
    let listener = pair.b.listen(backlog).unwrap();
    let (local, remote) = (addr("10.0.0.1:0"), addr("10.0.0.2:80"));
    let clients: Vec<_> = (0..MANY)
        .map(|_| {
            let plain = ConnectConfig {
                mptcp: false,
                fast_open: false,
            };
            pair.a.connect(pair.now, local, remote, plain).unwrap()
        })
        .collect();
    let mut servers = Vec::new();
    pair.run_until("all accepted", |pair| {
        servers.extend(std::iter::from_fn(|| pair.b.accept(listener)));
        servers.len() == MANY
    });
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.b.connections().count(), MANY);

    let before = (pair.log.len(), pair.count(A, Counter::FlowsVisited));
    let chosen = pair.b.info(servers[4321]).unwrap().remote;
    let client = *clients
        .iter()
        .find(|c| pair.a.info(**c).unwrap().local == chosen)
        .unwrap();
    pair.transfer((A, client), (B, servers[4321]), &pattern(1_000_000));
    let packets = (pair.log.len() - before.0) as u64;
    let visits = pair.count(A, Counter::FlowsVisited) - before.1;
    assert!(packets > 600);
    assert!(
        visits <= 3 * packets,
        "{visits} visits for {packets} packets"
    );

    let before = pair.count(B, Counter::FlowsVisited);
    for _ in 0..1000 {
        pair.b.on_deadline(pair.now);
        assert!(pair.b.poll_transmit(pair.now).is_none());
        assert!(pair.b.poll_event().is_none());
    }
    assert_eq!(pair.count(B, Counter::FlowsVisited), before);
}

#[test]
fn a_connection_with_much_to_say_does_not_silence_others() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    let flows: Vec<_> = (0..3)
        .map(|_| pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false))
        .collect();
    for (client, server) in &flows {
        // Large congestion windows first.
        pair.transfer((A, *client), (B, *server), &pattern(4_000_000));
    }
    for (client, _) in &flows {
        pair.a.send(pair.now, *client, pattern(1_000_000)).unwrap();
    }
    let mut ports = Vec::new();
    let mut bytes = 0;
    while let Some(transmit) = pair.a.poll_transmit(pair.now) {
        bytes += transmit.total_len();
        ports.push(u16::from_be_bytes([
            transmit.header[20],
            transmit.header[21],
        ]));
        if bytes > 450_000 {
            break;
        }
    }
    ports.sort_unstable();
    ports.dedup();
    assert_eq!(ports.len(), 3, "each had its turn");
}
