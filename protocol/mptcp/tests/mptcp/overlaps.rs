//! Mappings at the edges: overlaps of any shape, the longest, those of bytes that are gone.

use crate::script::Script;
use crate::world::{Rng, pattern};
use anabranch_mptcp::Config;
use anabranch_wire::mptcp::{Dss, DssMapping, MptcpOption};

#[test]
fn of_different_bytes_for_one_place_the_first_to_come_counts() {
    // In order, out of order, and on either side of what is there.
    let mut s = Script::new();
    let other = s.join(1);
    s.mapped(0, 0, 0, b"aaaaaaaaaa");
    s.mapped(other, 0, 5, b"bbbbbbbbbb");
    assert_eq!(s.read(), b"aaaaaaaaaabbbbb");

    let mut s = Script::new();
    let other = s.join(1);
    s.mapped(0, 0, 5, b"aaaaa");
    s.mapped(other, 0, 0, b"bbbbbbbbbbbbbbb");
    assert_eq!(s.read(), b"bbbbbaaaaabbbbb");
    // What was delivered stays so.
    s.mapped(0, 5, 0, b"cccccccccccccccc");
    assert_eq!(s.read(), b"c");
}

/// Two versions of a stream, in random pieces on two subflows: each byte delivered is that of the
/// piece that had it first.
#[test]
fn two_versions_of_a_stream_never_mix_within_a_byte() {
    for seed in 0..200 {
        let mut rng = Rng(seed);
        let len = 2_000u64;
        let versions = [pattern(len as usize, seed), pattern(len as usize, !seed)];
        let mut s = Script::new();
        s.join(1);
        let mut first: Vec<Option<u8>> = vec![None; len as usize];
        let (mut rel, mut got) = ([0u64; 2], Vec::new());
        let mut piece = |s: &mut Script, line: usize, from: u64, to: u64| {
            let bytes = &versions[line][from as usize..to as usize];
            for (place, byte) in first[from as usize..to as usize].iter_mut().zip(bytes) {
                place.get_or_insert(*byte);
            }
            s.mapped(line, rel[line], from, bytes);
            rel[line] += to - from;
            s.out();
        };
        for _ in 0..40 {
            let from = rng.below(len);
            let to = (from + 1 + rng.below(300)).min(len);
            piece(&mut s, rng.below(2) as usize, from, to);
            got.extend(s.read());
        }
        piece(&mut s, 0, 0, len);
        got.extend(s.read());
        let expected: Vec<u8> = first.into_iter().flatten().collect();
        assert!(got == expected, "seed {seed}");
    }
}

#[test]
fn a_mapping_whose_head_was_delivered_goes_on_behind_it() {
    let data = pattern(98_184, 5);
    let mut s = Script::new();
    let other = s.join(1);
    // What was sent first, and once more with the head in what is there.
    for (line, rel, from, to) in [
        (0, 0, 0usize, 65_160usize),
        (other, 0, 88_752, 98_184),
        (0, 65_160, 65_160, 88_752),
        (0, 88_752, 87_944, 98_184),
    ] {
        for at in (from..to).step_by(1_400) {
            let end = (at + 1_400).min(to);
            let mapping = s.mapping(from as u64, rel, (to - from) as u16);
            let dss = s.dss(0, Some(mapping));
            let place = rel + (at - from) as u64;
            s.data(line, place, &data[at..end], vec![dss]);
            s.out();
        }
    }
    assert!(s.read() == data);
}

#[test]
fn the_longest_mapping_with_and_without_data_fin() {
    for fin in [false, true] {
        let mut s = Script::new();
        let len = 65_535 - usize::from(fin);
        let data = pattern(len, 8);
        let MptcpOption::Dss(dss) = s.dss(0, Some(s.mapping(0, 0, 65_535))) else {
            unreachable!()
        };
        let dss = Dss {
            data_fin: fin,
            ..dss
        };
        for (i, part) in data.chunks(1_460).enumerate() {
            s.data(
                0,
                i as u64 * 1_460,
                part,
                vec![MptcpOption::Dss(dss.clone())],
            );
            s.out();
        }
        assert!(s.read() == data);
        assert_eq!(s.conn.at_end(), fin);
    }
}

