//! Two connections through one queue.

use crate::parallel;
use anabranch_sim::scene::PORT;
use anabranch_sim::{Hop, Host, LinkConfig, Network, NodeId, Plan};
use anabranch_stack::{Config, ConnectConfig, Instant, ListenConfig, LocalAddrs};
use anabranch_tcp::congestion::Algorithm;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

/// The part of a run that does not count, and the part that does.
const WARM_UP: Duration = Duration::from_secs(10);
const TIME: Duration = Duration::from_secs(30);

const HEAD: &str = "## Two through one queue

A queue of one bandwidth-delay product. The second starts when the first has run for a second;
shares are those of 30 s from the tenth second on. Jain's index is 1 where both have the same, 0.5
where one has all.

| first | second | Mbit/s | RTT, ms | share of the first, % | Jain's index | both, % of the link |
|---|---|---|---|---|---|---|
";

const SERVER: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 0, 0, 9));

fn client(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

fn host(address: IpAddr, algorithm: Algorithm, seed: u64) -> Host {
    let mut config = Config {
        local: LocalAddrs::List(vec![address]),
        gso_max: 65_000,
        ..Config::default()
    };
    config.tcp.congestion.algorithm = algorithm;
    Host::new(config, seed, Some(Duration::from_micros(20)), Instant(0))
}

/// Bit/s that each of two gets.
fn shares(algorithms: [Algorithm; 2], mbit: u64, rtt_ms: u64) -> [f64; 2] {
    let mut network = Network::new(1);
    let server = network.add_node("server", &[SERVER], host(SERVER, Algorithm::Cubic, 9));
    let link = LinkConfig::new(mbit, rtt_ms / 2);
    let (there, back) = (network.add_link(link.clone()), network.add_link(link));
    let clients = [0u8, 1].map(|n| {
        let host = host(client(n), algorithms[usize::from(n)], u64::from(n));
        let node = network.add_node(&format!("client{n}"), &[client(n)], host);
        network.add_route(client(n), SERVER, &[Hop::Link(there)]);
        network.add_route(SERVER, client(n), &[Hop::Link(back)]);
        node
    });
    start(&mut network, clients[0], server, 0);
    network.run_for(Duration::from_secs(1));
    start(&mut network, clients[1], server, 1);
    network.run_for(WARM_UP - Duration::from_secs(1));
    let received = |network: &Network<Host>| {
        let all: Vec<u64> = network
            .node(server)
            .progress()
            .map(|it| it.received)
            .collect();
        [all[0], all[1]]
    };
    let before = received(&network);
    network.run_for(TIME);
    let after = received(&network);
    [0, 1].map(|n| (after[n] - before[n]) as f64 * 8.0 / TIME.as_secs_f64())
}

/// Client `n` connects and sends without end.
fn start(network: &mut Network<Host>, from: NodeId, server: NodeId, n: u8) {
    let key = 2 * u64::from(n);
    let serving = Plan {
        key: key + 1,
        ..Plan::default()
    };
    let sending = Plan {
        key,
        send: 1 << 40,
        ..Plan::default()
    };
    let port = PORT + u16::from(n);
    let served = network
        .node_mut(server)
        .serve(ListenConfig::port(port), serving);
    assert!(served.is_ok(), "{served:?}");
    let now = network.now();
    let connected = network.node_mut(from).connect(
        now,
        SocketAddr::new(client(n), 0),
        SocketAddr::new(SERVER, port),
        ConnectConfig {
            mptcp: false,
            ..ConnectConfig::default()
        },
        sending,
    );
    assert!(connected.is_ok(), "{connected:?}");
}

pub(crate) fn pairs() -> String {
    use Algorithm::{Bbr, Cubic, NewReno};
    let mut cells = Vec::new();
    for pair in [
        [Cubic, Cubic],
        [Cubic, NewReno],
        [Cubic, Bbr],
        [NewReno, NewReno],
        [Bbr, Bbr],
    ] {
        for path in [(10, 20), (10, 80), (20, 40)] {
            cells.push((pair, path));
        }
    }
    let row = |(pair, (mbit, rtt_ms)): &([Algorithm; 2], (u64, u64))| {
        let [a, b] = shares(*pair, *mbit, *rtt_ms);
        let jain = (a + b).powi(2) / (2.0 * (a * a + b * b));
        let capacity = *mbit as f64 * 1e6 * 1448.0 / 1500.0;
        format!(
            "| {} | {} | {mbit} | {rtt_ms} | {:.0} | {jain:.2} | {:.0} |\n",
            pair[0],
            pair[1],
            100.0 * a / (a + b),
            100.0 * (a + b) / capacity,
        )
    };
    HEAD.to_owned() + &parallel(&cells, row).concat()
}
