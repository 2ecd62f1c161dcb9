//! Packets that belong to nobody, and ICMP.

use crate::pair::*;
use anabranch_stack::{Config, Counter, LocalAddrs};
use anabranch_wire::frame::Transmit;
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Class, Flags, Options};
use anabranch_wire::{Packet, Seq, icmp};
use bytes::Bytes;
use smallvec::smallvec;
use std::time::Duration;

/// A segment to host B from someone it does not know.
fn segment(flags: Flags, payload: &'static [u8]) -> Bytes {
    stray(flags, payload)
        .packets()
        .next()
        .expect("one packet")
        .to_bytes()
}

fn stray(flags: Flags, payload: &'static [u8]) -> Transmit {
    let build = Build {
        src: addr("10.0.0.9:4321"),
        dst: addr("10.0.0.2:9999"),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(1000),
        ack: Seq(77),
        flags,
        window: 1000,
        urgent: 0,
        options: &Options::empty(Class::of(flags)),
        mptcp: &[],
    };
    build
        .transmit(smallvec![Bytes::from_static(payload)], 0)
        .expect("a packet")
}

fn pair(config: Config) -> Pair {
    Pair::new(Config::default(), config)
}

#[test]
fn a_syn_to_nobody_is_reset() {
    let mut pair = pair(Config::default());
    pair.inject(B, segment(Flags::SYN, b""));
    let [reset] = &pair.sent(B)[..] else {
        panic!("one answer")
    };
    assert_eq!(reset.flags, Flags::RST.with(Flags::ACK));
    assert_eq!((reset.seq, reset.ack), (Seq(0), Seq(1001)));
    assert_eq!(
        (reset.src, reset.dst),
        (addr("10.0.0.2:9999"), addr("10.0.0.9:4321"))
    );
    assert_eq!(pair.count(B, Counter::TcpOutRsts), 1);
}

#[test]
fn an_acknowledgement_to_nobody_is_reset_where_it_stands() {
    let mut pair = pair(Config::default());
    pair.inject(B, segment(Flags::ACK, b"hello"));
    let [reset] = &pair.sent(B)[..] else {
        panic!("one answer")
    };
    assert_eq!((reset.flags, reset.seq), (Flags::RST, Seq(77)));
}

#[test]
fn a_reset_is_not_answered() {
    let mut pair = pair(Config::default());
    pair.inject(B, segment(Flags::RST, b""));
    assert_eq!(pair.sent(B).len(), 0);
}

#[test]
fn resets_are_limited_in_rate() {
    let mut pair = pair(Config {
        reply_rate: 10,
        ..Config::default()
    });
    for _ in 0..100 {
        pair.inject(B, segment(Flags::SYN, b""));
    }
    assert_eq!(pair.sent(B).len(), 10);
    assert_eq!(pair.count(B, Counter::RepliesSuppressed), 90);
    pair.run(Duration::from_secs(1));
    pair.inject(B, segment(Flags::SYN, b""));
    assert_eq!(pair.sent(B).len(), 11);
}

#[test]
fn a_wrong_checksum_is_counted_and_dropped() {
    let mut pair = pair(Config::default());
    let mut bytes = segment(Flags::SYN, b"").to_vec();
    bytes[24] ^= 1;
    pair.inject(B, bytes.into());
    assert_eq!(pair.sent(B).len(), 0);
    assert_eq!(pair.count(B, Counter::TcpInCsumErrors), 1);
}

#[test]
fn packets_to_others_are_dropped() {
    let local = LocalAddrs::List(vec!["10.0.0.3".parse().unwrap()]);
    let mut pair = pair(Config {
        local,
        ..Config::default()
    });
    pair.inject(B, segment(Flags::SYN, b""));
    assert_eq!(pair.sent(B).len(), 0);
    assert_eq!(pair.count(B, Counter::IpInAddrErrors), 1);
}

#[test]
fn an_echo_request_is_answered_if_so_configured() {
    // An ICMP echo request from 10.0.0.9 to 10.0.0.2: identifier 1, sequence number 2.
    let mut request = vec![
        0x45, 0, 0, 32, 0, 0, 0, 0, 64, 1, 0, 0, 10, 0, 0, 9, 10, 0, 0, 2, 8, 0, 0, 0, 0, 1, 0, 2,
        b'p', b'i', b'n', b'g',
    ];
    let check = !anabranch_wire::checksum::sum(&request[..20]);
    request[10..12].copy_from_slice(&check.to_be_bytes());
    let check = !anabranch_wire::checksum::sum(&request[20..]);
    request[22..24].copy_from_slice(&check.to_be_bytes());
    for (icmp_echo, answers) in [(false, 0), (true, 1)] {
        let mut pair = pair(Config {
            icmp_echo,
            ..Config::default()
        });
        pair.inject(B, Bytes::from(request.clone()));
        assert_eq!(pair.log.len(), answers);
        assert_eq!(pair.count(B, Counter::IcmpOutEchoReps), answers as u64);
        if let Some((_, reply)) = pair.log.first() {
            assert_eq!(&reply[12..20], &[10, 0, 0, 2, 10, 0, 0, 9]);
            assert_eq!(&reply[20..22], &[0, 0]);
            assert_eq!(&reply[24..], &request[24..]);
        }
    }
}

