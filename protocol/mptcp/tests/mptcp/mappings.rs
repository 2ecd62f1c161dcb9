//! Mappings in every shape a peer or a middlebox may give them.

use crate::script::{OUR_KEY, PEER_KEY, Script, flags};
use crate::world::{Rng, pattern};
use anabranch_mptcp::keys::{Version, derive};
use anabranch_mptcp::{Config, Event};
use anabranch_wire::checksum::{self, sum_slices};
use anabranch_wire::mptcp::{Capable, CapableData, Dsn, Dss, DssMapping, MptcpOption};
use anabranch_wire::tcp::Flags;
use proptest::prelude::*;

#[test]
fn a_mapping_on_each_segment() {
    let mut s = Script::new();
    s.mapped(0, 0, 0, b"hello ");
    s.mapped(0, 6, 6, b"world");
    assert_eq!(s.read(), b"hello world");
    let out = s.out();
    assert_eq!(s.data_acked(&out), Some(11));
}

#[test]
fn one_mapping_repeated_on_all_segments_it_covers() {
    let mut s = Script::new();
    let data = pattern(60_000, 3);
    let dss = s.dss(0, Some(s.mapping(0, 0, 60_000)));
    for (i, part) in data.chunks(1000).enumerate() {
        s.data(0, i as u64 * 1000, part, vec![dss.clone()]);
    }
    assert!(s.read() == data);
    assert_eq!(s.conn.info().counters.mapping_conflicts, 0);
}

#[test]
fn one_mapping_only_on_the_first_segment_it_covers() {
    let mut s = Script::new();
    let data = pattern(10_000, 3);
    let dss = s.dss(0, Some(s.mapping(0, 0, 10_000)));
    s.data(0, 0, &data[..1000], vec![dss]);
    for i in 1..10 {
        let ack = s.dss(0, None);
        s.data(0, i * 1000, &data[i as usize * 1000..][..1000], vec![ack]);
    }
    assert!(s.read() == data);
}

#[test]
fn a_mapping_before_its_bytes() {
    let mut s = Script::new();
    let dss = s.dss(0, Some(s.mapping(0, 0, 10)));
    s.ack(0, vec![dss]);
    let ack = s.dss(0, None);
    s.data(0, 0, b"0123456789", vec![ack]);
    assert_eq!(s.read(), b"0123456789");
}

#[test]
fn a_mapping_after_its_bytes() {
    let mut s = Script::new();
    let ack = s.dss(0, None);
    s.data(0, 0, b"01234", vec![ack]);
    assert_eq!(s.read(), b"");
    let dss = s.dss(0, Some(s.mapping(0, 0, 10)));
    s.data(0, 5, b"56789", vec![dss]);
    assert_eq!(s.read(), b"0123456789");
}

#[test]
fn a_mapping_on_the_last_of_several_segments_out_of_order() {
    let mut s = Script::new();
    let ack = s.dss(0, None);
    s.data(0, 6, b"678", vec![ack.clone()]);
    s.data(0, 3, b"345", vec![ack]);
    let dss = s.dss(0, Some(s.mapping(0, 0, 9)));
    s.data(0, 0, b"012", vec![dss]);
    assert_eq!(s.read(), b"012345678");
}

#[test]
fn several_mappings_within_one_segment() {
    let mut s = Script::new();
    // A proxy merged three segments; the mappings had come ahead on ACKs.
    for (position, rel, len) in [(0, 0, 3), (7, 3, 4), (3, 7, 4)] {
        let dss = s.dss(0, Some(s.mapping(position, rel, len)));
        s.ack(0, vec![dss]);
    }
    let ack = s.dss(0, None);
    s.data(0, 0, b"abcHIJKdefg", vec![ack]);
    assert_eq!(s.read(), b"abcdefgHIJK");
}

#[test]
fn segments_merged_by_a_proxy_with_the_first_mapping_only_wait_for_the_second() {
    let mut s = Script::new();
    let first = s.dss(0, Some(s.mapping(0, 0, 3)));
    s.data(0, 0, b"abcdef", vec![first]);
    assert_eq!(s.read(), b"abc");
    let second = s.dss(0, Some(s.mapping(3, 3, 3)));
    s.ack_at(0, 6, vec![second]);
    assert_eq!(s.read(), b"def");
}

