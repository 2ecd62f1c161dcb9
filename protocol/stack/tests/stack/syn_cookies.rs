//! SYNs answered without keeping anything of them: RFC 4987 §3.6.

use crate::pair::*;
use anabranch_stack::{
    Config, ConnectConfig, Counter, FlowId, ListenConfig, ListenerId, SynCookies,
};
use anabranch_tcp::Ecn;
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Class, Flags, Options};
use anabranch_wire::{Packet, Seq};
use bytes::Bytes;
use smallvec::smallvec;
use std::time::Duration;

const PLAIN: ConnectConfig = ConnectConfig {
    mptcp: false,
    fast_open: false,
};

fn always() -> Config {
    Config {
        syn_cookies: SynCookies::Always,
        ..Config::default()
    }
}

fn connect(pair: &mut Pair) -> FlowId {
    pair.a
        .connect(pair.now, addr("10.0.0.1:4000"), addr("10.0.0.2:80"), PLAIN)
        .unwrap()
}

/// A segment from anywhere, without options.
fn stray(from: u32, flags: Flags, seq: u32, ack: u32) -> Bytes {
    let [_, b, c, d] = from.to_be_bytes();
    let build = Build {
        src: ([11, b, c, d], 1000 + (from >> 24) as u16).into(),
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
        mptcp: &[],
    };
    let packet = build.transmit(smallvec![], 0).expect("a packet");
    packet.packets().next().expect("one packet").to_bytes()
}

fn listen(pair: &mut Pair, backlog: usize) -> ListenerId {
    let config = ListenConfig {
        backlog,
        ..ListenConfig::port(PORT)
    };
    pair.b.listen(config).unwrap()
}

#[test]
fn a_flood_of_syns_fills_nothing_and_clients_get_in_meanwhile() {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = listen(&mut pair, 16);
    // Those from whom the flood pretends to come answer nothing.
    pair.filter = Some(Box::new(|_, transmit| {
        let to = Packet::parse(&transmit.packets().next()?.to_bytes()).ok()?;
        (!to.dst.ip().to_string().starts_with("11.")).then_some(transmit)
    }));
    for from in 0..20 {
        pair.inject(B, stray(from, Flags::SYN, from, 0));
    }
    let full = (pair.b.connections().count(), pair.b.memory());
    assert_eq!(full.0, 16);
    for from in 20..100_000 {
        pair.inject(B, stray(from, Flags::SYN, from, 0));
        pair.lost.clear();
        if from == 50_000 {
            let data = pattern(100_000);
            let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
            pair.transfer((A, c), (B, s), &data);
            pair.transfer((B, s), (A, c), &data);
            pair.a.abort(pair.now, c);
            pair.run(Duration::from_millis(20));
            pair.b.release(pair.now, s);
            pair.settle();
        }
        assert_eq!((pair.b.connections().count(), pair.b.memory()), full);
    }
    assert_eq!(pair.count(B, Counter::TcpExtSyncookiesRecv), 1);
    assert_eq!(pair.count(B, Counter::TcpExtSyncookiesSent), 100_001 - 16);
    assert_eq!(
        pair.count(B, Counter::TcpExtTCPReqQFullDoCookies),
        100_001 - 16
    );
}

#[test]
fn what_the_handshake_agreed_on_comes_back_with_the_cookie() {
    let mut client = Config::default();
    client.tcp.ecn = Ecn::Classic;
    client.mtu = 1400;
    let mut pair = Pair::new(client, always());
    let listener = listen(&mut pair, 16);
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    let syn = &pair.sent(A)[0];
    let syn_ack = &pair.sent(B)[0];
    let (Options::Syn(asked), Options::Syn(answered)) = (&syn.options, &syn_ack.options) else {
        panic!("SYNs");
    };
    assert_eq!(asked.sack_permitted, answered.sack_permitted);
    assert!(answered.window_scale.is_some() && syn_ack.flags.has(Flags::ECE));
    // More than an unscaled window at once, in segments that the client can take.
    pair.transfer((B, s), (A, c), &pattern(3_000_000));
    pair.transfer((A, c), (B, s), &pattern(3_000_000));
    let data: Vec<Packet> = pair
        .sent(B)
        .into_iter()
        .filter(|p| p.payload.len() > 500)
        .collect();
    // 1360 is remembered as 1300; timestamps take 12.
    assert_eq!(data.iter().map(|p| p.payload.len()).max(), Some(1288));
    assert!(data.iter().all(|p| p.ecn() == 2), "ECN");
    let before = pair.log.len();
    let mut lost = false;
    pair.filter = Some(Box::new(move |side, transmit| {
        let drop =
            side == A && transmit.payload_len() > 1000 && !std::mem::replace(&mut lost, true);
        (!drop).then_some(transmit)
    }));
    pair.transfer((A, c), (B, s), &pattern(200_000));
    let sacks = pair.log[before..].iter().filter(|(side, bytes)| {
        let packet = Packet::parse(bytes).unwrap();
        *side == B && matches!(&packet.options, Options::Segment(o) if !o.sack.is_empty())
    });
    assert!(sacks.count() > 0, "SACK");
}

