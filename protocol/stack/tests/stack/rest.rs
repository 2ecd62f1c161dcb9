//! Idle connections rest, and nobody can tell. In these builds the stack itself compares what was
//! written down with what there was, field by field.

use crate::pair::*;
use anabranch_stack::{
    Algorithm, CloseReason, Config, Counter, Event, FlowId, FlowInfo, Keepalive, ListenerId, Recv,
    SocketOption,
};
use std::time::Duration;

const WHILE: Duration = Duration::from_secs(5);

fn hosts() -> (Pair, ListenerId) {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    (pair, listener)
}

/// A connection that was used both ways and had time to rest, at both ends.
fn rested(pair: &mut Pair, listener: ListenerId, mptcp: bool) -> (FlowId, FlowId) {
    let ends = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), mptcp);
    use_it(pair, ends);
    let before = counts(pair);
    pair.run(WHILE);
    let after = counts(pair);
    assert_eq!(after, (before.0 + 1, before.1 + 1), "both ends rest");
    ends
}

fn use_it(pair: &mut Pair, (client, server): (FlowId, FlowId)) {
    pair.transfer((A, client), (B, server), &pattern(100_000));
    pair.transfer((B, server), (A, client), &pattern(200_000));
}

/// How often connections were put to rest.
fn counts(pair: &Pair) -> (u64, u64) {
    let of = |side| pair.count(side, Counter::FlowsRested);
    (of(A), of(B))
}

fn infos(pair: &Pair, (client, server): (FlowId, FlowId)) -> [FlowInfo; 2] {
    let info = |stack: &anabranch_stack::Stack, id| stack.info(id).expect("there");
    [info(&pair.a, client), info(&pair.b, server)]
}

#[test]
fn bytes_wake_a_connection_and_it_rests_again() {
    for mptcp in [false, true] {
        let (mut pair, listener) = hosts();
        let ends = rested(&mut pair, listener, mptcp);
        use_it(&mut pair, ends);
        pair.run(WHILE);
        assert_eq!(counts(&pair), (2, 2));
        use_it(&mut pair, ends);
    }
}

#[test]
fn looking_at_it_does_not_wake_it() {
    for mptcp in [false, true] {
        let (mut pair, listener) = hosts();
        let ends = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), mptcp);
        use_it(&mut pair, ends);
        pair.run(Duration::from_millis(900));
        assert_eq!(counts(&pair), (0, 0), "too early");
        let before = format!("{:?}", infos(&pair, ends));
        pair.run(WHILE);
        assert_eq!(counts(&pair), (1, 1));
        assert_eq!(format!("{:?}", infos(&pair, ends)), before);
        assert_eq!(pair.b.connections().count(), 1);
        assert!(pair.b.options(ends.1).is_some() && pair.b.send_room(ends.1) > 0);
        assert_eq!(pair.b.tcb(ends.1).expect("there").in_flight(), 0);
        pair.run(WHILE);
        assert_eq!(counts(&pair), (1, 1));
    }
}

#[test]
fn reading_in_vain_does_not_wake_it() {
    for mptcp in [false, true] {
        let (mut pair, listener) = hosts();
        let (_, server) = rested(&mut pair, listener, mptcp);
        let now = pair.now;
        assert_eq!(pair.b.recv(now, server, 100), Ok(Recv::Pending));
        pair.run(WHILE);
        assert_eq!(counts(&pair), (1, 1));
    }
}

#[test]
fn what_holds_bytes_does_not_rest() {
    for mptcp in [false, true] {
        let (mut pair, listener) = hosts();
        let ends = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), mptcp);
        let now = pair.now;
        pair.a.send(now, ends.0, pattern(100)).expect("open");
        pair.run(WHILE);
        assert_eq!(counts(&pair), (1, 0), "nobody reads them");
        let mut got = Vec::new();
        read(&mut pair, (B, ends.1), &mut got);
        assert_eq!(got, pattern(100));
        pair.run(WHILE);
        assert_eq!(counts(&pair), (1, 1));
    }
}

#[test]
fn a_join_finds_a_connection_at_rest() {
    let (mut pair, listener) = hosts();
    let ends = rested(&mut pair, listener, true);
    let (from, to) = (addr("10.0.1.1:0"), addr("10.0.1.2:80"));
    let now = pair.now;
    pair.a.join(now, ends.0, from, to, false).expect("a join");
    pair.run(WHILE);
    assert!(
        infos(&pair, ends)
            .iter()
            .all(|info| info.subflows.len() == 2)
    );
    assert_eq!(counts(&pair), (2, 2), "with two subflows it rests too");
    use_it(&mut pair, ends);
    pair.run(WHILE);
    use_it(&mut pair, ends);
}

