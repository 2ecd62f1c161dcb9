//! MP_CAPABLE under SYN cookies: RFC 8684 §3.1, RFC 4987 §3.6.

use crate::pair::*;
use anabranch_stack::{Config, Counter, FlowId, ListenConfig, ListenerId, Protocol, SynCookies};
use anabranch_wire::checksum;
use anabranch_wire::mptcp::{Capable, CapableData, CapableFlags, MptcpOption};
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Class, Flags, Options};
use anabranch_wire::{Packet, Seq};
use bytes::Bytes;
use smallvec::SmallVec;
use std::time::Duration;

const PEER_KEY: u64 = 0x1122_3344_5566_7788;

fn always() -> Config {
    Config {
        syn_cookies: SynCookies::Always,
        ..Config::default()
    }
}

fn flags(checksum: bool, deny_join: bool) -> CapableFlags {
    CapableFlags {
        checksum,
        deny_join,
        hmac: true,
        ..CapableFlags::default()
    }
}

fn capable_syn(checksum: bool) -> MptcpOption {
    MptcpOption::Capable(Capable::Syn {
        version: 1,
        flags: flags(checksum, false),
        key: None,
    })
}

fn capable_ack(receiver_key: u64, data: Option<CapableData>) -> MptcpOption {
    MptcpOption::Capable(Capable::Ack {
        version: 1,
        flags: flags(false, false),
        sender_key: PEER_KEY,
        receiver_key,
        data,
    })
}

/// A segment from a host and port of many.
fn stray(
    from: u32,
    flags: Flags,
    (seq, ack): (u32, u32),
    mptcp: &[MptcpOption],
    data: &[u8],
) -> Bytes {
    let [_, b, c, d] = from.to_be_bytes();
    let build = Build {
        src: ([11, b, c, d], 1000 + (from >> 24) as u16).into(),
        dst: addr("10.0.0.2:80"),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(seq),
        ack: Seq(ack),
        flags,
        window: 60_000,
        urgent: 0,
        options: &Options::empty(Class::of(flags)),
        mptcp,
    };
    let payload = SmallVec::from_iter([Bytes::copy_from_slice(data)]);
    let packet = build.transmit(payload, 0).expect("a packet");
    packet.packets().next().expect("one packet").to_bytes()
}

fn listen(pair: &mut Pair, backlog: usize) -> ListenerId {
    let config = ListenConfig {
        backlog,
        ..ListenConfig::port(PORT)
    };
    pair.b.listen(config).unwrap()
}

/// Host B alone, answering every SYN by a cookie; what it says goes nowhere.
fn alone() -> (Pair, ListenerId) {
    let mut pair = Pair::new(Config::default(), always());
    let listener = listen(&mut pair, 16);
    pair.filter = Some(Box::new(|_, _| None));
    (pair, listener)
}

/// What B said last, and the key in it.
fn last(pair: &Pair) -> (Packet, Option<u64>) {
    let bytes = pair
        .lost
        .last()
        .expect("an answer")
        .packets()
        .next()
        .unwrap()
        .to_bytes();
    let packet = Packet::parse_verified(&bytes).unwrap();
    let key = packet.mptcp.iter().find_map(|option| match option {
        MptcpOption::Capable(Capable::SynAck { key, .. }) => Some(*key),
        _ => None,
    });
    (packet, key)
}

/// A SYN with MP_CAPABLE, and the answer: the acknowledgement of its SYN, and its key.
fn opened(pair: &mut Pair, from: u32, checksum: bool) -> (u32, u64) {
    pair.inject(
        B,
        stray(from, Flags::SYN, (1000, 0), &[capable_syn(checksum)], &[]),
    );
    let (packet, key) = last(pair);
    assert!(packet.flags.has(Flags::SYN) && packet.flags.has(Flags::ACK));
    (packet.seq.0.wrapping_add(1), key.expect("MP_CAPABLE"))
}

fn is_multipath(pair: &Pair, id: FlowId) -> bool {
    matches!(pair.b.info(id).unwrap().protocol, Protocol::Mptcp(info) if !info.fallback)
}

fn received(pair: &mut Pair, id: FlowId) -> Vec<u8> {
    let mut got = Vec::new();
    read(pair, (B, id), &mut got);
    got
}

