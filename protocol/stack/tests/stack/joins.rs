//! Subflows that peers open: where they are let in, and where not.

use crate::pair::*;
use anabranch_stack::{
    CloseReason, Config, Counter, Event, FlowId, Limits, ListenConfig, PathEvent, Protocol,
    SubflowEnd, SubflowId,
};
use anabranch_wire::mptcp::{Join, MptcpOption, ResetReason};
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Class, Flags, Options};
use anabranch_wire::{Packet, Seq};
use bytes::Bytes;
use smallvec::smallvec;
use std::time::Duration;

fn connected(server: Config) -> (Pair, FlowId, FlowId) {
    let mut pair = Pair::new(Config::default(), server);
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    pair.b.close_listener(pair.now, listener);
    (pair, c, s)
}

fn token(pair: &Pair, server: FlowId) -> u32 {
    match pair.b.info(server).unwrap().protocol {
        Protocol::Mptcp(info) => info.local_token,
        Protocol::Tcp => panic!("plain TCP"),
    }
}

/// A segment of a stranger's join: 10.0.9.1:1000 to a port of B on which nobody listens.
fn segment(flags: Flags, seq: u32, ack: u32, option: MptcpOption) -> Bytes {
    let build = Build {
        src: addr("10.0.9.1:1000"),
        dst: addr("10.0.9.2:9999"),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(seq),
        ack: Seq(ack),
        flags,
        window: 1000,
        urgent: 0,
        options: &Options::empty(Class::of(flags)),
        mptcp: &[option],
    };
    let packet = build.transmit(smallvec![], 0).expect("a packet");
    packet.packets().next().expect("one packet").to_bytes()
}

fn syn(token: u32) -> Bytes {
    let join = Join::Syn {
        backup: false,
        address_id: 3,
        token,
        nonce: 99,
    };
    segment(Flags::SYN, 1000, 0, MptcpOption::Join(join))
}

/// The only packet that B sent since `before`, and the reason it gives if it is a reset.
fn answer(pair: &Pair, before: usize) -> (Packet, Option<ResetReason>) {
    let sent = pair.sent(B);
    let [packet] = &sent[before..] else {
        panic!("one answer, not {:?}", &sent[before..])
    };
    let reason = packet.mptcp.iter().find_map(|option| match option {
        MptcpOption::TcpRst(reset) => Some(reset.reason),
        _ => None,
    });
    (packet.clone(), reason)
}

#[test]
fn a_join_is_let_in_on_any_address_and_port_without_a_listener() {
    let (mut pair, c, s) = connected(Config::default());
    for (local, remote) in [
        ("10.0.5.1:0", "10.0.5.2:12345"),
        ("[fd00::1]:0", "[fd00::5]:80"),
    ] {
        let id = pair
            .a
            .join(pair.now, c, addr(local), addr(remote), false)
            .unwrap();
        let up = Event::Path(c, PathEvent::SubflowUp(id));
        pair.run_until("the subflow is up", |pair| pair.has(A, &up));
    }
    pair.transfer((A, c), (B, s), &pattern(1_000_000));
    assert_eq!(pair.b.info(s).unwrap().subflows.len(), 3);
}

#[test]
fn an_unknown_token_is_reset_with_its_reason() {
    let (mut pair, _, s) = connected(Config::default());
    let before = pair.sent(B).len();
    let unknown = token(&pair, s).wrapping_add(1);
    pair.inject(B, syn(unknown));
    let (packet, reason) = answer(&pair, before);
    assert_eq!(
        (packet.flags, packet.ack),
        (Flags::RST.with(Flags::ACK), Seq(1001))
    );
    assert_eq!(reason, Some(ResetReason::MptcpError));
    assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinNoTokenFound), 1);
    assert_eq!(pair.count(B, Counter::MPTcpExtMPRstTx), 1);
}

#[test]
fn a_wrong_hmac_is_reset_and_the_connection_goes_on() {
    let (mut pair, c, s) = connected(Config::default());
    let before = pair.sent(B).len();
    pair.inject(B, syn(token(&pair, s)));
    let (syn_ack, _) = answer(&pair, before);
    assert_eq!(syn_ack.flags, Flags::SYN.with(Flags::ACK));
    assert!(matches!(
        syn_ack.mptcp[..],
        [MptcpOption::Join(Join::SynAck { .. })]
    ));
    let forged = MptcpOption::Join(Join::Ack { hmac: [0x55; 20] });
    pair.inject(
        B,
        segment(Flags::ACK, 1001, syn_ack.seq.0.wrapping_add(1), forged),
    );
    let (reset, reason) = answer(&pair, before + 1);
    assert!(reset.flags.has(Flags::RST));
    assert!(reason.is_some());
    assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinAckHMacFailure), 1);
    assert_eq!(pair.b.info(s).unwrap().subflows.len(), 1);
    pair.transfer((A, c), (B, s), &pattern(100_000));
}

#[test]
fn more_subflows_than_allowed_are_reset_with_the_reason() {
    let limits = Limits {
        subflows: 2,
        ..Limits::default()
    };
    let (mut pair, c, s) = connected(Config {
        limits,
        ..Config::default()
    });
    let second = pair
        .a
        .join(pair.now, c, addr("10.0.1.1:0"), addr("10.0.1.2:80"), false)
        .unwrap();
    let up = Event::Path(c, PathEvent::SubflowUp(second));
    pair.run_until("the second is up", |pair| pair.has(A, &up));
    let third = pair
        .a
        .join(pair.now, c, addr("10.0.2.1:0"), addr("10.0.2.2:80"), false)
        .unwrap();
    let gone = PathEvent::SubflowGone(third, SubflowEnd::PeerReset(ResetReason::Prohibited));
    pair.run_until("the third is refused", |pair| {
        pair.has(A, &Event::Path(c, gone.clone()))
    });
    assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinRejected), 1);
    pair.transfer((A, c), (B, s), &pattern(100_000));
}

