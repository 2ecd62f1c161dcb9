//! Wrong checksums: MP_FAIL, the infinite mapping, and what both do to the bytes (RFC 8684 §3.7).

use crate::script::{PEER_KEY, Script};
use crate::world::{Link, Middlebox, Rng, Side, Wire, World, pattern, seeds};
use anabranch_mptcp::{CloseReason, Config, Event, FallbackReason, Version, Versions};
use anabranch_wire::Seq;
use anabranch_wire::checksum::{self, sum_slices};
use anabranch_wire::mptcp::{Dsn, Dss, DssMapping, MptcpOption, ResetReason};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

fn config() -> Config {
    Config {
        checksum: true,
        ..Config::default()
    }
}

fn script() -> Script {
    Script::with(config(), PEER_KEY)
}

/// Checksummed mapping of `payload`.
fn checked(s: &Script, position: u64, rel: u64, payload: &[u8]) -> DssMapping {
    let mut m = s.mapping(position, rel, payload.len() as u16);
    let sum = sum_slices([payload]);
    m.checksum = Some(checksum::dss(s.dsn(position), m.ssn, m.len, sum));
    m
}

/// Data with a right checksum, or a wrong one.
fn put(s: &mut Script, line: usize, rel: u64, position: u64, payload: &[u8], right: bool) {
    let mut mapping = checked(s, position, rel, payload);
    if !right {
        mapping.checksum = mapping.checksum.map(|sum| sum ^ 0x0101);
    }
    let dss = s.dss(0, Some(mapping));
    s.data(line, rel, payload, vec![dss]);
}

fn fails(out: &[anabranch_mptcp::Outgoing]) -> Vec<u64> {
    let options = out.iter().flat_map(|o| &o.mptcp);
    let fails = options.filter_map(|o| match o {
        MptcpOption::Fail(dsn) => Some(*dsn),
        _ => None,
    });
    fails.collect()
}

fn infinite(mapping: DssMapping) -> MptcpOption {
    MptcpOption::Dss(Dss {
        data_ack: None,
        mapping: Some(DssMapping {
            len: 0,
            checksum: Some(0),
            ..mapping
        }),
        data_fin: false,
    })
}

/// Whether a byte of a subflow is one a middlebox alters.
fn is_altered(position: u64, from: u64) -> bool {
    position >= from && position % 7919 == 11
}

/// What arrives of `data` on the only subflow.
fn altered(data: &Bytes, from: u64) -> Vec<u8> {
    let bytes = data.iter().enumerate();
    let bytes = bytes.map(|(i, b)| b ^ u8::from(is_altered(i as u64, from)));
    bytes.collect()
}

/// Alters some bytes of every subflow on a link, the same ones whenever they come by: `from` gives
/// the subflow position that each side's bytes are altered from on.
fn gateway(link: usize, from: [Option<u64>; 2]) -> Middlebox {
    let mut isns: BTreeMap<(u16, Side), Seq> = BTreeMap::new();
    Box::new(move |_, w| {
        let port = w.packet.src.port().max(w.packet.dst.port());
        if w.has(Flags::SYN) {
            isns.insert((port, w.from), w.packet.seq);
        }
        if w.link != link || w.payload.is_empty() {
            return true;
        }
        let (Some(from), Some(isn)) = (from[w.from as usize], isns.get(&(port, w.from))) else {
            return true;
        };
        let start = w.packet.seq.since(*isn + 1) as u64;
        let bytes = w.payload.iter().enumerate();
        let bytes = bytes.map(|(i, b)| b ^ u8::from(is_altered(start + i as u64, from)));
        w.payload = bytes.collect();
        true
    })
}

/// Both sides stream while a middlebox alters bytes of the only subflow; `also` may do more. Even
/// seeds speak version 0.
fn streams(
    from: [Option<u64>; 2],
    link: Link,
    seed: u64,
    also: impl FnMut(&mut Wire) -> bool + 'static,
) -> World {
    streams_of(config(), from, link, seed, also)
}

