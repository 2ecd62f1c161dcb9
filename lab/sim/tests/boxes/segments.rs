//! Payload, and what a segment is.

use crate::{feed, parsed, pass, segment, v4};
use anabranch_sim::Middlebox;
use anabranch_sim::middlebox::{Alter, Keep, Keepalive, Merge, Respool, Split};
use anabranch_tcp::Instant;
use anabranch_wire::tcp::Flags;
use anabranch_wire::{Packet, Seq};
use std::time::Duration;

const DATA: Flags = Flags::ACK;

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
fn two_segments_become_one_with_the_options_of_either() {
    let push = DATA.with(Flags::PSH);
    for (keep, data_ack) in [(Keep::First, 1), (Keep::Last, 2)] {
        let mut merge = Merge::new(keep, Duration::from_millis(1));
        assert!(feed(&mut merge, &segment(10, DATA, 1, b"ab")).is_empty());
        let merged = feed(&mut merge, &segment(12, push, 2, b"cde"));
        assert_eq!(merged.len(), 1);
        assert_eq!((merged[0].seq, merged[0].flags), (Seq(10), push));
        assert_eq!(merged[0].payload.len(), 5);
        assert_eq!(merged[0].mptcp[..], [crate::dss(data_ack)]);
    }
}

#[test]
fn what_does_not_follow_is_not_merged() {
    let mut merge = Merge::new(Keep::First, Duration::from_millis(1));
    feed(&mut merge, &segment(10, DATA, 1, b"ab"));
    assert_eq!(feed(&mut merge, &segment(13, DATA, 2, b"cd")).len(), 2);
    feed(&mut merge, &segment(15, DATA, 1, b"ab"));
    assert_eq!(feed(&mut merge, &segment(17, DATA, 2, b"")).len(), 2);
    // Nor held longer than agreed.
    feed(&mut merge, &segment(17, DATA, 1, b"ab"));
    assert_eq!(merge.deadline(), Some(Instant(1_000_000)));
    assert_eq!(merge.release(Instant(1_000_000)).len(), 1);
    assert_eq!(merge.deadline(), None);
}

#[test]
fn one_byte_value_becomes_another() {
    let alter = Alter {
        from: b'l',
        to: b'L',
    };
    let passed = alter.clone().pass(Instant(0), v4()).remove(0);
    assert!(passed.ends_with(b"heLLo"));
    // With a right checksum, and nothing else is another.
    let parsed = parsed(&[passed]);
    assert_eq!(parsed, [Packet::parse(&v4()).unwrap()]);
}

#[test]
fn sent_again_from_the_middle_of_one_to_the_middle_of_the_next() {
    for (keep, data_ack) in [(Keep::First, 1), (Keep::Last, 2)] {
        let mut respool = Respool::new(keep);
        assert_eq!(feed(&mut respool, &segment(10, DATA, 1, b"abcd")).len(), 1);
        let next = segment(14, DATA, 2, b"efgh");
        let out = respool.pass(Instant(0), next.clone());
        assert_eq!(out[0], next);
        assert!(out[1].ends_with(b"cdef"));
        let again = &parsed(&out)[1];
        assert_eq!((again.seq, again.payload.len()), (Seq(12), 4));
        assert_eq!(again.mptcp[..], [crate::dss(data_ack)]);
    }
}

#[test]
fn a_keepalive_is_one_back_and_has_no_options() {
    for garbage in [0, 1] {
        let mut keepalive = Keepalive::new(Duration::from_secs(1), garbage);
        assert_eq!(keepalive.deadline(), None);
        assert_eq!(
            feed(&mut keepalive, &segment(10, DATA, 1, b"abcd")).len(),
            1
        );
        let due = keepalive.deadline().expect("a probe is due");
        let probe = parsed(&keepalive.release(due)).remove(0);
        assert_eq!((probe.seq, probe.payload.len()), (Seq(13), garbage));
        assert!(probe.mptcp.is_empty());
        // A connection that ends is left alone.
        feed(&mut keepalive, &segment(14, DATA.with(Flags::FIN), 1, b""));
        assert_eq!(keepalive.deadline(), None);
    }
}