#[test]
fn a_token_is_forgotten_with_its_connection() {
    let (mut pair, c, s) = connected(Config::default());
    let token = token(&pair, s);
    pair.a.release(pair.now, c);
    pair.b.release(pair.now, s);
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.b.connections().count(), 0);
    let before = pair.sent(B).len();
    pair.inject(B, syn(token));
    assert_eq!(answer(&pair, before).1, Some(ResetReason::MptcpError));
}

#[test]
fn a_subflow_that_went_makes_room_for_its_ports() {
    let (mut pair, c, s) = connected(Config::default());
    let (local, remote) = (addr("10.0.1.1:5000"), addr("10.0.1.2:80"));
    let id = pair.a.join(pair.now, c, local, remote, false).unwrap();
    let up = |id| Event::Path(c, PathEvent::SubflowUp(id));
    pair.run_until("it is up", |pair| pair.has(A, &up(id)));
    let again = pair.a.join(pair.now, c, local, remote, false);
    assert_eq!(again, Err(anabranch_stack::JoinError::InUse));

    // Somebody between resets it.
    let from_b = pair
        .sent(B)
        .into_iter()
        .rfind(|packet| packet.dst == local)
        .unwrap();
    let reset = Build {
        src: remote,
        dst: local,
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: from_b.seq + from_b.seq_len(),
        ack: Seq(0),
        flags: Flags::RST,
        window: 0,
        urgent: 0,
        options: &Options::empty(Class::Segment),
        mptcp: &[],
    };
    let reset = reset.transmit(smallvec![], 0).unwrap();
    pair.inject(A, reset.packets().next().unwrap().to_bytes());
    let gone = Event::Path(
        c,
        PathEvent::SubflowGone(id, SubflowEnd::Tcp(CloseReason::Reset)),
    );
    pair.run_until("it is gone", |pair| pair.has(A, &gone));
    let remembered = pair.a.info(c).unwrap().gone;
    assert_eq!(remembered[0].0.id, id);
    assert_eq!(remembered[0].1, SubflowEnd::Tcp(CloseReason::Reset));
    let third = pair
        .a
        .join(pair.now, c, addr("10.0.1.1:5001"), remote, false)
        .unwrap();
    assert_eq!(third, SubflowId(2));
    pair.run_until("the next is up", |pair| pair.has(A, &up(third)));
    pair.transfer((A, c), (B, s), &pattern(1_000_000));
}

#[test]
fn a_subflow_that_is_closed_in_order_is_gone_at_once_and_waits_outside() {
    let (mut pair, c, s) = connected(Config::default());
    let (local, remote) = (addr("10.0.1.1:5000"), addr("10.0.1.2:80"));
    let id = pair.a.join(pair.now, c, local, remote, false).unwrap();
    let up = Event::Path(c, PathEvent::SubflowUp(id));
    pair.run_until("it is up", |pair| pair.has(A, &up));
    pair.a.close_subflow(pair.now, c, id).unwrap();
    pair.run(Duration::from_secs(1));
    let gone = |flow| Event::Path(flow, PathEvent::SubflowGone(id, SubflowEnd::Closed));
    assert!(pair.has(A, &gone(c)) && pair.has(B, &gone(s)));
    assert_eq!(pair.a.info(c).unwrap().subflows.len(), 1);
    // RFC 9293 §3.6.1: who closed first waits.
    assert_eq!((pair.a.time_waits(), pair.b.time_waits()), (1, 0));
    let fin = pair.log.iter().rfind(|(side, packet)| {
        let is_fin = |it: Packet| it.src == remote && it.flags.has(Flags::FIN);
        *side == B && Packet::parse_verified(packet).is_ok_and(is_fin)
    });
    let fin = fin.unwrap().1.clone();
    let before = pair.sent(A).len();
    pair.inject(A, fin);
    let answers = &pair.sent(A)[before..];
    assert!(
        matches!(answers, [answer] if answer.flags == Flags::ACK),
        "{answers:?}"
    );
    pair.transfer((A, c), (B, s), &pattern(1_000_000));
}

#[test]
fn a_listener_that_wants_no_multipath_changes_nothing_for_joins() {
    let (mut pair, c, s) = connected(Config::default());
    pair.b
        .listen(ListenConfig {
            mptcp: false,
            ..ListenConfig::port(81)
        })
        .unwrap();
    let id = pair
        .a
        .join(pair.now, c, addr("10.0.1.1:0"), addr("10.0.1.2:81"), false)
        .unwrap();
    let up = Event::Path(c, PathEvent::SubflowUp(id));
    pair.run_until("it is up", |pair| pair.has(A, &up));
    assert_eq!(pair.b.info(s).unwrap().subflows.len(), 2);
}

#[test]
fn a_join_over_the_memory_budget_is_told_to_come_later() {
    let limits = Limits {
        memory: 40 << 10,
        ..Limits::default()
    };
    let (mut pair, c, s) = connected(Config {
        limits,
        ..Config::default()
    });
    // Unread bytes take the memory.
    pair.a.send(pair.now, c, pattern(100_000)).unwrap();
    pair.run(Duration::from_secs(1));
    let before = pair.sent(B).len();
    pair.inject(B, syn(token(&pair, s)));
    let (packet, reason) = answer(&pair, before);
    assert!(packet.flags.has(Flags::RST));
    assert_eq!(reason, Some(ResetReason::LackOfResources));
}
