//! Multipath TCP between two hosts.

use crate::pair::*;
use anabranch_stack::{
    Announcement, CloseReason, Config, Counter, Event, FlowId, PathEvent, Protocol, Recv, State,
    SubflowId,
};
use anabranch_wire::frame::Transmit;
use anabranch_wire::mptcp::{Capable, CapableFlags, MptcpOption};
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Class, Flags, Options};
use anabranch_wire::{Packet, Seq, icmp};
use smallvec::smallvec;
use std::time::Duration;

fn pair() -> Pair {
    Pair::new(
        Config {
            gso_max: 65_000,
            ..Config::default()
        },
        Config::default(),
    )
}

/// Joins over further address pairs, and waits until both sides have them.
fn join_all(pair: &mut Pair, client: FlowId, server: FlowId, more: &[(&str, &str)]) {
    for (local, remote) in more {
        pair.a
            .join(pair.now, client, addr(local), addr(remote), false)
            .expect("a join");
    }
    pair.run_until("all subflows are up", |pair| {
        [(A, client), (B, server)].into_iter().all(|(side, id)| {
            let info = pair.host(side).info(id).unwrap();
            let up = info
                .subflows
                .iter()
                .filter(|s| s.tcp.state == State::Established);
            up.count() == 1 + more.len()
        })
    });
}

#[test]
fn one_two_and_four_subflows_carry_both_ways() {
    let more = [
        ("10.0.1.1:0", "10.0.1.2:80"),
        ("[fd00::1]:0", "[fd00::2]:80"),
        ("10.0.3.1:0", "10.0.3.2:4711"),
    ];
    for joins in [0, 1, 3] {
        let mut pair = pair();
        let listener = pair.listen();
        let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
        join_all(&mut pair, c, s, &more[..joins]);
        let data = pattern(5_000_000);
        pair.transfer((A, c), (B, s), &data);
        pair.transfer((B, s), (A, c), &data);
        pair.run(Duration::from_secs(1));
        for (side, id) in [(A, c), (B, s)] {
            let info = pair.host(side).info(id).unwrap();
            assert!(matches!(info.protocol, Protocol::Mptcp(m) if m.version == 1 && !m.fallback));
            assert_eq!(
                (info.bytes_sent, info.bytes_received),
                (5_000_000, 5_000_000)
            );
            assert_eq!(info.subflows.len(), 1 + joins);
            for subflow in info.subflows {
                assert!(
                    subflow.tcp.stats.bytes_out > 0,
                    "{} of {} is idle",
                    subflow.id,
                    joins + 1
                );
                assert!(subflow.tcp.timing.srtt >= Some(2 * DELAY));
            }
        }
        assert_eq!(pair.count(B, Counter::MPTcpExtMPCapableSYNRX), 1);
        assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinSynRx), joins as u64);
        assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinAckRx), joins as u64);
        assert_eq!(
            pair.count(A, Counter::TcpOutRsts) + pair.count(B, Counter::TcpOutRsts),
            0
        );
    }
}

#[test]
fn an_orderly_close_leaves_nothing() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    join_all(&mut pair, c, s, &[("10.0.1.1:0", "10.0.1.2:80")]);
    pair.transfer((A, c), (B, s), &pattern(100_000));
    pair.a.shutdown(pair.now, c);
    pair.run_until("the end arrives", |pair| pair.has(B, &Event::PeerFin(s)));
    assert_eq!(pair.b.recv(pair.now, s, 1), Ok(Recv::Finished));
    pair.transfer((B, s), (A, c), &pattern(100_000));
    pair.b.release(pair.now, s);
    pair.run_until("closed", |pair| {
        pair.has(A, &Event::Closed(c, CloseReason::Finished))
    });
    assert_eq!(pair.a.recv(pair.now, c, 1), Ok(Recv::Finished));
    pair.a.release(pair.now, c);
    pair.run(Duration::from_secs(5));
    assert_eq!(
        pair.a.connections().count() + pair.b.connections().count(),
        0
    );
    assert!(pair.a.time_waits() + pair.b.time_waits() > 0);
    pair.run(Duration::from_secs(130));
    assert_eq!(pair.a.time_waits() + pair.b.time_waits(), 0);
    assert_eq!(pair.a.memory() + pair.b.memory(), 0);
    assert_eq!((pair.a.deadline(), pair.b.deadline()), (None, None));
}

#[test]
fn an_abort_ends_every_subflow_of_the_peer() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    join_all(&mut pair, c, s, &[("10.0.1.1:0", "10.0.1.2:80")]);
    pair.a.abort(pair.now, c);
    pair.run_until("reset", |pair| {
        pair.has(B, &Event::Closed(s, CloseReason::Reset))
    });
    assert!(pair.count(A, Counter::MPTcpExtMPFastcloseTx) > 0);
    assert!(pair.count(B, Counter::MPTcpExtMPFastcloseRx) > 0);
    pair.a.release(pair.now, c);
    pair.b.release(pair.now, s);
    pair.run(Duration::from_secs(1));
    assert_eq!(
        pair.a.connections().count() + pair.b.connections().count(),
        0
    );
}