fn streams_of(
    base: Config,
    from: [Option<u64>; 2],
    link: Link,
    seed: u64,
    mut also: impl FnMut(&mut Wire) -> bool + 'static,
) -> World {
    let versions = if seed.is_multiple_of(2) {
        Versions::only(Version::V0)
    } else {
        Versions::ALL
    };
    let config = || Config {
        versions,
        ..base.clone()
    };
    let mut world = World::with(config(), config(), 1);
    world.links = vec![link];
    world.rng = Rng(seed);
    let mut gateway = gateway(0, from);
    world.middlebox = Some(Box::new(move |now, w| gateway(now, w) && also(w)));
    world.connect();
    world.run_until(Duration::from_secs(30), |w| w.server.connection.is_some());
    let (up, down) = (pattern(250_000, 1), pattern(180_000, 2));
    world.send_all(Side::Client, up.clone());
    world.send_all(Side::Server, down.clone());
    world.run_until(Duration::from_secs(300), |w| {
        w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
    });
    let expected = [
        altered(&up, from[0].unwrap_or(u64::MAX)),
        altered(&down, from[1].unwrap_or(u64::MAX)),
    ];
    let same = world.server.received == expected[0] && world.client.received == expected[1];
    assert!(same, "{from:?} {seed}: {}", world.describe());
    for side in [Side::Client, Side::Server] {
        let closed = world.host(side).conn().closed();
        assert_eq!(closed, Some(CloseReason::Finished), "{from:?} {seed}");
        assert!(world.host(side).conn().fallback().is_some());
    }
    world
}

const DIRECTIONS: [[Option<u64>; 2]; 3] = [
    [Some(60_000), None],
    [None, Some(60_000)],
    [Some(60_000), Some(90_000)],
];

#[test]
fn altered_bytes_on_the_only_subflow_come_out_once_with_data_under_way_both_ways() {
    for (from, seed) in DIRECTIONS.iter().flat_map(|d| [(*d, 0), (*d, 1)]) {
        let mut world = streams(from, Link::default(), seed, |_| true);
        let version = world.client.info().version;
        assert_eq!(u64::from(version), seed);
        let reasons = [Side::Client, Side::Server].map(|s| world.host(s).conn().fallback());
        assert!(
            reasons.contains(&Some(FallbackReason::Checksum)),
            "{reasons:?}"
        );
        assert_eq!(world.count(|w| w.has(Flags::RST)), 0);
        let infinite = world.count(|w| {
            let mapping = w.dss().and_then(|d| d.mapping);
            mapping.is_some_and(|m| m.len == 0)
        });
        assert!(infinite > 0);
    }
}

#[test]
fn the_very_first_bytes_may_be_altered() {
    for from in [[Some(0), None], [None, Some(0)], [Some(0), Some(0)]] {
        streams(from, Link::default(), 1, |_| true);
    }
}

#[test]
fn altered_bytes_and_loss() {
    for seed in seeds(80) {
        let link = Link {
            loss: 0.02,
            jitter: Duration::from_millis(seed % 4),
            offload: seed % 3 == 0,
            ..Link::default()
        };
        streams(DIRECTIONS[seed as usize % 3], link, seed, |_| true);
    }
}

/// An end that stopped mapping, and whose MP_FAIL is not heard, looks as if the path removed
/// options.
fn lenient() -> Config {
    Config {
        plain_midway: true,
        ..config()
    }
}

fn has_fail(w: &Wire) -> bool {
    w.options()
        .iter()
        .any(|o| matches!(o, MptcpOption::Fail(_)))
}

#[test]
fn a_lost_mp_fail_is_sent_again_and_so_is_its_answer() {
    for side in [Side::Client, Side::Server] {
        let mut lost = 0;
        let drop = move |w: &mut Wire| {
            let drops = w.from == side && has_fail(w) && lost < 2;
            lost += u32::from(drops);
            !drops
        };
        for from in DIRECTIONS {
            streams_of(lenient(), from, Link::default(), 1, drop);
        }
    }
}

#[test]
fn an_mp_fail_that_only_passes_one_way_is_made_up_for_by_the_infinite_mapping() {
    for side in [Side::Client, Side::Server] {
        streams_of(lenient(), DIRECTIONS[2], Link::default(), 1, move |w| {
            w.from != side || !has_fail(w)
        });
    }
}

