//! One path in use, the others standing by.

use crate::table::run;
use anabranch_paths::{Handover, Kind, Policy, Thresholds};
use std::time::Duration;

fn handover(warm: bool) -> Policy {
    Policy {
        failback: Duration::from_secs(5),
        ..Policy::new(Kind::Handover(Handover { warm }))
    }
}

#[test]
fn others_stand_by_established() {
    run(
        handover(true),
        &["a", "b", "c"],
        &[
            (0, "established", "create b>S backup; create c>S backup"),
            (1, "up b>S; up c>S", ""),
            (9000, "well a>S; well b>S; well c>S", ""),
        ],
    );
}

#[test]
fn a_path_that_does_badly_is_left_for_the_best_that_does_not() {
    for trouble in ["slow a>S", "late a>S", "stale a>S"] {
        run(
            handover(true),
            &["a", "b", "c"],
            &[
                (0, "established", "create b>S backup; create c>S backup"),
                (1, "up b>S; up c>S", ""),
                (1000, trouble, "normal b>S; backup a>S"),
                (2000, "slow b>S", "normal c>S; backup b>S"),
                // All do badly: no use to go anywhere.
                (3000, "slow c>S", ""),
            ],
        );
    }
}

#[test]
fn the_better_path_is_gone_back_to_when_it_has_been_good_for_a_while() {
    run(
        handover(true),
        &["a", "b"],
        &[
            (0, "established", "create b>S backup"),
            (1, "up b>S", ""),
            (1000, "slow a>S", "normal b>S; backup a>S"),
            (2000, "well a>S", ""),
            (6000, "slow a>S", ""),
            (7000, "well a>S", ""),
            (11_999, "well a>S", ""),
            (12_000, "well a>S", "normal a>S; backup b>S"),
        ],
    );
}

#[test]
fn a_path_that_is_lost_is_replaced_at_once_and_gone_back_to_later() {
    run(
        handover(true),
        &["a id=1", "b id=2"],
        &[
            (0, "established", "create b>S backup"),
            (1, "up b>S 2", ""),
            (
                1000,
                "local down a",
                "remove 0; destroy a>S at once; normal b>S",
            ),
            (2000, "local up a id=1", "create a>S backup"),
        ],
    );
    run(
        handover(true),
        &["a id=1 rank=1", "b id=2 rank=2"],
        &[
            (0, "established", "create b>S backup"),
            (1, "up b>S 2", ""),
            (
                1000,
                "local down a",
                "remove 0; destroy a>S at once; normal b>S",
            ),
            (2000, "local up a id=1 rank=1", "create a>S backup"),
            (2001, "up a>S 0", ""),
            (7001, "wait", "normal a>S; backup b>S"),
        ],
    );
}

#[test]
fn rules_say_which_is_the_best() {
    run(
        handover(true),
        &["a rank=50", "b rank=10"],
        &[
            (0, "established", "create b>S backup"),
            (10, "up b>S", ""),
            (5010, "well b>S", "normal b>S; backup a>S"),
        ],
    );
    run(
        handover(true),
        &["a", "b backup rank=1"],
        &[
            (0, "established", "create b>S backup"),
            (10, "up b>S", ""),
            (9010, "well b>S", ""),
        ],
    );
}

#[test]
fn standing_by_may_cost_nothing() {
    run(
        handover(false),
        &["a rank=1", "b rank=2"],
        &[
            (0, "established", ""),
            (1000, "slow a>S", "create b>S backup"),
            (1100, "up b>S", "normal b>S; backup a>S"),
            (2000, "well a>S", ""),
            (7000, "well a>S", "normal a>S; backup b>S; destroy b>S"),
            // Lost altogether: the other takes over, and a is tried again.
            (8000, "passing a>S", "create b>S"),
            (8100, "up b>S", ""),
            (9000, "wait", "create a>S backup"),
            (9100, "up a>S", ""),
            (14_100, "wait", "normal a>S; backup b>S; destroy b>S"),
        ],
    );
}

#[test]
fn thresholds_are_configured() {
    let thresholds = Thresholds {
        srtt: Duration::from_millis(800),
        rto: Duration::from_millis(1601),
    };
    let patient = Policy {
        thresholds,
        ..handover(true)
    };
    run(
        patient,
        &["a", "b"],
        &[
            (0, "established", "create b>S backup"),
            (1, "up b>S", ""),
            (2, "slow a>S", ""),
            (3, "late a>S", ""),
            (4, "stale a>S", "normal b>S; backup a>S"),
        ],
    );
}

#[test]
fn figures_are_asked_for_while_they_matter() {
    let table = run(
        handover(true),
        &["a", "b"],
        &[(0, "established", "create b>S backup")],
    );
    assert!(table.connection.watches());
    assert_eq!(
        table.connection.deadline(),
        Some(Duration::from_millis(200))
    );
    let alone = run(handover(true), &["a"], &[(0, "established", "")]);
    assert!(!alone.connection.watches());
    assert_eq!(alone.connection.deadline(), None);
}
