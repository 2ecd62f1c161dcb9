//! Windows that the application does not fill: RFC 7661, RFC 5681 §4.1; and what acknowledgements
//! count for: RFC 3465.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::Config;
use std::time::Duration;

/// Acknowledges all that was sent, `rtt` later.
fn acknowledge(t: &mut Script, rtt: Duration) {
    t.wait(rtt);
    let ack = t.stream.tcb().snd_nxt() + 1;
    t.inject(&format!(". 1:1 ack {ack}"));
    t.sent();
}

/// A window of 40 segments, all of which was used.
fn wide() -> Script {
    let mut t = Script::open(&plain());
    t.write(30_000);
    acknowledge(&mut t, ms(100));
    acknowledge(&mut t, ms(100));
    assert_eq!(t.stream.tcb().cwnd(), 40_000);
    t
}

#[test]
fn application_limited_flow_does_not_grow_its_window() {
    let mut t = wide();
    for _ in 0..100 {
        t.write(5_000);
        acknowledge(&mut t, ms(100));
    }
    assert_eq!(t.stream.tcb().cwnd(), 40_000);
    assert!(t.stream.info().rates.delivery_app_limited);
}

#[test]
fn a_window_is_halved_for_each_timeout_of_a_pause() {
    for (seconds, cwnd) in [(0, 40_000), (1, 10_000), (60, 10_000)] {
        let mut t = wide();
        t.wait(Duration::from_secs(seconds));
        t.write(100);
        assert_eq!(t.stream.tcb().cwnd(), cwnd, "after {seconds} s");
    }
    let mut t = wide();
    let rto = t.stream.tcb().rto();
    t.wait(rto + ms(1));
    t.write(100);
    assert_eq!(t.stream.tcb().cwnd(), 20_000);
}

#[test]
fn a_window_of_which_little_is_used_for_five_minutes_is_halved() {
    let mut t = wide();
    // Never a pause of a timeout's length.
    for _ in 0..3100 {
        t.write(1_000);
        acknowledge(&mut t, ms(100));
    }
    assert_eq!(t.stream.tcb().cwnd(), 20_000);
}

#[test]
fn divided_acknowledgements_do_not_inflate_the_window() {
    let mut t = Script::open(&plain());
    t.write(20_000);
    for part in 1..=100 {
        t.inject(&format!(". 1:1 ack {}", 1 + 10 * part));
    }
    assert_eq!(
        t.stream.tcb().cwnd(),
        11_000,
        "1000 bytes were acknowledged"
    );
}

#[test]
fn one_acknowledgement_for_much_does_not_release_a_burst() {
    let mut config: Config = plain();
    config.congestion.pacing.unpaced_limit = Some(8);
    let mut t = Script::open(&config);
    t.write(40_000);
    acknowledge(&mut t, ms(100));
    assert_eq!(t.stream.tcb().cwnd(), 18_000);
}

#[test]
fn with_pacing_one_acknowledgement_counts_for_all_that_it_covers() {
    let mut config: Config = plain();
    config.congestion.pacing.window_based = true;
    config.congestion.pacing.unpaced_limit = Some(8);
    let mut t = Script::open(&config);
    t.write(40_000);
    acknowledge(&mut t, ms(100));
    assert_eq!(t.stream.tcb().cwnd(), 20_000);
}

#[test]
fn what_a_filled_hole_acknowledges_was_in_use() {
    let mut t = wide();
    t.write(40_000);
    let una = t.stream.tcb().snd_una() + 1;
    // All but the first arrives, then the first, sent again, and two of what followed.
    let (second, end) = (una + 1000, una + 40_000);
    t.wait(ms(100));
    t.inject(&format!(". 1:1 ack {una} sack {second}:{end}"));
    let reduced = t.stream.tcb().ssthresh();
    assert_eq!(reduced, 28_000);
    t.sent();
    t.wait(ms(100));
    t.write(4_000);
    t.inject(&format!(". 1:1 ack {end}"));
    t.wait(ms(100));
    t.sent();
    t.inject(&format!(
        ". 1:1 ack {end} sack {}:{}",
        end + 1000,
        end + 4000
    ));
    assert_eq!(t.stream.tcb().stats().recoveries, 2);
    assert!(
        t.stream.tcb().ssthresh() >= reduced / 2,
        "not 0.7 of four segments"
    );
}

/// Ten segments are out since a round trip, and half of the first is acknowledged: there is room for
/// one more.
fn one_more_may_leave(gso_max: u32) -> Script {
    let mut t = Script::open(&plain());
    t.stream.set_gso_max(gso_max);
    t.write(40_000);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    t.inject(". 1:1 ack 501");
    t
}

#[test]
fn single_segments_are_saved_up_for_a_super_frame() {
    let mut t = one_more_may_leave(65_000);
    assert!(t.sent().is_empty());
    t.inject(". 1:1 ack 1001");
    assert_eq!(t.sent(), [". 10001:11001 ack 1", ". 11001:12001 ack 1"]);
    assert_eq!(one_more_may_leave(0).sent(), [". 10001:11001 ack 1"]);
}

#[test]
fn nothing_is_saved_up_when_a_loss_is_suspected() {
    let mut t = one_more_may_leave(65_000);
    t.inject(". 1:1 ack 501 sack 1001:2001");
    assert!(!t.sent().is_empty());
}