#[test]
fn one_of_two_subflows_is_reset_and_its_bytes_arrive_unaltered_on_the_other() {
    for from in DIRECTIONS {
        let mut world = World::with(config(), config(), 2);
        world.links[1].delay = Duration::from_millis(4);
        world.middlebox = Some(gateway(1, from));
        world.establish();
        world.join_all();
        let (up, down) = (pattern(400_000, 1), pattern(300_000, 2));
        world.send_all(Side::Client, up.clone());
        world.send_all(Side::Server, down.clone());
        world.run_until(Duration::from_secs(60), |w| {
            w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
        });
        assert!(world.server.received == up && world.client.received == down);
        assert_eq!(world.client.conn().closed(), Some(CloseReason::Finished));
        assert_eq!(world.client.conn().fallback(), None);
        let reset = |w: &Wire| {
            let middlebox = |o: &MptcpOption| match o {
                MptcpOption::TcpRst(rst) => rst.reason == ResetReason::Middlebox,
                _ => false,
            };
            w.link == 1 && w.has(Flags::RST) && has_fail(w) && w.options().iter().any(middlebox)
        };
        assert!(world.count(reset) > 0, "{from:?}");
        assert_eq!(world.count(|w| w.link == 0 && w.has(Flags::RST)), 0);
    }
}

#[test]
fn what_a_failed_subflow_held_is_sent_again_at_once() {
    let mut s = script();
    let second = s.join(1);
    s.conn.send(pattern(8_000, 1));
    let sent = s.out();
    let id = sent
        .iter()
        .find(|o| !o.payload.is_empty())
        .expect("data")
        .subflow;
    let line = s.lines.iter().position(|l| l.id == id).expect("a line");
    let other = s.lines[1 - line].id;
    assert!(second < 2);
    // All of it was acknowledged by TCP, nothing at data level.
    let dss = s.dss(0, None);
    s.ack(line, vec![dss]);
    s.put(
        line,
        0,
        Flags::RST,
        &[],
        vec![MptcpOption::Fail(Script::our_dsn(0))],
    );
    let again: usize = s
        .out()
        .iter()
        .filter(|o| o.subflow == other)
        .map(|o| o.payload.iter().map(Bytes::len).sum::<usize>())
        .sum();
    assert_eq!(again, 8_000);
    assert_eq!(s.conn.info().counters.fail_in, 1);
}

#[test]
fn an_unanswered_mp_fail_is_repeated_and_ends_in_a_reset() {
    let config = Config {
        fail_timeout: Duration::from_secs(20),
        ..config()
    };
    let mut s = Script::with(config, PEER_KEY);
    put(&mut s, 0, 0, 0, b"right", true);
    put(&mut s, 0, 5, 5, b"wrong", false);
    assert_eq!(fails(&s.out()), [s.dsn(5)]);
    let again = s.wait(Duration::from_secs(19));
    let times = fails(&again).len();
    assert!((2..8).contains(&times), "{times}");
    assert!(!again.iter().any(|o| o.emit.flags.has(Flags::RST)));
    let end = s.wait(Duration::from_secs(2));
    let rst = end.iter().find(|o| o.emit.flags.has(Flags::RST));
    assert_eq!(fails(&[rst.expect("RST").clone()]), [s.dsn(5)]);
    assert_eq!(s.read(), b"right");
}

#[test]
fn a_fallback_stops_the_repetitions() {
    let mut s = script();
    put(&mut s, 0, 0, 0, b"wrong", false);
    s.out();
    s.ack_at(0, 5, vec![MptcpOption::Fail(0)]);
    assert_eq!(s.conn.fallback(), Some(FallbackReason::Checksum));
    assert_eq!(s.read(), b"wrong");
    assert_eq!(fails(&s.wait(Duration::from_secs(300))), [0u64; 0]);
}

#[test]
fn a_repeated_mp_fail_is_answered_again_but_not_for_ever() {
    let mut s = script();
    s.conn.send(Bytes::from_static(b"altered on its way"));
    s.out();
    let fail = |s: &Script| vec![s.dss(0, None), MptcpOption::Fail(Script::our_dsn(0))];
    let mut answers = 0;
    for _ in 0..100 {
        let options = fail(&s);
        s.ack(0, options);
        answers += fails(&s.out()).len();
    }
    assert_eq!(s.conn.fallback(), Some(FallbackReason::Peer));
    assert_eq!(answers, 32);
    // An answer to our answer is not answered.
    let mut s = script();
    s.conn.send(Bytes::from_static(b"altered on its way"));
    s.out();
    let options = fail(&s);
    s.ack(0, options);
    assert_eq!(fails(&s.out()).len(), 1);
    s.ack(0, vec![MptcpOption::Fail(Script::our_dsn(0))]);
    assert_eq!(fails(&s.out()).len(), 0);
}

