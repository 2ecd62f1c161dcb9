//! What middleboxes do to single packets.

use anabranch_sim::Middlebox;
use anabranch_sim::middlebox::{Filter, Keep, Nat, Renumber, Split, Strip};
use anabranch_sim::offload::split;
use anabranch_tcp::Instant;
use anabranch_wire::mptcp::{Dsn, Dss, MptcpOption};
use anabranch_wire::tcp::{Flags, Options, SegmentOptions};
use anabranch_wire::{Build, Packet, Seq};
use bytes::Bytes;
use smallvec::smallvec;

fn packet(src: &str, dst: &str, payload: &'static [u8]) -> Bytes {
    let options = SegmentOptions {
        sack: smallvec![(Seq(100), Seq(200)), (Seq(300), Seq(400))],
        ..SegmentOptions::default()
    };
    let dss = Dss {
        data_ack: Some(Dsn::Short(9)),
        ..Dss::default()
    };
    let transmit = Build {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        ttl: 64,
        traffic_class: 0,
        ident: 7,
        seq: Seq(1000),
        ack: Seq(50),
        flags: Flags::ACK.with(Flags::PSH),
        window: 100,
        urgent: 0,
        options: &Options::Segment(options),
        mptcp: &[MptcpOption::Dss(dss)],
    }
    .transmit(smallvec![Bytes::from_static(payload)], 0)
    .unwrap();
    split(&transmit).remove(0)
}

fn v4() -> Bytes {
    packet("10.0.0.1:1000", "10.0.0.2:443", b"hello")
}

fn pass(mut middlebox: impl Middlebox, packet: &Bytes) -> Vec<Packet> {
    let passed = middlebox.pass(Instant(0), packet.clone());
    passed
        .iter()
        .map(|p| Packet::parse_verified(p).unwrap())
        .collect()
}

#[test]
fn nat_translates_there_and_back() {
    for (inside, outside, peer) in [
        ("10.0.0.1:4660", "192.0.2.7:4656", "10.0.0.2:443"),
        ("[fd00::1]:4660", "[2001:db8::7]:4656", "[fd00::2]:443"),
    ] {
        let ip = |end: &str| end.parse::<std::net::SocketAddr>().unwrap().ip();
        let nat = Nat {
            inside: ip(inside),
            outside: ip(outside),
            flip: 4,
        };
        let out = pass(nat, &packet(inside, peer, b"x")).remove(0);
        assert_eq!(
            (out.src.to_string(), out.dst.to_string()),
            (outside.into(), peer.into())
        );
        let back = pass(nat, &packet(peer, outside, b"x")).remove(0);
        assert_eq!(
            (back.src.to_string(), back.dst.to_string()),
            (peer.into(), inside.into())
        );
    }
}

#[test]
fn renumbering_moves_seq_in_one_direction_and_ack_and_sack_in_the_other() {
    let renumber = Renumber::new(0xffff_ff00);
    let there = pass(renumber, &v4()).remove(0);
    assert_eq!((there.seq, there.ack), (Seq(1000 - 256), Seq(50)));
    let back = pass(renumber.counterpart(), &v4()).remove(0);
    assert_eq!((back.seq, back.ack), (Seq(1000), Seq(50 + 256)));
    let Options::Segment(options) = back.options else {
        panic!("no SYN");
    };
    assert_eq!(
        options.sack[..],
        [(Seq(356), Seq(456)), (Seq(556), Seq(656))]
    );
}

#[test]
fn a_cut_segment_is_the_same_bytes() {
    for (keep, first, last) in [(Keep::Both, 1, 1), (Keep::First, 1, 0), (Keep::Last, 0, 1)] {
        let parts = pass(Split(keep), &v4());
        assert_eq!(parts.len(), 2);
        assert_eq!((parts[0].seq, parts[1].seq), (Seq(1000), Seq(1002)));
        assert_eq!((parts[0].payload.len(), parts[1].payload.len()), (2, 3));
        assert_eq!((parts[0].mptcp.len(), parts[1].mptcp.len()), (first, last));
        assert_eq!(parts[0].flags, Flags::ACK);
        assert_eq!(parts[1].flags, Flags::ACK.with(Flags::PSH));
    }
}

#[test]
fn stripping_leaves_the_rest_as_it_was() {
    let stripped = pass(Strip::new(|s| s.subtype == 2), &v4()).remove(0);
    let mut expected = Packet::parse(&v4()).unwrap();
    expected.mptcp.clear();
    assert_eq!(stripped, expected);
    assert_eq!(
        pass(Strip::new(|s| s.subtype == 0), &v4())[0].mptcp.len(),
        1
    );
}

#[test]
fn a_filter_drops_what_it_is_told_to() {
    assert!(pass(Filter::new(|v, _| v.seq == Seq(1000)), &v4()).is_empty());
    assert_eq!(pass(Filter::new(|v, _| v.seq == Seq(1)), &v4()).len(), 1);
}
