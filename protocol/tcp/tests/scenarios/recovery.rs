//! Loss found by acknowledgements: RFC 6675, RFC 8985, RFC 6937, and RFC 6582 without SACK.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::Config;
use anabranch_tcp::config::Congestion;
use anabranch_tcp::congestion::Algorithm;

/// NewReno: halves.
fn reno() -> Config {
    let congestion = Congestion {
        algorithm: Algorithm::NewReno,
        ..plain().congestion
    };
    Config {
        congestion,
        ..plain()
    }
}

/// Ten segments are out since 100 ms ago.
fn ten_out(config: &Config) -> Script {
    let mut t = Script::open(config);
    t.write(40_000);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    t
}

#[test]
fn three_sacked_segments_mean_that_the_one_before_is_lost() {
    let mut t = ten_out(&reno());
    t.inject(". 1:1 ack 1 sack 1001:2001");
    t.inject(". 1:1 ack 1 sack 1001:3001");
    assert_eq!(
        t.sent(),
        [". 10001:11001 ack 1", ". 11001:12001 ack 1"],
        "what left makes room"
    );
    t.inject(". 1:1 ack 1 sack 1001:4001");
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    assert_eq!(t.stream.tcb().ssthresh(), 5000);
    t.wait(ms(100));
    t.inject(". 1:1 ack 12001");
    assert_eq!(t.stream.tcb().cwnd(), 5000);
    assert_eq!(t.stream.tcb().stats().recoveries, 1);
}

#[test]
fn several_holes_are_filled_in_one_recovery() {
    let mut t = ten_out(&reno());
    t.inject(". 1:1 ack 1 sack 1001:2001 sack 3001:4001 sack 5001:10001");
    let lost = [". 1:1001 ack 1", ". 2001:3001 ack 1", ". 4001:5001 ack 1"];
    let mut again = t.sent();
    // Every second acknowledgement lets one out.
    t.wait(ms(100));
    t.inject(". 1:1 ack 2001 sack 3001:4001 sack 5001:10001");
    again.extend(t.sent());
    t.inject(". 1:1 ack 4001 sack 5001:10001");
    again.extend(t.sent());
    for line in lost {
        assert_eq!(
            again.iter().filter(|sent| *sent == line).count(),
            1,
            "{line}: {again:?}"
        );
    }
    t.inject(". 1:1 ack 10001");
    assert_eq!(t.stream.tcb().stats().recoveries, 1);
    assert_eq!(t.stream.tcb().ssthresh(), 5000);
}

#[test]
fn the_window_shrinks_in_proportion_and_never_below() {
    let mut t = ten_out(&reno());
    let mut sent = 0;
    for end in 2..=10 {
        t.inject(&format!(". 1:1 ack 1 sack 1001:{}001", end));
        sent += t.sent().len();
        assert!(t.stream.tcb().in_flight() >= 4000);
    }
    // Two on the way in, then half of what left, plus the retransmission.
    assert!((5..=7).contains(&sent), "{sent}");
}

#[test]
fn a_hole_within_a_super_frame_is_sent_again_alone() {
    let mut t = Script::open(&reno());
    t.stream.set_gso_max(65_000);
    t.write(10_000);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    t.inject(". 1:1 ack 3001 sack 4001:10001");
    assert_eq!(t.sent(), [". 3001:4001 ack 1"]);
    t.wait(ms(100));
    t.inject(". 1:1 ack 10001");
    assert_eq!(t.stream.tcb().stats().bytes_retransmitted, 1000);
}

#[test]
fn a_lost_retransmission_is_found_by_what_was_sent_after_it() {
    let mut t = ten_out(&reno());
    t.inject(". 1:1 ack 1 sack 1001:6001");
    assert_eq!(t.sent()[0], ". 1:1001 ack 1");
    t.wait(ms(50));
    t.inject(". 1:1 ack 1 sack 1001:10001");
    let later = t.sent();
    assert!(
        !later.is_empty() && !later.contains(&". 1:1001 ack 1".to_string()),
        "{later:?}"
    );
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 sack 1001:11001");
    assert_eq!(t.sent()[0], ". 1:1001 ack 1");
    assert_eq!(t.stream.tcb().stats().rtos, 0);
}