#[test]
fn a_dead_path_is_left_and_the_bytes_arrive() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    join_all(&mut pair, c, s, &[("10.0.1.1:0", "10.0.1.2:80")]);
    pair.transfer((A, c), (B, s), &pattern(1_000_000));
    // The first path goes dark.
    pair.filter = Some(Box::new(|_, transmit| {
        let network = transmit.header[14];
        (network == 1).then_some(transmit)
    }));
    pair.transfer((A, c), (B, s), &pattern(3_000_000));
    pair.transfer((B, s), (A, c), &pattern(3_000_000));
}

#[test]
fn configured_addresses_are_announced_and_joined() {
    let announced = Announcement {
        id: 7,
        addr: "10.0.1.2".parse().unwrap(),
        port: None,
    };
    let config = Config {
        announce: vec![announced],
        ..Config::default()
    };
    let mut pair = Pair::new(Config::default(), config);
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    let event = PathEvent::Announced {
        id: 7,
        addr: addr("10.0.1.2:80"),
    };
    pair.run_until("announced", |pair| {
        pair.has(A, &Event::Path(c, event.clone()))
    });
    join_all(&mut pair, c, s, &[("10.0.1.1:0", "10.0.1.2:80")]);
    assert_eq!(pair.count(B, Counter::MPTcpExtAddAddrTx), 1);
    assert_eq!(pair.count(A, Counter::MPTcpExtAddAddr), 1);
    assert_eq!(pair.count(B, Counter::MPTcpExtEchoAdd), 1);

    pair.b.withdraw(pair.now, s, &[7]).unwrap();
    let gone = Event::Path(c, PathEvent::Withdrawn { id: 7 });
    pair.run_until("withdrawn", |pair| pair.has(A, &gone));
}

#[test]
fn a_backup_is_used_only_when_nothing_else_is() {
    let mut pair = pair();
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    pair.a
        .join(pair.now, c, addr("10.0.1.1:0"), addr("10.0.1.2:80"), true)
        .unwrap();
    let up = Event::Path(s, PathEvent::SubflowUp(SubflowId(1)));
    pair.run_until("the backup is up", |pair| pair.has(B, &up));
    pair.transfer((B, s), (A, c), &pattern(2_000_000));
    let sent = |pair: &Pair| -> Vec<u64> {
        pair.b
            .info(s)
            .unwrap()
            .subflows
            .iter()
            .map(|subflow| subflow.tcp.stats.bytes_out)
            .collect()
    };
    assert_eq!(sent(&pair)[1], 0);
    assert_eq!(pair.count(B, Counter::MPTcpExtMPJoinSynBackupRx), 1);

    pair.a.set_backup(pair.now, c, SubflowId(1), false).unwrap();
    pair.run(Duration::from_millis(100));
    assert_eq!(pair.count(B, Counter::MPTcpExtMPPrioRx), 1);
    // More than the window that the first subflow has by now.
    pair.transfer((B, s), (A, c), &pattern(16_000_000));
    assert!(sent(&pair)[1] > 0);
}

#[test]
fn options_removed_on_the_way_make_it_plain_tcp() {
    // What is removed: everything, or everything behind the SYNs.
    for (on_syns, counter) in [
        (true, Counter::MPTcpExtMPCapableFallbackSYNACK),
        (false, Counter::MPTcpExtMPCapableFallbackACK),
    ] {
        let mut pair = pair();
        let listener = pair.listen();
        pair.filter = Some(Box::new(move |_, mut transmit| {
            let syn = transmit.header[usize::from(transmit.ip_len) + 13] & 2 != 0;
            if syn == on_syns || !on_syns {
                strip(&mut transmit, on_syns || !syn);
            }
            Some(transmit)
        }));
        let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
        pair.transfer((A, c), (B, s), &pattern(300_000));
        pair.transfer((B, s), (A, c), &pattern(300_000));
        assert_eq!(pair.count(A, counter) + pair.count(B, counter), 1);
        let late = pair
            .a
            .join(pair.now, c, addr("10.0.1.1:0"), addr("10.0.1.2:80"), false);
        assert_eq!(late, Err(anabranch_stack::JoinError::NotMptcp));
    }
}

