//! Joins whose third ACK does not come, or proves nothing: RFC 8684 §3.2, §5.

use crate::pair::*;
use anabranch_stack::{Config, Counter, Event, FlowId, PathEvent, Protocol};
use anabranch_wire::frame::Frame;
use anabranch_wire::mptcp::{Join, MptcpOption, ResetReason, TcpRst};
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Class, Flags, Options};
use anabranch_wire::{Packet, Seq};
use bytes::Bytes;
use smallvec::smallvec;
use std::net::SocketAddr;
use std::time::Duration;

fn connected() -> (Pair, FlowId, FlowId) {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:4000"), addr("10.0.0.2:80"), true);
    // Strangers answer nothing.
    pair.filter = Some(Box::new(|_, transmit| {
        let to = Packet::parse(&transmit.packets().next()?.to_bytes()).ok()?;
        (!to.dst.ip().to_string().starts_with("11.")).then_some(transmit)
    }));
    (pair, c, s)
}

fn token(pair: &Pair, server: FlowId) -> u32 {
    match pair.b.info(server).unwrap().protocol {
        Protocol::Mptcp(info) => info.local_token,
        Protocol::Tcp => panic!("plain TCP"),
    }
}

fn segment(src: SocketAddr, flags: Flags, (seq, ack): (u32, u32), join: Join) -> Bytes {
    let build = Build {
        src,
        dst: addr("10.0.0.2:80"),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(seq),
        ack: Seq(ack),
        flags,
        window: 1000,
        urgent: 0,
        options: &Options::empty(Class::of(flags)),
        mptcp: &[MptcpOption::Join(join)],
    };
    let packet = build.transmit(smallvec![], 0).expect("a packet");
    packet.packets().next().expect("one packet").to_bytes()
}

fn join(token: u32) -> Join {
    Join::Syn {
        backup: false,
        address_id: 3,
        token,
        nonce: 99,
    }
}

fn syn(src: SocketAddr, token: u32) -> Bytes {
    segment(src, Flags::SYN, (1000, 0), join(token))
}

/// Port `n` of a stranger.
fn stranger(host: u8, n: u16) -> SocketAddr {
    ([11, 0, 0, host], 1000 + n).into()
}

/// What B said to strangers last.
fn said(pair: &Pair) -> Packet {
    let transmit = pair.lost.last().expect("an answer");
    let bytes = transmit.packets().next().unwrap().to_bytes();
    Packet::parse_verified(&bytes).unwrap()
}

fn why(packet: &Packet) -> Option<TcpRst> {
    packet.mptcp.iter().find_map(|option| match option {
        MptcpOption::TcpRst(rst) if packet.flags.has(Flags::RST) => Some(*rst),
        _ => None,
    })
}

fn subflows(pair: &Pair, id: FlowId) -> usize {
    pair.b.info(id).unwrap().subflows.len()
}

/// A join of the client's over another path.
fn joins(pair: &mut Pair, c: FlowId, local: &str) {
    let id = pair
        .a
        .join(pair.now, c, addr(local), addr("10.0.0.2:80"), false)
        .unwrap();
    let up = Event::Path(c, PathEvent::SubflowUp(id));
    pair.run_until("the subflow is up", |pair| pair.has(A, &up));
}

#[test]
fn a_flood_from_one_address_does_not_stop_joins_of_another() {
    let (mut pair, c, s) = connected();
    let token = token(&pair, s);
    let before = pair.b.memory();
    for n in 0..10_000 {
        pair.inject(B, syn(stranger(1, n), token));
    }
    // 32 of them are half open, and each takes 2 KiB; the others were told to come later.
    assert_eq!(subflows(&pair, s), 1 + 32);
    assert_eq!(pair.b.memory(), before + 32 * 2048);
    assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinRejected), 10_000 - 32);
    assert!(pair.count(B, Counter::RepliesSuppressed) > 8000);
    pair.run(Duration::from_secs(1));
    pair.inject(B, syn(stranger(1, 10_000), token));
    let rst = why(&said(&pair)).unwrap();
    assert_eq!(
        (rst.reason, rst.transient),
        (ResetReason::LackOfResources, true)
    );

    joins(&mut pair, c, "10.0.1.1:0");
    pair.transfer((A, c), (B, s), &pattern(1_000_000));
    // They end, and there is room again.
    pair.run(Duration::from_secs(20));
    assert_eq!((subflows(&pair, s), pair.b.memory()), (2, before + 2048));
    pair.inject(B, syn(stranger(1, 0), token));
    assert!(said(&pair).flags.has(Flags::SYN));
}

