//! DATA_FIN where it is hard: with checksums, on other subflows, without any (RFC 8684 §3.3.3).

use crate::script::{PEER_KEY, Script};
use crate::world::{Link, Side, World, pattern};
use anabranch_mptcp::{CloseReason, Config};
use anabranch_tcp::State;
use anabranch_wire::checksum::{self, sum_slices};
use anabranch_wire::mptcp::{Dsn, Dss, DssMapping, MptcpOption, ResetReason};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

fn with_checksum() -> Config {
    Config {
        checksum: true,
        ..Config::default()
    }
}

/// A DSS with DATA_FIN behind these bytes; `wrong` spoils its checksum.
fn fin(s: &Script, position: u64, rel: u64, bytes: &[u8], checksum: Option<bool>) -> MptcpOption {
    let len = bytes.len() as u16 + 1;
    let ssn = if bytes.is_empty() { 0 } else { rel as u32 + 1 };
    let sum = checksum::dss(s.dsn(position), ssn, len, sum_slices([bytes]));
    MptcpOption::Dss(Dss {
        data_ack: Some(Dsn::Long(Script::our_dsn(0))),
        mapping: Some(DssMapping {
            ssn,
            checksum: checksum.map(|right| if right { sum } else { !sum }),
            ..s.mapping(position, 0, len)
        }),
        data_fin: true,
    })
}

fn has_fin(out: &[anabranch_mptcp::Outgoing]) -> bool {
    let mut options = out.iter().flat_map(|o| &o.mptcp);
    options.any(|o| matches!(o, MptcpOption::Dss(dss) if dss.data_fin))
}

#[test]
fn one_alone_is_believed_if_its_checksum_is_right() {
    let mut s = Script::with(with_checksum(), PEER_KEY);
    let wrong = fin(&s, 0, 0, b"", Some(false));
    s.ack(0, vec![wrong]);
    assert!(!s.conn.at_end());
    assert_eq!(s.conn.info().counters.checksum_failures, 1);
    assert_eq!(s.conn.fallback(), None, "it may be repeated");
    let right = fin(&s, 0, 0, b"", Some(true));
    s.ack(0, vec![right]);
    assert!(s.conn.at_end());
    let out = s.out();
    assert_eq!(s.data_acked(&out), Some(1));
}

#[test]
fn one_with_data_counts_in_the_checksum() {
    let mut s = Script::with(with_checksum(), PEER_KEY);
    let dss = fin(&s, 0, 0, b"the end", Some(true));
    s.data(0, 0, b"the end", vec![dss]);
    assert_eq!(s.read(), b"the end");
    assert!(s.conn.at_end());
    let out = s.out();
    assert_eq!(s.data_acked(&out), Some(8));
}

#[test]
fn one_without_a_mapping_means_nothing() {
    let mut s = Script::new();
    let dss = Dss {
        data_ack: Some(Dsn::Long(Script::our_dsn(0))),
        mapping: None,
        data_fin: true,
    };
    s.ack(0, vec![MptcpOption::Dss(dss)]);
    assert!(!s.conn.at_end());
}

#[test]
fn one_beyond_the_window_is_not_believed() {
    let mut s = Script::new();
    let far = fin(&s, 1 << 30, 0, b"", None);
    s.ack(0, vec![far]);
    let near = fin(&s, 4, 0, b"", None);
    s.ack(0, vec![near]);
    s.mapped(0, 0, 0, b"four");
    assert!(s.read() == b"four" && s.conn.at_end());
}

#[test]
fn one_before_what_has_come_is_not_believed() {
    let mut s = Script::new();
    s.mapped(0, 0, 0, b"data");
    s.mapped(0, 4, 8, b"later");
    let (inside, between) = (fin(&s, 2, 0, b"", None), fin(&s, 6, 0, b"", None));
    s.ack_at(0, 9, vec![inside]);
    s.ack_at(0, 9, vec![between]);
    assert_eq!(s.conn.info().counters.bad_options, 2);
    s.mapped(0, 9, 4, b"more");
    assert_eq!(s.read(), b"datamorelater");
}

#[test]
fn ours_is_acknowledged_on_another_subflow() {
    let mut s = Script::new();
    let other = s.join(1);
    s.conn.shutdown(s.now);
    assert!(has_fin(&s.out()));
    assert_eq!(s.conn.info().state, State::FinWait1);
    for line in [0, other] {
        let dss = s.dss(1, None);
        s.ack(line, vec![dss]);
        assert_eq!(s.conn.info().state, State::FinWait2);
    }
    assert!(!has_fin(&s.wait(Duration::from_secs(5))), "not sent again");
}