/// Overwrites MPTCP options with padding, as middleboxes do.
fn strip(transmit: &mut Transmit, wanted: bool) {
    if !wanted {
        return;
    }
    let mut at = usize::from(transmit.ip_len) + 20;
    while at < transmit.header.len() {
        let len = match transmit.header[at] {
            0 => return,
            1 => 1,
            _ => usize::from(transmit.header[at + 1]),
        };
        if transmit.header[at] == 30 {
            transmit.header[at..at + len].fill(1);
        }
        at += len;
    }
}

/// A SYN from a stranger with this MP_CAPABLE.
fn syn(capable: Capable) -> bytes::Bytes {
    let build = Build {
        src: addr("10.0.0.9:1000"),
        dst: addr("10.0.0.2:80"),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(1),
        ack: Seq(0),
        flags: Flags::SYN,
        window: 1000,
        urgent: 0,
        options: &Options::empty(Class::Syn),
        mptcp: &[MptcpOption::Capable(capable)],
    };
    let packet = build.transmit(smallvec![], 0).expect("a packet");
    packet.packets().next().expect("one packet").to_bytes()
}

#[test]
fn what_is_not_understood_is_answered_as_plain_tcp() {
    let hmac = CapableFlags {
        hmac: true,
        ..CapableFlags::default()
    };
    let extended = CapableFlags {
        extensibility: true,
        ..hmac
    };
    let no_hash = CapableFlags::default();
    for (version, flags, key, multipath) in [
        (1, hmac, None, true),
        (0, hmac, Some(7), true),
        (0, no_hash, Some(7), false),
        (1, extended, None, false),
        (1, no_hash, None, false),
    ] {
        let mut pair = pair();
        pair.listen();
        pair.inject(
            B,
            syn(Capable::Syn {
                version,
                flags,
                key,
            }),
        );
        let [answer] = &pair.sent(B)[..] else {
            panic!("one answer")
        };
        assert_eq!(answer.flags, Flags::SYN.with(Flags::ACK));
        assert_eq!(!answer.mptcp.is_empty(), multipath);
        let info = pair.b.connections().next().unwrap();
        assert_eq!(info.protocol != Protocol::Tcp, multipath);
        assert_eq!(pair.count(B, Counter::MptcpCalls) > 0, multipath);
    }
}

#[test]
fn an_extension_of_version_0_is_not_answered_at_all() {
    let extended = Capable::Syn {
        version: 0,
        flags: CapableFlags {
            extensibility: true,
            hmac: true,
            ..CapableFlags::default()
        },
        key: Some(7),
    };
    let mut pair = pair();
    pair.listen();
    pair.inject(B, syn(extended));
    assert_eq!((pair.sent(B).len(), pair.b.connections().count()), (0, 0));
}

#[test]
fn push_stands_on_the_last_of_a_burst_only() {
    let config = Config {
        gso_max: 65_000,
        ..Config::default()
    };
    let mut pair = Pair::new(config.clone(), config);
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    pair.transfer((A, c), (B, s), &pattern(4_000_000));
    pair.run(Duration::from_secs(1));
    // Now the window is wide.
    let pushed = |packet: &Packet| packet.flags.has(Flags::PSH);
    let before = pair.sent(A).len();
    pair.transfer((A, c), (B, s), &pattern(500_000));
    let sent = &pair.sent(A)[before..];
    let data = sent.iter().filter(|packet| !packet.payload.is_empty());
    assert!(data.count() > 300);
    assert_eq!(sent.iter().filter(|packet| pushed(packet)).count(), 1);
}

#[test]
fn a_path_that_takes_less_is_learnt_for_its_subflow_alone() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), true);
    join_all(&mut pair, c, s, &[("[fd00::1]:0", "[fd00::2]:80")]);
    let v6 = |transmit: &Transmit| transmit.is_ipv6();
    pair.filter = Some(Box::new(move |side, transmit| {
        (side == B || !v6(&transmit) || transmit.total_len() <= 1300).then_some(transmit)
    }));
    let data = pattern(1_000_000);
    let (mut rest, mut got, mut told) = (data.clone(), Vec::new(), false);
    pair.run_until("everything arrived", |pair| {
        let taken = pair.a.send(pair.now, c, rest.clone()).unwrap();
        rest = rest.slice(taken..);
        pair.settle();
        if !told && let Some(lost) = pair.lost.iter().rfind(|t| t.total_len() > 1300) {
            let router = "fd00::fe".parse().unwrap();
            let quoted = lost.packets().next().unwrap().to_bytes();
            let message = icmp::packet_too_big(router, &quoted, 1300).unwrap();
            pair.inject(A, message.to_bytes());
            told = true;
        }
        read(pair, (B, s), &mut got);
        got.len() >= data.len()
    });
    assert!(got == data[..]);
    let subflows = pair.a.info(c).unwrap().subflows;
    assert!(subflows[0].tcp.sizes.snd_mss > 1300);
    assert!(subflows[1].tcp.sizes.snd_mss <= 1300 - 60);
}