#[test]
fn a_lost_retransmission_is_found_with_timestamps_too() {
    let config = Config {
        mss: 1012,
        timestamps: true,
        ..reno()
    };
    let mut t = Script::accepting(&config, "S 0:0 mss 1012 sackok val 1 ecr 0");
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 val 1 ecr 6000");
    t.sent();
    t.write(40_000);
    let first = t.stamps().unwrap().val;
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    // What arrives out of order moves no echo (RFC 7323 §4.3).
    let ack = |sack: &str| format!(". 1:1 ack 1 val 2 ecr {first} sack {sack}");
    t.inject(&ack("2001:8001"));
    let again = t.sent();
    assert!(
        again[0].starts_with(". 1:1001 ") && again[1].starts_with(". 1001:2001 "),
        "{again:?}"
    );
    t.wait(ms(100));
    t.inject(&ack("1001:8001"));
    assert!(t.sent()[0].starts_with(". 1:1001 "));
    assert_eq!(t.stream.tcb().stats().rtos, 0);
}

#[test]
fn reordering_within_a_quarter_of_the_round_trip_costs_nothing() {
    let mut t = ten_out(&reno());
    t.inject(". 1:1 ack 1 sack 1001:2001");
    t.wait(ms(10));
    t.inject(". 1:1 ack 10001");
    let stats = t.stream.tcb().stats();
    assert_eq!((stats.recoveries, stats.retransmits), (0, 0));
}

#[test]
fn one_sacked_segment_is_enough_after_the_reordering_window() {
    let mut t = ten_out(&reno());
    t.inject(". 1:1 ack 8001 sack 9001:10001");
    assert!(t.sent().iter().all(|line| line != ". 8001:9001 ack 1"));
    assert_eq!(t.wait_for_segment(), ms(25), "a quarter of 100 ms");
    assert_eq!(t.sent()[0], ". 8001:9001 ack 1");
}

#[test]
fn seen_reordering_widens_the_patience() {
    let mut t = ten_out(&reno());
    // Four overtake the first, which then arrives: no loss may be declared at three any more.
    t.inject(". 1:1 ack 1 sack 1001:2001");
    t.inject(". 1:1 ack 2001");
    t.sent();
    t.inject(". 1:1 ack 2001 sack 3001:7001");
    assert!(
        t.sent().iter().all(|line| line != ". 2001:3001 ack 1"),
        "reordering was seen"
    );
    t.inject(". 1:1 ack 7001");
    assert_eq!(t.stream.tcb().stats().retransmits, 0);
}

#[test]
fn a_retransmission_proved_needless_by_its_timestamp_is_undone() {
    let config = Config {
        timestamps: true,
        ..reno()
    };
    let mut t = Script::accepting(&config, "S 0:0 mss 1012 sackok val 1 ecr 0");
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 val 1 ecr 6000");
    t.sent();
    t.write(40_000);
    let first = t.stamps().unwrap().val;
    t.wait(ms(100));
    t.inject(&format!(". 1:1 ack 1 val 2 ecr {first} sack 989:6000"));
    let cwnd = 10_000;
    assert!(t.stream.tcb().cwnd() < cwnd);
    t.wait(ms(20));
    // The original arrives after all: the echo is older than the retransmission.
    t.inject(&format!(". 1:1 ack 6000 val 3 ecr {first}"));
    assert_eq!(t.stream.tcb().stats().undos, 1);
    assert!(t.stream.tcb().cwnd() >= 9880, "{}", t.stream.tcb().cwnd());
    assert_eq!(t.stream.tcb().ssthresh(), u64::MAX);
}