#[test]
fn a_flood_of_syns_fills_nothing_and_multipath_clients_get_in_meanwhile() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = listen(&mut pair, 16);
    pair.filter = Some(Box::new(|_, transmit| {
        let to = Packet::parse(&transmit.packets().next()?.to_bytes()).ok()?;
        (!to.dst.ip().to_string().starts_with("11.")).then_some(transmit)
    }));
    let flood = |from| stray(from, Flags::SYN, (from, 0), &[capable_syn(false)], &[]);
    for from in 0..20 {
        pair.inject(B, flood(from));
    }
    let full = (pair.b.connections().count(), pair.b.memory());
    assert_eq!(full.0, 16);
    for from in 20..100_000 {
        pair.inject(B, flood(from));
        pair.lost.clear();
        if from == 50_000 {
            let data = pattern(100_000);
            let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
            assert!(is_multipath(&pair, s));
            let join = pair
                .a
                .join(pair.now, c, addr("10.0.1.1:0"), addr("10.0.1.2:80"), false);
            join.expect("a join");
            pair.transfer((A, c), (B, s), &data);
            pair.transfer((B, s), (A, c), &data);
            assert_eq!(pair.b.info(s).unwrap().subflows.len(), 2);
            pair.a.abort(pair.now, c);
            pair.run(Duration::from_millis(20));
            pair.b.release(pair.now, s);
            pair.settle();
        }
        assert_eq!((pair.b.connections().count(), pair.b.memory()), full);
    }
    assert_eq!(pair.count(B, Counter::TcpExtSyncookiesRecv), 1);
    assert_eq!(pair.count(B, Counter::MPTcpExtMPCapableSYNRX), 100_001);
}

#[test]
fn what_both_sides_asked_for_holds() {
    for (client, server) in [(false, false), (true, false), (false, true)] {
        let mut a = Config::default();
        a.mptcp.checksum = client;
        let mut b = always();
        b.mptcp.checksum = server;
        let mut pair = Pair::new(a, b);
        let listener = pair.listen();
        let (c, s) = pair.connect(listener, addr("[fd00::1]:0"), addr("[fd00::2]:80"), true);
        assert!(is_multipath(&pair, s));
        for id in [pair.a.info(c), pair.b.info(s)] {
            match id.unwrap().protocol {
                Protocol::Mptcp(info) => assert_eq!(info.checksum, client || server),
                Protocol::Tcp => panic!("plain TCP"),
            }
        }
        pair.transfer((B, s), (A, c), &pattern(3_000_000));
        pair.transfer((A, c), (B, s), &pattern(3_000_000));
        assert_eq!(pair.b.memory(), pair.b.connections().count() * 4096);
    }
}

#[test]
fn without_timestamps_it_is_multipath_too() {
    let mut client = Config::default();
    client.tcp.timestamps = false;
    let mut pair = Pair::new(client, always());
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    assert!(is_multipath(&pair, s));
    pair.transfer((B, s), (A, c), &pattern(300_000));
    pair.transfer((A, c), (B, s), &pattern(300_000));
}

#[test]
fn a_listener_without_multipath_answers_as_plain_tcp() {
    let mut pair = Pair::new(Config::default(), always());
    let listener = pair.b.listen(ListenConfig {
        mptcp: false,
        ..ListenConfig::port(PORT)
    });
    let ends = (addr("10.0.0.1:0"), addr("10.0.0.2:80"));
    let (c, s) = pair.connect(listener.unwrap(), ends.0, ends.1, true);
    assert!(pair.sent(B)[0].mptcp.is_empty());
    pair.transfer((A, c), (B, s), &pattern(100_000));
    assert_eq!(pair.b.info(s).unwrap().protocol, Protocol::Tcp);
    assert_eq!(pair.count(B, Counter::MptcpCalls), 0);
}

#[test]
fn the_third_ack_brings_the_keys() {
    let (mut pair, listener) = alone();
    let (ack, key) = opened(&mut pair, 1, false);
    pair.inject(
        B,
        stray(1, Flags::ACK, (1001, ack), &[capable_ack(key, None)], &[]),
    );
    let s = pair.b.accept(listener).expect("a connection");
    assert!(is_multipath(&pair, s));
}

#[test]
fn so_does_the_first_data() {
    let (mut pair, listener) = alone();
    let (ack, key) = opened(&mut pair, 1, false);
    let data = CapableData {
        len: 5,
        checksum: None,
    };
    pair.inject(
        B,
        stray(
            1,
            Flags::ACK,
            (1001, ack),
            &[capable_ack(key, Some(data))],
            b"first",
        ),
    );
    let s = pair.b.accept(listener).expect("a connection");
    assert!(is_multipath(&pair, s));
    assert_eq!(received(&mut pair, s), b"first");
}

#[test]
fn wrong_keys_make_it_plain_tcp() {
    let (mut pair, listener) = alone();
    for bit in 0..64 {
        let (ack, key) = opened(&mut pair, bit, false);
        let forged = capable_ack(key ^ 1 << bit, None);
        pair.inject(B, stray(bit, Flags::ACK, (1001, ack), &[forged], &[]));
        let s = pair.b.accept(listener).expect("a connection");
        assert_eq!(pair.b.info(s).unwrap().protocol, Protocol::Tcp);
        pair.inject(B, stray(bit, Flags::ACK, (1001, ack), &[], b"plain"));
        assert_eq!(received(&mut pair, s), b"plain");
    }
}

