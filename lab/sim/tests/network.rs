//! Routes, shared bottlenecks, middleboxes, captures: the network without any TCP.

use anabranch_sim::{Change, Hop, LinkConfig, Middlebox, Network, Node, NodeId, Stuck};
use anabranch_tcp::Instant;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

/// Sends what it is told, notes what arrives, and wakes up every second if it was given seconds.
#[derive(Default)]
struct Post {
    out: VecDeque<Bytes>,
    got: Vec<(Instant, Bytes)>,
    wake: Option<Instant>,
    stubborn: bool,
}

impl Node for Post {
    fn receive(&mut self, now: Instant, packet: Bytes) {
        self.got.push((now, packet));
    }

    fn transmit(&mut self, _: Instant) -> Option<Bytes> {
        self.out.pop_front()
    }

    fn deadline(&self) -> Option<Instant> {
        self.wake
    }

    fn on_deadline(&mut self, _: Instant) {
        if !self.stubborn {
            self.wake = None;
        }
    }
}

fn addr(n: u8) -> IpAddr {
    Ipv4Addr::new(10, 0, 0, n).into()
}

/// An IPv4 header with addresses only, and a body.
fn packet(src: u8, dst: u8, len: usize) -> Bytes {
    let mut data = vec![0; len];
    data[0] = 0x45;
    data[12..16].copy_from_slice(&[10, 0, 0, src]);
    data[16..20].copy_from_slice(&[10, 0, 0, dst]);
    data.into()
}

fn posts(network: &mut Network<Post>, n: u8) -> Vec<NodeId> {
    (1..=n)
        .map(|n| network.add_node(&format!("post{n}"), &[addr(n)], Post::default()))
        .collect()
}

#[test]
fn each_direction_has_its_own_link() {
    let mut network = Network::new(1);
    let ids = posts(&mut network, 2);
    let (there, back) = (LinkConfig::new(10, 3), LinkConfig::new(10, 50));
    network.connect(addr(1), addr(2), there, back);
    network.node_mut(ids[0]).out.push_back(packet(1, 2, 1250));
    network.node_mut(ids[1]).out.push_back(packet(2, 1, 1250));
    assert!(matches!(
        network.run(Duration::from_secs(1), |_| false),
        Err(Stuck::Quiet(_))
    ));
    assert_eq!(network.node(ids[1]).got[0].0, Instant(4_000_000));
    assert_eq!(network.node(ids[0]).got[0].0, Instant(51_000_000));
}

#[test]
fn routes_may_share_a_bottleneck() {
    let mut network = Network::new(1);
    let ids = posts(&mut network, 3);
    let access: Vec<_> = (0..2)
        .map(|_| network.add_link(LinkConfig::new(100, 1)))
        .collect();
    let shared = network.add_link(LinkConfig::new(10, 1));
    for n in 0..2 {
        let hops = [Hop::Link(access[n]), Hop::Link(shared)];
        network.add_route(addr(n as u8 + 1), addr(3), &hops);
        for _ in 0..5 {
            let packet = packet(n as u8 + 1, 3, 1250);
            network.node_mut(ids[n]).out.push_back(packet);
        }
    }
    network.run_for(Duration::from_secs(1));
    // The first needs 0.1 + 1 + 1 + 1 ms, then one each millisecond.
    let times: Vec<_> = network
        .node(ids[2])
        .got
        .iter()
        .map(|(at, _)| at.0)
        .collect();
    let expected: Vec<_> = (0..10).map(|n| 3_100_000 + n * 1_000_000).collect();
    assert_eq!(times, expected);
    assert_eq!(network.link_stats(shared).delivered, 10);
}

#[test]
fn a_packet_without_a_route_is_counted() {
    let mut network = Network::new(1);
    let ids = posts(&mut network, 2);
    network.node_mut(ids[0]).out.push_back(packet(1, 2, 100));
    network
        .node_mut(ids[0])
        .out
        .push_back(Bytes::from_static(b"x"));
    network.run_for(Duration::from_secs(1));
    assert_eq!(network.unroutable(), 2);
}

struct Twice;

impl Middlebox for Twice {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        vec![packet.clone(), packet]
    }
}

#[test]
fn a_middlebox_sees_what_passes() {
    let mut network = Network::new(1);
    let ids = posts(&mut network, 2);
    let link = network.add_link(LinkConfig::new(10, 3));
    let twice = network.add_box(Twice);
    network.add_route(addr(1), addr(2), &[Hop::Box(twice), Hop::Link(link)]);
    network.node_mut(ids[0]).out.push_back(packet(1, 2, 1250));
    network.run_for(Duration::from_secs(1));
    assert_eq!(network.node(ids[1]).got.len(), 2);
}

#[test]
fn links_change_while_the_network_runs() {
    let mut network = Network::new(1);
    let ids = posts(&mut network, 2);
    let (there, _) = network.connect(
        addr(1),
        addr(2),
        LinkConfig::new(10, 3),
        LinkConfig::new(10, 3),
    );
    network.change(there, Change::Blackhole(true));
    network.node_mut(ids[0]).out.push_back(packet(1, 2, 1250));
    network.run_for(Duration::from_secs(1));
    assert_eq!(network.node(ids[1]).got.len(), 0);
    assert_eq!(network.link_stats(there).blackholed, 1);
    assert_eq!(network.now(), Instant(1_000_000_000));
}

#[test]
fn a_node_whose_deadline_never_passes_is_found_out() {
    let mut network = Network::new(1);
    let stubborn = Post {
        wake: Some(Instant(5)),
        stubborn: true,
        ..Post::default()
    };
    network.add_node("stubborn", &[addr(1)], stubborn);
    let stuck = network.run(Duration::from_secs(1), |_| false);
    assert_eq!(stuck, Err(Stuck::Spinning(Instant(5))));
}

#[test]
fn a_capture_holds_every_packet_at_both_ends() {
    let path = std::env::temp_dir().join(format!("anabranch-sim-{}.pcapng", std::process::id()));
    let mut network = Network::new(1);
    let ids = posts(&mut network, 2);
    network.connect(
        addr(1),
        addr(2),
        LinkConfig::new(10, 3),
        LinkConfig::new(10, 3),
    );
    network.capture(&path).unwrap();
    network.node_mut(ids[0]).out.push_back(packet(1, 2, 1250));
    network.run_for(Duration::from_secs(1));
    let (hash, packets) = (network.tap().hash(), network.tap().packets());
    drop(network);
    let file = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let sent = packet(1, 2, 1250);
    assert_eq!(file.windows(1250).filter(|w| *w == sent).count(), 2);
    assert!(file.windows(9).any(|w| w == b"post1 out"));
    assert_eq!(packets, 2);
    assert_ne!(hash, 0);
}
