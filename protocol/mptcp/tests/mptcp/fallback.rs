//! Going on as plain TCP (RFC 8684 §3.7), each sort, with the bytes intact.

use crate::script::{PEER_KEY, Script};
use crate::world::{Side, Wire, World, pattern};
use anabranch_mptcp::{CloseReason, Config, Event, FallbackReason, Version, Versions};
use anabranch_wire::mptcp::{Capable, Dsn, Dss, DssMapping, MptcpOption};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

fn strip(w: &mut Wire, f: impl Fn(&MptcpOption) -> bool) {
    w.packet.mptcp.retain(|o| !f(o));
}

fn is_capable(o: &MptcpOption) -> bool {
    matches!(o, MptcpOption::Capable(_))
}

/// Both sides send `len` bytes, close, and are plain TCP in the end.
fn falls_back(mut world: World, len: usize) -> (FallbackReason, FallbackReason) {
    world.connect();
    let (up, down) = (pattern(len, 1), pattern(len / 2, 2));
    world.send_all(Side::Client, up.clone());
    world.run_until(Duration::from_secs(30), |w| w.server.connection.is_some());
    world.send_all(Side::Server, down.clone());
    world.run_until(Duration::from_secs(60), |w| {
        w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
    });
    assert!(world.server.received == up, "{}", world.describe());
    assert!(world.client.received == down, "{}", world.describe());
    assert_eq!(world.client.conn().closed(), Some(CloseReason::Finished));
    assert_eq!(world.server.conn().closed(), Some(CloseReason::Finished));
    let reset = world.count(|w| w.has(Flags::RST));
    assert_eq!(reset, 0, "a fallback is no reset");
    let reason = |c: Option<FallbackReason>| c.expect("a fallback");
    (
        reason(world.client.conn().fallback()),
        reason(world.server.conn().fallback()),
    )
}

fn stripped(f: impl Fn(&Wire, &MptcpOption) -> bool + 'static) -> World {
    let mut world = World::new(1);
    world.middlebox = Some(Box::new(move |_, w| {
        let seen = w.clone();
        strip(w, |o| f(&seen, o));
        true
    }));
    world
}

#[test]
fn mp_capable_removed_from_the_syn() {
    let world = stripped(|w, o| is_capable(o) && w.has(Flags::SYN) && !w.has(Flags::ACK));
    assert_eq!(falls_back(world, 100_000).0, FallbackReason::SynAck);
}

#[test]
fn mp_capable_removed_from_the_syn_ack() {
    let world = stripped(|w, o| is_capable(o) && w.from == Side::Server);
    let reasons = falls_back(world, 100_000);
    assert_eq!(reasons, (FallbackReason::SynAck, FallbackReason::ThirdAck));
}

#[test]
fn a_syn_ack_with_mp_capable_that_never_arrives_is_sent_without() {
    let mut world = World::new(1);
    world.middlebox = Some(Box::new(|_, w| {
        let syn_ack = w.from == Side::Server && w.has(Flags::SYN);
        !(syn_ack && w.options().iter().any(is_capable))
    }));
    assert_eq!(
        falls_back(world, 50_000),
        (FallbackReason::Unanswered, FallbackReason::Syn)
    );
}

#[test]
fn an_option_of_our_syn_that_comes_back_is_no_answer() {
    let old = || Config {
        versions: Versions::only(Version::V0),
        ..Config::default()
    };
    // In version 0 a copied MP_CAPABLE has a key: ours.
    let mut world = World::with(old(), old(), 1);
    let mut key = 0;
    world.middlebox = Some(Box::new(move |_, w| {
        for option in &mut w.packet.mptcp {
            match option {
                MptcpOption::Capable(Capable::Syn { key: Some(k), .. }) => key = *k,
                MptcpOption::Capable(Capable::SynAck { key: k, .. }) => *k = key,
                _ => {}
            }
        }
        true
    }));
    assert_eq!(
        falls_back(world, 50_000),
        (FallbackReason::SynAck, FallbackReason::ThirdAck)
    );
}

#[test]
fn mp_capable_removed_from_third_ack_and_data() {
    let world = stripped(|w, _| w.from == Side::Client && !w.has(Flags::SYN));
    let (_, server) = falls_back(world, 100_000);
    assert_eq!(server, FallbackReason::ThirdAck);
}

#[test]
fn everything_removed_after_the_handshake() {
    let mut world = World::connected(1);
    world.middlebox = Some(Box::new(|_, w| {
        w.packet.mptcp.clear();
        true
    }));
    let (up, down) = (pattern(80_000, 1), pattern(40_000, 2));
    world.send_all(Side::Client, up.clone());
    world.send_all(Side::Server, down.clone());
    world.run_until(Duration::from_secs(30), |w| {
        w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
    });
    assert!(world.server.received == up && world.client.received == down);
    assert!(world.client.conn().fallback().is_some());
    assert!(world.server.conn().fallback().is_some());
}

