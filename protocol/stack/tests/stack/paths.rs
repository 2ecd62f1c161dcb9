//! Connections opened over several paths: which subflows there are, packet by packet.

use crate::pair::*;
use anabranch_stack::policy::{Address, Delay, HostEvent, Link, Plan, Policy, Source};
use anabranch_stack::{Announcement, Config, Counter, Event, FlowId, Limits, PathConfig};
use anabranch_wire::Packet;
use anabranch_wire::frame::Transmit;
use anabranch_wire::mptcp::{Join, MptcpOption};
use std::net::IpAddr;
use std::time::Duration;

const SERVER: &str = "10.0.0.200:80";

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

fn with_subflows(subflows: usize) -> Config {
    Config {
        limits: Limits {
            subflows,
            ..Limits::default()
        },
        ..Config::default()
    }
}

/// A connection from 10.0.0.1 to 10.0.0.`locals`, after a second.
fn connected(server: Config, locals: u8) -> (Pair, FlowId, FlowId) {
    let mut pair = Pair::new(with_subflows(32), server);
    let listener = pair.listen();
    let paths = PathConfig::from_addresses((1..=locals).map(ip)).max_subflows(32);
    let client = pair
        .a
        .connect_from(pair.now, paths, addr(SERVER), Default::default(), &[])
        .expect("a connection");
    pair.run(Duration::from_secs(1));
    let server = pair.b.accept(listener).expect("a connection");
    (pair, client, server)
}

fn subflows(pair: &Pair, client: FlowId) -> usize {
    pair.a.info(client).expect("a connection").subflows.len()
}

fn both_ways(pair: &mut Pair, client: FlowId, server: FlowId) {
    pair.transfer((A, client), (B, server), &pattern(300_000));
    pair.transfer((B, server), (A, client), &pattern(300_000));
}

fn join_syn(transmit: &Transmit) -> bool {
    let bytes = transmit.packets().next().map(|packet| packet.to_bytes());
    let packet = bytes.and_then(|bytes| Packet::parse(&bytes).ok());
    packet.is_some_and(|packet| {
        let join = |o: &MptcpOption| matches!(o, MptcpOption::Join(Join::Syn { .. }));
        packet.mptcp.iter().any(join)
    })
}

#[test]
fn thirty_two_subflows_carry_the_bytes_of_one_connection() {
    let (mut pair, c, s) = connected(with_subflows(32), 32);
    assert_eq!(subflows(&pair, c), 32);
    pair.transfer((A, c), (B, s), &pattern(8_000_000));
    pair.transfer((B, s), (A, c), &pattern(8_000_000));
    for side in [&pair.a.info(c), &pair.b.info(s)] {
        let used = side.as_ref().expect("a connection").subflows.iter();
        assert_eq!(used.filter(|s| s.tcp.stats.bytes_out > 0).count(), 32);
    }
}

#[test]
fn an_address_goes_is_withdrawn_and_joins_again_when_it_is_back() {
    let (mut pair, c, s) = connected(Config::default(), 2);
    assert_eq!(subflows(&pair, c), 2);
    pair.a.address_gone(pair.now, ip(2));
    pair.run(Duration::from_secs(1));
    assert_eq!(subflows(&pair, c), 1);
    // It is sent again, since nothing answers it.
    let repeats = Config::default().mptcp.signal_repeats;
    assert_eq!(
        pair.count(B, Counter::MPTcpExtRmAddr),
        1 + u64::from(repeats)
    );
    both_ways(&mut pair, c, s);
    pair.a.address_back(pair.now, Source::new(ip(2)));
    pair.run(Duration::from_secs(1));
    assert_eq!(subflows(&pair, c), 2);
    both_ways(&mut pair, c, s);
}

#[test]
fn the_only_path_breaks_before_another_is_made() {
    let (mut pair, c, s) = connected(Config::default(), 1);
    pair.a.address_gone(pair.now, ip(1));
    pair.run(Duration::from_secs(5));
    assert_eq!(subflows(&pair, c), 0);
    pair.a.send(pair.now, c, pattern(1000)).expect("open");
    pair.a.address_back(pair.now, Source::new(ip(2)));
    pair.run(Duration::from_secs(1));
    assert_eq!(subflows(&pair, c), 1);
    let mut got = Vec::new();
    read(&mut pair, (B, s), &mut got);
    assert!(got == pattern(1000));
    both_ways(&mut pair, c, s);
}

#[test]
fn a_join_that_is_refused_is_tried_again_later_each_time_and_then_no_more() {
    let server = with_subflows(1);
    let (mut pair, c, s) = connected(server, 2);
    assert_eq!(pair.count(A, Counter::MPTcpExtMPJoinSynTx), 1);
    pair.run(Duration::from_secs(600));
    // After 1, 2, 4, 8 and 16 seconds.
    assert_eq!(pair.count(A, Counter::MPTcpExtMPJoinSynTx), 6);
    assert_eq!(subflows(&pair, c), 1);
    both_ways(&mut pair, c, s);
}