#[test]
fn an_mp_fail_about_what_was_never_sent_is_counted_and_ignored() {
    let mut s = script();
    s.conn.send(pattern(1_000, 1));
    s.out();
    for dsn in [
        Script::our_dsn(1_000),
        Script::our_dsn(0).wrapping_sub(1),
        Script::our_dsn(1 << 40),
        0,
    ] {
        s.ack(0, vec![MptcpOption::Fail(dsn)]);
        s.out();
    }
    assert_eq!(s.conn.fallback(), None);
    let counters = s.conn.info().counters;
    assert_eq!((counters.fail_in, counters.bad_options), (4, 4));
    assert_eq!(s.conn.info().subflows.len(), 1);
}

#[test]
fn an_mp_fail_on_an_ack_of_one_of_several_subflows_ends_that_one() {
    let mut s = script();
    s.join(1);
    s.conn.send(pattern(1_000, 1));
    let sent = s.out();
    let id = sent
        .iter()
        .find(|o| !o.payload.is_empty())
        .expect("data")
        .subflow;
    let line = s.lines.iter().position(|l| l.id == id).expect("a line");
    s.ack(line, vec![MptcpOption::Fail(Script::our_dsn(0))]);
    let out = s.out();
    let rst = out.iter().find(|o| o.emit.flags.has(Flags::RST));
    assert_eq!(rst.expect("RST").subflow, id);
    let again = out.iter().find(|o| !o.payload.is_empty()).expect("again");
    assert_ne!(again.subflow, id);
    assert_eq!(s.conn.fallback(), None);
}

#[test]
fn bytes_that_are_not_one_stream_cannot_go_on_plain() {
    // What the subflow brought first lies behind what it brings now: the other was reset.
    let mut s = script();
    put(&mut s, 0, 0, 5, b"later", true);
    put(&mut s, 0, 5, 0, b"wrong", false);
    let out = s.out();
    let rst = out.iter().find(|o| o.emit.flags.has(Flags::RST));
    let rst = rst.expect("RST");
    assert!(rst.mptcp.contains(&MptcpOption::Fail(s.dsn(0))), "{rst:?}");
    assert_eq!(s.conn.fallback(), None);
    // A join revives the connection, and nothing was lost or mistaken.
    let line = s.join(1);
    put(&mut s, line, 0, 0, b"right", true);
    assert_eq!(s.read(), b"rightlater");
}

#[test]
fn a_sender_whose_bytes_are_not_one_stream_resets() {
    let mut s = script();
    let second = s.join(1);
    s.conn.send(pattern(1_000, 1));
    let sent = s.out();
    let id = sent
        .iter()
        .find(|o| !o.payload.is_empty())
        .expect("data")
        .subflow;
    let (held, other) = if id == s.lines[0].id {
        (0, second)
    } else {
        (second, 0)
    };
    // The other subflow gets bytes of its own, then those of the first, which dies.
    s.lines[held].window = 0;
    let dss = s.dss(0, None);
    s.put(held, 0, Flags::PSH, &[], vec![dss]);
    s.conn.send(pattern(1_000, 2));
    s.out();
    s.put(held, 0, Flags::RST, &[], vec![]);
    s.out();
    s.ack(other, vec![MptcpOption::Fail(Script::our_dsn(0))]);
    let out = s.out();
    let contiguous = s.conn.fallback().is_some();
    let reset = out.iter().any(|o| o.emit.flags.has(Flags::RST));
    assert!(reset && !contiguous, "{:?}", s.conn.info());
}

#[test]
fn an_infinite_mapping_of_the_first_new_byte_means_the_stream_as_it_is() {
    // Linux names the first byte it sends after MP_FAIL.
    let mut s = script();
    put(&mut s, 0, 0, 0, b"right", true);
    put(&mut s, 0, 5, 5, b"WRONG", false);
    s.out();
    let mapping = infinite(s.mapping(10, 10, 0));
    s.data(0, 10, b"plain", vec![mapping]);
    assert_eq!(s.read(), b"rightWRONGplain");
}

