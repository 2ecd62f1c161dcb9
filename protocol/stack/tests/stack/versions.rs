//! Versions 0 and 1 of Multipath TCP between two hosts.

use crate::pair::*;
use anabranch_mptcp::{Version, Versions};
use anabranch_stack::{Config, FlowId, ListenerId, Protocol, SynCookies};
use anabranch_wire::mptcp::{AddAddr, Capable, MptcpOption};
use anabranch_wire::tcp::Flags;
use std::time::Duration;

const ONLY_0: Versions = Versions::only(Version::V0);
const ONLY_1: Versions = Versions::only(Version::V1);
const ALL: Versions = Versions::ALL;

fn speaking(versions: Versions) -> Config {
    let mut config = Config::default();
    config.mptcp.versions = versions;
    config
}

fn version(pair: &Pair, side: Side, id: FlowId) -> Option<u8> {
    let host = if side == A { &pair.a } else { &pair.b };
    match host.info(id).expect("a connection").protocol {
        Protocol::Mptcp(info) if !info.fallback => Some(info.version),
        _ => None,
    }
}

#[test]
fn each_mix_of_versions_carries_bytes() {
    for (client, server, expected) in [
        (ONLY_0, ONLY_0, Some(0)),
        (ONLY_0, ALL, Some(0)),
        (ALL, ALL, Some(1)),
        (ALL, ONLY_0, None),
        (ONLY_0, ONLY_1, None),
    ] {
        let mut pair = Pair::new(speaking(client), speaking(server));
        let listener = pair.listen();
        let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
        pair.transfer((A, c), (B, s), &pattern(50_000));
        pair.transfer((B, s), (A, c), &pattern(50_000));
        assert_eq!(version(&pair, A, c), expected, "{client:?} {server:?}");
        assert_eq!(version(&pair, B, s), expected, "{client:?} {server:?}");
    }
}

#[test]
fn subflows_of_version_0_find_their_connection_by_its_token() {
    let mut pair = Pair::new(speaking(ONLY_0), speaking(ALL));
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    pair.transfer((A, c), (B, s), &pattern(1000));
    let (local, remote) = (addr("10.0.1.1:0"), addr("10.0.1.2:80"));
    pair.a
        .join(pair.now, c, local, remote, false)
        .expect("a join");
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.b.info(s).expect("a connection").subflows.len(), 2);
    pair.transfer((A, c), (B, s), &pattern(200_000));
    pair.transfer((B, s), (A, c), &pattern(200_000));
    assert_eq!(version(&pair, B, s), Some(0));
}

#[test]
fn under_syn_cookies_version_0_is_made_whole_by_its_third_ack() {
    let always = Config {
        syn_cookies: SynCookies::Always,
        ..Config::default()
    };
    let mut pair = Pair::new(speaking(ONLY_0), always);
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    pair.transfer((A, c), (B, s), &pattern(50_000));
    pair.transfer((B, s), (A, c), &pattern(50_000));
    assert_eq!(
        (version(&pair, A, c), version(&pair, B, s)),
        (Some(0), Some(0))
    );
}

#[test]
fn under_syn_cookies_a_lost_third_ack_makes_version_0_plain_tcp() {
    let always = Config {
        syn_cookies: SynCookies::Always,
        ..Config::default()
    };
    let mut pair = Pair::new(speaking(ONLY_0), always);
    let listener = pair.listen();
    pair.filter = Some(Box::new(|side, transmit| {
        let bytes = transmit.packets().next()?.to_bytes();
        let packet = anabranch_wire::Packet::parse(&bytes).ok()?;
        let third = matches!(
            packet.mptcp.first(),
            Some(MptcpOption::Capable(Capable::Ack { .. }))
        );
        (side == B || !third || packet.flags.has(Flags::SYN)).then_some(transmit)
    }));
    let c = pair
        .a
        .connect(
            pair.now,
            addr("10.0.0.1:0"),
            addr("10.0.0.2:80"),
            Default::default(),
        )
        .expect("a connection");
    pair.run(Duration::from_millis(50));
    // The first data has no keys, so nobody knows which connection this is.
    assert_eq!(pair.a.send(pair.now, c, pattern(3000)), Ok(3000));
    pair.run(Duration::from_secs(5));
    let s = pair.b.accept(listener).expect("a connection");
    let mut got = Vec::new();
    read(&mut pair, (B, s), &mut got);
    assert!(got == pattern(3000));
    assert_eq!((version(&pair, A, c), version(&pair, B, s)), (None, None));
}

