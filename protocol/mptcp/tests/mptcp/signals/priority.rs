//! MP_PRIO and backup (RFC 8684 §3.3.8).

use crate::script::{PEER_KEY, Script};
use crate::world::{Side, World, pattern};
use anabranch_mptcp::{Config, Event, Outgoing};
use anabranch_wire::mptcp::{Join, MptcpOption, Prio};
use anabranch_wire::tcp::Flags;
use std::time::Duration;

fn prios(out: &[Outgoing]) -> Vec<bool> {
    let options = out.iter().flat_map(|o| &o.mptcp);
    let prios = options.filter_map(|o| match o {
        MptcpOption::Prio(prio) => Some(prio.backup),
        _ => None,
    });
    prios.collect()
}

#[test]
fn mp_prio_makes_a_subflow_a_backup_on_both_sides() {
    let mut world = World::joined(2);
    let second = world.client.info().subflows[1].id;
    world
        .with_conn(Side::Client, |c, now| c.set_backup(now, second, true))
        .expect("set");
    world.run_for(Duration::from_millis(100));
    let told = |e: &Event| matches!(e, Event::PeerBackup(_, true));
    assert!(world.server.events.iter().any(told));
    world.send(Side::Client, pattern(500_000, 1));
    world.send(Side::Server, pattern(500_000, 2));
    world.run_for(Duration::from_secs(10));
    assert!(world.server.received == pattern(500_000, 1));
    assert!(world.client.received == pattern(500_000, 2));
    assert_eq!(world.count(|w| w.link == 1 && !w.payload.is_empty()), 0);
    // And back.
    world
        .with_conn(Side::Client, |c, now| c.set_backup(now, second, false))
        .expect("set");
    world.run_for(Duration::from_millis(100));
    world.send(Side::Client, pattern(2_000_000, 1));
    world.run_for(Duration::from_secs(10));
    assert!(world.count(|w| w.link == 1 && !w.payload.is_empty()) > 0);
}

#[test]
fn a_backup_is_used_when_nothing_else_delivers() {
    let mut world = World::connected(2);
    world.join_from(1, 6001, true);
    world.run_for(Duration::from_millis(200));
    assert!(world.server.info().subflows[1].backup);
    let data = pattern(1_000_000, 1);
    world.send(Side::Server, data.clone());
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.count(|w| w.link == 1 && !w.payload.is_empty()), 0);
    world.links[0].up = false;
    world.run_for(Duration::from_secs(10));
    assert!(world.client.received == data, "{}", world.describe());
}

#[test]
fn prio_received_on_one_subflow_concerns_that_one() {
    let mut s = Script::new();
    let second = s.join(1);
    s.ack(
        second,
        vec![MptcpOption::Prio(Prio {
            backup: true,
            address_id: None,
        })],
    );
    let backups: Vec<bool> = s.conn.info().subflows.iter().map(|i| i.backup).collect();
    assert_eq!(backups, [false, true]);
}

/// Nothing answers MP_PRIO.
#[test]
fn a_priority_is_told_three_times() {
    let mut s = Script::new();
    let id = s.lines[0].id;
    s.conn.set_backup(s.now, id, true).expect("set");
    assert_eq!(prios(&s.out()), [true]);
    assert_eq!(prios(&s.wait(Duration::from_secs(60))), [true, true]);
    let config = Config {
        signal_repeats: 0,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    s.conn.set_backup(s.now, id, true).expect("set");
    assert_eq!(prios(&s.wait(Duration::from_secs(60))), [true]);
}

#[test]
fn the_last_word_is_what_is_repeated() {
    let mut s = Script::new();
    let id = s.lines[0].id;
    s.conn.set_backup(s.now, id, true).expect("set");
    assert_eq!(prios(&s.out()), [true]);
    s.conn.set_backup(s.now, id, false).expect("set");
    assert_eq!(prios(&s.wait(Duration::from_secs(60))), [false; 3]);
}

#[test]
fn a_lost_priority_arrives_in_the_end() {
    let mut world = World::joined(2);
    let second = world.client.info().subflows[1].id;
    let mut lost = 0;
    world.middlebox = Some(Box::new(move |_, w| {
        let prio = |o: &MptcpOption| matches!(o, MptcpOption::Prio(_));
        lost += usize::from(w.options().iter().any(prio));
        !w.options().iter().any(prio) || lost > 2
    }));
    world
        .with_conn(Side::Client, |c, now| c.set_backup(now, second, true))
        .expect("set");
    world.run_for(Duration::from_secs(10));
    assert!(world.server.info().subflows[1].backup);
    let told = |e: &&Event| matches!(e, Event::PeerBackup(_, true));
    assert_eq!(world.server.events.iter().filter(told).count(), 1);
}

#[test]
fn a_join_says_whether_it_is_a_backup() {
    let mut world = World::connected(3);
    world.join_from(1, 6001, true);
    world.join_from(2, 6002, false);
    world.run_for(Duration::from_millis(200));
    let flags = |f: fn(&Join) -> Option<bool>| {
        let options = world.log.iter().flat_map(|(_, w)| w.options());
        let joins = options.filter_map(|o| match o {
            MptcpOption::Join(join) => f(join),
            _ => None,
        });
        joins.collect::<Vec<bool>>()
    };
    let syn = |j: &Join| match j {
        Join::Syn { backup, .. } => Some(*backup),
        _ => None,
    };
    let syn_ack = |j: &Join| match j {
        Join::SynAck { backup, .. } => Some(*backup),
        _ => None,
    };
    assert_eq!(flags(syn), [true, false]);
    assert_eq!(flags(syn_ack), [false, false]);
    for side in [Side::Client, Side::Server] {
        let backups: Vec<bool> = world
            .host(side)
            .info()
            .subflows
            .iter()
            .map(|i| i.backup)
            .collect();
        assert_eq!(backups, [false, true, false]);
    }
}

/// Set before the handshake of the join is complete: said once it is.
#[test]
fn a_priority_set_while_joining_is_told_after() {
    let mut world = World::connected(2);
    let id = world.join(1);
    world
        .with_conn(Side::Client, |c, now| c.set_backup(now, id, true))
        .expect("set");
    world.run_for(Duration::from_secs(1));
    assert!(world.server.info().subflows[1].backup);
    let told = world.count(|w| {
        w.options()
            .iter()
            .any(|o| matches!(o, MptcpOption::Prio(_)))
    });
    assert!(told > 0);
    assert_eq!(world.count(|w| w.has(Flags::RST)), 0);
}

#[test]
fn with_backups_only_they_are_used() {
    let mut world = World::joined(2);
    let ids: Vec<_> = world.client.info().subflows.iter().map(|s| s.id).collect();
    world.with_conn(Side::Client, |c, now| {
        for id in ids {
            c.set_backup(now, id, true).expect("set");
        }
    });
    world.run_for(Duration::from_millis(200));
    world.send(Side::Server, pattern(300_000, 1));
    world.send(Side::Client, pattern(300_000, 2));
    world.run_for(Duration::from_secs(5));
    assert!(world.client.received == pattern(300_000, 1));
    assert!(world.server.received == pattern(300_000, 2));
    assert!(world.count(|w| w.link == 1 && !w.payload.is_empty()) > 0);
}