#[test]
fn a_retransmission_reported_twice_is_undone() {
    let mut t = ten_out(&reno());
    t.inject(". 1:1 ack 1 sack 1001:6001");
    assert_eq!(t.sent()[0], ". 1:1001 ack 1");
    t.wait(ms(20));
    t.inject(". 1:1 ack 6001");
    t.wait(ms(20));
    t.inject(". 1:1 ack 6001 sack 1:1001");
    assert_eq!(
        (t.stream.tcb().stats().undos, t.stream.tcb().stats().dsacks),
        (1, 1)
    );
    assert_eq!(t.stream.tcb().ssthresh(), u64::MAX);
}

#[test]
fn without_sack_three_duplicates_then_one_segment_for_each_partial_ack() {
    let mut t = ten_out(&Config {
        sack: false,
        ..reno()
    });
    t.inject(". 1:1 ack 1");
    t.inject(". 1:1 ack 1");
    assert_eq!(t.sent(), [". 10001:11001 ack 1", ". 11001:12001 ack 1"]);
    t.inject(". 1:1 ack 1");
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    t.wait(ms(100));
    t.inject(". 1:1 ack 3001");
    assert_eq!(t.sent()[0], ". 3001:4001 ack 1");
    t.wait(ms(100));
    t.inject(". 1:1 ack 12001");
    assert_eq!(t.stream.tcb().cwnd(), 5000);
    assert_eq!(t.stream.tcb().stats().retransmits, 2);
}

#[test]
fn acks_that_only_signal_are_no_duplicates() {
    let mut t = ten_out(&Config {
        sack: false,
        ..reno()
    });
    for _ in 0..5 {
        t.inject(". 1:1 ack 1 signal");
    }
    assert!(t.sent().is_empty());
    assert_eq!(t.stream.tcb().stats().recoveries, 0);
}

#[test]
fn a_round_with_a_duplicate_widens_the_patience_by_a_quarter_of_the_round_trip() {
    let mut t = Script::open(&plain());
    // Of two segments only the second arrives: how long until the first goes again.
    let patience = |t: &mut Script| {
        let first = t.stream.tcb().snd_nxt() + 1;
        t.sent();
        t.write(2000);
        assert_eq!(t.sent().len(), 2);
        t.wait(ms(100));
        let (second, end) = (first + 1000, first + 2000);
        t.inject(&format!(". 1:1 ack {first} sack {second}:{end}"));
        let waited = t.wait_for_segment();
        t.inject(&format!(". 1:1 ack {end}"));
        waited
    };
    assert_eq!(patience(&mut t), ms(25));
    t.inject(". 1:1 ack 2001 sack 1:1001");
    assert_eq!(patience(&mut t), ms(50));
    t.inject(". 1:1 ack 4001 sack 2001:3001");
    assert_eq!(patience(&mut t), ms(75));
    // Sixteen recoveries without one, and it is as it was.
    for _ in 0..16 {
        patience(&mut t);
    }
    assert_eq!(patience(&mut t), ms(25));
}

#[test]
fn what_an_original_that_comes_late_was_sent_with_is_not_lost_yet() {
    let mut t = Script::open(&plain());
    t.write(10_000);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 sack 1001:2001");
    t.inject(". 1:1 ack 1 sack 1001:3001");
    t.inject(". 1:1 ack 1 sack 1001:3001 sack 8001:9001");
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    // 3001:4001 was reordered, so that 9001:10001 may be; what was delivered is made up for, and one
    // segment more (RFC 9937 §7, slow start).
    t.wait(ms(120));
    t.inject(". 1:1 ack 4001 sack 8001:9001");
    assert_eq!(
        t.sent(),
        [
            ". 4001:5001 ack 1",
            ". 5001:6001 ack 1",
            ". 6001:7001 ack 1"
        ]
    );
    // An acknowledgement that was overtaken tells what its SACK says.
    t.write(10_000);
    t.wait(ms(20));
    t.inject(". 1:1 ack 3001 sack 5001:7001");
    assert_eq!(t.sent(), [". 7001:8001 ack 1", ". 10001:11001 ack 1"]);
    assert_eq!(t.stream.tcb().stats().rtos, 0);
}
