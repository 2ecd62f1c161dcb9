//! Fast Open with MP_CAPABLE: RFC 8684 §B, RFC 7413.

use crate::pair::*;
use anabranch_mptcp::keys::derive;
use anabranch_mptcp::{Version, Versions};
use anabranch_stack::{
    Config, ConnectConfig, Counter, Event, FlowId, ListenConfig, ListenerId, PathEvent, Protocol,
    Stack,
};
use anabranch_wire::Packet;
use anabranch_wire::frame::Transmit;
use anabranch_wire::mptcp::{Capable, CapableData, Dsn, MptcpOption};
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Flags, Options};
use bytes::Bytes;
use smallvec::SmallVec;
use std::time::Duration;

const FAST: ConnectConfig = ConnectConfig {
    mptcp: true,
    fast_open: true,
};

fn listen(pair: &mut Pair) -> ListenerId {
    let config = ListenConfig {
        fast_open: Some(8),
        ..ListenConfig::port(PORT)
    };
    pair.b.listen(config).unwrap()
}

fn connect(pair: &mut Pair, bytes: usize) -> FlowId {
    let (local, remote) = (addr("10.0.0.1:0"), addr("10.0.0.2:80"));
    let id = pair.a.connect(pair.now, local, remote, FAST).unwrap();
    assert_eq!(pair.a.send(pair.now, id, pattern(bytes)), Ok(bytes));
    id
}

fn accept(pair: &mut Pair, listener: ListenerId) -> FlowId {
    let mut server = None;
    pair.run_until("accepted", |pair| {
        server = pair.b.accept(listener);
        server.is_some()
    });
    server.expect("accepted")
}

/// After a first connection, which brought the cookie.
fn acquainted(a: Config, b: Config) -> (Pair, ListenerId) {
    let mut pair = Pair::new(a, b);
    let listener = listen(&mut pair);
    let c = connect(&mut pair, 100);
    let s = accept(&mut pair, listener);
    pair.run(Duration::from_millis(100));
    assert!(is_multipath(&pair.b, s));
    pair.a.abort(pair.now, c);
    pair.a.release(pair.now, c);
    pair.b.release(pair.now, s);
    pair.run(Duration::from_secs(1));
    pair.log.clear();
    pair.events.clear();
    (pair, listener)
}

fn hosts() -> (Pair, ListenerId) {
    acquainted(Config::default(), Config::default())
}

fn is_multipath(stack: &Stack, id: FlowId) -> bool {
    matches!(stack.info(id).unwrap().protocol, Protocol::Mptcp(info) if !info.fallback)
}

fn got(pair: &mut Pair, end: (Side, FlowId)) -> Bytes {
    let mut all = Vec::new();
    read(pair, end, &mut all);
    all.into()
}

/// Changes what a packet has on its way.
fn rewrite(transmit: &Transmit, change: impl FnOnce(&mut Packet, &mut Bytes)) -> Transmit {
    let bytes = transmit.packets().next().unwrap().to_bytes();
    let mut packet = Packet::parse(&bytes).unwrap();
    let mut payload = bytes.slice(packet.payload.clone());
    change(&mut packet, &mut payload);
    let build = Build {
        src: packet.src,
        dst: packet.dst,
        ttl: packet.ttl,
        traffic_class: packet.traffic_class,
        ident: 0,
        seq: packet.seq,
        ack: packet.ack,
        flags: packet.flags,
        window: packet.window,
        urgent: 0,
        options: &packet.options,
        mptcp: &packet.mptcp,
    };
    build.transmit(SmallVec::from_iter([payload]), 0).unwrap()
}

/// What one side's segments that match have on them is changed.
fn change(
    pair: &mut Pair,
    of: impl Fn(Side, &Packet) -> bool + 'static,
    how: impl Fn(&mut Packet, &mut Bytes) + 'static,
) {
    pair.filter = Some(Box::new(move |side, transmit| {
        let packet = Packet::parse(&transmit.packets().next()?.to_bytes()).ok()?;
        Some(if of(side, &packet) {
            rewrite(&transmit, |packet, payload| how(packet, payload))
        } else {
            transmit
        })
    }));
}

/// A request of 300 bytes with the SYN, whatever happens to it; then bytes both ways.
fn exchange(pair: &mut Pair, listener: ListenerId) -> (FlowId, FlowId) {
    let c = connect(pair, 300);
    let s = accept(pair, listener);
    pair.run(Duration::from_secs(4));
    assert_eq!(got(pair, (B, s)), pattern(300));
    pair.transfer((B, s), (A, c), &pattern(1_000_000));
    pair.transfer((A, c), (B, s), &pattern(1_000_000));
    (c, s)
}

