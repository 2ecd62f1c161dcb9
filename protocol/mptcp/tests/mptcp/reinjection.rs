//! Data on a path that stops delivering goes over another; boundaries never shift.

use crate::script::Script;
use crate::world::{Side, World, pattern};
use anabranch_mptcp::Outgoing;
use anabranch_wire::mptcp::{DssMapping, MptcpOption};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::time::Duration;

#[test]
fn a_transfer_goes_on_when_its_fastest_path_dies() {
    let mut world = World::joined(2);
    world.links[0].delay = Duration::from_millis(2);
    world.links[1].delay = Duration::from_millis(15);
    for link in &mut world.links {
        link.rate = Some(5_000_000);
    }
    let data = pattern(8 << 20, 1);
    world.send_all(Side::Client, data.clone());
    world.run_for(Duration::from_millis(700));
    let before = world.server.received.len();
    assert!(before > 1 << 20 && before < 7 << 20, "{before}");
    world.links[0].up = false;
    // Well under a second until bytes flow again.
    world.run_for(Duration::from_millis(800));
    let stall = world.server.received.len();
    assert!(
        stall > before + (1 << 20),
        "{before} {stall}: {}",
        world.describe()
    );
    world.run_for(Duration::from_secs(5));
    assert!(world.server.received == data);
}

#[test]
fn the_tail_of_a_transfer_survives_the_death_of_its_path() {
    let mut world = World::joined(2);
    world.links[0].delay = Duration::from_millis(1);
    world.run_for(Duration::from_secs(1));
    world.send(Side::Client, pattern(10_000, 1));
    world.run_for(Duration::from_millis(300));
    world.links[0].up = false;
    world.send_all(Side::Client, Bytes::from_static(b"the tail"));
    world.run_for(Duration::from_millis(900));
    assert!(
        world.server.received.ends_with(b"the tail"),
        "{}",
        world.describe()
    );
}

#[test]
fn a_path_that_comes_back_is_used_again() {
    let mut world = World::joined(2);
    for link in &mut world.links {
        link.rate = Some(2_000_000);
    }
    let data = pattern(20 << 20, 1);
    world.send_all(Side::Client, data.clone());
    world.run_for(Duration::from_millis(500));
    world.links[0].up = false;
    world.run_for(Duration::from_secs(2));
    world.links[0].up = true;
    // The subflow's own retransmission timer has backed off to 1.6 s meanwhile.
    world.run_for(Duration::from_secs(3));
    world.log.clear();
    world.run_for(Duration::from_secs(1));
    let used = world.count(|w| w.link == 0 && w.payload.len() > 1000);
    assert!(used > 1000, "{used} packets");
    world.run_for(Duration::from_secs(20));
    assert!(world.server.received == data);
}

#[test]
fn a_new_subflow_takes_what_a_dead_one_holds() {
    let mut world = World::connected(2);
    world.links[0].up = false;
    let data = pattern(50_000, 1);
    world.send(Side::Client, data.clone());
    world.run_for(Duration::from_secs(3));
    world.join(1);
    world.run_for(Duration::from_secs(2));
    assert!(world.server.received == data, "{}", world.describe());
}

/// The mappings of what was sent, with their subflow.
fn mappings(out: &[Outgoing]) -> Vec<(u32, DssMapping)> {
    let all = out.iter().flat_map(|o| {
        o.mptcp.iter().filter_map(|opt| match opt {
            MptcpOption::Dss(dss) if !o.payload.is_empty() => {
                Some((o.subflow.0, dss.mapping.expect("a mapping")))
            }
            _ => None,
        })
    });
    all.collect()
}

#[test]
fn what_is_sent_again_keeps_its_boundaries() {
    let mut s = Script::new();
    s.conn.send(pattern(9_000, 1));
    let first = mappings(&s.out());
    s.join(1);
    // Nothing is acknowledged: the first subflow times out.
    let again: Vec<_> = mappings(&s.wait(Duration::from_secs(2)));
    let moved: Vec<_> = again.iter().filter(|(id, _)| *id == 1).collect();
    assert!(!moved.is_empty());
    let known: BTreeMap<u64, u16> = first
        .iter()
        .map(|(_, m)| (m.dsn.expand(0), m.len))
        .collect();
    for (_, m) in moved {
        assert_eq!(known.get(&m.dsn.expand(0)), Some(&m.len), "{m:?}");
    }
}

