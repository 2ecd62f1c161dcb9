//! What holds for every kind of policy.

use crate::table::{Table, run};
use anabranch_paths::{Delay, Health, Kind, Limits, Loss, Policy, Retry, Source};
use std::sync::Arc;
use std::time::Duration;

fn mesh() -> Policy {
    Policy::new(Kind::FullMesh)
}

fn each() -> Policy {
    Policy::new(Kind::OneEach)
}

#[test]
fn nothing_happens_before_the_connection_is_established_nor_after_its_end() {
    run(
        mesh(),
        &["a", "b"],
        &[
            (0, "announced 3 T; local up c", ""),
            (
                1,
                "established",
                "create b>S; create c>S; create a>T; create b>T; create c>T",
            ),
            (2, "closed; passing b>S; announced 4 U; local down b", ""),
            (9000, "wait", ""),
        ],
    );
}

#[test]
fn what_fails_is_tried_again_later_each_time_and_then_given_up() {
    let mut table = run(
        each(),
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (0, "passing b>S", ""),
            (999, "wait", ""),
            (1000, "wait", "create b>S"),
            (1000, "passing b>S", ""),
            (3000, "wait", "create b>S"),
            (3000, "passing b>S", ""),
            (7000, "wait", "create b>S"),
            (7000, "passing b>S", ""),
            (15_000, "wait", "create b>S"),
            (15_000, "passing b>S", ""),
            (31_000, "wait", "create b>S"),
            (31_000, "passing b>S", ""),
            (999_000, "wait", ""),
        ],
    );
    assert_eq!(table.connection.deadline(), None);
    // The first subflow goes too: everything is worth another attempt.
    table.steps(&[
        (999_000, "passing a>S", ""),
        (1_000_000, "wait", "create a>S"),
        (1_031_000, "wait", "create b>S"),
    ]);
}

#[test]
fn back_off_is_configured() {
    let policy = Policy {
        retry: Retry {
            first: Duration::from_millis(100),
            max: Duration::from_millis(300),
            tries: 5,
        },
        ..each()
    };
    run(
        policy,
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (0, "passing b>S", ""),
            (100, "wait", "create b>S"),
            (100, "passing b>S", ""),
            (300, "wait", "create b>S"),
            (300, "passing b>S", ""),
            (600, "wait", "create b>S"),
            (600, "passing b>S", ""),
            (900, "wait", "create b>S"),
            (900, "passing b>S", ""),
            (99_000, "wait", ""),
        ],
    );
    let never = Policy {
        retry: Retry {
            tries: 0,
            ..Retry::default()
        },
        ..each()
    };
    run(
        never,
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (0, "passing b>S", ""),
            (99_000, "wait", ""),
        ],
    );
}

#[test]
fn a_subflow_that_lasted_starts_counting_anew() {
    run(
        each(),
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (0, "passing b>S", ""),
            (1000, "wait", "create b>S"),
            (1100, "up b>S", ""),
            (61_100, "passing b>S", ""),
            (62_100, "wait", "create b>S"),
        ],
    );
}

#[test]
fn who_takes_every_join_and_resets_it_is_not_asked_for_ever() {
    let table = run(
        each(),
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (0, "up b>S; passing b>S", ""),
            (1000, "wait", "create b>S"),
            (1100, "up b>S; passing b>S", ""),
            (3100, "wait", "create b>S"),
            (3200, "up b>S", ""),
            (9200, "passing b>S", ""),
            (13_200, "wait", "create b>S"),
            (13_200, "up b>S; passing b>S", ""),
            (21_200, "wait", "create b>S"),
            (21_200, "up b>S; passing b>S", ""),
            (37_200, "wait", "create b>S"),
            (37_200, "up b>S; passing b>S", ""),
            (999_000, "wait", ""),
        ],
    );
    assert_eq!(table.connection.deadline(), None);
}

#[test]
fn a_reset_says_by_its_reason_whether_to_try_again() {
    // RFC 8684 §3.6: flag T first, then the reason.
    for reason in 0..=6 {
        assert_eq!(Loss::of_reset(reason, true), Loss::Passing);
        let expected = match reason {
            0 => Loss::Passing,
            3 => Loss::Forbidden,
            _ => Loss::Reset,
        };
        assert_eq!(Loss::of_reset(reason, false), expected);
    }
}