/// MP_CAPABLE with data, and mappings, of A's segments: subflow sequence number relative to the
/// SYN, then relative ones, and lengths.
fn first_data(pair: &Pair) -> (u32, u64, u32, u16) {
    let sent = pair.sent(A);
    let syn = sent.iter().find(|p| p.flags.has(Flags::SYN)).unwrap();
    let mut mapped = sent.iter().filter_map(|packet| {
        let at = packet.seq.0.wrapping_sub(syn.seq.0);
        packet.mptcp.iter().find_map(|option| match option {
            MptcpOption::Capable(Capable::Ack {
                data: Some(CapableData { len, .. }),
                ..
            }) => Some((at, 1, 1, *len)),
            MptcpOption::Dss(dss) => dss.mapping.map(|m| match m.dsn {
                Dsn::Long(dsn) => (at, dsn, m.ssn, m.len),
                Dsn::Short(dsn) => (at, dsn.into(), m.ssn, m.len),
            }),
            _ => None,
        })
    });
    mapped.next().expect("data")
}

#[test]
fn the_first_connection_brings_a_cookie_beside_mp_capable() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = listen(&mut pair);
    let c = connect(&mut pair, 100);
    let s = accept(&mut pair, listener);
    pair.run(Duration::from_millis(100));
    for (packet, cookie, stamps) in [(&pair.sent(A)[0], 0, true), (&pair.sent(B)[0], 8, false)] {
        let Options::Syn(options) = &packet.options else {
            panic!("a SYN")
        };
        assert_eq!(options.fast_open.as_ref().unwrap().cookie.len(), cookie);
        // In the SYN+ACK the cookie has the room of timestamps.
        assert_eq!(options.timestamps.is_some(), stamps);
        assert!(matches!(packet.mptcp[..], [MptcpOption::Capable(_)]));
        assert!(packet.payload.is_empty());
    }
    assert_eq!(got(&mut pair, (B, s)), pattern(100));
    assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
    pair.transfer((A, c), (B, s), &pattern(100_000));
}

#[test]
fn the_next_saves_a_round_trip_and_its_data_sequence_begins_after_the_syn() {
    let (mut pair, listener) = hosts();
    let start = pair.now;
    let c = connect(&mut pair, 300);
    let s = accept(&mut pair, listener);
    assert_eq!(pair.now.since(start), DELAY, "accepted with the SYN");
    assert_eq!(got(&mut pair, (B, s)), pattern(300));
    // What answers it waits for the keys of the third ACK.
    pair.b.send(pair.now, s, pattern(5000)).unwrap();
    pair.run(2 * DELAY);
    assert_eq!(got(&mut pair, (A, c)), "");
    pair.run(DELAY);
    assert_eq!(got(&mut pair, (A, c)), pattern(5000));
    assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
    assert_eq!(pair.count(A, Counter::TcpExtTCPFastOpenActive), 1);

    pair.transfer((A, c), (B, s), &pattern(100));
    let (at, dsn, ssn, len) = first_data(&pair);
    let capable = pair
        .sent(A)
        .into_iter()
        .find_map(|packet| match packet.mptcp[..] {
            [MptcpOption::Capable(Capable::Ack { sender_key, .. })] => Some(sender_key),
            _ => None,
        });
    let idsn = derive(Version::V1, capable.unwrap()).idsn;
    assert!(dsn == 1 || dsn == idsn.wrapping_add(1));
    assert_eq!((at, ssn, len), (301, 1, 100));
    let id = pair
        .a
        .join(pair.now, c, addr("10.0.1.1:0"), addr("10.0.0.2:80"), false)
        .unwrap();
    let up = Event::Path(c, PathEvent::SubflowUp(id));
    pair.run_until("a second subflow", |pair| pair.has(A, &up));
    pair.transfer((A, c), (B, s), &pattern(3_000_000));
    pair.transfer((B, s), (A, c), &pattern(3_000_000));
}

#[test]
fn with_checksums() {
    let mut config = Config::default();
    config.mptcp.checksum = true;
    for (a, b) in [
        (config.clone(), Config::default()),
        (Config::default(), config),
    ] {
        let (mut pair, listener) = acquainted(a, b);
        let (c, s) = exchange(&mut pair, listener);
        assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
        // Nothing of it was taken: it is the first data, with its checksum.
        change(&mut pair, is_syn, |_, payload| payload.clear());
        let (c, s) = exchange(&mut pair, listener);
        assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
    }
}

fn is_syn(side: Side, packet: &Packet) -> bool {
    side == A && packet.flags.has(Flags::SYN)
}