/// The version of each of some connections from A to B, one after the other.
fn one_after_the_other(pair: &mut Pair, listener: ListenerId, n: usize) -> Vec<Option<u8>> {
    let connect = |_| {
        let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
        pair.transfer((A, c), (B, s), &pattern(2000));
        version(pair, A, c)
    };
    (0..n).map(connect).collect()
}

#[test]
fn a_server_of_an_older_version_is_offered_that_next_time() {
    let mut client = speaking(ALL);
    client.older_version_for = Duration::from_secs(600);
    let mut pair = Pair::new(client, speaking(ONLY_0));
    let listener = pair.listen();
    let versions = one_after_the_other(&mut pair, listener, 3);
    assert_eq!(versions, [None, Some(0), Some(0)]);
    pair.now = pair.now + Duration::from_secs(600);
    assert_eq!(one_after_the_other(&mut pair, listener, 2), [None, Some(0)]);
}

#[test]
fn where_mp_capable_vanishes_it_is_not_offered_for_a_while() {
    let mut client = speaking(ALL);
    client.mptcp_avoid = Duration::from_secs(600);
    let mut pair = Pair::new(client, speaking(ALL));
    pair.filter = Some(Box::new(|_, transmit| {
        let bytes = transmit.packets().next()?.to_bytes();
        let packet = anabranch_wire::Packet::parse(&bytes).ok()?;
        packet.mptcp.is_empty().then_some(transmit)
    }));
    let listener = pair.listen();
    assert_eq!(one_after_the_other(&mut pair, listener, 1), [None]);
    assert_eq!(pair.lost.len(), 3);
    assert_eq!(
        pair.count(A, anabranch_stack::Counter::MPTcpExtBlackhole),
        1
    );
    assert_eq!(one_after_the_other(&mut pair, listener, 1), [None]);
    assert_eq!(pair.lost.len(), 3, "no SYN with the option");
    for counter in [
        anabranch_stack::Counter::MPTcpExtMPCapableSYNTXDrop,
        anabranch_stack::Counter::MPTcpExtMPCapableSYNTXDisabled,
    ] {
        assert_eq!(pair.count(A, counter), 1, "{counter:?}");
    }
    pair.now = pair.now + Duration::from_secs(600);
    pair.filter = None;
    assert_eq!(one_after_the_other(&mut pair, listener, 1), [Some(1)]);
}

#[test]
fn an_announcement_of_version_0_is_told_to_the_path_manager_and_nothing_else_happens() {
    let mut server = speaking(ALL);
    server.announce.push(anabranch_stack::Announcement {
        id: 5,
        addr: "10.0.1.2".parse().expect("an address"),
        port: None,
    });
    let mut pair = Pair::new(speaking(ONLY_0), server);
    let listener = pair.listen();
    let (c, _) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    pair.run(Duration::from_secs(1));
    let told = pair.events.iter().any(|(side, event)| {
        use anabranch_stack::{Event, PathEvent};
        let at = addr("10.0.1.2:80");
        *side == A
            && matches!(event, Event::Path(id, PathEvent::Announced { id: 5, addr }) if *id == c && *addr == at)
    });
    assert!(told, "{:?}", pair.events);
    assert_eq!(pair.a.info(c).expect("a connection").subflows.len(), 1);
    let echo = |o: &MptcpOption| matches!(o, MptcpOption::AddAddr(AddAddr { .. }));
    let from_client = pair
        .sent(A)
        .iter()
        .flat_map(|p| &p.mptcp)
        .filter(|o| echo(o))
        .count();
    assert_eq!(from_client, 0);
}
