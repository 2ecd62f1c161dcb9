//! Reductions that prove spurious are undone: RFC 3522, RFC 3708, RFC 2883.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::Config;
use anabranch_tcp::config::Retransmit;

/// No timestamps, so that only DSACK tells; no tail-loss probes.
fn config() -> Config {
    let retransmit = Retransmit {
        tail_loss_probe: false,
        frto: false,
        ..Retransmit::default()
    };
    Config {
        retransmit,
        ..plain()
    }
}

/// Of ten segments the first was sent again, because five others overtook it.
fn recovering(config: &Config) -> Script {
    let mut t = Script::open(config);
    t.write(40_000);
    t.wait(ms(100));
    t.sent();
    t.inject(". 1:1 ack 1 sack 1001:6001");
    assert_eq!(t.sent()[0], ". 1:1001 ack 1");
    t
}

#[test]
fn a_recovery_that_is_over_is_undone_by_the_report_of_a_duplicate() {
    let mut t = recovering(&config());
    t.wait(ms(20));
    let all = t.stream.tcb().snd_nxt() + 1;
    t.inject(&format!(". 1:1 ack {all}"));
    assert_eq!(t.stream.tcb().ssthresh(), 7000);
    t.wait(ms(20));
    t.inject(&format!(". 1:1 ack {all} sack 1:1001"));
    let tcb = t.stream.tcb();
    assert_eq!((tcb.stats().undos, tcb.ssthresh()), (1, u64::MAX));
    assert!(tcb.cwnd() >= 10_000);
}

#[test]
fn a_report_that_comes_a_round_trip_too_late_undoes_nothing() {
    let mut t = recovering(&config());
    for _ in 0..3 {
        t.wait(ms(100));
        let all = t.stream.tcb().snd_nxt() + 1;
        t.inject(&format!(". 1:1 ack {all}"));
    }
    let all = t.stream.tcb().snd_una() + 1;
    t.inject(&format!(". 1:1 ack {all} sack 1:1001"));
    assert_eq!(t.stream.tcb().stats().undos, 0);
}

#[test]
fn all_that_was_sent_again_must_be_reported() {
    let mut t = Script::open(&config());
    t.write(40_000);
    t.wait(ms(100));
    t.sent();
    t.inject(". 1:1 ack 1 sack 2001:9001");
    assert_eq!(
        t.sent()[..2],
        [". 1:1001 ack 1", ". 1001:2001 ack 1"],
        "both are lost"
    );
    t.inject(". 1:1 ack 9001 sack 1:1001");
    assert_eq!(t.stream.tcb().stats().undos, 0);
    t.inject(". 1:1 ack 9001 sack 1001:2001");
    assert_eq!(t.stream.tcb().stats().undos, 1);
}

#[test]
fn a_timeout_is_undone_by_the_report_of_a_duplicate() {
    let mut t = Script::open(&config());
    t.write(8000);
    t.wait(ms(300));
    assert_eq!(t.stream.tcb().cwnd(), 1000);
    t.inject(". 1:1 ack 8001");
    t.inject(". 1:1 ack 8001 sack 1:1001");
    let tcb = t.stream.tcb();
    assert_eq!((tcb.stats().undos, tcb.ssthresh()), (1, u64::MAX));
    assert!(tcb.cwnd() >= 10_000);
}

#[test]
fn a_timeout_within_a_recovery_reduces_no_further() {
    let mut t = recovering(&config());
    assert_eq!(t.stream.tcb().ssthresh(), 7000);
    t.wait(ms(500));
    let tcb = t.stream.tcb();
    assert_eq!(
        (tcb.stats().rtos, tcb.ssthresh(), tcb.cwnd()),
        (1, 7000, 1000)
    );
}

#[test]
fn a_spurious_recovery_is_reordering_and_patience_follows() {
    let mut t = recovering(&config());
    t.inject(". 1:1 ack 6001");
    t.inject(". 1:1 ack 6001 sack 1:1001");
    assert_eq!(t.stream.tcb().stats().undos, 1);
    t.wait(ms(90));
    t.sent();
    t.inject(". 1:1 ack 6001 sack 7001:10001");
    assert!(!t.sent().contains(&". 6001:7001 ack 1".into()));
    t.inject(". 1:1 ack 10001");
    assert_eq!(t.stream.tcb().stats().recoveries, 1);
}

#[test]
fn more_duplicates_than_were_sent_again_are_not_ours() {
    let mut t = Script::open(&config());
    t.write(40_000);
    t.wait(ms(100));
    t.sent();
    // The network made a copy: nothing was sent again.
    t.inject(". 1:1 ack 3001 sack 1:1001");
    t.inject(". 1:1 ack 3001 sack 3001:4001 sack 3001:9001");
    let stats = *t.stream.tcb().stats();
    assert_eq!((stats.dsacks, stats.undos), (2, 0));
    assert_eq!(t.stream.tcb().ssthresh(), u64::MAX);
}