#[test]
fn without_timestamps_only_the_segment_size_is_remembered() {
    let mut client = Config::default();
    client.tcp.timestamps = false;
    client.tcp.ecn = Ecn::Classic;
    let mut pair = Pair::new(client, always());
    let listener = listen(&mut pair, 16);
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    let syn_ack = &pair.sent(B)[0];
    let Options::Syn(options) = &syn_ack.options else {
        panic!("a SYN")
    };
    assert_eq!(
        (options.window_scale, options.sack_permitted),
        (None, false)
    );
    assert!(options.mss.is_some() && !syn_ack.flags.has(Flags::ECE));
    pair.transfer((B, s), (A, c), &pattern(300_000));
    pair.transfer((A, c), (B, s), &pattern(300_000));
}

#[test]
fn payload_on_the_segment_that_completes_the_handshake_is_taken() {
    let mut pair = Pair::new(Config::default(), always());
    let listener = listen(&mut pair, 16);
    let c = connect(&mut pair);
    pair.a.send(pair.now, c, pattern(500)).unwrap();
    pair.a.shutdown(pair.now, c);
    let mut bare = false;
    // The acknowledgement without payload is lost.
    pair.filter = Some(Box::new(move |side, transmit| {
        let packet = Packet::parse(&transmit.packets().next()?.to_bytes()).ok()?;
        let third = side == A && packet.flags == Flags::ACK && transmit.payload_len() == 0;
        let drop = third && !std::mem::replace(&mut bare, true);
        (!drop).then_some(transmit)
    }));
    let mut server = None;
    pair.run_until("accepted", |pair| {
        server = pair.b.accept(listener);
        server.is_some()
    });
    let mut got = Vec::new();
    read(&mut pair, (B, server.unwrap()), &mut got);
    assert_eq!(got, pattern(500));
}

#[test]
fn an_old_cookie_is_refused() {
    let mut pair = Pair::new(Config::default(), always());
    let listener = listen(&mut pair, 16);
    pair.filter = Some(Box::new(|side, transmit| (side == B).then_some(transmit)));
    pair.inject(B, stray(1, Flags::SYN, 1000, 0));
    let cookie = pair.sent(B)[0].seq;
    pair.run(Duration::from_secs(121));
    // Others keep cookies in use.
    pair.inject(B, stray(2, Flags::SYN, 1000, 0));
    pair.inject(B, stray(1, Flags::ACK, 1001, cookie.0.wrapping_add(1)));
    assert_eq!(pair.b.accept(listener), None);
    assert_eq!(pair.count(B, Counter::TcpExtSyncookiesFailed), 1);
    assert_eq!(pair.count(B, Counter::TcpOutRsts), 1);
}

#[test]
fn forged_cookies_are_refused() {
    let mut pair = Pair::new(Config::default(), always());
    let listener = listen(&mut pair, 16);
    pair.inject(B, stray(1, Flags::ACK, 1001, 77));
    assert_eq!(
        pair.count(B, Counter::TcpExtSyncookiesFailed),
        0,
        "none is out"
    );
    pair.inject(B, stray(1, Flags::SYN, 1000, 0));
    let cookie = pair.sent(B).last().unwrap().seq.0;
    for bit in 0..32 {
        let forged = (cookie ^ 1 << bit).wrapping_add(1);
        pair.inject(B, stray(1, Flags::ACK, 1001, forged));
    }
    pair.inject(B, stray(1, Flags::ACK, 1002, cookie.wrapping_add(1)));
    pair.inject(B, stray(2, Flags::ACK, 1001, cookie.wrapping_add(1)));
    assert_eq!(pair.b.accept(listener), None);
    assert_eq!(pair.count(B, Counter::TcpExtSyncookiesFailed), 34);
    assert_eq!(pair.b.connections().count(), 0);
    pair.inject(B, stray(1, Flags::ACK, 1001, cookie.wrapping_add(1)));
    assert!(pair.b.accept(listener).is_some());
}

#[test]
fn a_full_accept_queue_makes_the_owner_of_a_cookie_wait() {
    let mut pair = Pair::new(Config::default(), always());
    let listener = listen(&mut pair, 1);
    let syn = |pair: &mut Pair, from| {
        pair.inject(B, stray(from, Flags::SYN, 1000, 0));
        pair.sent(B).last().unwrap().seq.0.wrapping_add(1)
    };
    let cookies = [syn(&mut pair, 1), syn(&mut pair, 2)];
    pair.inject(B, stray(1, Flags::ACK, 1001, cookies[0]));
    pair.inject(B, stray(2, Flags::ACK, 1001, cookies[1]));
    assert_eq!(pair.count(B, Counter::TcpExtListenOverflows), 1);
    assert!(pair.b.accept(listener).is_some() && pair.b.accept(listener).is_none());
    pair.inject(B, stray(2, Flags::ACK, 1001, cookies[1]));
    assert!(pair.b.accept(listener).is_some());
}
