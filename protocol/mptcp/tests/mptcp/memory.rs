//! Memory: charged while it is held, bounded, given back.

use crate::script::{PEER_KEY, Script};
use crate::world::{Side, World, pattern};
use anabranch_mptcp::{Config, Event};
use anabranch_tcp::budget::Budget;
use bytes::Bytes;
use std::time::Duration;

fn with_budget(budget: &Budget) -> Config {
    Config {
        budget: budget.clone(),
        ..Config::default()
    }
}

#[test]
fn everything_is_given_back() {
    let (up, down) = (Budget::new(16 << 20), Budget::new(16 << 20));
    let mut world = World::with(with_budget(&up), with_budget(&down), 2);
    world.keep_log = false;
    world.establish();
    world.join_all();
    world.server.reads = false;
    world.send_all(Side::Client, pattern(1 << 20, 1));
    world.run_for(Duration::from_secs(3));
    assert!(
        up.used() > 100_000 && down.used() > 100_000,
        "{} {}",
        up.used(),
        down.used()
    );
    world.server.reads = true;
    world.settle();
    world.send_all(Side::Server, pattern(1 << 20, 2));
    world.run_for(Duration::from_secs(10));
    assert!(world.server.received == pattern(1 << 20, 1));
    assert!(world.client.received == pattern(1 << 20, 2));
    assert_eq!((up.used(), down.used()), (0, 0));
}

#[test]
fn the_send_buffer_and_the_budget_bound_what_is_taken() {
    let budget = Budget::new(100_000);
    let config = Config {
        send_buffer: 60_000,
        ..with_budget(&budget)
    };
    let mut s = Script::with(config, PEER_KEY);
    assert_eq!(s.conn.send(pattern(50_000, 1)), 50_000);
    assert_eq!(s.conn.send(pattern(50_000, 1)), 10_000);
    assert!(budget.used() >= 60_000 && budget.used() <= 100_000);
    s.out();
    // Acknowledged: there is room again, and it is said.
    let ack = s.dss(14_000, None);
    s.ack(0, vec![ack]);
    s.out();
    let ack = s.dss(40_000, None);
    s.ack(0, vec![ack]);
    assert!(
        s.events.iter().any(|e| matches!(e, Event::Writable)),
        "{:?}",
        s.events
    );
    assert!(s.conn.send(Bytes::from_static(b"more")) > 0);
}

#[test]
fn over_budget_what_is_out_of_order_is_dropped_and_what_is_in_order_taken() {
    let budget = Budget::new(5_000);
    let mut s = Script::with(with_budget(&budget), PEER_KEY);
    let data = pattern(30_000, 1);
    // In order on the subflow, data level from 1,000 on first.
    for i in 0..10usize {
        s.mapped(
            0,
            i as u64 * 1000,
            1000 + i as u64 * 1000,
            &data[1000 + i * 1000..][..1000],
        );
        s.out();
    }
    let info = s.conn.info();
    assert_eq!(
        (info.out_of_order, info.counters.dropped_bytes),
        (5_000, 5_000)
    );
    s.mapped(0, 10_000, 0, &data[..1000]);
    assert!(s.read() == data[..6000]);
    assert_eq!(budget.used(), 0);
}

#[test]
fn what_waits_for_a_mapping_or_its_checksum_is_charged() {
    let budget = Budget::new(1 << 20);
    let mut s = Script::with(with_budget(&budget), PEER_KEY);
    let ack = s.dss(0, None);
    s.data(0, 0, &[1; 1_000], vec![ack.clone()]);
    s.data(0, 1_000, &[2; 500], vec![ack]);
    assert_eq!(budget.used(), 1_500);
    let mapping = s.mapping(0, 0, 700);
    let dss = s.dss(0, Some(mapping));
    s.ack_at(0, 1_500, vec![dss]);
    // 700 moved on to the bytes that can be read.
    assert_eq!((budget.used(), s.conn.info().unread), (1_500, 700));
    s.read();
    assert_eq!(budget.used(), 800);

    let checked = Config {
        checksum: true,
        ..with_budget(&budget)
    };
    drop(s);
    assert_eq!(budget.used(), 0);
    let mut s = Script::with(checked, PEER_KEY);
    let mut mapping = s.mapping(0, 0, 1_000);
    mapping.checksum = Some(7);
    let dss = s.dss(0, Some(mapping));
    s.data(0, 0, &[3; 999], vec![dss]);
    assert_eq!(budget.used(), 999);
    // It is whole, and wrong: plain TCP makes it readable.
    s.data(0, 999, &[3], vec![]);
    assert_eq!(budget.used(), 1_000);
    s.ack_at(0, 1_000, vec![anabranch_wire::mptcp::MptcpOption::Fail(0)]);
    assert_eq!(s.read().len(), 1_000);
    assert_eq!(budget.used(), 0);
}
