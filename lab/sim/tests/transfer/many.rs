//! Many connections between two hosts at once, all through one bottleneck.

use anabranch_sim::scene::PORT;
use anabranch_sim::{Hop, Host, LinkConfig, Network, Pace, Plan, Step};
use anabranch_stack::{Config, ConnectConfig, Instant, ListenConfig, LocalAddrs};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

fn addr(path: u8, host: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, path, host).into()
}

/// A client (host 1) and a server (host 2) with two addresses each, each pair with a link of its
/// own that leads into a shared one.
fn network() -> (Network<Host>, [anabranch_sim::NodeId; 2]) {
    let mut network = Network::new(1);
    let nodes = [1, 2].map(|host| {
        let addresses = [addr(0, host), addr(1, host)];
        let config = Config {
            local: LocalAddrs::List(addresses.to_vec()),
            gso_max: 65_000,
            ..Config::default()
        };
        let stack = Host::new(
            config,
            u64::from(host),
            Some(Duration::from_micros(20)),
            Instant(0),
        );
        network.add_node(&format!("host{host}"), &addresses, stack)
    });
    for (from, to) in [(1, 2), (2, 1)] {
        let shared = network.add_link(LinkConfig::new(300, 2));
        for path in [0, 1] {
            let own = network.add_link(LinkConfig::new(200, 3 + 10 * u64::from(path)));
            let hops = [Hop::Link(own), Hop::Link(shared)];
            network.add_route(addr(path, from), addr(path, to), &hops);
        }
    }
    (network, nodes)
}

#[test]
fn two_hundred_connections_with_two_subflows_each() {
    let (mut network, [client, server]) = network();
    for n in 0..200u16 {
        let echo = Pace::Rounds {
            mine: 10_000,
            theirs: 10_000,
            first: false,
        };
        // Each has bytes of its own: any mix-up shows.
        let serving = Plan {
            key: 2 * u64::from(n) + 1,
            send: 100_000,
            pace: if n % 2 == 0 { echo } else { Pace::Bulk },
            ..Plan::default()
        };
        let listen = ListenConfig::port(PORT + n);
        network.node_mut(server).serve(listen, serving).unwrap();
        let join = Step::Join {
            local: SocketAddr::new(addr(1, 1), 0),
            remote: SocketAddr::new(addr(1, 2), PORT + n),
            backup: false,
        };
        let asking = Plan {
            key: 2 * u64::from(n),
            send: 100_000,
            steps: vec![(Duration::ZERO, join)],
            ..Plan::default()
        };
        let (local, remote) = (addr(0, 1), addr(0, 2));
        let connected = network.node_mut(client).connect(
            Instant(0),
            SocketAddr::new(local, 0),
            SocketAddr::new(remote, PORT + n),
            ConnectConfig::default(),
            asking,
        );
        assert!(connected.is_ok(), "{connected:?}");
    }
    let done = |network: &mut Network<Host>| {
        let served = network.node(server).progress().count() == 200;
        served && network.nodes().iter().all(Host::is_done)
    };
    network.run(Duration::from_secs(120), done).unwrap();
    for host in network.nodes() {
        for progress in host.progress() {
            assert_eq!(progress.wrong, None);
            assert_eq!(progress.received, 100_000, "{progress:?}");
            assert!(progress.eof.is_some());
        }
    }
}

#[test]
fn a_connection_to_nobody_is_refused() {
    for mptcp in [false, true] {
        let (mut network, [client, _]) = network();
        let connected = network.node_mut(client).connect(
            Instant(0),
            SocketAddr::new(addr(0, 1), 0),
            SocketAddr::new(addr(0, 2), PORT),
            ConnectConfig {
                mptcp,
                ..ConnectConfig::default()
            },
            Plan::default(),
        );
        assert!(connected.is_ok());
        let done = |network: &mut Network<Host>| network.node(client).is_done();
        network.run(Duration::from_secs(1), done).unwrap();
        let closed = network.node(client).progress().next().unwrap().closed;
        let refused = anabranch_stack::CloseReason::Refused;
        assert!(matches!(closed, Some((_, reason)) if reason == refused));
    }
}