#[test]
fn an_infinite_mapping_may_begin_anew_behind_bytes_that_failed() {
    // The old fork sends everything from the DATA_ACK on once more, as new bytes of the subflow.
    let mut s = script();
    put(&mut s, 0, 0, 0, b"right", true);
    put(&mut s, 0, 5, 5, b"WRONG", false);
    s.out();
    let mapping = infinite(s.mapping(5, 10, 0));
    s.data(0, 10, b"again", vec![mapping]);
    s.data(0, 15, b" plain", vec![]);
    assert_eq!(s.read(), b"rightagain plain");
}

#[test]
fn an_infinite_mapping_that_leaves_a_hole_resets() {
    let mut s = script();
    put(&mut s, 0, 0, 100, b"out of order", true);
    let mapping = infinite(s.mapping(200, 12, 0));
    s.data(0, 12, b"plain", vec![mapping]);
    let out = s.out();
    assert!(out.iter().any(|o| o.emit.flags.has(Flags::RST)));
    assert_eq!(s.read(), b"");
    assert_eq!(s.conn.fallback(), None);
}

#[test]
fn a_data_fin_of_before_is_void_after_an_infinite_mapping() {
    let mut s = script();
    put(&mut s, 0, 0, 0, b"right", true);
    put(&mut s, 0, 5, 5, b"WRONG", false);
    let sum = checksum::dss(s.dsn(12), 0, 1, Default::default());
    let fin = DssMapping {
        ssn: 0,
        checksum: Some(sum),
        ..s.mapping(12, 0, 1)
    };
    s.ack_at(
        0,
        10,
        vec![MptcpOption::Dss(Dss {
            data_ack: Some(Dsn::Long(Script::our_dsn(0))),
            mapping: Some(fin),
            data_fin: true,
        })],
    );
    s.out();
    // A proxy added a byte; FIN is the end now.
    let mapping = infinite(s.mapping(5, 5, 0));
    s.data(0, 10, b"end", vec![mapping]);
    s.put(0, 13, Flags::FIN, &[], vec![]);
    assert_eq!(s.read(), b"rightWRONGend");
    assert!(s.conn.at_end());
    assert!(s.events.iter().any(|e| matches!(e, Event::PeerFin)));
}

#[test]
fn no_more_waits_for_a_fallback_than_a_window_holds() {
    let config = Config {
        initial_window: 100_000,
        ..config()
    };
    let mut s = Script::with(config, PEER_KEY);
    let wrong = pattern(10_000, 1);
    let mut sent = 0;
    while !s.conn.info().subflows.is_empty() {
        put(&mut s, 0, sent, sent, &wrong, false);
        sent += 10_000;
        s.out();
        assert!(sent <= 400_000, "{:?}", s.conn.info());
    }
    assert!(sent > 200_000, "{sent}");
}

#[test]
fn a_checksum_where_none_was_agreed_or_none_where_one_was_resets() {
    for agreed in [false, true] {
        let config = Config {
            checksum: agreed,
            ..Config::default()
        };
        let mut s = Script::with(config, PEER_KEY);
        let mapping = if agreed {
            s.mapping(0, 0, 5)
        } else {
            checked(&s, 0, 0, b"bytes")
        };
        let dss = s.dss(0, Some(mapping));
        s.data(0, 0, b"bytes", vec![dss]);
        let out = s.out();
        let rst = out.iter().find(|o| o.emit.flags.has(Flags::RST));
        let reason = rst.expect("RST").mptcp.iter().find_map(|o| match o {
            MptcpOption::TcpRst(rst) => Some(rst.reason),
            _ => None,
        });
        assert_eq!(reason, Some(ResetReason::MptcpError));
        assert_eq!(s.read(), b"");
    }
}

#[test]
fn in_version_0_a_checksum_where_none_was_agreed_is_ignored() {
    let mut s = Script::speaking(Version::V0, Config::default(), PEER_KEY);
    let mut mapping = s.mapping(0, 0, 5);
    mapping.checksum = Some(7);
    let dss = s.dss(0, Some(mapping));
    s.data(0, 0, b"bytes", vec![dss]);
    assert_eq!(s.read(), b"bytes");
}

