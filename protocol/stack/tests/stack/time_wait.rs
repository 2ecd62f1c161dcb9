//! Past connections.

use crate::pair::*;
use anabranch_stack::{Config, ConnectConfig, Counter, Event, FlowId, Limits};
use std::time::Duration;

const PLAIN: ConnectConfig = ConnectConfig {
    mptcp: false,
    fast_open: false,
};

/// A connection from a fixed port that A, then B closed: A is left in TIME-WAIT.
fn past(pair: &mut Pair, local: &str) {
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr(local), addr("10.0.0.2:80"), false);
    pair.a.release(pair.now, c);
    pair.run_until("the end arrives", |pair| pair.has(B, &Event::PeerFin(s)));
    pair.b.release(pair.now, s);
    pair.run(Duration::from_secs(1));
    pair.b.close_listener(pair.now, listener);
}

#[test]
fn a_late_fin_is_acknowledged() {
    let mut pair = Pair::new(Config::default(), Config::default());
    past(&mut pair, "10.0.0.1:4000");
    assert_eq!((pair.a.connections().count(), pair.a.time_waits()), (0, 1));
    let fin = pair
        .log
        .iter()
        .rfind(|(side, _)| *side == B)
        .unwrap()
        .1
        .clone();
    let before = pair.sent(A).len();
    pair.inject(A, fin);
    let sent = pair.sent(A);
    let answer = &sent[before..];
    assert_eq!(answer.len(), 1);
    assert_eq!(
        (answer[0].seq, answer[0].ack),
        (sent[before - 1].seq, sent[before - 1].ack)
    );
}

/// The other way round: A listens where B was, B connects from where it listened.
fn reconnect(pair: &mut Pair) -> FlowId {
    let at = anabranch_stack::ListenConfig::at(addr("10.0.0.1:4000"));
    pair.a.listen(at).unwrap();
    pair.b
        .connect(pair.now, addr("10.0.0.2:80"), addr("10.0.0.1:4000"), PLAIN)
        .unwrap()
}

#[test]
fn a_new_syn_takes_over() {
    let mut pair = Pair::new(Config::default(), Config::default());
    past(&mut pair, "10.0.0.1:4000");
    let last = pair.sent(A).last().unwrap().seq;
    let again = reconnect(&mut pair);
    pair.run_until("established", |pair| {
        pair.has(B, &Event::Established(again))
    });
    assert_eq!(pair.count(A, Counter::TcpExtTWRecycled), 1);
    assert_eq!(pair.a.time_waits(), 0);
    let iss = pair.sent(A).last().unwrap().seq;
    assert!(last.lt(iss), "beyond the old connection's numbers");
}

#[test]
fn only_so_many_are_remembered() {
    let limits = Limits {
        time_wait: 3,
        ..Limits::default()
    };
    let mut pair = Pair::new(
        Config {
            limits,
            ..Config::default()
        },
        Config::default(),
    );
    for port in 4000..4010 {
        past(&mut pair, &format!("10.0.0.1:{port}"));
    }
    assert_eq!(pair.a.time_waits(), 3);
    assert_eq!(pair.count(A, Counter::TcpExtTCPTimeWaitOverflow), 7);
}
