//! When segments leave: spread over the round-trip time, not in bursts.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::Config;
use std::time::Duration;

/// CUBIC, paced at 200 % of window over round-trip time.
fn paced() -> Config {
    let mut config = plain();
    config.congestion.pacing.window_based = true;
    config
}

/// Opened with a round-trip time of 100 ms; ten segments were sent, and all acknowledged at once:
/// the window is twenty segments now, and the rate 400,000 bytes per second.
fn after_the_first_window() -> Script {
    let mut t = Script::open(&paced());
    t.write(40_000);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    t.inject(". 1:1 ack 10001");
    t
}

#[test]
fn the_initial_window_leaves_at_once() {
    let mut t = Script::open(&paced());
    t.write(40_000);
    assert_eq!(t.sent().len(), 10);
}

#[test]
fn paced_segments_leave_evenly() {
    let mut t = after_the_first_window();
    let first = t.sent().len();
    assert!(first <= 2, "{first} at once");
    let gaps: Vec<_> = (first..20).map(|_| t.wait_for_segment()).collect();
    let even = Duration::from_micros(2500);
    assert!(gaps[1..].iter().all(|gap| *gap == even), "{gaps:?}");
}

#[test]
fn all_of_the_window_leaves_within_its_round_trip() {
    let mut t = after_the_first_window();
    t.wait(ms(60));
    assert_eq!(t.sent().len(), 20);
}

#[test]
fn the_application_may_set_a_lower_rate() {
    let mut t = Script::open(&paced());
    t.stream.set_max_pacing_rate(Some(10_000));
    t.write(5_000);
    assert_eq!(t.sent().len(), 1, "the first window is no exception");
    for _ in 0..4 {
        assert!(t.wait_for_segment() >= ms(99));
    }
    assert_eq!(t.stream.tcb().pacing_rate(), Some(10_000));
}

#[test]
fn a_rate_limit_that_is_lifted_leaves_no_debt() {
    let mut t = Script::open(&plain());
    t.stream.set_max_pacing_rate(Some(1));
    t.write(5_000);
    assert_eq!(t.sent().len(), 1);
    t.stream.set_max_pacing_rate(None);
    t.inject(". 1:1 ack 1");
    assert_eq!(t.sent().len(), 4);
}

#[test]
fn an_acknowledgement_leaves_while_payload_waits_for_its_time() {
    let mut t = after_the_first_window();
    t.sent();
    t.inject(". 1:1001 ack 10001");
    t.inject(". 1001:2001 ack 10001");
    assert_eq!(
        t.sent().last().map(String::as_str),
        Some(". 11001:11001 ack 2001")
    );
}

#[test]
fn a_slow_rate_is_not_taken_for_a_closed_window() {
    let mut t = Script::open(&plain());
    t.stream.set_max_pacing_rate(Some(10));
    t.write(2_000);
    t.sent();
    t.inject(". 1:1 ack 1001");
    t.wait(Duration::from_secs(99));
    assert_eq!(t.sent(), [""; 0]);
    t.wait(Duration::from_secs(1));
    assert_eq!(t.sent(), ["P. 1001:2001 ack 1"]);
}