#[test]
fn half_open_joins_of_one_connection_are_bounded_from_wherever_they_come() {
    let (mut pair, c, s) = connected();
    let token = token(&pair, s);
    for host in 0..200 {
        pair.inject(B, syn(stranger(host, 1), token));
    }
    assert_eq!(subflows(&pair, s), 1 + 64);
    let rst = why(&said(&pair)).unwrap();
    assert_eq!(
        (rst.reason, rst.transient),
        (ResetReason::LackOfResources, true)
    );
    // The connection's own bytes flow on, and those that gave up make room.
    pair.transfer((A, c), (B, s), &pattern(100_000));
    pair.run(Duration::from_secs(20));
    joins(&mut pair, c, "10.0.1.1:0");
    assert_eq!(subflows(&pair, s), 2);
}

#[test]
fn a_flood_of_unknown_tokens_leaves_nothing_and_is_not_answered_for_ever() {
    let (mut pair, _, s) = connected();
    let (token, before) = (token(&pair, s), pair.b.memory());
    for n in 1..20_000 {
        pair.inject(B, syn(stranger(1, n), token ^ u32::from(n)));
        pair.lost.clear();
    }
    assert_eq!((subflows(&pair, s), pair.b.memory()), (1, before));
    assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinNoTokenFound), 19_999);
    assert_eq!(pair.count(B, Counter::MPTcpExtMPRstTx), 1000);
}

#[test]
fn a_join_that_overtakes_the_third_ack_is_let_in_with_its_next_syn() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    let now = pair.now;
    let mut third = false;
    pair.filter = Some(Box::new(move |side, transmit| {
        let packet = Packet::parse(&transmit.packets().next()?.to_bytes()).ok()?;
        let lost = side == A && packet.flags == Flags::ACK && !std::mem::replace(&mut third, true);
        (!lost).then_some(transmit)
    }));
    let (local, remote) = (addr("10.0.0.1:0"), addr("10.0.0.2:80"));
    let c = pair
        .a
        .connect(now, local, remote, Default::default())
        .unwrap();
    pair.run_until("established", |pair| pair.has(A, &Event::Established(c)));
    let id = pair
        .a
        .join(pair.now, c, addr("10.0.1.1:0"), remote, false)
        .unwrap();
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinRejected), 1);
    assert_eq!(pair.count(B, Counter::TcpOutRsts), 0);
    let up = Event::Path(c, PathEvent::SubflowUp(id));
    pair.run_until("it is up", |pair| pair.has(A, &up));
    let s = pair.b.accept(listener).expect("a connection");
    pair.transfer((A, c), (B, s), &pattern(100_000));
}

/// The HMAC of the client's third ACK of a join, and that ACK.
fn third_ack(pair: &Pair) -> (Packet, [u8; 20]) {
    let sent = pair.sent(A).into_iter();
    let mut hmacs = sent.filter_map(|packet| match packet.mptcp[..] {
        [MptcpOption::Join(Join::Ack { hmac })] => Some((packet, hmac)),
        _ => None,
    });
    hmacs.next().expect("a third ACK")
}