/// Options that vanish midway do not end the connection.
fn lenient() -> Config {
    Config {
        plain_midway: true,
        ..Config::default()
    }
}

#[test]
fn everything_removed_in_the_middle_of_a_transfer() {
    let directions = [Some(Side::Client), Some(Side::Server), None];
    for (speaker, only) in [Side::Client, Side::Server]
        .iter()
        .flat_map(|s| directions.map(|d| (*s, d)))
    {
        let mut world = World::with(lenient(), lenient(), 1);
        world.establish();
        let data = pattern(600_000, 1);
        world.send_all(speaker, data.clone());
        world.run_until(Duration::from_secs(5), |w| {
            w.host(speaker.other()).received.len() > 100_000
        });
        world.middlebox = Some(Box::new(move |_, w| {
            if only.is_none_or(|side| w.from == side) {
                w.packet.mptcp.clear();
            }
            true
        }));
        world.run_for(Duration::from_secs(20));
        let received = &world.host(speaker.other()).received;
        assert!(
            *received == data,
            "{speaker:?} {only:?}: {}",
            world.describe()
        );
    }
}

#[test]
fn the_second_half_of_a_first_segment_that_was_cut_is_no_reason() {
    // The half with the options is late.
    let mut s = Script::new();
    s.conn.send(Bytes::from_static(b"answer"));
    s.out();
    s.data(0, 3, b"def", vec![]);
    assert_eq!(s.conn.fallback(), None);
    let mapping = s.mapping(0, 0, 6);
    let dss = s.dss(0, Some(mapping));
    s.data(0, 0, b"abc", vec![dss]);
    assert_eq!(s.conn.fallback(), None);
    assert_eq!(s.read(), b"abcdef");
}

#[test]
fn a_hole_from_before_the_options_went_is_filled_without_them() {
    let mut s = Script::with(lenient(), PEER_KEY);
    let data = pattern(150_000, 1);
    let mapping = s.mapping(0, 0, 1000);
    let dss = s.dss(0, Some(mapping));
    s.data(0, 0, &data[..1000], vec![dss]);
    s.out();
    for at in (2000..data.len()).step_by(1000) {
        s.data(0, at as u64, &data[at..at + 1000], vec![]);
    }
    assert_eq!(s.conn.fallback(), Some(FallbackReason::NoMapping));
    s.data(0, 1000, &data[1000..2000], vec![]);
    assert!(s.read() == data);
}

#[test]
fn everything_removed_after_the_handshake_one_side_speaks() {
    for side in [Side::Client, Side::Server] {
        let mut world = World::connected(1);
        world.middlebox = Some(Box::new(|_, w| {
            w.packet.mptcp.clear();
            true
        }));
        let data = pattern(80_000, 1);
        world.send(side, data.clone());
        world.run_for(Duration::from_secs(5));
        assert!(
            world.host(side.other()).received == data,
            "{side:?}: {}",
            world.describe()
        );
        assert_eq!(
            world.host(side).conn().fallback(),
            Some(FallbackReason::NoDataAck)
        );
        let other = world.host(side.other()).conn().fallback();
        assert_eq!(other, Some(FallbackReason::NoMapping));
    }
}

#[test]
fn the_server_speaks_first_although_no_keys_came() {
    let mut world = stripped(|w, _| w.from == Side::Client && !w.has(Flags::SYN));
    world.connect();
    world.run_for(Duration::from_millis(100));
    let data = pattern(50_000, 1);
    world.send(Side::Server, data.clone());
    world.run_for(Duration::from_secs(2));
    assert!(world.client.received == data);
    assert_eq!(
        world.server.conn().fallback(),
        Some(FallbackReason::ThirdAck)
    );
    assert_eq!(
        world.client.conn().fallback(),
        Some(FallbackReason::NoMapping)
    );
}

#[test]
fn half_a_plain_connection_stays_open() {
    let mut world = stripped(|w, o| is_capable(o) && w.has(Flags::SYN));
    world.connect();
    world.send_all(Side::Client, Bytes::from_static(b"request"));
    world.run_for(Duration::from_secs(1));
    assert!(world.server.conn().at_end());
    let answer = pattern(200_000, 3);
    world.send_all(Side::Server, answer.clone());
    world.run_for(Duration::from_secs(5));
    assert!(world.client.received == answer);
    assert!(world.client.conn().at_end());
    assert_eq!(world.client.conn().closed(), Some(CloseReason::Finished));
}

