//! Options of every length with anything in them, in every state a connection has.

use crate::script::{PEER_KEY, Script};
use crate::world::{Rng, Side, World, pattern};
use anabranch_mptcp::{Config, Version, Versions};
use anabranch_tcp::budget::Budget;
use anabranch_wire::mptcp::MptcpOption;
use anabranch_wire::tcp::Class;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::collections::BTreeSet;
use std::time::Duration;

/// A connection in each of its states, with two subflows where there may be two.
fn states(version: Version) -> Vec<Script> {
    let new = || Script::speaking(version, Config::default(), PEER_KEY);
    let syn = Script::offer(version, false, PEER_KEY);
    let checksum = Config {
        checksum: true,
        ..Config::default()
    };
    let mut opening = Script::syn(Config::default(), PEER_KEY, &syn);
    opening.out();
    let mut sending = new();
    sending.conn.send(Bytes::from_static(b"some bytes"));
    sending.out();
    let mut joined = Script::speaking(version, checksum.clone(), PEER_KEY);
    joined.join(1);
    let mut half = new();
    half.join_syn(1, 7).expect("a join");
    half.out();
    let mut closing = new();
    closing.conn.shutdown(closing.now);
    closing.out();
    let mut plain = new();
    let mapping = plain.mapping(0, 0, 0);
    let infinite = plain.dss(0, Some(mapping));
    plain.data(0, 0, b"plain", vec![infinite]);
    plain.out();
    let mut over = new();
    over.conn.abort(over.now);
    over.out();
    let checked = Script::speaking(version, checksum, PEER_KEY);
    let on_ack = Config {
        fastclose_on_ack: true,
        ..Config::default()
    };
    let mut fast = Script::speaking(version, on_ack, PEER_KEY);
    fast.join(1);
    fast.conn.abort(fast.now);
    fast.out();
    vec![
        opening, sending, joined, half, closing, plain, over, checked, fast,
    ]
}

/// An option as it stands on the wire.
fn option(rng: &mut Rng, subtype: u8, len: u8) -> Vec<u8> {
    let mut bytes: Vec<u8> = (0..len).map(|_| rng.next() as u8).collect();
    bytes[0] = 30;
    bytes[1] = len;
    if let Some(head) = bytes.get_mut(2) {
        *head = subtype << 4 | *head & 0x0f;
    }
    bytes
}

#[test]
fn every_subtype_in_every_length_in_every_state() {
    let mut rng = Rng(1);
    for subtype in 0..16 {
        for len in 2..=40 {
            let bytes = option(&mut rng, subtype, len);
            let class = [Class::Segment, Class::Syn][rng.below(2) as usize];
            let Ok(Some(parsed)) = MptcpOption::parse(&bytes, class) else {
                continue;
            };
            let both = [Version::V0, Version::V1].into_iter().flat_map(states);
            for mut s in both {
                for line in 0..s.lines.len() {
                    s.ack(line, vec![parsed.clone()]);
                    s.data(line, 0, b"bytes", vec![parsed.clone(), parsed.clone()]);
                    s.put(line, 5, Flags::FIN, &[], vec![parsed.clone()]);
                }
                s.wait(Duration::from_secs(1));
                s.conn.abort(s.now);
                s.wait(Duration::from_secs(200));
                assert!(s.conn.is_finished(), "{parsed:?}: {:?}", s.conn.info());
            }
        }
    }
}

