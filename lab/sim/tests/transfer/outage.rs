//! Paths that go dark, come back, or never were.

use crate::{at_ms, mbit, paths, run};
use anabranch_sim::{Change, LinkConfig, Path, Scene};
use anabranch_tcp::Instant;
use std::time::Duration;

/// `n` equal paths; both directions of number `dark` change at `from` and back at `until`.
fn with_outage(
    n: usize,
    dark: usize,
    change: fn(bool) -> Change,
    from: Instant,
    until: Option<Instant>,
) -> Scene {
    let mut paths = paths(n);
    let path = &mut paths[dark];
    for link in [&mut path.there, &mut path.back] {
        link.schedule.push((from, change(true)));
        link.schedule.extend(until.map(|at| (at, change(false))));
    }
    Scene::new(1, paths)
}

#[test]
fn one_of_two_paths_blackholed_for_good() {
    for dark in [0, 1] {
        let scene = with_outage(2, dark, Change::Blackhole, at_ms(500), None);
        let report = run(&scene.bulk(10_000_000, 10_000_000));
        // Both directions share what is left: 50 Mbit/s each way.
        assert!(
            report.elapsed < Duration::from_secs(6),
            "path {dark}: {:?}",
            report.elapsed
        );
        let gap = report.client.longest_gap.max(report.server.longest_gap);
        assert!(gap < Duration::from_millis(1500), "path {dark}: {gap:?}");
    }
}

#[test]
fn a_link_cut_and_restored_is_used_again() {
    for change in [Change::Down as fn(bool) -> Change, Change::Blackhole] {
        let scene = with_outage(2, 1, change, at_ms(500), Some(at_ms(1500)));
        let report = run(&scene.bulk(40_000_000, 0));
        // 0.5 s with both, 1 s with one, the rest with both: 4 s at best; with one alone after
        // the cut it would be 6.4 s.
        let rate = mbit(40_000_000, report.elapsed);
        assert!(rate > 60.0, "{rate} Mbit/s in {:?}", report.elapsed);
    }
}

#[test]
fn the_only_path_goes_away_for_a_while() {
    for mptcp in [false, true] {
        let mut scene = with_outage(1, 0, Change::Blackhole, at_ms(300), Some(at_ms(4300)));
        scene.mptcp = mptcp;
        let report = run(&scene.bulk(5_000_000, 5_000_000));
        assert!(
            report.elapsed < Duration::from_secs(15),
            "{:?}",
            report.elapsed
        );
    }
}

#[test]
fn all_paths_go_dark_at_once_and_come_back() {
    let mut scene = with_outage(2, 0, Change::Blackhole, at_ms(300), Some(at_ms(3300)));
    let other = with_outage(2, 1, Change::Blackhole, at_ms(300), Some(at_ms(3300)));
    scene.paths[1] = other.paths[1].clone();
    let report = run(&scene.bulk(5_000_000, 5_000_000));
    assert!(
        report.elapsed < Duration::from_secs(12),
        "{:?}",
        report.elapsed
    );
}

#[test]
fn a_backup_takes_over() {
    let mut scene = with_outage(2, 0, Change::Blackhole, at_ms(500), None);
    scene.paths[1].backup = true;
    let report = run(&scene.bulk(8_000_000, 8_000_000));
    assert!(
        report.elapsed < Duration::from_secs(6),
        "{:?}",
        report.elapsed
    );
}

#[test]
fn a_join_over_a_dead_path_disturbs_nothing() {
    let mut scene = with_outage(2, 1, Change::Blackhole, at_ms(0), None);
    scene.client.send = 5_000_000;
    let rate = mbit(5_000_000, run(&scene).elapsed);
    assert!(rate > 35.0, "{rate} Mbit/s");
}

#[test]
fn a_path_dead_in_one_direction_only() {
    for there in [false, true] {
        let mut paths = paths(2);
        let link = if there {
            &mut paths[1].there
        } else {
            &mut paths[1].back
        };
        link.schedule.push((at_ms(400), Change::Blackhole(true)));
        let report = run(&Scene::new(1, paths).bulk(8_000_000, 8_000_000));
        assert!(
            report.elapsed < Duration::from_secs(6),
            "{:?}",
            report.elapsed
        );
    }
}

#[test]
fn paths_take_turns_being_dark() {
    let mut paths = vec![Path::new(LinkConfig::new(20, 15)); 2];
    for (n, path) in paths.iter_mut().enumerate() {
        for turn in 0..10 {
            let from = 500 + 2000 * turn + 1000 * n as u64;
            for link in [&mut path.there, &mut path.back] {
                link.schedule.push((at_ms(from), Change::Blackhole(true)));
                link.schedule
                    .push((at_ms(from + 1000), Change::Blackhole(false)));
            }
        }
    }
    run(&Scene::new(1, paths).bulk(10_000_000, 10_000_000));
}