#[test]
fn a_third_ack_is_good_for_its_own_join_only() {
    let (mut pair, c, s) = connected();
    joins(&mut pair, c, "10.0.1.1:0");
    let (_, hmac) = third_ack(&pair);
    let nonce = pair
        .sent(A)
        .iter()
        .find_map(|packet| match packet.mptcp[..] {
            [MptcpOption::Join(Join::Syn { nonce, .. })] => Some(nonce),
            _ => None,
        });
    // Where nobody joins it is nothing.
    let ack = |src, ack| segment(src, Flags::ACK, (1001, ack), Join::Ack { hmac });
    pair.inject(B, ack(stranger(1, 1), 77));
    assert!(said(&pair).flags.has(Flags::RST));
    assert_eq!(subflows(&pair, s), 2);
    // Replayed after a SYN with the same nonce: ours is another.
    let replay = Join::Syn {
        backup: false,
        address_id: 3,
        token: token(&pair, s),
        nonce: nonce.unwrap(),
    };
    pair.inject(B, segment(stranger(1, 2), Flags::SYN, (1000, 0), replay));
    let answer = said(&pair).seq.0.wrapping_add(1);
    assert_eq!(subflows(&pair, s), 3);
    pair.inject(B, ack(stranger(1, 2), answer));
    assert_eq!(why(&said(&pair)).unwrap().reason, ResetReason::MptcpError);
    assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinAckHMacFailure), 1);
    assert_eq!(subflows(&pair, s), 2);
    pair.transfer((A, c), (B, s), &pattern(100_000));
}

#[test]
fn an_hmac_cut_short_is_none() {
    let (mut pair, _, s) = connected();
    pair.inject(B, syn(stranger(1, 1), token(&pair, s)));
    let answer = said(&pair).seq.0.wrapping_add(1);
    let ack = segment(
        stranger(1, 1),
        Flags::ACK,
        (1001, answer),
        Join::Ack { hmac: [7; 20] },
    );
    // 24 bytes of option become 12, and NOPs.
    let mut bytes = ack.to_vec();
    bytes[41] = 12;
    bytes[52..64].fill(1);
    let (now, data) = (pair.now, bytes.into());
    let frame = Frame {
        data,
        checksum_ok: true,
        gso_size: 0,
    };
    pair.b.receive(now, frame);
    pair.settle();
    assert!(why(&said(&pair)).is_some());
    assert_eq!(subflows(&pair, s), 1);
}

#[test]
fn a_join_with_the_four_tuple_of_another_subflow_is_challenged() {
    let (mut pair, c, s) = connected();
    let before = pair.sent(B).len();
    pair.inject(B, syn(addr("10.0.0.1:4000"), token(&pair, s)));
    let sent = pair.sent(B);
    assert_eq!(sent[before..].len(), 1);
    assert_eq!(sent[before].flags, Flags::ACK);
    assert_eq!(subflows(&pair, s), 1);
    pair.transfer((A, c), (B, s), &pattern(100_000));
}

#[test]
fn joins_to_a_connection_at_its_end() {
    let (mut pair, c, s) = connected();
    let token = token(&pair, s);
    // Half closed: there is more to carry.
    pair.a.shutdown(pair.now, c);
    pair.run(Duration::from_millis(100));
    joins(&mut pair, c, "10.0.1.1:0");
    pair.transfer((B, s), (A, c), &pattern(100_000));
    // Closed both ways: nothing.
    pair.b.shutdown(pair.now, s);
    pair.run(Duration::from_millis(3));
    pair.run(Duration::from_millis(100));
    pair.inject(B, syn(stranger(1, 1), token));
    assert!(why(&said(&pair)).is_some_and(|rst| !rst.transient));
}

#[test]
fn more_than_allowed_may_try_and_no_more_than_allowed_get_in() {
    let mut server = Config::default();
    server.limits.subflows = 3;
    let mut pair = Pair::new(Config::default(), server);
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    for n in 1..6 {
        let local = format!("10.0.{n}.1:0");
        let joined = pair
            .a
            .join(pair.now, c, addr(&local), addr("10.0.0.2:80"), false);
        joined.expect("a join");
    }
    pair.run(Duration::from_secs(1));
    assert_eq!(subflows(&pair, s), 3);
    assert_eq!(pair.a.info(c).unwrap().subflows.len(), 3);
    let told = pair.events.iter().filter(|(side, event)| {
        let refused = anabranch_stack::SubflowEnd::PeerReset(ResetReason::Prohibited);
        *side == A
            && matches!(event, Event::Path(_, PathEvent::SubflowGone(_, end)) if *end == refused)
    });
    assert_eq!(told.count(), 3);
    pair.transfer((A, c), (B, s), &pattern(1_000_000));
}