#[test]
fn a_path_that_takes_less_gets_smaller_segments() {
    let mut pair = pair(Config::default());
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    let mut told = false;
    let data = pattern(200_000);
    let mut rest = data.clone();
    let mut got = Vec::new();
    pair.filter = Some(Box::new(move |side, transmit| {
        (side == B || transmit.total_len() <= 1400).then_some(transmit)
    }));
    pair.run_until("everything arrived", |pair| {
        let taken = pair.a.send(pair.now, c, rest.clone()).unwrap();
        rest = rest.slice(taken..);
        pair.settle();
        if !told {
            // What a router in between says when the first large packet reaches it.
            let packet = Build {
                src: pair.a.info(c).unwrap().local,
                dst: addr("10.0.0.2:80"),
                ttl: 64,
                traffic_class: 0,
                ident: 0,
                seq: pair.sent(A).last().unwrap().seq + 1,
                ack: Seq(0),
                flags: Flags::ACK,
                window: 0,
                urgent: 0,
                options: &Options::empty(Class::Segment),
                mptcp: &[],
            };
            let quoted = packet
                .transmit(smallvec![pattern(1400)], 0)
                .unwrap()
                .to_bytes();
            let message = icmp::packet_too_big("10.0.0.254".parse().unwrap(), &quoted, 1400);
            pair.inject(A, message.unwrap().to_bytes());
            told = true;
        }
        read(pair, (B, s), &mut got);
        got.len() >= data.len()
    });
    assert!(got == data[..]);
    assert!(pair.a.info(c).unwrap().subflows[0].tcp.sizes.snd_mss <= 1400 - 52);
    // Later connections need not hear it again, for ten minutes.
    let path_mss = |pair: &mut Pair, mptcp| {
        let (c, _) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), mptcp);
        pair.a.info(c).unwrap().subflows[0].tcp.sizes.path_mss
    };
    assert_eq!(path_mss(&mut pair, false), 1360);
    assert_eq!(path_mss(&mut pair, true), 1360);
    pair.now = pair.now + Duration::from_secs(600);
    assert_eq!(path_mss(&mut pair, false), 1460);
}

#[test]
fn an_icmp_error_about_nothing_in_flight_is_not_believed() {
    let mut pair = pair(Config::default());
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    let last = pair.sent(A).last().cloned().unwrap();
    let forged = Build {
        src: last.src,
        dst: last.dst,
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: last.seq + 1_000_000,
        ack: Seq(0),
        flags: Flags::ACK,
        window: 0,
        urgent: 0,
        options: &Options::empty(Class::Segment),
        mptcp: &[],
    };
    let quoted = forged.transmit(smallvec![], 0).unwrap().to_bytes();
    let router = "10.0.0.254".parse().unwrap();
    let before = pair.a.info(c).unwrap().subflows[0].tcp.sizes.snd_mss;
    pair.inject(
        A,
        icmp::packet_too_big(router, &quoted, 600)
            .unwrap()
            .to_bytes(),
    );
    let dead = icmp::unreachable(router, &quoted, icmp::Unreachable::Port);
    pair.inject(A, dead.unwrap().to_bytes());
    assert_eq!(
        pair.a.info(c).unwrap().subflows[0].tcp.sizes.snd_mss,
        before
    );
    pair.transfer((A, c), (B, s), &pattern(10_000));
}

#[test]
fn the_packets_of_a_handshake_are_those_of_the_book() {
    let mut pair = pair(Config::default());
    let listener = pair.listen();
    let (_, _) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    let flags = |side| {
        pair.sent(side)
            .iter()
            .map(|p: &Packet| p.flags)
            .collect::<Vec<_>>()
    };
    assert_eq!(flags(A), [Flags::SYN, Flags::ACK]);
    assert_eq!(flags(B), [Flags::SYN.with(Flags::ACK)]);
    let ports = pair.sent(A)[0].src.port();
    assert!(ports >= 49152, "an ephemeral port");
}
