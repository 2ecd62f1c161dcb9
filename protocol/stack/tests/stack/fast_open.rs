//! Fast Open between two hosts: RFC 7413.

use crate::pair::*;
use anabranch_stack::{
    CloseReason, Config, ConnectConfig, Counter, Event, FlowId, ListenConfig, ListenerId, Recv,
};
use anabranch_wire::Packet;
use anabranch_wire::tcp::{Flags, Options};
use std::time::Duration;

const FAST: ConnectConfig = ConnectConfig {
    mptcp: false,
    fast_open: true,
};

fn listen(pair: &mut Pair, fast_open: Option<usize>) -> ListenerId {
    let config = ListenConfig {
        fast_open,
        ..ListenConfig::port(PORT)
    };
    pair.b.listen(config).unwrap()
}

fn hosts(fast_open: Option<usize>) -> (Pair, ListenerId) {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = listen(&mut pair, fast_open);
    (pair, listener)
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

/// Payload of the SYNs of one side, and the length of the cookie on each.
fn syns(pair: &Pair, side: Side) -> Vec<(usize, Option<usize>)> {
    let syns = pair
        .sent(side)
        .into_iter()
        .filter(|p| p.flags.has(Flags::SYN));
    let cookie = |p: &Packet| match &p.options {
        Options::Syn(options) => options.fast_open.as_ref().map(|o| o.cookie.len()),
        Options::Segment(_) => None,
    };
    syns.map(|p| (p.payload.len(), cookie(&p))).collect()
}

/// A first connection, for the cookie.
fn acquainted(fast_open: Option<usize>) -> (Pair, ListenerId) {
    let (mut pair, listener) = hosts(fast_open);
    let c = connect(&mut pair, 100);
    let s = accept(&mut pair, listener);
    pair.run(Duration::from_millis(100));
    pair.a.abort(pair.now, c);
    pair.a.release(pair.now, c);
    pair.b.release(pair.now, s);
    pair.run(Duration::from_secs(1));
    pair.log.clear();
    pair.events.clear();
    (pair, listener)
}

#[test]
fn the_first_connection_brings_a_cookie_and_the_second_saves_a_round_trip() {
    let (mut pair, listener) = hosts(Some(8));
    connect(&mut pair, 100);
    accept(&mut pair, listener);
    pair.run(Duration::from_millis(100));
    assert_eq!(syns(&pair, A), [(0, Some(0))], "asked");
    assert_eq!(syns(&pair, B), [(0, Some(8))], "given");
    assert_eq!(pair.count(B, Counter::TcpExtTCPFastOpenCookieReqd), 1);

    pair.log.clear();
    let start = pair.now;
    let c = connect(&mut pair, 300);
    let s = accept(&mut pair, listener);
    assert_eq!(pair.now.since(start), DELAY, "accepted with the SYN");
    let Ok(Recv::Data(request)) = pair.b.recv(pair.now, s, 1000) else {
        panic!("payload")
    };
    assert_eq!(request, pattern(300));
    // Answered before the handshake is complete.
    pair.b.send(pair.now, s, pattern(5000)).unwrap();
    pair.run(DELAY);
    let mut answer = Vec::new();
    read(&mut pair, (A, c), &mut answer);
    assert_eq!(answer, pattern(5000));
    assert_eq!(pair.now.since(start), 2 * DELAY, "one round trip in all");
    assert_eq!(
        (syns(&pair, A), syns(&pair, B)),
        (vec![(300, Some(8))], vec![(0, None)])
    );
    assert_eq!(pair.count(B, Counter::TcpExtTCPFastOpenPassive), 1);
    pair.run(DELAY);
    assert_eq!(pair.count(A, Counter::TcpExtTCPFastOpenActive), 1);
    assert_eq!(pair.count(B, Counter::TcpPassiveOpens), 2);
    assert!(
        !pair.has(B, &Event::Established(s)),
        "it was accepted, not opened"
    );
    pair.transfer((A, c), (B, s), &pattern(1_000_000));
    pair.transfer((B, s), (A, c), &pattern(1_000_000));
}

#[test]
fn a_listener_without_it_takes_no_payload_and_gives_no_cookie() {
    let (mut pair, listener) = acquainted(None);
    connect(&mut pair, 100);
    let s = accept(&mut pair, listener);
    pair.run(Duration::from_millis(100));
    assert_eq!(
        (syns(&pair, A), syns(&pair, B)),
        (vec![(0, Some(0))], vec![(0, None)])
    );
    let mut got = Vec::new();
    read(&mut pair, (B, s), &mut got);
    assert_eq!(got, pattern(100));
}

#[test]
fn a_server_that_has_forgotten_takes_the_payload_with_the_handshake_and_gives_a_new_cookie() {
    let (mut pair, _) = acquainted(Some(8));
    pair.b = anabranch_stack::Stack::new(Config::default(), [9; 32], pair.now);
    let listener = listen(&mut pair, Some(8));
    connect(&mut pair, 300);
    let s = accept(&mut pair, listener);
    pair.run(Duration::from_millis(100));
    assert_eq!(
        (syns(&pair, A), syns(&pair, B)),
        (vec![(300, Some(8))], vec![(0, Some(8))])
    );
    let mut got = Vec::new();
    read(&mut pair, (B, s), &mut got);
    assert_eq!(got, pattern(300));
    assert_eq!(pair.count(B, Counter::TcpExtTCPFastOpenPassiveFail), 1);
    assert_eq!(pair.count(A, Counter::TcpExtTCPFastOpenActiveFail), 1);
    connect(&mut pair, 300);
    accept(&mut pair, listener);
    assert_eq!(
        pair.count(B, Counter::TcpExtTCPFastOpenPassive),
        1,
        "the new one is good"
    );
}

#[test]
fn keys_change_each_day_and_the_one_before_is_good_for_another() {
    let day = Duration::from_secs(24 * 3600);
    let (mut pair, listener) = acquainted(Some(8));
    pair.run(day);
    connect(&mut pair, 300);
    accept(&mut pair, listener);
    pair.run(Duration::from_millis(100));
    assert_eq!(
        (syns(&pair, A), syns(&pair, B)),
        (vec![(300, Some(8))], vec![(0, Some(8))])
    );
    assert_eq!(
        pair.count(B, Counter::TcpExtTCPFastOpenPassive),
        1,
        "and a newer one is given"
    );
    pair.run(2 * day);
    connect(&mut pair, 300);
    accept(&mut pair, listener);
    assert_eq!(
        pair.count(B, Counter::TcpExtTCPFastOpenPassiveFail),
        1,
        "too old"
    );
}

#[test]
fn only_so_many_wait_for_the_end_of_their_handshake() {
    let (mut pair, listener) = acquainted(Some(2));
    // SYN+ACKs are lost.
    pair.filter = Some(Box::new(|side, transmit| (side == A).then_some(transmit)));
    for _ in 0..3 {
        connect(&mut pair, 300);
    }
    pair.run(Duration::from_millis(100));
    assert_eq!(std::iter::from_fn(|| pair.b.accept(listener)).count(), 2);
    assert_eq!(pair.count(B, Counter::TcpExtTCPFastOpenListenOverflow), 1);
    pair.filter = None;
    pair.run(Duration::from_secs(5));
    assert!(
        pair.b.accept(listener).is_some(),
        "the third by an ordinary handshake"
    );
}

#[test]
fn one_that_never_completes_its_handshake_ends() {
    let (mut pair, listener) = acquainted(Some(2));
    let c = connect(&mut pair, 300);
    let s = accept(&mut pair, listener);
    pair.filter = Some(Box::new(|_, _| None));
    pair.a.release(pair.now, c);
    pair.run(Duration::from_secs(300));
    assert!(pair.has(B, &Event::Closed(s, CloseReason::TimedOut)));
    pair.filter = None;
    for _ in 0..2 {
        connect(&mut pair, 300);
        pair.run(DELAY);
        assert!(pair.b.accept(listener).is_some());
    }
}

#[test]
fn where_syns_with_payload_vanish_they_are_not_tried_for_a_while() {
    let (mut pair, listener) = acquainted(Some(8));
    pair.filter = Some(Box::new(|_, transmit| {
        let packet = Packet::parse(&transmit.packets().next()?.to_bytes()).ok()?;
        let option = matches!(&packet.options, Options::Syn(o) if o.fast_open.is_some());
        (!option).then_some(transmit)
    }));
    connect(&mut pair, 300);
    let s = accept(&mut pair, listener);
    pair.run(Duration::from_millis(100));
    let mut got = Vec::new();
    read(&mut pair, (B, s), &mut got);
    assert_eq!(got, pattern(300));
    assert_eq!(pair.count(A, Counter::TcpExtTCPFastOpenBlackhole), 1);
    pair.filter = None;
    pair.log.clear();
    connect(&mut pair, 300);
    pair.run(Duration::from_secs(3600));
    connect(&mut pair, 300);
    pair.run(Duration::from_secs(1));
    assert_eq!(syns(&pair, A), [(0, None), (300, Some(8))]);
}