/// Subflows come and go while a middlebox now and then alters a byte on any of them.
fn meddled(seed: u64) {
    let mut rng = Rng(seed);
    let links = 1 + rng.below(3) as usize;
    let mut world = World::with(config(), config(), links);
    world.keep_log = false;
    world.rng = Rng(rng.next());
    world.establish();
    for link in &mut world.links {
        link.loss = if rng.chance(0.3) { 0.02 } else { 0.0 };
        link.delay = Duration::from_millis(1 + rng.below(20));
        link.jitter = Duration::from_millis(rng.below(3));
    }
    let mut own = Rng(rng.next());
    let often = [0.002, 0.01, 0.05][rng.below(3) as usize];
    world.middlebox = Some(Box::new(move |_, w| {
        if !w.payload.is_empty() && own.chance(often) {
            let at = own.below(w.payload.len() as u64) as usize;
            let mut bytes = w.payload.to_vec();
            bytes[at] ^= 0x55;
            w.payload = Bytes::from(bytes);
        }
        true
    }));
    let up = pattern(rng.below(300_000) as usize, 1);
    let down = pattern(rng.below(300_000) as usize, 2);
    world.send_all(Side::Client, up.clone());
    world.send_all(Side::Server, down.clone());
    for port in 0..30 {
        world.run_for(Duration::from_millis(rng.below(200)));
        let both = world.client.conn().is_multipath() && world.server.conn().is_multipath();
        if both && rng.chance(0.3) {
            world.join_from(rng.below(links as u64) as usize, 7_000 + port, false);
        }
    }
    world.run_for(Duration::from_secs(300));
    for (side, sent) in [(Side::Client, &down), (Side::Server, &up)] {
        let described = world.describe();
        let host = world.host(side);
        let (fallback, closed) = (host.conn().fallback(), host.conn().closed());
        // Checksums hold while there are any; after that each byte is some byte, once.
        let equal = sent.starts_with(&host.received);
        assert!(equal || fallback.is_some(), "seed {seed}: {described}");
        if closed == Some(CloseReason::Finished) {
            assert_eq!(host.received.len(), sent.len(), "seed {seed}: {described}");
        }
    }
}

#[test]
fn whatever_is_altered_no_byte_is_lost_or_doubled() {
    for seed in seeds(150) {
        meddled(seed);
    }
}

#[test]
fn a_join_that_comes_before_the_answer_takes_over() {
    let mut s = script();
    put(&mut s, 0, 0, 0, b"wrong", false);
    assert_eq!(fails(&s.out()), [s.dsn(0)]);
    let line = s.join(1);
    let out = s.wait(Duration::from_secs(2));
    let rst = out.iter().find(|o| o.emit.flags.has(Flags::RST));
    let rst = rst.expect("RST");
    assert_eq!(rst.subflow, s.lines[0].id);
    assert!(rst.mptcp.contains(&MptcpOption::Fail(s.dsn(0))), "{rst:?}");
    put(&mut s, line, 0, 0, b"right", true);
    assert_eq!(s.read(), b"right");
    assert_eq!(s.conn.fallback(), None);
}

#[test]
fn an_mp_fail_about_what_was_acknowledged_since_is_meant_all_the_same() {
    // Linux delivers what failed, and acknowledges it.
    let mut s = script();
    s.conn.send(pattern(1_000, 1));
    s.out();
    let dss = s.dss(1_000, None);
    s.ack(0, vec![dss, MptcpOption::Fail(Script::our_dsn(0))]);
    assert_eq!(s.conn.fallback(), Some(FallbackReason::Peer));
    assert_eq!(fails(&s.out()).len(), 1);
    s.conn.send(Bytes::from_static(b"plain"));
    let out = s.out();
    let data = out.iter().find(|o| !o.payload.is_empty()).expect("data");
    let [MptcpOption::Dss(dss)] = &data.mptcp[..] else {
        panic!("{data:?}")
    };
    let mapping = dss.mapping.expect("a mapping");
    let expected = (Dsn::Long(Script::our_dsn(1_000)), 1_001, 0);
    assert_eq!((mapping.dsn, mapping.ssn, mapping.len), expected);
}
