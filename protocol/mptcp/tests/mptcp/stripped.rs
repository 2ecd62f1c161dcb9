//! Options that vanish in the middle of a connection (RFC 8684 §3.7): the only subflow there ever
//! was goes on as plain TCP, one of several is reset. Whatever else, the bytes are equal.

use crate::script::{PEER_KEY, Script};
use crate::world::{Link, Rng, Side, World, pattern, seeds};
use anabranch_mptcp::{CloseReason, Config, FallbackReason, SignalError, Start};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::{Dss, DssMapping, MptcpOption};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

fn config(checksum: bool) -> Config {
    Config {
        checksum,
        plain_midway: true,
        ..Config::default()
    }
}

/// From now on no option passes, from one side or from both.
fn strip(world: &mut World, link: usize, from: Option<Side>) {
    world.middlebox = Some(Box::new(move |_, w| {
        if w.link == link && from.is_none_or(|side| w.from == side) {
            w.packet.mptcp.clear();
        }
        true
    }));
}

/// One subflow, everything as the seed says; gives back whether it fell back.
fn scene(seed: u64) -> bool {
    let mut rng = Rng(seed);
    let checksum = rng.chance(0.5);
    let mut world = World::with(config(checksum), config(checksum), 1);
    world.rng = Rng(rng.next());
    world.establish();
    world.links = vec![Link {
        loss: if rng.chance(0.5) { 0.01 } else { 0.0 },
        jitter: Duration::from_millis(rng.below(3)),
        offload: rng.chance(0.3),
        ..Link::default()
    }];
    let up = pattern(rng.below(300_000) as usize, 1);
    let down = pattern(rng.below(300_000) as usize, 2);
    let from = [Some(Side::Client), Some(Side::Server), None][rng.below(3) as usize];
    world.send_all(Side::Client, up.clone());
    world.send_all(Side::Server, down.clone());
    world.run_for(Duration::from_millis(rng.below(200)));
    strip(&mut world, 0, from);
    world.run_until(Duration::from_secs(400), |w| {
        w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
    });
    let equal = world.server.received == up && world.client.received == down;
    assert!(equal, "seed {seed}: {}", world.describe());
    let ends = [Side::Client, Side::Server].map(|side| world.host(side).conn().closed());
    assert_eq!(ends, [Some(CloseReason::Finished); 2], "seed {seed}");
    world.client.conn().fallback().is_some() && world.server.conn().fallback().is_some()
}

#[test]
fn the_only_subflow_goes_on_whenever_and_wherever_options_vanish() {
    let (all, fallen) = seeds(200).fold((0, 0), |(all, fallen), seed| {
        (all + 1, fallen + u64::from(scene(seed)))
    });
    assert!(all < 100 || fallen > all / 4, "{fallen} of {all}");
}

#[test]
fn with_checksums_what_was_verified_and_what_was_not_come_out_once() {
    for from in [Some(Side::Client), Some(Side::Server), None] {
        let mut world = World::with(config(true), config(true), 1);
        world.establish();
        let data = pattern(500_000, 1);
        world.send_all(Side::Client, data.clone());
        world.run_until(Duration::from_secs(5), |w| {
            w.server.received.len() > 100_000
        });
        strip(&mut world, 0, from);
        world.run_for(Duration::from_secs(20));
        assert!(
            world.server.received == data,
            "{from:?}: {}",
            world.describe()
        );
        assert!(world.server.conn().at_end(), "{from:?}");
    }
}

#[test]
fn unless_that_is_set_the_only_subflow_is_reset() {
    let mut world = World::with(Config::default(), Config::default(), 1);
    world.establish();
    let data = pattern(500_000, 1);
    world.send_all(Side::Client, data.clone());
    world.run_until(Duration::from_secs(5), |w| {
        w.server.received.len() > 100_000
    });
    strip(&mut world, 0, None);
    world.run_for(Duration::from_secs(20));
    let received = world.server.received.len();
    assert!(received < data.len() && data.starts_with(&world.server.received));
    assert_eq!(world.server.conn().fallback(), None);
    assert!(world.count(|w| w.from == Side::Server && w.has(Flags::RST)) > 0);
}

#[test]
fn what_waits_without_a_mapping_for_long_may_be_there_twice_and_resets() {
    let mut s = Script::with(config(false), PEER_KEY);
    s.mapped(0, 0, 0, b"mapped");
    s.out();
    s.data(0, 6, b"unmapped", vec![]);
    s.out();
    // The host slept: what comes now may be the same bytes once more.
    s.now = s.now + Duration::from_millis(300);
    s.data(0, 14, b"unmapped", vec![]);
    s.data(0, 22, b"unmapped", vec![]);
    let out = s.out();
    assert!(out.iter().any(|o| o.emit.flags.has(Flags::RST)));
    assert_eq!(s.read(), b"mapped");
}