#[test]
fn what_was_acknowledged_in_part_is_sent_again_from_the_data_ack() {
    let mut s = Script::new();
    s.conn.send(pattern(2_000, 1));
    s.out();
    s.join(1);
    // The first 700 bytes of the run reached the peer's data level.
    let dss = s.dss(700, None);
    s.ack_behind(0, vec![dss]);
    let again = mappings(&s.wait(Duration::from_secs(2)));
    let moved = again.iter().find(|(id, _)| *id == 1).expect("sent again");
    assert_eq!(moved.1.dsn.expand(0), Script::our_dsn(700));
    assert_eq!(u64::from(moved.1.len), first_run(&s) - 700);
}

/// Length of the first run of a send of 2,000 bytes: all of it fits into one.
fn first_run(_: &Script) -> u64 {
    2000
}

#[test]
fn what_tcp_delivered_and_the_peer_dropped_is_sent_again() {
    let mut s = Script::new();
    s.conn.send(pattern(1_000, 1));
    s.out();
    // Acknowledged by TCP, never by DATA_ACK: it was outside the data-level window, say.
    let dss = s.dss(0, None);
    s.ack(0, vec![dss.clone()]);
    // It is asked first: one that fell back would take what is sent again for more.
    let probe = s.wait(Duration::from_millis(600));
    assert!(!probe.is_empty() && mappings(&probe).is_empty());
    s.ack(0, vec![dss]);
    let again = mappings(&s.wait(Duration::from_millis(1)));
    let (_, first) = again.first().expect("sent again");
    assert_eq!(
        (first.dsn.expand(0), first.ssn, first.len),
        (Script::our_dsn(0), 1001, 1000)
    );
}

#[test]
fn mappings_of_all_subflows_are_equal_or_disjoint() {
    let mut world = World::joined(3);
    for (i, link) in world.links.iter_mut().enumerate() {
        link.rate = Some(3_000_000);
        link.loss = 0.01;
        link.delay = Duration::from_millis(3 + 7 * i as u64);
    }
    let data = pattern(3 << 20, 1);
    world.send_all(Side::Client, data.clone());
    for down in [0, 1, 2, 0] {
        world.run_for(Duration::from_millis(150));
        world.links[down].up = false;
        world.run_for(Duration::from_millis(600));
        world.links[down].up = true;
    }
    world.run_for(Duration::from_secs(20));
    assert!(world.server.received == data);
    assert!(world.client.info().counters.reinjections > 0);
    // Start and end of each run in data space: an end has several starts only where the head was
    // acknowledged meanwhile.
    let mut ends: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (_, w) in &world.log {
        if let Some(m) = w.dss().and_then(|d| d.mapping).filter(|m| m.ssn != 0) {
            let start = m.dsn.expand(0);
            ends.entry(start + u64::from(m.len))
                .or_default()
                .push(start);
        }
    }
    let mut last_end = 0;
    for (end, starts) in ends {
        let first = *starts.iter().min().expect("a start");
        assert!(
            first >= last_end || end == last_end + 1,
            "[{first}, {end}) overlaps {last_end}"
        );
        last_end = end;
    }
}

#[test]
fn what_was_acknowledged_at_data_level_can_still_be_sent_again_by_its_subflow() {
    let mut s = Script::new();
    s.conn.send(pattern(3_000, 1));
    let first = s.out();
    s.join(1);
    // All of it reached the peer another way; the first subflow delivered nothing.
    let dss = s.dss(3_000, None);
    s.ack_behind(0, vec![dss]);
    assert_eq!(s.conn.info().unacked, 0);
    let bytes = |out: &[Outgoing]| -> Vec<u8> {
        let own = out.iter().filter(|o| o.subflow.0 == 0);
        own.flat_map(|o| o.payload.iter().flat_map(|b| b.to_vec()))
            .collect()
    };
    let again = s.wait(Duration::from_secs(3));
    let again: Vec<Outgoing> = again
        .into_iter()
        .filter(|o| !o.payload.is_empty())
        .collect();
    assert!(
        again.iter().all(|o| o.subflow.0 == 0),
        "nothing is reinjected"
    );
    let sent = bytes(&first);
    assert!(!again.is_empty());
    for o in &again {
        let range = o.emit.rel.start as usize..o.emit.rel.end as usize;
        assert!(o.payload.concat() == sent[range], "{o:?}");
        assert!(matches!(&o.mptcp[..], [MptcpOption::Dss(d)] if d.mapping.is_some()));
    }
}
