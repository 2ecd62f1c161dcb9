//! Handshakes of peers until they are proven: little is kept of them, and they are answered as
//! their connections would (RFC 9293 §3.10.7.4, RFC 4987 §3.5).

use crate::pair::*;
use anabranch_stack::{Config, Counter, ListenConfig, ListenerId, Protocol, SocketOption, State};
use anabranch_wire::mptcp::{Capable, CapableFlags, MptcpOption};
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Class, Flags, Options, SynOptions};
use anabranch_wire::{Packet, Seq};
use bytes::Bytes;
use smallvec::smallvec;
use std::time::Duration;

const IRS: u32 = 1000;

/// A segment of one and the same peer.
fn segment(flags: Flags, (seq, ack): (u32, u32), mptcp: &[MptcpOption]) -> Bytes {
    let options = match Class::of(flags) {
        Class::Syn => Options::Syn(SynOptions {
            mss: Some(1000),
            window_scale: Some(5),
            ..SynOptions::default()
        }),
        class => Options::empty(class),
    };
    let build = Build {
        src: addr("10.0.0.1:4000"),
        dst: addr("10.0.0.2:80"),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(seq),
        ack: Seq(ack),
        flags,
        window: 1000,
        urgent: 0,
        options: &options,
        mptcp,
    };
    let packet = build.transmit(smallvec![], 0).expect("a packet");
    packet.packets().next().expect("one packet").to_bytes()
}

fn syn(mptcp: &[MptcpOption]) -> Bytes {
    segment(Flags::SYN, (IRS, 0), mptcp)
}

fn ack(of: &Packet, mptcp: &[MptcpOption]) -> Bytes {
    segment(Flags::ACK, (IRS + 1, of.seq.0.wrapping_add(1)), mptcp)
}

fn capable() -> MptcpOption {
    MptcpOption::Capable(Capable::Syn {
        version: 1,
        flags: CapableFlags {
            hmac: true,
            ..CapableFlags::default()
        },
        key: None,
    })
}

/// Host B, whose packets reach nobody.
fn pair() -> (Pair, ListenerId) {
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    pair.filter = Some(Box::new(|_, _| None));
    (pair, listener)
}

/// What host B has sent since this was asked last.
fn said(pair: &mut Pair) -> Vec<Packet> {
    pair.settle();
    let parse = |transmit: &anabranch_wire::frame::Transmit| {
        let packet = transmit.packets().next().expect("a packet");
        Packet::parse_verified(&packet.to_bytes()).expect("a good packet")
    };
    let packets = pair.lost.iter().map(parse).collect();
    pair.lost.clear();
    packets
}

/// The one packet among them.
fn answer(pair: &mut Pair) -> Packet {
    let mut all = said(pair);
    assert_eq!(all.len(), 1, "{all:?}");
    all.remove(0)
}

const SYN_ACK: Flags = Flags(Flags::SYN.0 | Flags::ACK.0);

#[test]
fn a_handshake_can_be_seen_but_is_no_connection_that_calls_reach() {
    let (mut pair, listener) = pair();
    pair.inject(B, syn(&[capable()]));
    let all: Vec<_> = pair.b.connections().collect();
    assert_eq!(all.len(), 1);
    assert_eq!(all[0].state, State::SynReceived);
    assert_eq!(all[0].remote, addr("10.0.0.1:4000"));
    let (now, id) = (pair.now, all[0].id);
    assert!(pair.b.info(id).is_none());
    pair.b.abort(now, id);
    pair.b.release(now, id);
    assert!(
        pair.b
            .find(addr("10.0.0.2:80"), addr("10.0.0.1:4000"))
            .is_none()
    );
    let first = answer(&mut pair);
    pair.inject(B, ack(&first, &[]));
    assert!(pair.b.accept(listener).is_some());
}

#[test]
fn a_syn_that_comes_again_gets_the_same_answer() {
    let (mut pair, listener) = pair();
    pair.inject(B, syn(&[capable()]));
    let first = answer(&mut pair);
    assert_eq!(first.flags, SYN_ACK);
    pair.inject(B, syn(&[capable()]));
    let again = answer(&mut pair);
    assert_eq!(
        (
            again.seq,
            again.ack,
            again.flags,
            &again.options,
            &again.mptcp
        ),
        (
            first.seq,
            first.ack,
            first.flags,
            &first.options,
            &first.mptcp
        )
    );
    assert_eq!(pair.b.connections().count(), 1);
    pair.inject(B, ack(&first, &[]));
    assert!(pair.b.accept(listener).is_some());
    assert_eq!(pair.b.connections().count(), 1);
}

#[test]
fn an_answer_that_nobody_hears_is_sent_six_times_and_nothing_is_left() {
    let (mut pair, _) = pair();
    pair.inject(B, syn(&[capable()]));
    let mut times = Vec::new();
    for second in 0..200 {
        let count = said(&mut pair).len();
        times.extend(std::iter::repeat_n(second, count));
        pair.run(Duration::from_secs(1));
    }
    // 1, 2, 4, 8 and 16 seconds after the one before.
    assert_eq!(times, [0, 1, 3, 7, 15, 31]);
    assert_eq!(pair.b.connections().count(), 0);
    assert_eq!(pair.b.memory(), 0);
    assert_eq!(pair.count(B, Counter::TcpAttemptFails), 1);
    pair.inject(B, syn(&[capable()]));
    assert_eq!(answer(&mut pair).flags, SYN_ACK, "its ends are free again");
}