#[test]
fn keepalive_goes_on() {
    for mptcp in [false, true] {
        let (mut pair, listener) = hosts();
        let ends = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), mptcp);
        let keepalive = Keepalive {
            time: Duration::from_secs(60),
            interval: Duration::from_secs(10),
            probes: 3,
        };
        let (now, option) = (pair.now, SocketOption::Keepalive(Some(keepalive)));
        pair.b.set_option(now, ends.1, &option).expect("in range");
        use_it(&mut pair, ends);
        pair.run(Duration::from_secs(50));
        let (packets, rests) = (pair.log.len(), counts(&pair));
        pair.run(Duration::from_secs(30));
        assert_eq!(pair.log.len(), packets + 2, "a probe and its answer");
        assert_eq!(counts(&pair).0, rests.0 + 1, "woken by the probe");
        // Nobody answers any more.
        pair.filter = Some(Box::new(|_, _| None));
        pair.run(Duration::from_secs(240));
        let over = Event::Closed(ends.1, CloseReason::TimedOut);
        assert!(pair.has(B, &over), "{:?}", pair.events);
    }
}

#[test]
fn the_peers_end_is_heard() {
    for mptcp in [false, true] {
        let (mut pair, listener) = hosts();
        let ends = rested(&mut pair, listener, mptcp);
        let now = pair.now;
        pair.a.shutdown(now, ends.0);
        pair.run(WHILE);
        assert!(pair.has(B, &Event::PeerFin(ends.1)));
        let now = pair.now;
        assert_eq!(pair.b.recv(now, ends.1, 100), Ok(Recv::Finished));
        pair.transfer((B, ends.1), (A, ends.0), &pattern(10_000));
        pair.run(WHILE);
        let now = pair.now;
        pair.b.abort(now, ends.1);
        pair.run(WHILE);
        assert!(pair.has(A, &Event::Closed(ends.0, CloseReason::Reset)));
    }
}

#[test]
fn every_controller_rests_after_losses_too() {
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr] {
        for mptcp in [false, true] {
            let mut config = Config::default();
            config.tcp.congestion.algorithm = algorithm;
            let mut pair = Pair::new(config.clone(), config);
            let listener = pair.listen();
            let mut seen = 0;
            pair.filter = Some(Box::new(move |_, packet| {
                seen += 1;
                (seen % 23 != 0 || packet.payload.is_empty()).then_some(packet)
            }));
            let ends = rested(&mut pair, listener, mptcp);
            use_it(&mut pair, ends);
            pair.run(WHILE);
            assert_eq!(counts(&pair), (2, 2), "{algorithm}");
            let lost = |info: &FlowInfo| info.subflows[0].tcp.stats.retransmits > 0;
            assert!(infos(&pair, ends).iter().all(lost), "{algorithm}");
        }
    }
}

/// An address comes or goes: those that have nothing to do with it are asked, but not woken.
#[test]
fn what_is_of_no_use_to_a_connection_does_not_wake_it() {
    use anabranch_stack::PathConfig;
    use anabranch_stack::policy::{Plan, Policy, Source};
    let (mut pair, listener) = hosts();
    let (now, mine) = (pair.now, addr("10.0.0.1:0").ip());
    pair.b.set_plan(now, Plan::of(Policy::default()));
    let paths = PathConfig::from_addresses([mine]).max_subflows(1);
    let opened = pair
        .a
        .connect_from(now, paths, addr("10.0.0.2:80"), Default::default(), &[])
        .expect("a connection");
    pair.run(Duration::from_secs(1));
    let accepted = pair.b.accept(listener).expect("a connection");
    use_it(&mut pair, (opened, accepted));
    let plain = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    use_it(&mut pair, plain);
    pair.run(WHILE);
    let rested = counts(&pair);
    assert_eq!(rested, (2, 2));
    let other = "10.0.0.77".parse().expect("an address");
    pair.a.address_back(pair.now, Source::new(other));
    pair.a.address_gone(pair.now, other);
    pair.b.address_gone(pair.now, other);
    pair.b.set_plan(pair.now, Plan::of(Policy::default()));
    pair.run(WHILE);
    assert_eq!(counts(&pair), rested);
    // What is of use does.
    pair.a.address_gone(pair.now, mine);
    pair.run(WHILE);
    assert!(
        pair.a
            .info(opened)
            .is_none_or(|info| info.subflows.is_empty())
    );
    use_it(&mut pair, plain);
}
