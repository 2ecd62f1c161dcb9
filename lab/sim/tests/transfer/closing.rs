//! Half-close, requests, slow readers, resets.

use crate::{at_ms, ms, paths, run};
use anabranch_sim::{Change, End, Pace, Scene};
use anabranch_stack::CloseReason;
use std::time::Duration;

/// The scene over plain TCP, over Multipath TCP with one and two paths, and fallen back.
fn everywhere(mut test: impl FnMut(Scene)) {
    for (n, client, server) in [
        (1, false, true),
        (1, true, true),
        (2, true, true),
        (1, true, false),
    ] {
        let mut scene = Scene::new(1, paths(n));
        scene.mptcp = client;
        scene.server_mptcp = server;
        test(scene);
    }
}

#[test]
fn the_server_answers_after_the_client_has_finished() {
    everywhere(|scene| {
        let mut scene = scene.bulk(1_000_000, 2_000_000);
        scene.server.pace = Pace::AfterEof;
        let report = run(&scene);
        assert!(report.client.eof > report.server.eof);
    });
}

#[test]
fn the_client_reads_on_after_the_server_has_finished() {
    everywhere(|scene| {
        let mut scene = scene.bulk(2_000_000, 100_000);
        scene.client.pace = Pace::AfterEof;
        run(&scene);
    });
}

#[test]
fn requests_and_responses_take_turns() {
    everywhere(|mut scene| {
        scene.client.send = 100 * 300;
        scene.client.pace = Pace::Rounds {
            mine: 300,
            theirs: 4000,
            first: true,
        };
        scene.server.send = 100 * 4000;
        scene.server.pace = Pace::Rounds {
            mine: 4000,
            theirs: 300,
            first: false,
        };
        let report = run(&scene);
        // 100 rounds of 20 ms; a delayed acknowledgement in each would show.
        assert!(report.elapsed < ms(2900), "{:?}", report.elapsed);
    });
}

#[test]
fn a_reader_that_stops_for_seconds_loses_nothing() {
    everywhere(|scene| {
        let mut scene = scene.bulk(6_000_000, 6_000_000);
        scene.config.limits.recv_buffer = 300_000;
        scene.server.reading.pause = Some((1_000_000, Duration::from_secs(7)));
        scene.client.reading.pause = Some((2_000_000, Duration::from_secs(4)));
        let report = run(&scene);
        assert!(
            report.elapsed < Duration::from_secs(12),
            "{:?}",
            report.elapsed
        );
    });
}

#[test]
fn a_window_update_that_is_lost_is_asked_for() {
    everywhere(|scene| {
        let mut scene = scene.bulk(3_000_000, 0);
        scene.config.limits.recv_buffer = 200_000;
        // Read on at 5 s or so, while nothing comes through from the server.
        scene.server.reading.pause = Some((500_000, Duration::from_secs(5)));
        for path in &mut scene.paths {
            path.back
                .schedule
                .push((at_ms(4800), Change::Blackhole(true)));
            path.back
                .schedule
                .push((at_ms(5800), Change::Blackhole(false)));
        }
        let report = run(&scene);
        assert!(
            report.elapsed < Duration::from_secs(20),
            "{:?}",
            report.elapsed
        );
    });
}

#[test]
fn a_slow_reader_sets_the_pace() {
    everywhere(|scene| {
        let mut scene = scene.bulk(2_000_000, 0);
        scene.config.limits.recv_buffer = 100_000;
        scene.server.reading.chunk = 10_000;
        scene.server.reading.every = ms(10);
        let report = run(&scene);
        // 1 MB/s.
        assert!(report.elapsed < ms(2500), "{:?}", report.elapsed);
    });
}

#[test]
fn small_writes_are_delivered() {
    everywhere(|scene| {
        let mut scene = scene.bulk(100_000, 100_000);
        scene.client.write = 7;
        scene.server.write = 1000;
        run(&scene);
    });
}

#[test]
fn an_abort_reaches_the_peer() {
    everywhere(|scene| {
        let mut scene = scene.bulk(10_000_000, 10_000_000);
        scene.client.end = End::Abort(1_000_000);
        let mut world = scene.build();
        let report = world.run_to_end().unwrap_or_else(|f| panic!("{f}"));
        let reason = |p: &anabranch_sim::Progress| p.closed.map(|(_, reason)| reason);
        assert_eq!(reason(&report.client), Some(CloseReason::Aborted));
        let n = scene.paths.len();
        assert_eq!(
            reason(&report.server),
            Some(CloseReason::Reset),
            "{n} paths"
        );
        assert!(report.elapsed < ms(2000));
        world.settle().unwrap_or_else(|f| panic!("{f}"));
    });
}

#[test]
fn a_peer_that_vanishes_is_given_up() {
    everywhere(|scene| {
        let mut scene = scene.bulk(10_000_000, 10_000_000);
        scene.limit = Duration::from_secs(3600);
        for path in &mut scene.paths {
            path.there
                .schedule
                .push((at_ms(500), Change::Blackhole(true)));
            path.back
                .schedule
                .push((at_ms(500), Change::Blackhole(true)));
        }
        let mut world = scene.build();
        let report = world.run_to_end().unwrap_or_else(|f| panic!("{f}"));
        for progress in [&report.client, &report.server] {
            let reason = progress.closed.map(|(_, reason)| reason);
            assert_eq!(reason, Some(CloseReason::TimedOut));
        }
    });
}
