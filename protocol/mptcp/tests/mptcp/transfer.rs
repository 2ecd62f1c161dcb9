//! Bytes both ways over one, two and four subflows.

use crate::world::{Side, World, pattern};
use anabranch_mptcp::{CloseReason, Event};
use std::time::Duration;

/// Both sides send, finish, and have what the other sent.
fn both_ways(world: &mut World, len: usize) {
    let (up, down) = (pattern(len, 1), pattern(len + 777, 2));
    world.send_all(Side::Client, up.clone());
    world.send_all(Side::Server, down.clone());
    world.run_until(Duration::from_secs(120), |w| {
        w.client.conn().closed().is_some() && w.server.conn().closed().is_some()
    });
    assert!(world.server.received == up, "upward: {}", world.describe());
    assert!(
        world.client.received == down,
        "downward: {}",
        world.describe()
    );
    assert_eq!(world.client.conn().closed(), Some(CloseReason::Finished));
    assert_eq!(world.server.conn().closed(), Some(CloseReason::Finished));
}

#[test]
fn a_connection_is_established() {
    let mut world = World::connected(1);
    assert!(world.client.conn().is_multipath());
    assert!(world.server.conn().is_multipath());
    assert!(matches!(world.client.events[..], [Event::Established]));
    assert!(matches!(world.server.events[..], [Event::Established]));
}

#[test]
fn one_subflow() {
    let mut world = World::connected(1);
    both_ways(&mut world, 1 << 20);
}

#[test]
fn two_subflows() {
    let mut world = World::joined(2);
    both_ways(&mut world, 4 << 20);
}

#[test]
fn four_subflows() {
    let mut world = World::joined(4);
    both_ways(&mut world, 4 << 20);
}
