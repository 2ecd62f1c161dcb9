//! Random scenes: loss, reordering, duplication on each path, subflows that come and go, bytes both
//! ways. Whatever happens, the bytes are equal and both sides finish.

use crate::world::{Link, Rng, Side, World, pattern, seeds};
use anabranch_mptcp::{CloseReason, Config, SubflowId};
use anabranch_tcp::config::Keepalive;
use anabranch_wire::mptcp::ResetReason;
use bytes::Bytes;
use std::time::Duration;

/// Seeds tried; more with `ANABRANCH_SEEDS`. A seed that fails is printed: give it with
/// `ANABRANCH_SEED` to see it alone.
const SEEDS: u64 = 1500;

/// A link with random faults.
fn link(rng: &mut Rng) -> Link {
    let bad = rng.chance(0.5);
    let mut fault = |p: f64| {
        if bad {
            p * rng.below(100) as f64 / 100.0
        } else {
            0.0
        }
    };
    let (loss, duplicate) = (fault(0.08), fault(0.05));
    Link {
        delay: Duration::from_micros(200 + rng.below(60_000)),
        jitter: Duration::from_micros(if rng.chance(0.4) { rng.below(8_000) } else { 0 }),
        loss,
        duplicate,
        rate: rng.chance(0.5).then(|| 250_000 + rng.below(10_000_000)),
        offload: rng.chance(0.4),
        ..Link::default()
    }
}

fn config(rng: &mut Rng) -> Config {
    let mut config = Config {
        gso_max: [0, 0, 16 << 10, 64_000][rng.below(4) as usize],
        initial_window: [8 << 10, 64 << 10, 256 << 10][rng.below(3) as usize],
        send_buffer: [16 << 10, 256 << 10, 4 << 20][rng.below(3) as usize],
        checksum: rng.chance(0.2),
        ..Config::default()
    };
    config.tcp.recv_buffer = [64 << 10, 512 << 10, 4 << 20][rng.below(3) as usize];
    config.tcp.nagle = rng.chance(0.5);
    config.tcp.timestamps = rng.chance(0.9);
    config.tcp.sack = rng.chance(0.9);
    // A lost RST leaves half a subflow, which only a probe finds.
    let (time, interval) = (Duration::from_secs(3), Duration::from_secs(1));
    config.tcp.keepalive = Some(Keepalive {
        time,
        interval,
        probes: 5,
    });
    config
}

/// One disturbance of a scene in progress; whether it reset something.
fn disturb(world: &mut World, rng: &mut Rng, port: &mut u16) -> bool {
    let links = world.links.len() as u64;
    let side = if rng.chance(0.5) {
        Side::Client
    } else {
        Side::Server
    };
    let ids: Vec<SubflowId> = world.host(side).conn().subflows().collect();
    let any = (!ids.is_empty()).then(|| ids[rng.below(ids.len() as u64) as usize]);
    match rng.below(8) {
        0 | 1 if world.client.conn().is_multipath() && world.server.conn().is_multipath() => {
            let alive = world.client.info().subflows.len();
            if alive < 6 {
                *port += 1;
                world.join_from(rng.below(links) as usize, *port, rng.chance(0.2));
            }
        }
        2 if links > 1 => {
            let down = rng.below(links) as usize;
            world.links[down].up = false;
        }
        3 | 4 => world.links.iter_mut().for_each(|l| l.up = true),
        5 if ids.len() > 1 => {
            let id = any.expect("a subflow");
            let reason = ResetReason::UnacceptablePerformance;
            let _ = world.with_conn(side, |c, now| c.reset_subflow(now, id, reason));
            return true;
        }
        6 if ids.len() > 1 => {
            let id = any.expect("a subflow");
            let _ = world.with_conn(side, |c, now| c.close_subflow(now, id));
        }
        7 => {
            if let Some(id) = any {
                let backup = rng.chance(0.5);
                let _ = world.with_conn(side, |c, now| c.set_backup(now, id, backup));
            }
        }
        _ => {}
    }
    false
}

fn finished(world: &mut World) -> bool {
    world.client.conn().closed().is_some() && world.server.conn().closed().is_some()
}

/// The delivered prefix is right at every moment.
fn check_prefix(seed: u64, world: &World, up: &Bytes, down: &Bytes) {
    assert!(
        up.starts_with(&world.server.received),
        "seed {seed}: upward bytes differ"
    );
    assert!(
        down.starts_with(&world.client.received),
        "seed {seed}: downward bytes differ"
    );
}

fn scene(seed: u64) {
    let mut rng = Rng(seed);
    let links = 1 + rng.below(4) as usize;
    let (client, server) = (config(&mut rng), config(&mut rng));
    let mut world = World::with(client, server, links);
    world.keep_log = false;
    world.rng = Rng(rng.next());
    world.links = (0..links).map(|_| link(&mut rng)).collect();
    let (up, down) = (
        pattern(rng.below(400_000) as usize, rng.next()),
        pattern(rng.below(400_000) as usize, rng.next()),
    );
    world.connect();
    world.send_all(Side::Client, up.clone());
    world.run_until(Duration::from_secs(60), |w| w.server.connection.is_some());
    world.send_all(Side::Server, down.clone());
    let (mut port, mut resets) = (7000, false);
    for _ in 0..rng.below(30) {
        world.run_for(Duration::from_millis(rng.below(150)));
        check_prefix(seed, &world, &up, &down);
        if finished(&mut world) {
            break;
        }
        resets |= disturb(&mut world, &mut rng, &mut port);
    }
    world.links.iter_mut().for_each(|l| l.up = true);
    // Somebody may have to come back: a connection without subflows waits for that.
    for _ in 0..40 {
        world.run_for(Duration::from_secs(5));
        check_prefix(seed, &world, &up, &down);
        if finished(&mut world) {
            break;
        }
        let usable = |i: anabranch_mptcp::Info| {
            i.subflows
                .iter()
                .any(|s| s.tcp.state == anabranch_tcp::State::Established)
        };
        if world.client.conn().is_multipath() && !usable(world.client.info()) {
            port += 1;
            world.join_from(0, port, false);
        }
    }
    assert!(
        world.server.received == up,
        "seed {seed}: upward, {}",
        world.describe()
    );
    assert!(
        world.client.received == down,
        "seed {seed}: downward, {}",
        world.describe()
    );
    // When the last subflow is reset just as one side finishes, the other cannot learn that it may
    // finish too: it gives up in the end. Somebody finishes in any case.
    let ends = [Side::Client, Side::Server].map(|side| world.host(side).conn().closed());
    let certain = ends.contains(&Some(CloseReason::Finished));
    assert!(certain, "seed {seed}: {ends:?}, {}", world.describe());
    if !resets {
        assert_eq!(
            ends,
            [Some(CloseReason::Finished); 2],
            "seed {seed}: {}",
            world.describe()
        );
    }
}

#[test]
fn bytes_are_equal_for_every_seed() {
    let failed: Vec<u64> = seeds(SEEDS)
        .filter(|seed| std::panic::catch_unwind(|| scene(*seed)).is_err())
        .collect();
    assert!(failed.is_empty(), "seeds that fail: {failed:?}");
}
