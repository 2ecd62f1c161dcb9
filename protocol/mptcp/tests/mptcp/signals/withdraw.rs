//! Addresses that go away (RFC 8684 §3.4.2).

use super::{addr, peers};
use crate::script::{PEER_KEY, Script};
use crate::world::{Side, World, pattern};
use anabranch_mptcp::{Config, Event, GoneReason, Outgoing, SignalError};
use anabranch_tcp::Kind;
use anabranch_wire::mptcp::MptcpOption;
use anabranch_wire::tcp::Flags;
use smallvec::smallvec;
use std::time::Duration;

fn removals(out: &[Outgoing]) -> Vec<Vec<u8>> {
    let options = out.iter().flat_map(|o| &o.mptcp);
    let ids = options.filter_map(|o| match o {
        MptcpOption::RemoveAddr(ids) => Some(ids.to_vec()),
        _ => None,
    });
    ids.collect()
}

fn withdrawn(events: &[Event]) -> Vec<u8> {
    let ids = events.iter().filter_map(|e| match e {
        Event::Withdrawn(id) => Some(*id),
        _ => None,
    });
    ids.collect()
}

fn probes(out: &[Outgoing]) -> usize {
    out.iter().filter(|o| o.emit.kind == Kind::Probe).count()
}

#[test]
fn withdrawing_an_address_ends_the_subflows_that_use_it() {
    let mut world = World::joined(3);
    let second = world.server.info().subflows[1].clone();
    let id = second.local_id;
    world
        .with_conn(Side::Server, |c, now| c.withdraw(now, &[id]))
        .expect("withdrawn");
    world.run_for(Duration::from_millis(200));
    let withdrawn = |e: &Event| matches!(e, Event::Withdrawn(i) if *i == id);
    assert!(
        world.client.events.iter().any(withdrawn),
        "{:?}",
        world.client.events
    );
    world.send_all(Side::Client, pattern(100_000, 2));
    world.send_all(Side::Server, pattern(100_000, 3));
    world.run_for(Duration::from_secs(5));
    assert!(world.server.received == pattern(100_000, 2));
    assert!(world.client.received == pattern(100_000, 3));
    assert_eq!(world.count(|w| w.link == 1 && !w.payload.is_empty()), 0);
}

#[test]
fn several_ids_in_one_withdrawal() {
    let mut s = Script::new();
    for id in [3, 4, 5] {
        s.ack(0, vec![peers(id, &format!("192.0.2.{id}"), None)]);
        s.out();
    }
    s.ack(0, vec![MptcpOption::RemoveAddr(smallvec![3, 5, 77])]);
    let left: Vec<u8> = s.conn.remote_addrs().iter().map(|a| a.id).collect();
    assert_eq!(left, [4]);
}

/// Nothing answers REMOVE_ADDR.
#[test]
fn a_withdrawal_is_sent_three_times() {
    let mut s = Script::new();
    s.conn.withdraw(s.now, &[3, 5]).expect("withdrawn");
    assert_eq!(removals(&s.out()), [[3, 5]]);
    assert_eq!(removals(&s.wait(Duration::from_secs(60))), [[3, 5], [3, 5]]);
}

