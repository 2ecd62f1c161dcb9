//! What an application sets for a connection, plain or over several paths.

use crate::pair::*;
use anabranch_stack::{
    Algorithm, CloseReason, Config, ConnectConfig, ConnectError, Event, FlowError, FlowId,
    ListenerId, OutOfRange, SocketOption,
};
use anabranch_wire::Packet;
use anabranch_wire::tcp::Options;
use bytes::Bytes;
use std::time::Duration;

const CLIENT: &str = "10.0.0.1:0";
const SERVER: &str = "10.0.0.2:80";

fn open(mptcp: bool) -> (Pair, ListenerId, FlowId, FlowId) {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr(CLIENT), addr(SERVER), mptcp);
    (pair, listener, c, s)
}

fn set(pair: &mut Pair, side: Side, id: FlowId, option: SocketOption) {
    let now = pair.now;
    pair.host(side)
        .set_option(now, id, &option)
        .expect("in range");
    pair.settle();
}

/// Lengths of the payloads that A sent since `from`.
fn payloads(pair: &Pair, from: usize) -> Vec<usize> {
    let of_a = pair.log[from..].iter().filter(|(side, _)| *side == A);
    let packets = of_a.filter_map(|(_, bytes)| Packet::parse(bytes).ok());
    packets
        .map(|p| p.payload.len())
        .filter(|len| *len > 0)
        .collect()
}

fn write(pair: &mut Pair, id: FlowId, len: usize) {
    assert_eq!(pair.a.send(pair.now, id, pattern(len)), Ok(len));
    pair.settle();
}

#[test]
fn nagle_cork_and_more_hold_small_segments_back_the_same_over_both_protocols() {
    for mptcp in [false, true] {
        let (mut pair, _, c, _) = open(mptcp);
        pair.run(Duration::from_millis(50));
        let mut from = pair.log.len();
        let mut sent = |pair: &Pair| {
            let lens = payloads(pair, from);
            from = pair.log.len();
            lens
        };
        write(&mut pair, c, 10);
        write(&mut pair, c, 20);
        assert_eq!(sent(&pair), [10], "Nagle, mptcp {mptcp}");
        set(&mut pair, A, c, SocketOption::NoDelay(true));
        assert_eq!(sent(&pair), [20], "mptcp {mptcp}");
        set(&mut pair, A, c, SocketOption::Cork(true));
        write(&mut pair, c, 30);
        assert!(sent(&pair).is_empty(), "mptcp {mptcp}");
        pair.run(Duration::from_millis(199));
        assert!(sent(&pair).is_empty(), "mptcp {mptcp}");
        pair.run(Duration::from_millis(1));
        assert_eq!(sent(&pair), [30], "200 ms, mptcp {mptcp}");
        write(&mut pair, c, 40);
        set(&mut pair, A, c, SocketOption::Cork(false));
        assert_eq!(sent(&pair), [40], "mptcp {mptcp}");
        assert_eq!(pair.a.send_with(pair.now, c, pattern(50), true), Ok(50));
        pair.settle();
        assert!(sent(&pair).is_empty(), "mptcp {mptcp}");
        write(&mut pair, c, 60);
        assert_eq!(sent(&pair), [110], "mptcp {mptcp}");
    }
}

#[test]
fn a_user_timeout_ends_a_connection_whose_peer_is_gone() {
    for mptcp in [false, true] {
        let (mut pair, _, c, _) = open(mptcp);
        let limit = Duration::from_secs(3);
        set(&mut pair, A, c, SocketOption::UserTimeout(Some(limit)));
        pair.filter = Some(Box::new(|_, _| None));
        write(&mut pair, c, 1000);
        pair.run(Duration::from_millis(2900));
        let closed = Event::Closed(c, CloseReason::TimedOut);
        assert!(!pair.has(A, &closed), "mptcp {mptcp}");
        // Over Multipath TCP the connection waits as long again for another path.
        pair.run(Duration::from_millis(3200));
        assert!(pair.has(A, &closed), "mptcp {mptcp}");
    }
}

#[test]
fn options_reach_every_subflow_present_and_future() {
    let (mut pair, _, c, s) = open(true);
    pair.transfer((A, c), (B, s), &pattern(1000));
    set(
        &mut pair,
        A,
        c,
        SocketOption::Congestion(Algorithm::NewReno),
    );
    let (local, remote) = (addr("10.1.0.1:0"), addr("10.1.0.2:80"));
    pair.a
        .join(pair.now, c, local, remote, false)
        .expect("a subflow");
    pair.run(Duration::from_millis(200));
    let names = |pair: &Pair| -> Vec<_> {
        let info = pair.a.info(c).expect("open");
        info.subflows.iter().map(|s| s.tcp.algorithm).collect()
    };
    assert_eq!(names(&pair), ["newreno", "newreno"]);
    set(&mut pair, A, c, SocketOption::Congestion(Algorithm::Cubic));
    assert_eq!(names(&pair), ["cubic", "cubic"]);
    assert_eq!(
        pair.a.options(c).expect("open").congestion.initial_window,
        10
    );
}