#[test]
fn a_server_that_has_forgotten_gets_the_payload_with_the_first_mapping() {
    let (mut pair, _) = hosts();
    pair.b = Stack::new(Config::default(), [9; 32], pair.now);
    let listener = listen(&mut pair);
    let (c, s) = exchange(&mut pair, listener);
    assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
    assert_eq!(pair.count(A, Counter::TcpExtTCPFastOpenActiveFail), 1);
    assert_eq!(first_data(&pair), (1, 1, 1, 300));
}

#[test]
fn payload_that_is_taken_in_part() {
    let (mut pair, listener) = hosts();
    change(&mut pair, is_syn, |_, payload| payload.truncate(100));
    let (c, s) = exchange(&mut pair, listener);
    assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
    assert_eq!(first_data(&pair), (101, 1, 1, 200));
}

#[test]
fn payload_that_the_path_removes() {
    let (mut pair, listener) = hosts();
    change(&mut pair, is_syn, |_, payload| payload.clear());
    let (c, s) = exchange(&mut pair, listener);
    assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
    assert_eq!(first_data(&pair), (1, 1, 1, 300));
}

fn without_mptcp(packet: &mut Packet, _: &mut Bytes) {
    packet.mptcp.clear();
}

#[test]
fn mp_capable_removed_from_the_syn() {
    let (mut pair, listener) = hosts();
    change(&mut pair, is_syn, without_mptcp);
    let (c, s) = exchange(&mut pair, listener);
    assert!(!is_multipath(&pair.a, c) && !is_multipath(&pair.b, s));
    assert_eq!(pair.count(B, Counter::TcpExtTCPFastOpenPassive), 1);
}

#[test]
fn mp_capable_removed_from_the_syn_ack() {
    let (mut pair, listener) = hosts();
    let syn_ack = |side, packet: &Packet| side == B && packet.flags.has(Flags::SYN);
    change(&mut pair, syn_ack, without_mptcp);
    let (c, s) = exchange(&mut pair, listener);
    assert!(!is_multipath(&pair.a, c) && !is_multipath(&pair.b, s));
}

#[test]
fn mp_capable_removed_after_the_handshake() {
    let (mut pair, listener) = hosts();
    change(
        &mut pair,
        |_, packet| !packet.flags.has(Flags::SYN),
        without_mptcp,
    );
    let (c, s) = exchange(&mut pair, listener);
    assert!(!is_multipath(&pair.a, c) && !is_multipath(&pair.b, s));
}

#[test]
fn where_syns_with_the_option_vanish_an_ordinary_one_gets_through() {
    let (mut pair, listener) = hosts();
    pair.filter = Some(Box::new(|_, transmit| {
        let packet = Packet::parse(&transmit.packets().next()?.to_bytes()).ok()?;
        let option = matches!(&packet.options, Options::Syn(o) if o.fast_open.is_some());
        (!option).then_some(transmit)
    }));
    let (c, s) = exchange(&mut pair, listener);
    assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
    assert_eq!(pair.count(A, Counter::TcpExtTCPFastOpenBlackhole), 1);
}

#[test]
fn a_lost_syn_ack_delivers_the_payload_once() {
    let (mut pair, listener) = hosts();
    let mut lost = false;
    pair.filter = Some(Box::new(move |side, transmit| {
        let drop = side == B && !std::mem::replace(&mut lost, true);
        (!drop).then_some(transmit)
    }));
    let (c, s) = exchange(&mut pair, listener);
    assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
}

#[test]
fn version_0_has_no_place_for_it() {
    let mut old = Config::default();
    old.mptcp.versions = Versions::only(Version::V0);
    let mut pair = Pair::new(old.clone(), old);
    let listener = listen(&mut pair);
    for _ in 0..2 {
        let (c, s) = exchange(&mut pair, listener);
        assert!(is_multipath(&pair.a, c) && is_multipath(&pair.b, s));
    }
    let syns = pair.sent(A).into_iter().filter(|p| p.flags.has(Flags::SYN));
    for packet in syns {
        let option = matches!(&packet.options, Options::Syn(o) if o.fast_open.is_some());
        assert!(packet.payload.is_empty() && !option);
    }
}

#[test]
fn one_that_never_completes_its_handshake_ends() {
    let (mut pair, listener) = hosts();
    let c = connect(&mut pair, 300);
    let s = accept(&mut pair, listener);
    pair.filter = Some(Box::new(|_, _| None));
    pair.a.release(pair.now, c);
    pair.run(Duration::from_secs(300));
    let closed = |event: &(Side, Event)| matches!(event, (B, Event::Closed(id, _)) if *id == s);
    assert!(pair.events.iter().any(closed));
    pair.b.release(pair.now, s);
    pair.run(Duration::from_secs(1));
    assert_eq!(pair.b.memory(), 0);
}