#[test]
fn the_duplicate_that_a_tail_probe_makes_undoes_nothing() {
    let retransmit = Retransmit::default();
    let mut t = Script::open(&Config {
        retransmit,
        ..plain()
    });
    t.write(3000);
    t.sent();
    t.wait(ms(202));
    assert_eq!(t.sent(), ["P. 2001:3001 ack 1"]);
    t.inject(". 1:1 ack 3001");
    t.inject(". 1:1 ack 3001 sack 2001:3001");
    let stats = t.stream.tcb().stats();
    assert_eq!((stats.dsacks, stats.undos), (1, 0));
}

#[test]
fn what_an_earlier_recovery_sent_again_says_nothing_of_the_next() {
    let timed = Config {
        timestamps: true,
        mss: 1012,
        ..config()
    };
    let mut t = Script::accepting(&timed, "S 0:0 mss 1012 sackok val 1 ecr 0");
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 val 1 ecr 6000");
    t.write(100_000);
    let first = t.stamps().unwrap().val;
    t.wait(ms(100));
    t.inject(&format!(". 1:1 ack 1 val 2 ecr {first} sack 1001:10001"));
    let again = t.stamps().unwrap().val;
    let end = t.stream.tcb().snd_nxt() + 1;
    assert!(end >= 14_001);
    t.wait(ms(50));
    // The first of the new data is lost too, and goes again within the first recovery.
    let sack = "sack 1001:10001 sack 11001:12001";
    t.sent();
    t.inject(&format!(". 1:1 ack 1 val 2 ecr {first} {sack}"));
    assert!(t.sent().contains(&". 10001:11001 ack 1".into()));
    let within = t.stamps().unwrap().val;
    t.wait(ms(50));
    t.inject(&format!(
        ". 1:1 ack 10001 val 3 ecr {again} sack 11001:12001"
    ));
    t.wait(ms(10));
    // That one is over. A new loss begins another, and only then the second one is repaired.
    let sack = format!("sack 13001:{end}");
    t.inject(&format!(
        ". 1:1 ack 10001 val 3 ecr {again} {sack} sack 11001:12001"
    ));
    assert!(t.sent().contains(&". 12001:13001 ack 1".into()));
    assert_eq!(t.stream.tcb().stats().recoveries, 2);
    t.inject(&format!(". 1:1 ack 12001 val 4 ecr {within} {sack}"));
    assert_eq!(t.stream.tcb().stats().undos, 0);
}

/// Timestamps, ten segments out since 100 ms ago: the script, and the time they carry.
fn timed_ten_out() -> (Script, u32) {
    let timed = Config {
        timestamps: true,
        mss: 1012,
        ..config()
    };
    let mut t = Script::accepting(&timed, "S 0:0 mss 1012 sackok val 1 ecr 0");
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 val 1 ecr 6000");
    t.write(100_000);
    let sent = t.stamps().unwrap().val;
    t.wait(ms(100));
    t.sent();
    (t, sent)
}

#[test]
fn one_that_was_late_beside_one_that_was_lost_undoes_nothing_but_is_reordering() {
    let (mut t, first) = timed_ten_out();
    t.inject(&format!(
        ". 1:1 ack 1 val 2 ecr {first} sack 1001:5001 sack 6001:10001"
    ));
    let again = t.stamps().unwrap().val;
    let end = t.stream.tcb().snd_nxt() + 1;
    assert!(end >= 14_001);
    t.wait(ms(20));
    t.inject(&format!(". 1:1 ack 5001 val 3 ecr {first} sack 6001:10001"));
    assert_eq!(t.stream.tcb().stats().undos, 0);
    t.wait(ms(80));
    t.inject(&format!(". 1:1 ack 10001 val 4 ecr {again}"));
    assert_eq!(t.stream.tcb().stats().undos, 0, "the other was lost");
    assert_eq!(t.stream.tcb().ssthresh(), 7000);
    // Patience from now on: three sacked do not mean loss at once.
    t.sent();
    t.inject(&format!(
        ". 1:1 ack 10001 val 4 ecr {again} sack 11001:{end}"
    ));
    assert!(!t.sent().contains(&". 10001:11001 ack 1".into()));
}

#[test]
fn several_that_were_late_undo_it_when_the_last_of_them_arrives() {
    let (mut t, first) = timed_ten_out();
    t.inject(&format!(
        ". 1:1 ack 1 val 2 ecr {first} sack 1001:5001 sack 6001:10001"
    ));
    t.wait(ms(20));
    t.inject(&format!(". 1:1 ack 5001 val 3 ecr {first} sack 6001:10001"));
    assert_eq!(t.stream.tcb().stats().undos, 0);
    t.inject(&format!(". 1:1 ack 10001 val 3 ecr {first}"));
    assert_eq!(t.stream.tcb().stats().undos, 1);
    assert_eq!(t.stream.tcb().ssthresh(), u64::MAX);
}
