//! What is seen of a path that dies without a sign.

use crate::parallel;
use crate::setup::{Line, scene};
use anabranch_sim::scene::World;
use anabranch_sim::{Change, End, Pace, Scene};
use bytes::Bytes;
use std::time::Duration;

const SLICE: Duration = Duration::from_micros(250);
const SECOND: Duration = Duration::from_secs(1);
const SCHEDULERS: [&str; 2] = ["minrtt", "adaptive"];

/// Two equal paths of 100 Mbit/s and 0.1 ms one way.
fn lines() -> [Line; 2] {
    [Line {
        rtt_ms: 0,
        ..Line::new(100.0, 0)
    }; 2]
}

fn scene_of(scheduler: &str, backup: bool, seed: u64) -> Scene {
    let mut scene = scene(seed, &lines(), scheduler, None);
    for path in &mut scene.paths {
        path.there.delay = Duration::from_micros(100);
        path.back.delay = Duration::from_micros(100);
    }
    scene.paths[1].backup = backup;
    scene
}

fn kill(world: &mut World, path: usize) {
    let (there, back) = world.links[path];
    for link in [there, back] {
        world.network.change(link, Change::Blackhole(true));
    }
}

fn received(world: &World) -> u64 {
    let client = world.network.node(world.client);
    client.progress().next().map_or(0, |it| it.received)
}

/// Runs for `time`, and gives the longest time without a byte.
fn longest_gap(world: &mut World, time: Duration) -> Duration {
    let (mut longest, mut gap, mut had) = (Duration::ZERO, Duration::ZERO, received(world));
    let end = world.network.now() + time;
    while world.network.now() < end {
        world.network.run_for(SLICE);
        gap += SLICE;
        if received(world) > had {
            had = received(world);
            gap = Duration::ZERO;
        }
        longest = longest.max(gap);
    }
    longest
}

/// The longest time between two of the messages that the server sends every 10 ms; `echo`: between
/// answers to those that the client sends.
fn messages(scheduler: &str, backup: bool, echo: bool) -> f64 {
    let mut scene = scene_of(scheduler, backup, 1);
    scene.client.keep = true;
    (scene.client.end, scene.server.end) = (End::Never, End::Never);
    if echo {
        scene.server.send = 1 << 30;
        scene.server.pace = Pace::Rounds {
            mine: 64,
            theirs: 64,
            first: false,
        };
        scene.server.keep = true;
        // The client as the server: both have to find out.
        scene.config.mptcp.scheduler = crate::setup::kind(scheduler);
    }
    let mut world = scene.build();
    world.network.run_for(Duration::from_millis(50));
    let speaker = if echo { world.client } else { world.server };
    let (mut longest, mut gap, mut had) = (0, 0, 0);
    for tick in 0..1600 {
        if tick == 600 {
            kill(&mut world, 0);
        }
        if tick % 4 == 0 {
            let now = world.network.now();
            let host = world.network.node_mut(speaker);
            let flow = host.flow(0).expect("a connection");
            let sent = host.stack.send(now, flow, Bytes::from_static(&[7; 64]));
            assert_eq!(sent, Ok(64));
        }
        world.network.run_for(Duration::from_micros(2500));
        gap = if received(&world) > had { 0 } else { gap + 1 };
        had = received(&world);
        longest = longest.max(if tick > 400 { gap } else { 0 });
    }
    f64::from(longest) * 2.5
}

/// Longest gap in what is delivered, ms, and until three bins of 100 ms are back at 75 % of what the
/// remaining path carries.
fn bulk(scheduler: &str) -> (f64, f64) {
    let mut world = scene_of(scheduler, false, 1).bulk(0, 1 << 40).build();
    world.network.run_for(2 * SECOND);
    kill(&mut world, 0);
    let gap = longest_gap(&mut world, SECOND);
    // Again, by bins.
    let mut world = scene_of(scheduler, false, 1).bulk(0, 1 << 40).build();
    world.network.run_for(2 * SECOND);
    kill(&mut world, 0);
    let enough = 0.75 * 100e6 / 8.0 * 0.1 * 1420.0 / 1500.0;
    let (mut good, mut bins) = (0, 0);
    while good < 3 && bins < 50 {
        let before = received(&world);
        world.network.run_for(Duration::from_millis(100));
        good = if (received(&world) - before) as f64 >= enough {
            good + 1
        } else {
            0
        };
        bins += 1;
    }
    (ms(gap), f64::from(bins - 3) * 100.0)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1000.0
}

/// How much later a response of 1 MB is complete when the path with its end dies, ms: the worst of
/// several moments.
fn tail(scheduler: &str) -> f64 {
    let response = 1_000_000;
    let complete = |dies: Option<u64>| {
        let mut scene = scene_of(scheduler, false, 1);
        scene.server.send = response;
        let mut world = scene.build();
        let mut dead = false;
        while received(&world) < response && world.network.now().0 < 5_000_000_000 {
            if dies.is_some_and(|at| received(&world) >= at) && !dead {
                dead = true;
                kill(&mut world, 0);
            }
            world.network.run_for(Duration::from_micros(100));
        }
        world.network.now()
    };
    let usual = complete(None);
    let moments = [700_000, 800_000, 900_000, 950_000, 980_000];
    let late = moments.map(|at| ms(complete(Some(at)).since(usual)));
    late.into_iter().fold(0.0, f64::max)
}

pub(crate) fn table() -> String {
    let columns = parallel(&SCHEDULERS, |scheduler| {
        let (gap, recovery) = bulk(scheduler);
        [
            format!("{:.0}", messages(scheduler, false, false)),
            format!("{:.0}", messages(scheduler, true, false)),
            format!("{:.0}", messages(scheduler, false, true)),
            format!("{:.0}", messages(scheduler, true, true)),
            format!("{gap:.0}"),
            format!("{recovery:.0}"),
            format!("{:.0}", tail(scheduler)),
        ]
    });
    let mut text = HEAD.to_owned();
    for (n, row) in ROWS.iter().enumerate() {
        text += &format!("| {row} | {} | {} |\n", columns[0][n], columns[1][n]);
    }
    text
}

const HEAD: &str = "| what | minrtt | adaptive |\n|---|---|---|\n";
const ROWS: [&str; 7] = [
    "a message of 64 bytes every 10 ms from the server: longest gap, ms",
    "the same, the second path a backup",
    "a message of the client every 10 ms, echoed: longest gap between echoes, ms",
    "the same, the second path a backup",
    "bulk: longest gap, ms",
    "bulk: until three bins of 100 ms are back at 75 % of the remaining path, ms",
    "a response of 1 MB of which the path with the end dies: how much later, ms",
];