#[test]
fn all_widths() {
    for (long_dsn, long_ack) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut s = Script::new();
        s.conn.send(bytes::Bytes::from_static(b"answer"));
        s.out();
        let mapping = DssMapping {
            dsn: Dsn::new(s.dsn(0), long_dsn),
            ..s.mapping(0, 0, 4)
        };
        let data_ack = Some(Dsn::new(Script::our_dsn(6), long_ack));
        let dss = Dss {
            data_ack,
            mapping: Some(mapping),
            data_fin: false,
        };
        s.data(0, 0, b"data", vec![MptcpOption::Dss(dss)]);
        assert_eq!(s.read(), b"data");
        assert_eq!(s.conn.info().counters.bytes_acked, 6);
        // We answer with 32 bits until we saw 64.
        let acks: Vec<Dsn> = s
            .out()
            .iter()
            .flat_map(|o| o.mptcp.clone())
            .filter_map(|o| match o {
                MptcpOption::Dss(dss) => dss.data_ack,
                _ => None,
            })
            .collect();
        assert!(acks.iter().all(|a| a.is_long() == long_dsn), "{acks:?}");
        assert!(!acks.is_empty());
    }
}

/// A key whose IDSN is so near a multiple of 2³² that the stream crosses it.
fn key_near_wrap() -> u64 {
    (1..)
        .find(|k| derive(Version::V1, *k).idsn as u32 > u32::MAX - 4_000)
        .expect("a key")
}

#[test]
fn short_numbers_across_their_wrap_around() {
    // About a million keys are tried: the test is for the arithmetic, not for the hash.
    let key = key_near_wrap();
    let mut s = Script::with(Config::default(), key);
    let data = pattern(20_000, 9);
    for (i, part) in data.chunks(500).enumerate() {
        let position = i as u64 * 500;
        let mapping = DssMapping {
            dsn: Dsn::Short(s.dsn(position) as u32),
            ..s.mapping(position, position, 500)
        };
        let dss = s.dss(0, Some(mapping));
        s.data(0, position, part, vec![dss]);
    }
    assert!(s.read() == data);
    let out = s.out();
    assert_eq!(s.data_acked(&out), Some(20_000));
}

#[test]
fn a_mapping_cannot_be_changed() {
    let mut s = Script::new();
    let first = s.dss(0, Some(s.mapping(0, 0, 10)));
    s.data(0, 0, b"01234", vec![first]);
    let other = s.dss(0, Some(s.mapping(100, 0, 10)));
    s.data(0, 5, b"56789", vec![other]);
    assert_eq!(s.read(), b"0123456789");
    assert_eq!(s.conn.info().counters.mapping_conflicts, 1);
}

#[test]
fn mappings_that_make_no_sense_are_counted() {
    let mut s = Script::new();
    s.mapped(0, 0, 0, b"fine");
    let before = DssMapping {
        dsn: Dsn::Long(s.dsn(0) - 100),
        ..s.mapping(0, 4, 4)
    };
    let dss = s.dss(0, Some(before));
    s.data(0, 4, b"lost", vec![dss]);
    assert_eq!(s.read(), b"fine");
    assert_eq!(s.conn.info().counters.bad_options, 1);
}

#[test]
fn too_much_without_a_mapping_resets_the_subflow() {
    let mut s = Script::new();
    s.mapped(0, 0, 0, b"first");
    s.out();
    let ack = s.dss(0, None);
    let filler = [7; 1400];
    for i in 0..100 {
        s.data(0, 5 + i * 1400, &filler, vec![ack.clone()]);
        s.out();
    }
    let gone = s.events.iter().any(|e| matches!(e, Event::SubflowGone(..)));
    assert!(gone, "{:?}", s.events);
    assert_eq!(s.conn.info().counters.tcprst_out, 1);
}