#[test]
fn another_connections_key_is_a_wrong_one() {
    let (mut pair, listener) = alone();
    let (_, key) = opened(&mut pair, 1, false);
    let (ack, own) = opened(&mut pair, 2, false);
    assert_ne!(key, own);
    pair.inject(
        B,
        stray(2, Flags::ACK, (1001, ack), &[capable_ack(key, None)], &[]),
    );
    let s = pair.b.accept(listener).expect("a connection");
    assert_eq!(pair.b.info(s).unwrap().protocol, Protocol::Tcp);
}

#[test]
fn no_mp_capable_comes_back_and_it_is_plain_tcp() {
    let (mut pair, listener) = alone();
    let (ack, _) = opened(&mut pair, 1, false);
    pair.inject(B, stray(1, Flags::ACK, (1001, ack), &[], b"plain"));
    let s = pair.b.accept(listener).expect("a connection");
    assert_eq!(received(&mut pair, s), b"plain");
    assert_eq!(pair.b.info(s).unwrap().protocol, Protocol::Tcp);
}

#[test]
fn a_cookie_that_comes_again_makes_no_second_connection() {
    let (mut pair, listener) = alone();
    let (ack, key) = opened(&mut pair, 1, false);
    let third = stray(1, Flags::ACK, (1001, ack), &[capable_ack(key, None)], &[]);
    pair.inject(B, third.clone());
    pair.inject(B, third);
    assert_eq!(pair.b.connections().count(), 1);
    // From another port the cookie is none.
    pair.inject(
        B,
        stray(
            1 << 24 | 1,
            Flags::ACK,
            (1001, ack),
            &[capable_ack(key, None)],
            &[],
        ),
    );
    assert_eq!(pair.b.connections().count(), 1);
    assert_eq!(pair.count(B, Counter::TcpExtSyncookiesFailed), 1);
    assert!(last(&pair).0.flags.has(Flags::RST));
    assert!(pair.b.accept(listener).is_some() && pair.b.accept(listener).is_none());
}

#[test]
fn first_data_with_a_wrong_checksum_is_told_and_goes_on_as_plain_tcp() {
    let (mut pair, listener) = alone();
    let (ack, key) = opened(&mut pair, 1, true);
    let idsn = anabranch_mptcp::keys::derive(anabranch_mptcp::keys::Version::V1, PEER_KEY).idsn;
    let right = checksum::dss(
        idsn.wrapping_add(1),
        1,
        5,
        checksum::sum_slices([&b"first"[..]]),
    );
    let data = |sum| {
        Some(CapableData {
            len: 5,
            checksum: Some(sum),
        })
    };
    let option = capable_ack(key, data(right ^ 0x100));
    pair.inject(B, stray(1, Flags::ACK, (1001, ack), &[option], b"first"));
    let s = pair.b.accept(listener).expect("a connection");
    assert_eq!(received(&mut pair, s), b"");
    let failed = |o: &MptcpOption| matches!(o, MptcpOption::Fail(_));
    assert!(last(&pair).0.mptcp.iter().any(failed), "{:?}", last(&pair));

    let (ack, key) = opened(&mut pair, 2, true);
    let option = capable_ack(key, data(right));
    pair.inject(B, stray(2, Flags::ACK, (1001, ack), &[option], b"first"));
    let s = pair.b.accept(listener).expect("a connection");
    assert_eq!(received(&mut pair, s), b"first");
}

#[test]
fn first_data_with_a_wrong_length() {
    // Longer than what came: the rest of the mapping follows.
    let (mut pair, listener) = alone();
    let (ack, key) = opened(&mut pair, 1, false);
    let data = |len| {
        Some(CapableData {
            len,
            checksum: None,
        })
    };
    pair.inject(
        B,
        stray(
            1,
            Flags::ACK,
            (1001, ack),
            &[capable_ack(key, data(9))],
            b"first",
        ),
    );
    let s = pair.b.accept(listener).expect("a connection");
    pair.inject(B, stray(1, Flags::ACK, (1006, ack), &[], b"rest"));
    assert_eq!(received(&mut pair, s), b"firstrest");
    // Shorter: what is beyond waits for a mapping of its own.
    let (ack, key) = opened(&mut pair, 2, false);
    pair.inject(
        B,
        stray(
            2,
            Flags::ACK,
            (1001, ack),
            &[capable_ack(key, data(3))],
            b"first",
        ),
    );
    let s = pair.b.accept(listener).expect("a connection");
    assert_eq!(received(&mut pair, s), b"fir");
    assert!(is_multipath(&pair, s));
    // Of nothing: as good as none.
    let (ack, key) = opened(&mut pair, 3, false);
    pair.inject(
        B,
        stray(
            3,
            Flags::ACK,
            (1001, ack),
            &[capable_ack(key, data(0))],
            b"first",
        ),
    );
    let s = pair.b.accept(listener).expect("a connection");
    assert_eq!(received(&mut pair, s), b"first");
    assert!(!is_multipath(&pair, s));
}
