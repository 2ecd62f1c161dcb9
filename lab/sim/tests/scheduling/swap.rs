//! Another scheduler, another congestion control, in the middle of loss recovery.

use crate::setup::{Line, kind};
use anabranch_sim::Rng;
use anabranch_sim::Step;
use anabranch_sim::{Loss, Path, Scene, seeds};
use std::time::Duration;

const SCHEDULERS: [&str; 8] = [
    "minrtt",
    "roundrobin",
    "redundant",
    "blest",
    "ecf",
    "weighted:10.0.0.1 weight=3 rate=2M; * class=0",
    "backup:back=50ms",
    "adaptive:budget=20%",
];
const CONGESTION: [&str; 7] = ["cubic", "reno", "bbr", "lia", "olia", "balia", "wvegas"];

/// Runs a scene and holds every byte against what was sent.
fn swapped(seed: u64) -> Result<(), anabranch_sim::scene::Failure> {
    let mut rng = Rng::new(seed);
    let mut lossy = || {
        let line = Line::new(rng.range(2..20) as f64, rng.range(2..60));
        let loss = Loss::Random(rng.range(5..60) as f64 / 1000.0);
        Path {
            there: line.link().loss(loss),
            back: line.link().loss(loss),
            ..Path::new(line.link())
        }
    };
    let paths = vec![lossy(), lossy(), lossy()];
    let mut scene = Scene::new(seed, paths).bulk(rng.range(0..200_000), 300_000);
    scene.paths[2].backup = rng.range(0..2) == 0;
    for plan in [&mut scene.client, &mut scene.server] {
        for _ in 0..rng.range(1..8) {
            let at = Duration::from_millis(rng.range(0..1500));
            let step = match rng.range(0..3) {
                0 => Step::Congestion(CONGESTION[rng.range(0..7) as usize]),
                _ => Step::Scheduler(SCHEDULERS[rng.range(0..8) as usize]),
            };
            plan.steps.push((at, step));
        }
    }
    scene.config.mptcp.scheduler = kind(SCHEDULERS[rng.range(0..8) as usize]);
    scene.run().map(|_| ())
}

#[test]
fn a_change_in_the_middle_of_recovery_costs_no_byte() {
    seeds::each(2000, swapped);
}