#[test]
fn data_beyond_the_window_is_dropped_at_data_level_and_acknowledged_by_the_subflow() {
    let config = Config {
        initial_window: 10_000,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    let data = pattern(12_000, 4);
    // The subflow's window is the same 10,000 bytes; at data level these begin 4,000 later.
    for i in 0..8u64 {
        s.mapped(
            0,
            i * 1000,
            4000 + i * 1000,
            &data[4000 + i as usize * 1000..][..1000],
        );
    }
    let out = s.out();
    let acked = out
        .last()
        .expect("an ACK")
        .emit
        .ack
        .since(s.lines[0].peer_iss + 1);
    assert_eq!(acked, 8000);
    let info = s.conn.info();
    assert_eq!(
        (info.out_of_order, info.counters.dropped_bytes),
        (6000, 2000)
    );
}

/// Checksummed mapping of `payload`.
fn checked(s: &Script, position: u64, rel: u64, payload: &[u8]) -> DssMapping {
    let mut m = s.mapping(position, rel, payload.len() as u16);
    m.checksum = Some(checksum::dss(
        s.dsn(position),
        m.ssn,
        m.len,
        sum_slices([payload]),
    ));
    m
}

fn with_checksum() -> Script {
    Script::with(
        Config {
            checksum: true,
            ..Config::default()
        },
        PEER_KEY,
    )
}

#[test]
fn checksummed_data_waits_until_its_mapping_is_whole() {
    let mut s = with_checksum();
    assert!(s.conn.info().checksum);
    let data = pattern(3000, 6);
    let dss = s.dss(0, Some(checked(&s, 0, 0, &data)));
    s.data(0, 2000, &data[2000..], vec![dss.clone()]);
    s.data(0, 0, &data[..1000], vec![dss.clone()]);
    assert_eq!(s.read(), b"");
    s.data(0, 1000, &data[1000..2000], vec![dss]);
    assert!(s.read() == data);
}

#[test]
fn a_wrong_checksum_on_one_of_two_subflows_resets_it_with_mp_fail() {
    let mut s = with_checksum();
    let second = s.join(1);
    let dss = s.dss(0, Some(checked(&s, 0, 0, b"right")));
    s.data(0, 0, b"wrong", vec![dss]);
    let out = s.out();
    let rst = out
        .iter()
        .find(|o| o.emit.flags.has(Flags::RST))
        .expect("RST");
    assert!(rst.mptcp.contains(&MptcpOption::Fail(s.dsn(0))), "{rst:?}");
    let again = s.dss(0, Some(checked(&s, 0, 0, b"right")));
    s.data(second, 0, b"right", vec![again]);
    assert_eq!(s.read(), b"right");
    assert_eq!(s.conn.info().counters.checksum_failures, 1);
}

#[test]
fn a_wrong_checksum_on_the_only_subflow_asks_for_an_infinite_mapping() {
    let mut s = with_checksum();
    let dss = s.dss(0, Some(checked(&s, 0, 0, b"right")));
    s.data(0, 0, b"right", vec![dss]);
    assert_eq!(s.read(), b"right");
    let dss = s.dss(0, Some(checked(&s, 5, 5, b" before")));
    s.data(0, 5, b" BEFORE", vec![dss]);
    assert_eq!(s.read(), b"");
    let out = s.out();
    let fail = out
        .iter()
        .any(|o| o.mptcp.contains(&MptcpOption::Fail(s.dsn(5))));
    assert!(fail, "{out:?}");
    // The peer answers, retroactively: bytes that a middlebox altered are taken as they are.
    let infinite = DssMapping {
        len: 0,
        checksum: Some(0),
        ..s.mapping(5, 5, 0)
    };
    let dss = s.dss(0, Some(infinite));
    s.data(0, 12, b" AFTER", vec![dss]);
    assert_eq!(s.read(), b" BEFORE AFTER");
    assert!(s.conn.fallback().is_some());
    s.data(0, 18, b" plain", vec![]);
    assert_eq!(s.read(), b" plain");
}

#[test]
fn nothing_behind_a_wrong_checksum_in_one_segment_is_lost() {
    let mut s = with_checksum();
    // Two mappings came ahead; a proxy merged their segments and altered the first.
    let (first, second) = (checked(&s, 0, 0, b"first"), checked(&s, 5, 5, b"second"));
    for mapping in [first, second] {
        let dss = s.dss(0, Some(mapping));
        s.ack(0, vec![dss]);
    }
    let ack = s.dss(0, None);
    s.data(0, 0, b"FIRSTsecond", vec![ack]);
    s.out();
    assert_eq!(s.read(), b"");
    let infinite = DssMapping {
        len: 0,
        checksum: Some(0),
        ..s.mapping(0, 0, 0)
    };
    let dss = s.dss(0, Some(infinite));
    s.data(0, 11, b"third", vec![dss]);
    assert_eq!(s.read(), b"FIRSTsecondthird");
}

#[test]
fn first_data_with_mp_capable_brings_keys_and_mapping() {
    let capable = Capable::Syn {
        version: 1,
        flags: flags(false),
        key: None,
    };
    let mut s = Script::syn(Config::default(), PEER_KEY, &capable);
    let out = s.out();
    let key = MptcpOption::Capable(Capable::SynAck {
        version: 1,
        flags: flags(false),
        key: OUR_KEY,
    });
    assert_eq!(out[0].mptcp[..], [key]);
    let data = CapableData {
        len: 5,
        checksum: None,
    };
    let ack = s.capable_ack(Some(data));
    s.data(0, 0, b"hello", vec![ack]);
    assert_eq!(s.read(), b"hello");
    assert!(s.conn.is_multipath());
}

/// A stream of `len` bytes given to two subflows as pieces that overlap at will. What was sent to
/// which position is always the same, so whatever is delivered must be a prefix.
fn overlapping(seed: u64, len: u64) {
    let mut rng = Rng(seed);
    let data = pattern(len as usize, 77);
    let mut s = Script::new();
    s.join(1);
    let mut rel = [0u64; 2];
    let mut got = Vec::new();
    let piece = |s: &mut Script, rel: &mut [u64; 2], line: usize, from: u64, to: u64| {
        s.mapped(line, rel[line], from, &data[from as usize..to as usize]);
        rel[line] += to - from;
        s.out();
    };
    for _ in 0..60 {
        let from = rng.below(len);
        let to = (from + 1 + rng.below(700)).min(len);
        piece(&mut s, &mut rel, rng.below(2) as usize, from, to);
        if rng.chance(0.3) {
            got.extend(s.read());
            assert!(data.starts_with(&got), "seed {seed}");
        }
    }
    // The rest, from the DATA_ACK on.
    while (got.len() as u64) < len {
        let from = s.conn.info().counters.bytes_in;
        if from < len {
            piece(
                &mut s,
                &mut rel,
                rng.below(2) as usize,
                from,
                (from + 900).min(len),
            );
        }
        got.extend(s.read());
        assert!(data.starts_with(&got), "seed {seed}");
    }
    assert!(got == data, "seed {seed}");
    assert_eq!(s.conn.info().out_of_order, 0);
}

proptest! {
    #[test]
    fn overlapping_mappings_deliver_the_right_bytes(seed: u64, len in 1u64..8000) {
        overlapping(seed, len);
    }
}

/// Mappings and bytes of one subflow in any order, each mapping once or more, in any cut.
#[test]
fn mappings_and_bytes_in_any_order() {
    for seed in 0..300 {
        let mut rng = Rng(seed);
        let data = pattern(4000, seed);
        let mut s = Script::new();
        let mut signals: Vec<(u64, u64, bool)> = Vec::new();
        let mut at = 0;
        while at < 4000 {
            let end = (at + 1 + rng.below(900)).min(4000);
            signals.push((at, end, true));
            at = end;
        }
        at = 0;
        while at < 4000 {
            let end = (at + 1 + rng.below(500)).min(4000);
            signals.push((at, end, false));
            at = end;
        }
        for i in (1..signals.len()).rev() {
            signals.swap(i, rng.below(i as u64 + 1) as usize);
        }
        // Everything once more, so that nothing depends on what was out of the window.
        for (from, to, mapping) in signals.clone().into_iter().chain(signals) {
            if mapping {
                let dss = s.dss(0, Some(s.mapping(from, from, (to - from) as u16)));
                let nxt = s.conn.tcb(s.lines[0].id).expect("a subflow").rcv_nxt();
                s.ack_at(0, nxt, vec![dss]);
            } else {
                let ack = s.dss(0, None);
                s.data(0, from, &data[from as usize..to as usize], vec![ack]);
            }
            s.out();
        }
        assert!(s.read() == data, "seed {seed}: {:?}", s.conn.info());
    }
}

#[test]
fn data_acks_are_as_wide_as_the_last_dsn() {
    let mut s = Script::new();
    let width = |s: &mut Script| {
        let out = s.out();
        let acks = out.iter().flat_map(|o| &o.mptcp).filter_map(|o| match o {
            MptcpOption::Dss(dss) => dss.data_ack,
            _ => None,
        });
        acks.map(|ack| ack.is_long()).last()
    };
    let mut put = |rel: u64, long: bool, expected: Option<bool>| {
        let mapping = s.mapping(rel, rel, 2);
        let dsn = Dsn::new(s.dsn(rel), long);
        let dss = s.dss(0, Some(DssMapping { dsn, ..mapping }));
        s.data(0, rel, b"ab", vec![dss]);
        assert_eq!(width(&mut s), expected);
    };
    put(0, false, Some(false));
    // What is not in order yet decides nothing.
    put(4, true, Some(false));
    put(2, true, Some(true));
    put(6, false, Some(false));
}

#[test]
fn a_mapping_of_length_zero_without_payload_says_nothing() {
    let mut s = Script::new();
    let none = s.mapping(0, 0, 0);
    let dss = s.dss(0, Some(none));
    s.ack(0, vec![dss]);
    assert!(s.conn.is_multipath());
    assert_eq!(s.conn.fallback(), None);
    s.mapped(0, 0, 0, b"mapped");
    assert_eq!(s.read(), b"mapped");
}