#[test]
fn a_plain_connection_takes_no_joins() {
    let mut world = stripped(|w, o| is_capable(o) && w.has(Flags::SYN));
    world.links.push(Default::default());
    world.connect();
    world.run_for(Duration::from_millis(100));
    let path = crate::world::client_path(1, 6001);
    let start = anabranch_mptcp::Start {
        iss: anabranch_wire::Seq(9),
        ts_offset: 0,
        mss: 1460,
        known_mss: None,
    };
    let joined = world.with_conn(Side::Client, |c, now| {
        c.join_active(now, path, 0, start, 7, false)
    });
    assert_eq!(joined, Err(anabranch_mptcp::SignalError::NotMultipath));
}

#[test]
fn a_reset_ends_a_plain_connection() {
    let mut world = stripped(|w, o| is_capable(o) && w.has(Flags::SYN));
    world.connect();
    world.run_for(Duration::from_millis(100));
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.run_for(Duration::from_millis(100));
    let closed = world.server.conn().closed();
    assert_eq!(closed, Some(CloseReason::Tcp(anabranch_tcp::Close::Reset)));
    assert_eq!(
        world.count(|w| !w.options().is_empty() && w.has(Flags::RST)),
        0
    );
}

#[test]
fn an_altered_payload_on_the_only_subflow_ends_in_plain_tcp() {
    let config = || Config {
        checksum: true,
        ..Config::default()
    };
    let mut world = World::with(config(), config(), 1);
    world.establish();
    let up = pattern(300_000, 1);
    world.send(Side::Client, up.slice(..100_000));
    world.run_for(Duration::from_secs(2));
    assert_eq!(world.server.received.len(), 100_000);
    // From here a middlebox changes bytes, once per packet.
    let mut altered = 0;
    world.middlebox = Some(Box::new(move |_, w| {
        if w.from == Side::Client && w.payload.len() > 100 && altered < 3 {
            altered += 1;
            let mut bytes = w.payload.to_vec();
            bytes[50] ^= 0xff;
            w.payload = Bytes::from(bytes);
        }
        true
    }));
    world.send_all(Side::Client, up.slice(100_000..));
    world.send_all(Side::Server, pattern(50_000, 2));
    world.run_until(Duration::from_secs(60), |w| {
        w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
    });
    assert_eq!(
        world.server.received.len(),
        up.len(),
        "{}",
        world.describe()
    );
    let different = world
        .server
        .received
        .iter()
        .zip(&up)
        .filter(|(a, b)| a != b)
        .count();
    assert_eq!(different, 3, "what the middlebox did, and nothing else");
    assert!(world.client.received == pattern(50_000, 2));
    let counters = (world.client.info().counters, world.server.info().counters);
    assert!(counters.0.infinite_out > 0 && counters.1.infinite_in > 0);
    assert!(counters.1.fail_out == 1 && counters.0.fail_in == 1);
}

#[test]
fn an_infinite_mapping_received_makes_both_directions_plain() {
    let mut s = Script::new();
    s.mapped(0, 0, 0, b"mapped");
    s.out();
    let infinite = DssMapping {
        len: 0,
        ..s.mapping(6, 6, 0)
    };
    let dss = MptcpOption::Dss(Dss {
        data_ack: Some(Dsn::Long(Script::our_dsn(0))),
        mapping: Some(infinite),
        data_fin: false,
    });
    s.data(0, 6, b" plain", vec![dss]);
    s.data(0, 12, b" tcp", vec![]);
    assert_eq!(s.read(), b"mapped plain tcp");
    assert!(
        s.events
            .iter()
            .any(|e| matches!(e, Event::Fallback(FallbackReason::Peer)))
    );
    s.conn.send(Bytes::from_static(b"answer"));
    let out = s.out();
    // Our first data has an infinite mapping too.
    let data = out.iter().find(|o| !o.payload.is_empty()).expect("data");
    let Some(MptcpOption::Dss(Dss {
        mapping: Some(m), ..
    })) = data.mptcp.first()
    else {
        panic!("{data:?}")
    };
    assert_eq!((m.len, m.ssn, m.dsn), (0, 1, Dsn::Long(Script::our_dsn(0))));
}

#[test]
fn mp_capable_on_the_syn_ack_of_a_lower_version_is_not_followed() {
    let mut world = World::new(1);
    world.middlebox = Some(Box::new(|_, w| {
        for o in &mut w.packet.mptcp {
            if let MptcpOption::Capable(Capable::SynAck { version, .. }) = o {
                *version = 0;
            }
        }
        true
    }));
    assert_eq!(falls_back(world, 10_000).0, FallbackReason::OlderVersion);
}