#[test]
fn with_flag_c_only_what_is_announced_is_joined() {
    let mut server = Config::default();
    server.mptcp.deny_join = true;
    let (pair, c, _) = connected(server.clone(), 2);
    assert_eq!(subflows(&pair, c), 1);
    server.announce.push(Announcement {
        id: 7,
        addr: ip(201),
        port: Some(8080),
    });
    let (mut pair, c, s) = connected(server, 2);
    let info = pair.a.info(c).expect("a connection");
    let ends = |s: &anabranch_stack::SubflowInfo| (s.local.ip(), s.remote);
    let joined: Vec<_> = info.subflows.iter().skip(1).map(ends).collect();
    assert_eq!(joined, [(ip(2), addr("10.0.0.201:8080"))]);
    both_ways(&mut pair, c, s);
}

#[test]
fn joins_that_vanish_leave_the_connection_alone() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    pair.filter = Some(Box::new(|_, t| (!join_syn(&t)).then_some(t)));
    let paths = PathConfig::from_addresses([ip(1), ip(2)]);
    let c = pair
        .a
        .connect_from(pair.now, paths, addr(SERVER), Default::default(), &[])
        .expect("a connection");
    pair.run(Duration::from_secs(1));
    assert!(pair.has(A, &Event::Established(c)));
    let s = pair.b.accept(listener).expect("a connection");
    both_ways(&mut pair, c, s);
    pair.run(Duration::from_secs(2000));
    both_ways(&mut pair, c, s);
    pair.filter = None;
    pair.run(Duration::from_secs(2000));
    both_ways(&mut pair, c, s);
}

/// A client with three addresses on an interface each, and a policy; and the server's listener.
fn planned(policy: Policy) -> (Pair, anabranch_stack::ListenerId) {
    let mut pair = Pair::new(with_subflows(32), with_subflows(32));
    let listener = pair.listen();
    for index in 1..=3 {
        let link = Link {
            index,
            name: format!("link{index}"),
            up: true,
            metered: false,
        };
        pair.a.on_host(pair.now, HostEvent::LinkUp(link));
        let (addr, link) = (ip(index as u8), index);
        let address = HostEvent::AddressUp(Address { addr, link });
        pair.a.on_host(pair.now, address);
    }
    pair.a.set_plan(pair.now, Plan::of(policy));
    (pair, listener)
}

fn connect(pair: &mut Pair) -> FlowId {
    let paths = pair.a.planned(addr(SERVER)).expect("a plan");
    let now = pair.now;
    let connected = pair
        .a
        .connect_from(now, paths, addr(SERVER), Default::default(), &[]);
    connected.expect("a connection")
}

#[test]
fn one_peer_has_so_many_further_subflows_with_all_our_connections() {
    let mut policy = Policy::default();
    policy.limits.per_peer = Some(3);
    let (mut pair, _) = planned(policy);
    let all: Vec<FlowId> = (0..3).map(|_| connect(&mut pair)).collect();
    pair.run(Duration::from_secs(5));
    let counts: Vec<usize> = all.iter().map(|c| subflows(&pair, *c)).collect();
    assert_eq!(counts.iter().sum::<usize>(), 3 + 3, "{counts:?}");
    // Who is gone leaves its share to those that come.
    pair.a.abort(pair.now, all[0]);
    pair.run(Duration::from_secs(1));
    let next = connect(&mut pair);
    pair.run(Duration::from_secs(1));
    assert_eq!(subflows(&pair, next), counts[0]);
}

#[test]
fn a_short_connection_has_one_subflow() {
    let delayed = Policy {
        delay: Delay {
            time: Duration::from_secs(2),
            bytes: Some(100_000),
        },
        ..Policy::default()
    };
    let (mut pair, listener) = planned(delayed.clone());
    let c = connect(&mut pair);
    pair.run(Duration::from_secs(1));
    assert_eq!(subflows(&pair, c), 1);
    pair.run(Duration::from_secs(2));
    assert_eq!(subflows(&pair, c), 3, "time has passed");
    let c = connect(&mut pair);
    pair.run(Duration::from_millis(100));
    pair.b.accept(listener).expect("the first");
    let s = pair.b.accept(listener).expect("a connection");
    pair.transfer((A, c), (B, s), &pattern(50_000));
    assert_eq!(subflows(&pair, c), 1);
    pair.transfer((A, c), (B, s), &pattern(60_000));
    assert_eq!(subflows(&pair, c), 3, "it is a long one");
}