#[test]
fn a_listeners_options_are_those_of_what_it_accepts() {
    for mptcp in [false, true] {
        let (mut pair, listener, _, _) = open(mptcp);
        for option in [
            SocketOption::MaxSegment(600),
            SocketOption::NoDelay(true),
            SocketOption::NoDelay(false),
            SocketOption::RecvBuffer(20_000),
        ] {
            assert_eq!(pair.b.set_listener_option(listener, &option), Ok(()));
        }
        let from = pair.log.len();
        let (_, s) = pair.connect(listener, addr(CLIENT), addr(SERVER), mptcp);
        let options = pair.b.options(s).expect("open");
        assert!(options.nagle, "the last one holds");
        assert_eq!(options.recv_buffer, 20_000);
        let syn_ack = pair.log[from..]
            .iter()
            .filter(|(side, _)| *side == B)
            .filter_map(|(_, bytes)| Packet::parse(bytes).ok())
            .find_map(|p| match p.options {
                Options::Syn(options) => Some((options.mss, p.window)),
                Options::Segment(_) => None,
            });
        let (mss, window) = syn_ack.expect("a SYN+ACK");
        assert_eq!(window, 20_000, "mptcp {mptcp}");
        assert_eq!(mss, Some(600), "mptcp {mptcp}");
    }
}

#[test]
fn options_given_to_connect_hold_from_the_syn_on() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let options = [SocketOption::SynRetries(1), SocketOption::MaxSegment(700)];
    let plain = ConnectConfig {
        mptcp: false,
        ..ConnectConfig::default()
    };
    let now = pair.now;
    let connected = pair
        .a
        .connect_with(now, addr(CLIENT), addr(SERVER), plain, &options);
    let id = connected.expect("a connection");
    pair.filter = Some(Box::new(|_, _| None));
    pair.run(Duration::from_secs(10));
    assert_eq!(pair.sent(A).len(), 0, "all were lost");
    assert_eq!(pair.lost.len(), 2, "the SYN and one more");
    assert!(pair.has(A, &Event::Closed(id, CloseReason::TimedOut)));
    let bad = [SocketOption::MaxSegment(1)];
    let refused = pair
        .a
        .connect_with(now, addr(CLIENT), addr(SERVER), plain, &bad);
    assert_eq!(refused, Err(ConnectError::Option));
}

#[test]
fn what_is_out_of_range_or_gone_is_refused() {
    let (mut pair, listener, c, _) = open(false);
    let bad = SocketOption::UserTimeout(Some(Duration::ZERO));
    let now = pair.now;
    assert_eq!(pair.a.set_option(now, c, &bad), Err(FlowError::OutOfRange));
    assert_eq!(pair.b.set_listener_option(listener, &bad), Err(OutOfRange));
    pair.a.abort(now, c);
    let good = SocketOption::NoDelay(true);
    assert_eq!(
        pair.a.set_option(now, c, &good),
        Err(FlowError::Closed(CloseReason::Aborted))
    );
    pair.a.release(now, c);
    pair.settle();
    assert_eq!(pair.a.set_option(now, c, &good), Err(FlowError::NoSuchFlow));
    assert!(pair.a.options(c).is_none());
}

#[test]
fn a_connection_released_with_a_linger_of_zero_is_reset() {
    for mptcp in [false, true] {
        let (mut pair, _, c, s) = open(mptcp);
        set(&mut pair, A, c, SocketOption::Linger(Some(Duration::ZERO)));
        write(&mut pair, c, 100);
        pair.a.release(pair.now, c);
        pair.run(Duration::from_millis(50));
        assert!(
            pair.has(B, &Event::Closed(s, CloseReason::Reset)),
            "mptcp {mptcp}"
        );
    }
}

#[test]
fn a_listener_that_defers_gives_out_what_has_something_to_read() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    let limit = Duration::from_secs(5);
    pair.b.set_defer_accept(listener, Some(limit));
    let plain = ConnectConfig {
        mptcp: false,
        ..ConnectConfig::default()
    };
    let now = pair.now;
    let connect = |pair: &mut Pair| {
        let id = pair.a.connect(now, addr(CLIENT), addr(SERVER), plain);
        id.expect("a connection")
    };
    let (talks, _silent) = (connect(&mut pair), connect(&mut pair));
    pair.run(Duration::from_secs(1));
    assert!(pair.has(A, &Event::Established(talks)));
    assert_eq!(pair.b.accept(listener), None);
    write(&mut pair, talks, 100);
    pair.run(Duration::from_millis(20));
    let accepted = pair.b.accept(listener).expect("it spoke");
    let mut got = Vec::new();
    read(&mut pair, (B, accepted), &mut got);
    assert_eq!(Bytes::from(got), pattern(100));
    assert_eq!(pair.b.accept(listener), None);
    pair.run(Duration::from_secs(5));
    assert!(pair.b.accept(listener).is_some(), "not kept back for ever");
}
