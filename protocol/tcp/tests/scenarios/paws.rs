//! Timestamps and protection against wrapped sequence numbers: RFC 7323 §3 to §5.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::{Config, State};
use std::time::Duration;

/// Our clock shows 6000 at the start, the peer's 1000.
fn open() -> Script {
    let config = Config {
        timestamps: true,
        ..plain()
    };
    let mut t = Script::accepting(&config, "S 0:0 mss 1000 sackok val 1000 ecr 0");
    t.inject(". 1:1 ack 1 val 1001 ecr 6000");
    t.sent();
    t
}

#[test]
fn each_segment_echoes_the_timestamp_of_the_last_in_order() {
    let mut t = open();
    t.wait(ms(50));
    t.inject(". 1:1001 ack 1 val 1020 ecr 6000");
    assert_eq!(t.stamps().map(|s| (s.val, s.ecr)), Some((6050, 1020)));
    t.inject(". 2001:3001 ack 1 val 1030 ecr 6000");
    assert_eq!(
        t.stamps().map(|s| s.ecr),
        Some(1020),
        "not of one out of order"
    );
    t.inject(". 1001:2001 ack 1 val 1025 ecr 6000");
    assert_eq!(t.stamps().map(|s| s.ecr), Some(1025));
}

#[test]
fn an_old_timestamp_is_dropped_and_answered() {
    let mut t = open();
    t.inject(". 1:1001 ack 1 val 1020 ecr 6000");
    t.sent();
    t.inject(". 1001:2001 ack 1 val 1019 ecr 6000");
    assert_eq!(
        (t.sent(), t.stream.readable()),
        (vec![". 1:1 ack 1001".into()], 1000)
    );
    t.inject("R 1001:1001 val 5 ecr 0");
    assert_eq!(t.state(), State::Closed, "but not a RST");
}

#[test]
fn a_late_segment_that_fills_a_hole_is_taken_though_an_earlier_one_was_sent_again() {
    let mut t = open();
    t.inject(". 1001:2001 ack 1 val 1020 ecr 6000");
    t.inject(". 4001:5001 ack 1 val 1030 ecr 6000");
    // The first one again, then the second and the third, late.
    t.inject(". 1:1001 ack 1 val 1090 ecr 6000");
    t.inject(". 2001:3001 ack 1 val 1021 ecr 6000");
    t.inject(". 3001:4001 ack 1 val 1022 ecr 6000");
    assert_eq!(t.stream.readable(), 5000);
    assert_eq!(t.stream.tcb().ts_recent(), Some(1090));
}

#[test]
fn what_fills_a_hole_with_a_much_older_timestamp_is_dropped() {
    let mut t = open();
    t.inject(". 2001:3001 ack 1 val 1020 ecr 6000");
    t.inject(". 1:1001 ack 1 val 1190 ecr 6000");
    t.inject(". 1001:2001 ack 1 val 1089 ecr 6000");
    assert_eq!(t.stream.readable(), 1000);
    t.inject(". 3001:4001 ack 1 val 1150 ecr 6000");
    assert_eq!(t.stream.tcb().stats().dropped, 2, "nor what fills none");
}

#[test]
fn an_acknowledgement_that_was_overtaken_is_heard_and_not_answered() {
    let mut t = open();
    t.write(5000);
    t.wait(ms(50));
    t.inject(". 1:1 ack 1 val 1052 ecr 6000 sack 2000:3000");
    t.sent();
    t.inject(". 1:1 ack 1 val 1051 ecr 6000 sack 1000:2000");
    assert!(t.sent().iter().all(|line| !line.contains("1:1 ack")));
    assert!(t.stream.tcb().in_flight() <= 3000);
}

#[test]
fn after_24_days_of_silence_timestamps_are_not_compared() {
    let mut t = open();
    t.wait(Duration::from_secs(25 * 24 * 3600));
    t.inject(". 1:1001 ack 1 val 5 ecr 6000");
    assert_eq!(t.stream.readable(), 1000);
}

#[test]
fn stripped_timestamps_are_let_through() {
    let mut t = open();
    t.inject(". 1:1001 ack 1");
    assert_eq!(t.stream.readable(), 1000);
}

#[test]
fn they_take_twelve_bytes_of_each_segment() {
    let mut t = open();
    t.write(988);
    assert_eq!(t.sent(), ["P. 1:989 ack 1"]);
    t.inject(". 1:1 ack 989 val 1100 ecr 6000");
    t.write(989);
    assert_eq!(t.sent(), [". 989:1977 ack 1", "P. 1977:1978 ack 1"]);
}

#[test]
fn a_retransmission_is_measured_by_its_echo() {
    let mut t = open();
    t.write(1000);
    let before = t.stream.tcb().rto();
    t.wait(ms(1000));
    let waiting = t.stream.tcb().rto();
    assert!(waiting > before, "backed off");
    let val = t.stamps().unwrap().val;
    t.wait(ms(20));
    t.inject(&format!(". 1:1 ack 1001 val 2000 ecr {val}"));
    assert!(
        t.stream.tcb().rto() < waiting,
        "a measurement ends the backoff"
    );
}