#[test]
fn a_few_bytes_without_a_mapping_are_enough_after_a_while() {
    let mut s = Script::with(config(false), PEER_KEY);
    s.mapped(0, 0, 0, b"mapped");
    s.out();
    s.data(0, 6, b" tail", vec![]);
    assert_eq!(s.read(), b"mapped");
    let out = s.wait(Duration::from_millis(150));
    assert_eq!(s.conn.fallback(), Some(FallbackReason::NoMapping));
    assert_eq!(s.read(), b" tail");
    let fail = MptcpOption::Fail(s.dsn(6));
    assert!(out.iter().any(|o| o.mptcp.contains(&fail)), "{out:?}");
}

#[test]
fn one_of_two_subflows_is_reset_and_the_other_carries_on() {
    for from in [Some(Side::Client), Some(Side::Server), None] {
        let mut world = World::joined(2);
        for link in &mut world.links {
            link.rate = Some(2_000_000);
        }
        let (up, down) = (pattern(2 << 20, 1), pattern(2 << 20, 2));
        world.send_all(Side::Client, up.clone());
        world.send_all(Side::Server, down.clone());
        world.run_for(Duration::from_millis(300));
        strip(&mut world, 1, from);
        world.run_until(Duration::from_secs(60), |w| {
            w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
        });
        assert!(world.server.received == up && world.client.received == down);
        let fallbacks = [Side::Client, Side::Server].map(|s| world.host(s).conn().fallback());
        assert_eq!(fallbacks, [None, None], "{from:?}");
        assert_eq!(world.count(|w| w.link == 0 && w.has(Flags::RST)), 0);
        assert!(
            world.count(|w| w.link == 1 && w.has(Flags::RST)) > 0,
            "{from:?}"
        );
    }
}

/// An infinite mapping of the peer, at a position of both.
fn infinite(s: &Script, at: u64) -> MptcpOption {
    let mapping = DssMapping {
        len: 0,
        ..s.mapping(at, at, 0)
    };
    s.dss(0, Some(mapping))
}

#[test]
fn after_an_infinite_mapping_there_are_no_joins() {
    let mut s = Script::new();
    s.mapped(0, 0, 0, b"mapped");
    let option = infinite(&s, 6);
    s.data(0, 6, b" plain", vec![option]);
    assert_eq!(s.read(), b"mapped plain");
    assert!(s.join_syn(1, 7).is_err());
    let start = Start {
        iss: Seq(9),
        ts_offset: 0,
        mss: 1460,
        known_mss: None,
    };
    let path = crate::world::client_path(1, 6001);
    let joined = s.conn.join_active(s.now, path, 0, start, 7, false);
    assert_eq!(joined, Err(SignalError::NotMultipath));
}

#[test]
fn after_an_infinite_mapping_fin_is_the_end_and_data_fin_nothing() {
    let mut s = Script::new();
    let option = infinite(&s, 0);
    s.data(0, 0, b"plain", vec![option]);
    assert_eq!(s.conn.fallback(), Some(FallbackReason::Peer));
    let MptcpOption::Dss(dss) = s.dss(0, Some(s.mapping(5, 0, 1))) else {
        unreachable!()
    };
    s.ack_at(
        0,
        5,
        vec![MptcpOption::Dss(Dss {
            data_fin: true,
            ..dss
        })],
    );
    assert!(s.read() == b"plain" && !s.conn.at_end());
    s.put(0, 5, Flags::FIN, b" tcp", vec![]);
    assert!(s.read() == b" tcp" && s.conn.at_end());
    // Ours is a FIN too.
    s.conn.shutdown(s.now);
    let out = s.out();
    assert!(out.iter().any(|o| o.emit.flags.has(Flags::FIN)));
    assert!(out.iter().all(|o| o.mptcp.is_empty()), "{out:?}");
}

#[test]
fn an_infinite_mapping_is_repeated_until_new_bytes_that_had_it_are_acknowledged() {
    let mut s = Script::new();
    s.conn.send(pattern(1_000, 1));
    s.out();
    let known = s.lines[0].ack;
    s.lines[0].ack = s.lines[0].our_iss + 1;
    let option = infinite(&s, 0);
    s.data(0, 0, b"plain", vec![option]);
    let infinite = |out: &[anabranch_mptcp::Outgoing]| {
        let data = out.iter().filter(|o| !o.payload.is_empty());
        let with = data.filter(|o| matches!(&o.mptcp[..], [MptcpOption::Dss(d)] if d.mapping.is_some_and(|m| m.len == 0)));
        with.count()
    };
    // What left before goes again with it, and its acknowledgement proves nothing.
    let again = s.wait(Duration::from_secs(2));
    assert!(infinite(&again) > 0);
    s.lines[0].ack = known;
    s.ack_at(0, 5, vec![]);
    s.conn.send(Bytes::from_static(b"new"));
    assert_eq!(infinite(&s.out()), 1);
    s.ack_at(0, 5, vec![]);
    s.conn.send(Bytes::from_static(b"newer"));
    let out = s.out();
    assert!(out.iter().any(|o| !o.payload.is_empty()));
    assert_eq!(infinite(&out), 0);
}