#[test]
fn only_the_exact_reset_ends_a_handshake() {
    let (mut pair, _) = pair();
    pair.inject(B, syn(&[]));
    answer(&mut pair);
    pair.inject(B, segment(Flags::RST, (IRS + 100, 0), &[]));
    assert_eq!(answer(&mut pair).flags, Flags::ACK, "RFC 5961 §3.2");
    pair.inject(B, segment(Flags::RST, (IRS.wrapping_sub(5), 0), &[]));
    assert_eq!(pair.b.connections().count(), 1);
    pair.inject(B, segment(Flags::RST, (IRS + 1, 0), &[]));
    assert_eq!(pair.b.connections().count(), 0);
    assert_eq!(pair.count(B, Counter::TcpAttemptFails), 1);
    assert!(said(&mut pair).is_empty());
}

#[test]
fn who_acknowledges_something_else_is_reset_and_the_handshake_goes_on() {
    let (mut pair, listener) = pair();
    pair.inject(B, syn(&[]));
    let first = answer(&mut pair);
    let wrong = first.seq.0.wrapping_add(77);
    pair.inject(B, segment(Flags::ACK, (IRS + 1, wrong), &[]));
    let reset = answer(&mut pair);
    assert_eq!((reset.flags, reset.seq), (Flags::RST, Seq(wrong)));
    pair.inject(B, ack(&first, &[]));
    assert!(pair.b.accept(listener).is_some());
}

/// RFC 8684 §3.1: the option may have been the reason that the first was lost.
#[test]
fn a_syn_that_comes_again_without_mp_capable_makes_it_plain_tcp() {
    let (mut pair, listener) = pair();
    pair.inject(B, syn(&[capable()]));
    assert!(!answer(&mut pair).mptcp.is_empty());
    pair.inject(B, syn(&[]));
    let bare = answer(&mut pair);
    assert!(bare.mptcp.is_empty());
    // And so it stays when it is sent again by itself.
    pair.run(Duration::from_millis(3500));
    assert!(said(&mut pair).iter().all(|again| again.mptcp.is_empty()));
    pair.inject(B, ack(&bare, &[]));
    let id = pair.b.accept(listener).expect("a connection");
    let info = pair.b.info(id).expect("a connection");
    assert!(matches!(info.protocol, Protocol::Mptcp(mptcp) if mptcp.fallback));
}

#[test]
fn what_a_listener_is_set_to_meanwhile_does_not_change_what_was_agreed() {
    let (mut pair, listener) = pair();
    let buffer = |pair: &mut Pair, bytes| {
        let option = SocketOption::RecvBuffer(bytes);
        pair.b
            .set_listener_option(listener, &option)
            .expect("in range");
    };
    buffer(&mut pair, 1 << 20);
    pair.inject(B, syn(&[]));
    let first = answer(&mut pair);
    let Options::Syn(options) = &first.options else {
        panic!("{first:?}")
    };
    assert_eq!(options.window_scale, Some(5));
    buffer(&mut pair, 64_000);
    pair.inject(B, ack(&first, &[]));
    let id = pair.b.accept(listener).expect("a connection");
    assert_eq!(pair.b.options(id).map(|it| it.recv_buffer), Some(1 << 20));
}

#[test]
fn a_token_is_taken_while_its_handshake_lasts_and_free_after_it() {
    let (mut pair, _) = pair();
    pair.inject(B, syn(&[capable()]));
    let Some(MptcpOption::Capable(Capable::SynAck { key, .. })) =
        answer(&mut pair).mptcp.first().cloned()
    else {
        panic!("no MP_CAPABLE")
    };
    let token = anabranch_mptcp::keys::derive(anabranch_mptcp::Version::V1, key).token;
    let join = |pair: &mut Pair| {
        let join = MptcpOption::Join(anabranch_wire::mptcp::Join::Syn {
            backup: false,
            address_id: 1,
            token,
            nonce: 5,
        });
        let syn = Build {
            src: addr("10.0.0.1:4001"),
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
            mptcp: &[join],
        };
        let packet = syn.transmit(smallvec![], 0).expect("a packet");
        pair.inject(B, packet.packets().next().expect("one packet").to_bytes());
        said(pair)
    };
    // It overtook the third ACK: its SYN will come again.
    assert!(join(&mut pair).is_empty());
    pair.inject(B, segment(Flags::RST, (IRS + 1, 0), &[]));
    let refused = join(&mut pair);
    assert!(refused.iter().all(|it| it.flags.has(Flags::RST)) && refused.len() == 1);
}

#[test]
fn who_was_answered_has_a_place_however_many_come_after() {
    let mut config = Config::default();
    config.limits.flows = 2;
    let mut pair = Pair::new(Config::default(), config);
    let listener = pair
        .b
        .listen(ListenConfig::port(PORT))
        .expect("a free port");
    pair.filter = Some(Box::new(|_, _| None));
    pair.inject(B, syn(&[]));
    let first = answer(&mut pair);
    let (now, local) = (pair.now, addr("10.0.0.2:0"));
    let connect = |pair: &mut Pair| {
        let to = addr("10.0.0.9:80");
        pair.b.connect(now, local, to, Default::default())
    };
    assert!(connect(&mut pair).is_ok());
    assert!(connect(&mut pair).is_err(), "two are all");
    pair.lost.clear();
    pair.inject(B, ack(&first, &[]));
    assert!(pair.b.accept(listener).is_some());
}
