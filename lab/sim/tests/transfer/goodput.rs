//! What links can carry is carried.

use crate::{mbit, paths, run};
use anabranch_sim::{LinkConfig, Loss, Path, Scene};

fn up(scene: Scene, bytes: u64) -> f64 {
    let report = run(&scene.bulk(bytes, 0));
    mbit(bytes, report.elapsed)
}

#[test]
fn one_path_fills_its_link() {
    for mptcp in [false, true] {
        let mut scene = Scene::new(1, paths(1));
        scene.mptcp = mptcp;
        let rate = up(scene, 30_000_000);
        assert!(rate > 0.9 * 50.0, "mptcp {mptcp}: {rate} Mbit/s");
    }
}

#[test]
fn down_is_as_fast_as_up() {
    let report = run(&Scene::new(1, paths(1)).bulk(0, 30_000_000));
    let rate = mbit(30_000_000, report.elapsed);
    assert!(rate > 0.9 * 50.0, "{rate} Mbit/s");
}

#[test]
fn two_equal_paths_give_the_sum() {
    let rate = up(Scene::new(1, paths(2)), 60_000_000);
    assert!(rate > 0.85 * 100.0, "{rate} Mbit/s");
}

#[test]
fn four_equal_paths_give_the_sum() {
    let rate = up(Scene::new(1, paths(4)), 120_000_000);
    assert!(rate > 0.85 * 200.0, "{rate} Mbit/s");
}

#[test]
fn unequal_paths_give_most_of_the_sum() {
    let paths = vec![
        Path::new(LinkConfig::new(50, 10)),
        Path::new(LinkConfig::new(20, 60)),
    ];
    let rate = up(Scene::new(1, paths), 60_000_000);
    assert!(rate > 0.8 * 70.0, "{rate} Mbit/s");
}

#[test]
fn both_directions_at_once_do_not_starve_each_other() {
    let report = run(&Scene::new(1, paths(2)).bulk(40_000_000, 40_000_000));
    let rate = mbit(40_000_000, report.elapsed);
    // Acknowledgements wait behind data of the other direction and come in bursts.
    assert!(rate > 0.65 * 100.0, "{rate} Mbit/s each way");
}

#[test]
fn a_little_loss_costs_a_little() {
    let mut paths = paths(1);
    paths[0].there.loss = Loss::Random(0.0001);
    let rate = up(Scene::new(1, paths), 30_000_000);
    assert!(rate > 0.8 * 50.0, "{rate} Mbit/s");
}