#[test]
fn we_never_send_a_mapping_that_would_read_as_infinite() {
    // Runs as long as they get, the DATA_FIN with the last.
    for len in [65_534usize, 65_535, 65_536, 131_070, 131_072] {
        let mut config = Config {
            gso_max: 65_535,
            ..Config::default()
        };
        config.tcp.congestion.initial_window = 200;
        let mut s = Script::with(config, crate::script::PEER_KEY);
        s.conn.send(pattern(len, 1));
        s.conn.shutdown(s.now);
        let out = s.out();
        let mappings = out.iter().flat_map(|o| &o.mptcp).filter_map(|o| match o {
            MptcpOption::Dss(dss) => dss.mapping,
            _ => None,
        });
        for mapping in mappings {
            assert!(mapping.len > 0, "{mapping:?}");
        }
        assert!(out.iter().any(|o| !o.payload.is_empty()));
    }
}

#[test]
fn a_mapping_of_bytes_that_are_gone_is_ignored() {
    let mut s = Script::new();
    s.mapped(0, 0, 0, b"first");
    s.mapped(0, 5, 5, b"second");
    for (rel, position) in [(0, 100), (2, 7), (5, 0)] {
        let dss = s.dss(0, Some(s.mapping(position, rel, 4)));
        s.ack_at(0, 11, vec![dss]);
    }
    s.mapped(0, 11, 11, b"third");
    assert_eq!(s.read(), b"firstsecondthird");
    assert_eq!(s.conn.info().counters.mapping_conflicts, 0);
}

#[test]
fn a_mapping_with_a_wrong_subflow_number_leaves_its_bytes_waiting_for_the_right_one() {
    let mut s = Script::new();
    let wrong = DssMapping {
        ssn: 500,
        ..s.mapping(0, 0, 5)
    };
    let dss = s.dss(0, Some(wrong));
    s.data(0, 0, b"bytes", vec![dss]);
    assert_eq!(s.read(), b"");
    let right = s.dss(0, Some(s.mapping(0, 0, 5)));
    s.ack_at(0, 5, vec![right]);
    assert_eq!(s.read(), b"bytes");
}

#[test]
fn a_jump_of_the_data_sequence_is_dropped_and_what_is_right_goes_on() {
    let mut s = Script::new();
    for (i, jump) in [1u64 << 20, 1 << 31, 1 << 32, 1 << 40, i64::MAX as u64]
        .into_iter()
        .enumerate()
    {
        s.mapped(0, i as u64 * 4, jump, b"jump");
        s.out();
    }
    let info = s.conn.info();
    assert_eq!((info.counters.dropped_bytes, info.out_of_order), (20, 0));
    s.mapped(0, 20, 0, b"right");
    assert_eq!(s.read(), b"right");
}

#[test]
fn a_segment_over_several_mappings_may_also_end_within_one() {
    let data = pattern(3_000, 2);
    for seed in 0..100 {
        let mut rng = Rng(seed);
        let mut s = Script::new();
        let (mut mapped, mut sent) = (0u64, 0u64);
        while sent < 3_000 {
            // Some mappings ahead, then a segment that knows nothing of their edges.
            while mapped < 3_000 && (mapped <= sent || rng.chance(0.5)) {
                let end = (mapped + 1 + rng.below(400)).min(3_000);
                let dss = s.dss(0, Some(s.mapping(mapped, mapped, (end - mapped) as u16)));
                s.ack_at(0, sent, vec![dss]);
                mapped = end;
            }
            let end = (sent + 1 + rng.below(900)).min(mapped);
            let ack = s.dss(0, None);
            s.data(0, sent, &data[sent as usize..end as usize], vec![ack]);
            sent = end;
            s.out();
        }
        assert!(s.read() == data, "seed {seed}");
    }
}