#[test]
fn how_often_can_be_set() {
    let config = Config {
        signal_repeats: 0,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    s.conn.withdraw(s.now, &[3]).expect("withdrawn");
    assert_eq!(removals(&s.wait(Duration::from_secs(60))), [[3]]);
}

#[test]
fn a_lost_withdrawal_arrives_in_the_end() {
    let mut world = World::joined(3);
    let id = world.server.info().subflows[1].local_id;
    let mut lost = 0;
    world.middlebox = Some(Box::new(move |_, w| {
        let removal = |o: &MptcpOption| matches!(o, MptcpOption::RemoveAddr(_));
        lost += usize::from(w.options().iter().any(removal));
        !w.options().iter().any(removal) || lost > 2
    }));
    world
        .with_conn(Side::Server, |c, now| c.withdraw(now, &[id]))
        .expect("withdrawn");
    world.run_for(Duration::from_secs(10));
    assert_eq!(world.client.info().counters.remove_addr_in, 1);
}

/// Linux reads no more than eight.
#[test]
fn many_ids_take_several_options() {
    let mut s = Script::new();
    let ids: Vec<u8> = (1..=20).collect();
    s.conn.withdraw(s.now, &ids).expect("withdrawn");
    let sent = removals(&s.out());
    let lens: Vec<usize> = sent.iter().map(Vec::len).collect();
    assert_eq!((lens, sent.concat()), (vec![8, 8, 4], ids));
}

#[test]
fn an_id_used_again_is_withdrawn_no_more() {
    let mut s = Script::new();
    s.conn.withdraw(s.now, &[3, 5]).expect("withdrawn");
    s.out();
    s.conn
        .announce(s.now, 3, addr("10.9.9.9"), None)
        .expect("announced");
    assert_eq!(removals(&s.wait(Duration::from_secs(60))), [[5], [5]]);
}

#[test]
fn a_withdrawn_path_that_answers_is_the_peers_to_close() {
    let mut s = Script::new();
    let second = s.join(1);
    s.ack(second, vec![MptcpOption::RemoveAddr(smallvec![0])]);
    let out = s.out();
    assert_eq!(probes(&out), 1, "{out:?}");
    assert!(
        out.iter()
            .any(|o| o.emit.kind == Kind::Probe && o.subflow == s.lines[0].id)
    );
    s.wait(Duration::from_millis(50));
    let ack = s.dss(0, None);
    s.ack(0, vec![ack]);
    let later = s.wait(Duration::from_secs(60));
    assert_eq!(probes(&later), 0);
    assert!(
        !later
            .iter()
            .any(|o| o.emit.flags.has(Flags::FIN) || o.emit.flags.has(Flags::RST))
    );
    assert_eq!(s.conn.info().subflows.len(), 2);
    assert_eq!(withdrawn(&s.events), [0]);
}

#[test]
fn a_withdrawn_path_that_does_not_answer_is_reset() {
    let mut s = Script::new();
    let second = s.join(1);
    s.ack(second, vec![MptcpOption::RemoveAddr(smallvec![0])]);
    // Meanwhile the other subflow is used.
    s.conn.send(pattern(100, 1));
    let out = s.out();
    let data = out.iter().find(|o| !o.payload.is_empty()).expect("data");
    assert_eq!(data.subflow, s.lines[second].id);
    let ack = s.dss(100, None);
    s.ack(second, vec![ack]);
    let later = s.wait(Duration::from_secs(60));
    assert_eq!(probes(&out) + probes(&later), 3);
    let reset = later
        .iter()
        .find(|o| o.emit.flags.has(Flags::RST))
        .expect("RST");
    assert_eq!(reset.subflow, s.lines[0].id);
    let gone = |e: &Event| matches!(e, Event::SubflowGone(_, GoneReason::Withdrawn));
    assert!(s.events.iter().any(gone), "{:?}", s.events);
    assert_eq!(s.conn.info().subflows.len(), 1);
}

/// What is under way there is sent elsewhere at once, not after a timeout.
#[test]
fn data_on_a_withdrawn_path_does_not_wait_for_the_probe() {
    let mut s = Script::new();
    s.conn.send(pattern(1000, 1));
    s.out();
    let second = s.join(1);
    s.ack(second, vec![MptcpOption::RemoveAddr(smallvec![0])]);
    let again = s.out();
    let data = again.iter().find(|o| !o.payload.is_empty()).expect("again");
    assert_eq!(data.subflow, s.lines[second].id);
    assert_eq!(s.conn.info().counters.reinjections, 1);
}

#[test]
fn an_unknown_id_is_ignored() {
    let mut s = Script::new();
    s.ack(0, vec![MptcpOption::RemoveAddr(smallvec![9, 10])]);
    assert!(withdrawn(&s.events).is_empty());
    assert_eq!(probes(&s.out()), 0);
    assert_eq!(s.conn.info().counters.remove_addr_in, 1);
}

/// A replay changes nothing but asks for another sign of life.
#[test]
fn a_replayed_withdrawal_of_a_living_path_costs_a_probe_each_round_trip() {
    let mut s = Script::new();
    let second = s.join(1);
    for _ in 0..1000 {
        s.ack(second, vec![MptcpOption::RemoveAddr(smallvec![0])]);
        assert!(probes(&s.out()) <= 1);
    }
    s.wait(Duration::from_millis(10));
    let ack = s.dss(0, None);
    s.ack(0, vec![ack]);
    assert!(probes(&s.wait(Duration::from_secs(10))) <= 1);
    assert_eq!(s.conn.info().subflows.len(), 2);
}

#[test]
fn the_address_of_the_last_subflow_can_be_withdrawn() {
    let mut world = World::connected(2);
    let data = pattern(300_000, 6);
    world.send(Side::Server, data.slice(..1000));
    world.run_for(Duration::from_secs(1));
    world
        .with_conn(Side::Client, |c, now| c.withdraw(now, &[0]))
        .expect("withdrawn");
    world.run_for(Duration::from_secs(1));
    assert_eq!(withdrawn(&world.server.events), [0]);
    assert_eq!(world.server.info().subflows.len(), 0);
    assert_eq!(world.server.conn().closed(), None);
    // Another address takes over.
    world.send_all(Side::Server, data.slice(1000..));
    world.join(1);
    world.run_for(Duration::from_secs(5));
    assert!(world.client.received == data, "{}", world.describe());
}

#[test]
fn nothing_is_withdrawn_once_the_connection_is_plain_or_over() {
    let mut s = Script::new();
    s.conn.abort(s.now);
    assert_eq!(s.conn.withdraw(s.now, &[0]), Err(SignalError::NotMultipath));
}