#[test]
fn a_refusal_for_good_is_heeded_as_long_as_there_is_another_path() {
    run(
        each(),
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (0, "lasting b>S", ""),
            (99_000, "wait", ""),
            (99_000, "passing a>S", ""),
            (100_000, "wait", "create a>S; create b>S"),
        ],
    );
    run(
        each(),
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (5000, "forbidden b>S", ""),
            (99_000, "passing a>S", ""),
            (100_000, "wait", "create a>S"),
            (999_000, "lasting a>S", ""),
        ],
    );
}

#[test]
fn what_refuses_a_young_connection_is_asked_again() {
    for refused in ["reset b>S", "forbidden b>S"] {
        run(
            each(),
            &["a", "b"],
            &[
                (0, "established", "create b>S"),
                (1, refused, ""),
                (1001, "wait", "create b>S"),
                (1002, refused, ""),
                (3002, "wait", "create b>S"),
                (5000, refused, ""),
                (99_000, "wait", ""),
            ],
        );
    }
}

#[test]
fn an_address_goes_and_comes_back() {
    run(
        each(),
        &["a", "b id=5"],
        &[
            (0, "established", "create b>S"),
            (10, "up b>S 5", ""),
            (20, "local down b", "remove 5; destroy b>S at once"),
            (21, "passing b>S", ""),
            (9000, "wait", ""),
            (9000, "local up b id=5", "create b>S"),
        ],
    );
    // The address of the first subflow has ID 0; an attempt under way has the ID it will have.
    run(
        each(),
        &["a id=4", "b id=5"],
        &[
            (0, "established", "create b>S"),
            (20, "local down a", "remove 0; destroy a>S at once"),
            (21, "local down b", "remove 5; destroy b>S at once"),
            (22, "local up a id=4", "create a>S"),
        ],
    );
}

#[test]
fn an_address_that_comes_back_is_not_kept_waiting() {
    run(
        each(),
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (0, "passing b>S", ""),
            (100, "local down b; local up b", "create b>S"),
        ],
    );
}

#[test]
fn what_the_peer_withdraws_is_not_joined_again() {
    run(
        mesh(),
        &["a", "b"],
        &[
            (0, "announced 3 T; removed 3; established", "create b>S"),
            (1, "up b>S; removed 0", ""),
            (2, "passing b>S", ""),
            (99_000, "wait", ""),
            (99_000, "announced 4 S", "create b>S"),
        ],
    );
}

#[test]
fn who_denies_joins_is_joined_where_it_announces_only() {
    run(
        each(),
        &["a", "b"],
        &[
            (0, "established denied", ""),
            (1, "announced 3 10.9.0.1:81", "create b>10.9.0.1:81"),
        ],
    );
}

#[test]
fn an_announcement_may_move_and_is_tried_anew() {
    run(
        each(),
        &["a", "b"],
        &[
            (0, "established; announced 3 T", "create b>S; create a>T"),
            (1, "lasting a>T", "create b>T"),
            (2, "lasting b>T", ""),
            (3, "announced 3 T", "create a>T"),
            (4, "announced 3 U", "create b>U"),
        ],
    );
}

#[test]
fn limits_hold_and_the_peer_is_told() {
    let policy = Policy {
        limits: Limits {
            subflows: 3,
            add_addr_accepted: 1,
            per_peer: None,
        },
        ..mesh()
    };
    run(
        policy,
        &["a", "b", "c"],
        &[
            (0, "announced 3 T; announced 4 U", "limits 3 1"),
            (0, "established", "create b>S; create c>S"),
            (1, "lasting c>S", "create c>T"),
            (2, "up b>S; up c>T", ""),
            // The peer's own joins count.
            (3, "joined a", "destroy a>10.9.0.77:40004"),
        ],
    );
}

#[test]
fn an_interface_has_its_own_limit() {
    run(
        mesh(),
        &["a link=1 max=1", "b link=2 max=2"],
        &[
            (
                0,
                "established; announced 3 T; announced 4 U",
                "create b>S; create b>T",
            ),
            (1, "lasting a>S", "create a>T"),
        ],
    );
}

#[test]
fn limits_from_outside_hold() {
    let mut table = Table::new(mesh(), &["a", "b"]);
    table.happens(Duration::ZERO, "established");
    assert_eq!(table.connection.next(Duration::ZERO, 0), None);
    assert!(table.connection.next(Duration::ZERO, 1).is_some());
    assert_eq!(table.connection.further_subflows(), 1);
}