#[test]
fn theirs_comes_again_on_another_subflow_and_is_acknowledged_there() {
    let mut s = Script::new();
    let other = s.join(1);
    for line in [0, other, other] {
        let dss = fin(&s, 0, 0, b"", None);
        s.ack(line, vec![dss]);
        let out = s.out();
        assert_eq!(s.data_acked(&out), Some(1));
        assert!(out.iter().any(|o| o.subflow == s.lines[line].id));
    }
}

#[test]
fn ours_waits_for_a_subflow_and_goes_with_the_next() {
    let mut world = World::connected(2);
    let id = world.client.conn().subflows().next().expect("a subflow");
    let reason = ResetReason::UnacceptablePerformance;
    world
        .with_conn(Side::Client, |c, now| c.reset_subflow(now, id, reason))
        .expect("reset");
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.client.info().subflows.len(), 0);
    // Both say all they have to say while there is no path.
    world.send_all(Side::Client, Bytes::from_static(b"into the dark"));
    world.send_all(Side::Server, Bytes::new());
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.client.conn().closed(), None);
    world.join(1);
    world.run_for(Duration::from_secs(5));
    assert_eq!(world.server.received, b"into the dark");
    let ends = [Side::Client, Side::Server].map(|side| world.host(side).conn().closed());
    assert_eq!(ends, [Some(CloseReason::Finished); 2]);
}

#[test]
fn both_at_once_however_often_they_are_lost() {
    for seed in 0..60 {
        let checksum = seed % 2 == 0;
        let config = || Config {
            checksum,
            ..Config::default()
        };
        let mut world = World::with(config(), config(), 2);
        world.rng = crate::world::Rng(seed);
        world.establish();
        world.join_all();
        let bad = Link {
            loss: 0.3,
            ..Link::default()
        };
        world.links = vec![bad; 2];
        let data = pattern(seed as usize * 20, seed);
        world.send_all(Side::Client, data.clone());
        world.send_all(Side::Server, data.clone());
        world.run_until(Duration::from_secs(200), |w| {
            w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
        });
        assert!(world.client.received == data && world.server.received == data);
        let ends = [Side::Client, Side::Server].map(|side| world.host(side).conn().closed());
        assert_eq!(ends, [Some(CloseReason::Finished); 2], "seed {seed}");
    }
}

#[test]
fn it_counts_in_no_segment_of_a_subflow() {
    let mut world = World::connected(1);
    world.send_all(Side::Client, pattern(5_000, 1));
    world.run_for(Duration::from_secs(1));
    let bytes: usize = world.log.iter().map(|(_, w)| w.payload.len()).sum();
    assert_eq!(bytes, 5_000);
    assert_eq!(world.count(|w| w.has(Flags::FIN)), 0);
    assert!(world.server.conn().at_end());
}

#[test]
fn two_that_wait_for_data_do_not_answer_each_other_for_ever() {
    let mut world = World::connected(1);
    // Data vanishes, and what has none passes.
    world.middlebox = Some(Box::new(|_, w| w.payload.is_empty()));
    world.send(Side::Client, Bytes::from_static(b"vanishes"));
    world.send(Side::Server, Bytes::from_static(b"vanishes"));
    world.run_for(Duration::from_millis(5));
    world.finish(Side::Client);
    world.finish(Side::Server);
    world.run_for(Duration::from_secs(10));
    let fins = world.count(|w| w.dss().is_some_and(|dss| dss.data_fin));
    assert!((2..60).contains(&fins), "{fins}");
}

#[test]
fn it_leaves_room_for_mp_fail() {
    // 40 bytes hold timestamps and a DSS with DATA_FIN, and no more.
    let mut world = World::with(with_checksum(), with_checksum(), 1);
    world.establish();
    world.send_all(Side::Client, Bytes::new());
    world.run_for(Duration::from_millis(5));
    let mut spoil = true;
    world.middlebox = Some(Box::new(move |_, w| {
        if w.from == Side::Server && !w.payload.is_empty() && std::mem::take(&mut spoil) {
            w.payload = w.payload.iter().map(|b| !b).collect();
        }
        w.from == Side::Server || !w.dss().is_some_and(|dss| dss.data_fin)
    }));
    world.send_all(Side::Server, Bytes::from_static(b"altered"));
    world.run_for(Duration::from_secs(5));
    assert!(world.client.info().counters.fail_out > 0);
    let altered: Vec<u8> = b"altered".iter().map(|b| !b).collect();
    assert_eq!(world.client.received, altered);
}
