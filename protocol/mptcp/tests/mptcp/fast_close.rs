//! MP_FASTCLOSE on an ACK of one subflow (RFC 8684 §3.5): repeated until a RST answers it.

use crate::world::{Rng, Side, Wire, World, pattern, seeds};
use anabranch_mptcp::{CloseReason, Config, Version, Versions};
use anabranch_wire::mptcp::MptcpOption;
use anabranch_wire::tcp::Flags;
use std::time::Duration;

fn joined(links: usize, versions: Versions) -> World {
    let config = Config {
        fastclose_on_ack: true,
        versions,
        ..Config::default()
    };
    let mut world = World::with(config.clone(), config, links);
    world.establish();
    world.join_all();
    world.log.clear();
    world
}

/// The key of MP_FASTCLOSE.
fn key(wire: &Wire) -> Option<u64> {
    wire.options().iter().find_map(|option| match option {
        MptcpOption::FastClose(key) => Some(*key),
        _ => None,
    })
}

/// What `side` sent: how many ACKs with MP_FASTCLOSE, resets with it, and resets without.
fn sent(world: &World, side: Side) -> [usize; 3] {
    let count = |reset, fast| {
        let of_kind = |w: &Wire| w.has(Flags::RST) == reset && key(w).is_some() == fast;
        world.count(|w| w.from == side && of_kind(w))
    };
    [count(false, true), count(true, true), count(true, false)]
}

#[test]
fn one_subflow_says_so_and_the_others_are_reset() {
    let mut world = joined(3, Versions::ALL);
    world.with_conn(Side::Server, |c, now| c.abort(now));
    let aborted = Some(CloseReason::Aborted);
    assert_eq!(world.server.conn().closed(), aborted);
    assert!(!world.server.conn().is_finished());
    world.run_for(Duration::from_millis(100));
    assert_eq!(sent(&world, Side::Server), [1, 0, 2]);
    let carried = world.log.iter().find_map(|(_, wire)| key(wire));
    assert_eq!(carried, Some(world.client.key));
    // A reset of each subflow that is left answers it.
    assert_eq!(world.client.conn().closed(), Some(CloseReason::FastClose));
    assert!(sent(&world, Side::Client)[2] > 0);
    assert!(world.client.conn().is_finished() && world.server.conn().is_finished());
}

#[test]
fn a_lost_one_is_sent_again() {
    let mut world = joined(2, Versions::ALL);
    let mut seen = 0;
    world.middlebox = Some(Box::new(move |_, wire| {
        seen += usize::from(key(wire).is_some());
        key(wire).is_none() || seen > 2
    }));
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.run_for(Duration::from_millis(100));
    assert_eq!(world.server.conn().closed(), None);
    world.run_for(Duration::from_secs(10));
    // What the path dropped is not in the log.
    assert_eq!(sent(&world, Side::Client), [1, 0, 1]);
    assert_eq!(world.server.conn().closed(), Some(CloseReason::FastClose));
    assert!(world.client.conn().is_finished() && world.server.conn().is_finished());
}

#[test]
fn a_lost_answer_is_given_by_whoever_is_there() {
    let mut world = joined(1, Versions::ALL);
    world.middlebox = Some(Box::new(|_, wire| !wire.has(Flags::RST)));
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.run_for(Duration::from_secs(1));
    assert_eq!(world.server.conn().closed(), Some(CloseReason::FastClose));
    assert!(!world.client.conn().is_finished());
    world.run_for(Duration::from_secs(20));
    assert!(world.client.conn().is_finished());
}

#[test]
fn without_any_answer_a_reset_is_the_last_word() {
    let mut world = joined(2, Versions::ALL);
    world.links.iter_mut().for_each(|link| link.up = false);
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.run_for(Duration::from_secs(30));
    // The first, and three more; the other subflow was reset when it began.
    assert_eq!(sent(&world, Side::Client), [4, 1, 1]);
    assert!(world.client.conn().is_finished());
}

#[test]
fn both_at_once_answer_each_other_with_a_reset() {
    let mut world = joined(1, Versions::ALL);
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.with_conn(Side::Server, |c, now| c.abort(now));
    world.run_for(Duration::from_millis(100));
    for side in [Side::Client, Side::Server] {
        assert_eq!(sent(&world, side), [1, 0, 1]);
        assert!(world.host(side).conn().is_finished());
    }
}

/// What the peer has under way, and what we have, ends with the connection: nothing of it is sent
/// again while the reset is awaited.
#[test]
fn data_under_way_both_ways_does_not_hold_it_up() {
    let mut world = joined(2, Versions::ALL);
    world.send_all(Side::Client, pattern(2_000_000, 1));
    world.send_all(Side::Server, pattern(2_000_000, 2));
    world.run_for(Duration::from_millis(55));
    world.log.clear();
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.run_for(Duration::from_secs(5));
    assert_eq!(
        world.count(|w| w.from == Side::Client && !w.payload.is_empty()),
        0
    );
    assert_eq!(world.server.conn().closed(), Some(CloseReason::FastClose));
    assert!(world.client.conn().is_finished() && world.server.conn().is_finished());
}

#[test]
fn a_second_abort_does_not_wait() {
    let mut world = joined(1, Versions::ALL);
    world.links[0].up = false;
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.run_for(Duration::from_millis(1));
    assert_eq!(sent(&world, Side::Client), [1, 1, 0]);
    assert!(world.client.conn().is_finished());
}

#[test]
fn version_0_has_it_on_an_ack_alone() {
    let config = Config {
        versions: Versions::only(Version::V0),
        ..Config::default()
    };
    let mut world = World::with(config.clone(), config, 2);
    world.establish();
    world.join_all();
    world.with_conn(Side::Client, |c, now| c.abort(now));
    world.run_for(Duration::from_secs(1));
    assert_eq!(sent(&world, Side::Client), [1, 0, 1]);
    assert_eq!(world.server.conn().closed(), Some(CloseReason::FastClose));
    assert!(world.client.conn().is_finished());
}

/// In the middle of a transfer, over links that lose: who aborts is done with it, whatever is lost,
/// and the other learns it if anything arrives at all.
#[test]
fn over_any_links_the_one_who_aborts_is_soon_done() {
    for seed in seeds(300) {
        let mut rng = Rng(seed);
        let links = 1 + rng.below(3) as usize;
        let version = [Version::V0, Version::V1][rng.below(2) as usize];
        let mut world = joined(links, Versions::only(version));
        world.rng = Rng(rng.next());
        let lossy = rng.chance(0.5);
        for link in &mut world.links {
            link.delay = Duration::from_millis(1 + rng.below(100));
            link.loss = if lossy { 0.3 } else { 0.0 };
        }
        let (up, down) = (pattern(300_000, seed), pattern(300_000, !seed));
        world.send(Side::Client, up.clone());
        world.send(Side::Server, down.clone());
        world.run_for(Duration::from_millis(rng.below(2000)));
        let side = [Side::Client, Side::Server][rng.below(2) as usize];
        world.with_conn(side, |c, now| c.abort(now));
        world.run_for(Duration::from_secs(120));
        assert!(world.host(side).conn().is_finished(), "seed {seed}");
        assert!(up.starts_with(&world.server.received), "seed {seed}");
        assert!(down.starts_with(&world.client.received), "seed {seed}");
        if !lossy {
            let other = world.host(side.other()).conn().closed();
            assert_eq!(other, Some(CloseReason::FastClose), "seed {seed}");
        }
    }
}