#[test]
fn a_short_connection_has_one_subflow() {
    let time = Duration::from_millis(500);
    let policy = Policy {
        delay: Delay {
            time,
            bytes: Some(10_000),
        },
        ..mesh()
    };
    let mut timed = run(
        policy.clone(),
        &["a", "b"],
        &[(0, "established", ""), (499, "wait", "")],
    );
    assert!(timed.connection.counts_bytes());
    assert_eq!(timed.connection.deadline(), Some(time));
    timed.steps(&[(500, "wait", "create b>S")]);
    run(
        policy.clone(),
        &["a", "b"],
        &[
            (0, "established", ""),
            (100, "carried 9999", ""),
            (101, "carried 10000", "create b>S"),
        ],
    );
    // A path that fails is replaced at once.
    run(
        policy,
        &["a", "b"],
        &[(0, "established", ""), (100, "passing a>S", "create b>S")],
    );
}

#[test]
fn a_backup_says_so() {
    run(
        each(),
        &["a backup", "b", "c backup"],
        &[
            (
                0,
                "established",
                "backup a>S; create b>S; create c>S backup",
            ),
            (1, "up b>S; up c>S", ""),
            (2, "local up a", "normal a>S"),
            (3, "local up b backup", "backup b>S"),
        ],
    );
}

fn checked() -> Policy {
    Policy {
        health: Some(Health {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(1),
            tries: 2,
        }),
        ..each()
    }
}

#[test]
fn a_subflow_that_stands_by_is_asked_for_a_sign_of_life() {
    run(
        checked(),
        &["a", "b backup"],
        &[
            (0, "established", "create b>S backup"),
            (0, "up b>S", ""),
            (10_000, "wait", "probe b>S"),
            (10_050, "heard b>S", ""),
            (15_000, "heard b>S", ""),
            (20_050, "wait", ""),
            (25_000, "wait", "probe b>S"),
            (26_000, "wait", "probe b>S"),
            (26_100, "heard b>S", ""),
            (36_100, "wait", "probe b>S"),
            (37_100, "wait", "probe b>S"),
            (38_100, "wait", "destroy b>S at once"),
            (39_100, "wait", "create b>S backup"),
        ],
    );
}

#[test]
fn an_engine_that_cannot_ask_condemns_nobody() {
    run(
        checked(),
        &["a", "b backup"],
        &[
            (0, "established", "create b>S backup"),
            (0, "up b>S", ""),
            (10_000, "wait", "probe b>S"),
            (20_000, "wait", "probe b>S"),
            (30_000, "wait", "probe b>S"),
            (40_000, "wait", "probe b>S"),
        ],
    );
}

#[test]
fn what_an_operator_closed_stays_closed() {
    run(
        each(),
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (1, "up b>S; hands off b>S; lasting b>S", ""),
            (2, "passing a>S", ""),
            (3, "local down b; local up b", ""),
            (1002, "wait", "create a>S"),
            (1003, "hands on b>S", "create b>S"),
        ],
    );
}

#[test]
fn an_attempt_of_which_nothing_is_heard_is_not_waited_for_forever() {
    run(
        each(),
        &["a", "b"],
        &[
            (0, "established", "create b>S"),
            (179_999, "wait", ""),
            (180_000, "wait", ""),
            (181_000, "wait", "create b>S"),
        ],
    );
}

#[test]
fn another_policy_takes_over_in_the_middle() {
    let mut table = run(
        mesh(),
        &["a id=1", "b id=2"],
        &[
            (
                0,
                "established; announced 3 T",
                "create b>S; create a>T; create b>T",
            ),
            (1, "up b>S 2; up a>T 1; up b>T 2", ""),
        ],
    );
    let sources: Vec<Source> = ["a id=1", "c id=3"].map(crate::table::source).to_vec();
    let limits = Limits {
        subflows: 4,
        ..Limits::default()
    };
    let policy = Policy { limits, ..each() };
    table.connection.set_policy(Arc::new(policy), &sources);
    table.steps(&[
        (
            2,
            "wait",
            "limits 4 32; remove 2; destroy b>S; destroy b>T; create c>S",
        ),
        (3, "up c>S 3", ""),
    ]);
    assert_eq!(table.up(), 3);
}
