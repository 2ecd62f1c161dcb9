//! What a stack refuses so that what it has goes on.

use crate::pair::*;
use anabranch_stack::{
    Config, ConnectConfig, ConnectError, Counter, Event, FlowId, Limits, ListenConfig, SynCookies,
};
use anabranch_wire::Seq;
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Class, Flags, Options};
use bytes::Bytes;
use smallvec::smallvec;
use std::time::Duration;

const PLAIN: ConnectConfig = ConnectConfig {
    mptcp: false,
    fast_open: false,
};

fn limited(limits: Limits) -> Config {
    Config {
        limits,
        ..Config::default()
    }
}

fn connect(pair: &mut Pair) -> FlowId {
    pair.a
        .connect(pair.now, addr("10.0.0.1:0"), addr("10.0.0.2:80"), PLAIN)
        .unwrap()
}

fn syn(from: u16) -> Bytes {
    let build = Build {
        src: ([10, 0, 1, 1], from).into(),
        dst: addr("10.0.0.2:80"),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(1000),
        ack: Seq(0),
        flags: Flags::SYN,
        window: 1000,
        urgent: 0,
        options: &Options::empty(Class::Syn),
        mptcp: &[],
    };
    let packet = build.transmit(smallvec![], 0).expect("a packet");
    packet.packets().next().expect("one packet").to_bytes()
}

#[test]
fn over_the_memory_budget_new_connections_wait_and_established_ones_go_on() {
    let limits = Limits {
        memory: 256 << 10,
        ..Limits::default()
    };
    let mut pair = Pair::new(Config::default(), limited(limits));
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    let more: Vec<FlowId> = (0..100).map(|_| connect(&mut pair)).collect();
    pair.run(Duration::from_millis(100));
    let open = more
        .iter()
        .filter(|id| pair.has(A, &Event::Established(**id)))
        .count();
    assert!((30..100).contains(&open), "{open} of 100");
    assert!(pair.count(B, Counter::TcpExtTCPBacklogDrop) > 0);
    assert!(pair.b.memory() <= 256 << 10);
    pair.transfer((A, c), (B, s), &pattern(1_000_000));
    pair.transfer((B, s), (A, c), &pattern(1_000_000));
    assert!(pair.b.memory() <= 256 << 10);

    // Others finish, and whoever waits gets in.
    while let Some(id) = pair.b.accept(listener) {
        pair.b.abort(pair.now, id);
        pair.b.release(pair.now, id);
    }
    pair.run(Duration::from_secs(10));
    let open = more
        .iter()
        .filter(|id| pair.has(A, &Event::Established(**id)))
        .count();
    assert!(open > 30, "{open} of 100");
}

#[test]
fn promised_windows_do_not_break_the_budget_and_no_byte_is_lost() {
    const MEMORY: usize = 1 << 20;
    let limits = Limits {
        memory: MEMORY,
        ..Limits::default()
    };
    let mut client = Config::default();
    client.tcp.buffers.send_initial = 400_000;
    let mut pair = Pair::new(client, limited(limits));
    let listener = pair.listen();
    let flows: Vec<_> = (0..20)
        .map(|i| {
            let mptcp = i % 2 == 1;
            pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), mptcp)
        })
        .collect();
    let data = pattern(400_000);
    for (client, _) in &flows {
        assert_eq!(pair.a.send(pair.now, *client, data.clone()), Ok(data.len()));
    }
    // Nobody reads.
    for _ in 0..100 {
        pair.run(Duration::from_millis(100));
        assert!(pair.b.memory() <= MEMORY + MEMORY / 4);
    }
    // Now they do.
    let mut got = vec![Vec::new(); flows.len()];
    pair.run_until("everything arrived", |pair| {
        for ((_, server), got) in flows.iter().zip(&mut got) {
            read(pair, (B, *server), got);
        }
        assert!(pair.b.memory() <= MEMORY + MEMORY / 4);
        got.iter().all(|got| got.len() >= data.len())
    });
    assert!(got.iter().all(|got| got[..] == data[..]));
}

#[test]
fn no_more_connections_than_configured() {
    let limits = Limits {
        flows: 5,
        ..Limits::default()
    };
    let mut pair = Pair::new(limited(limits), Config::default());
    pair.listen();
    for _ in 0..5 {
        connect(&mut pair);
    }
    let sixth = pair
        .a
        .connect(pair.now, addr("10.0.0.1:0"), addr("10.0.0.2:80"), PLAIN);
    assert_eq!(sixth, Err(ConnectError::Limit));
}

#[test]
fn a_full_accept_queue_makes_peers_wait() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair
        .b
        .listen(ListenConfig {
            backlog: 2,
            ..ListenConfig::port(PORT)
        })
        .unwrap();
    let first = [connect(&mut pair), connect(&mut pair)];
    pair.run(Duration::from_millis(100));
    let third = connect(&mut pair);
    pair.run(Duration::from_millis(100));
    assert!(first.iter().all(|id| pair.has(A, &Event::Established(*id))));
    assert!(!pair.has(A, &Event::Established(third)));
    assert_eq!(pair.count(B, Counter::TcpExtListenOverflows), 1);
    assert_eq!(
        pair.count(B, Counter::TcpOutRsts),
        0,
        "dropped, not refused"
    );

    assert!(pair.b.accept(listener).is_some());
    pair.run_until("the third gets in", |pair| {
        pair.has(A, &Event::Established(third))
    });
    pair.run(Duration::from_millis(100));
    assert_eq!(std::iter::from_fn(|| pair.b.accept(listener)).count(), 2);
}

#[test]
fn half_open_connections_are_bounded_and_end() {
    let never = Config {
        syn_cookies: SynCookies::Never,
        ..Config::default()
    };
    let mut pair = Pair::new(Config::default(), never);
    pair.b
        .listen(ListenConfig {
            backlog: 4,
            ..ListenConfig::port(PORT)
        })
        .unwrap();
    // Who sent these never answers.
    pair.filter = Some(Box::new(|side, transmit| (side == A).then_some(transmit)));
    for port in 1..=10 {
        pair.inject(B, syn(port));
    }
    assert_eq!(pair.b.connections().count(), 4);
    assert_eq!(pair.count(B, Counter::TcpExtTCPReqQFullDrop), 6);
    pair.run(Duration::from_secs(200));
    assert_eq!(pair.b.connections().count(), 0);
    assert_eq!(pair.b.memory(), 0);
    pair.inject(B, syn(11));
    assert_eq!(pair.b.connections().count(), 1, "there is room again");
}