/// A client that gets this in place of the options of one of the first packets of the server, with
/// one join under way: neither breaks, and no byte is wrong.
fn instead(version: Version, option: &MptcpOption, nth: u32) {
    let config = Config {
        versions: Versions::only(version),
        checksum: true,
        ..Config::default()
    };
    let mut world = World::with(config.clone(), config, 2);
    world.keep_log = false;
    let (mut seen, given) = (0, option.clone());
    world.middlebox = Some(Box::new(move |_, wire| {
        if wire.from == Side::Server {
            if seen == nth {
                wire.packet.mptcp = std::iter::once(given.clone()).collect();
            }
            seen += 1;
        }
        true
    }));
    let (up, down) = (pattern(5000, 1), pattern(5000, 2));
    world.connect();
    world.run_for(Duration::from_millis(50));
    if world.client.conn().is_multipath() {
        world.join(1);
    }
    world.send_all(Side::Client, up.clone());
    if world.server.connection.is_some() {
        world.send_all(Side::Server, down.clone());
    }
    world.run_for(Duration::from_secs(20));
    assert!(up.starts_with(&world.server.received), "{option:?} {nth}");
    assert!(down.starts_with(&world.client.received), "{option:?} {nth}");
    for side in [Side::Client, Side::Server] {
        if world.host(side).connection.is_some() {
            world.with_conn(side, |c, now| c.abort(now));
        }
    }
    world.run_for(Duration::from_secs(200));
    assert!(world.client.conn().is_finished(), "{option:?} {nth}");
}

#[test]
fn every_subtype_in_every_length_while_a_client_opens_and_joins() {
    let mut rng = Rng(3);
    for subtype in 0..16 {
        for len in 2..=40 {
            let bytes = option(&mut rng, subtype, len);
            for class in [Class::Segment, Class::Syn] {
                let Ok(Some(parsed)) = MptcpOption::parse(&bytes, class) else {
                    continue;
                };
                for nth in 0..8 {
                    instead(Version::V0, &parsed, nth);
                    instead(Version::V1, &parsed, nth);
                }
            }
        }
    }
}

#[test]
fn a_dss_has_the_lengths_its_flags_say_and_no_other() {
    for bits in 0..=255u8 {
        let ack = [0, 4, 0, 8][usize::from(bits & 3)];
        let map = [0, 10, 0, 14][usize::from(bits >> 2 & 3)];
        let expected: BTreeSet<u8> = match map {
            0 => [4 + ack].into(),
            _ => [4 + ack + map, 6 + ack + map].into(),
        };
        let parses = |len: &u8| {
            let mut bytes = option(&mut Rng(u64::from(bits)), 2, *len);
            if let Some(at) = bytes.get_mut(3) {
                *at = bits;
            }
            matches!(MptcpOption::parse(&bytes, Class::Segment), Ok(Some(_)))
        };
        let found: BTreeSet<u8> = (2..=40).filter(parses).collect();
        assert_eq!(found, expected, "{bits:#04x}");
    }
}

#[test]
fn a_dss_of_every_flag_combination_delivers_no_byte_that_is_not_mapped() {
    for bits in 0..=255u8 {
        for len in 4..=28 {
            let mut bytes = option(&mut Rng(u64::from(bits)), 2, len);
            bytes[3] = bits;
            let Ok(Some(parsed)) = MptcpOption::parse(&bytes, Class::Segment) else {
                continue;
            };
            let mut s = Script::new();
            s.mapped(0, 0, 0, b"good");
            s.data(0, 4, b"what is this", vec![parsed]);
            s.out();
            assert_eq!(s.read(), b"good", "{bits:#04x}");
        }
    }
}

#[test]
fn a_flood_of_tiny_mappings_with_checksums_is_bounded() {
    let budget = Budget::new(1 << 20);
    let config = Config {
        checksum: true,
        initial_window: 60_000,
        budget: budget.clone(),
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    // Each mapping is of two bytes, one of which never comes.
    for i in 0..30_000u64 {
        let mut mapping = s.mapping(2 * i, 2 * i, 2);
        mapping.checksum = Some(7);
        let dss = s.dss(0, Some(mapping));
        s.data(0, 2 * i + 1, b"x", vec![dss]);
        if i % 100 == 0 {
            s.out();
        }
    }
    assert!(budget.used() <= 1 << 20);
    assert_eq!(s.read(), b"");
    assert!(s.conn.info().out_of_order <= 60_000);
}
