//! Recovery without selective acknowledgements: RFC 5681, RFC 6582, RFC 3042.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::Config;
use anabranch_tcp::config::{Congestion, Retransmit};
use anabranch_tcp::congestion::Algorithm;

fn config() -> Config {
    let congestion = Congestion {
        algorithm: Algorithm::NewReno,
        ..Congestion::default()
    };
    let retransmit = Retransmit {
        frto: false,
        ..Retransmit::default()
    };
    Config {
        congestion,
        retransmit,
        sack: false,
        ..plain()
    }
}

/// Ten segments are out since 100 ms ago; `more` bytes wait.
fn ten_out(more: usize) -> Script {
    let mut t = Script::open(&config());
    t.write(10_000 + more);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    t
}

fn duplicates(t: &mut Script, ack: u64, times: usize) {
    for _ in 0..times {
        t.inject(&format!(". 1:1 ack {ack}"));
    }
}

#[test]
fn two_duplicates_let_out_two_new_segments() {
    let mut t = ten_out(10_000);
    duplicates(&mut t, 1, 1);
    assert_eq!(t.sent(), [". 10001:11001 ack 1"]);
    t.wait(ms(20));
    duplicates(&mut t, 1, 1);
    assert_eq!(t.sent(), [". 11001:12001 ack 1"]);
    assert_eq!(t.stream.tcb().cwnd(), 10_000, "and the window stays");
}

#[test]
fn two_duplicates_with_a_closed_window_let_out_nothing() {
    let mut t = Script::open(&config());
    t.inject(". 1:1 ack 1 win 10000");
    t.write(20_000);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    duplicates(&mut t, 1, 2);
    assert!(t.sent().is_empty());
}

#[test]
fn duplicates_after_a_timeout_start_no_recovery() {
    let mut t = ten_out(0);
    t.wait(ms(200));
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    duplicates(&mut t, 1, 5);
    assert!(t.sent().is_empty());
    // Everything went again; the copies make duplicates, below what was sent before.
    t.inject(". 1:1 ack 10001");
    duplicates(&mut t, 10_001, 5);
    assert_eq!(t.stream.tcb().stats().recoveries, 0);
}

#[test]
fn after_a_partial_acknowledgement_the_timer_runs_on() {
    let mut t = ten_out(0);
    duplicates(&mut t, 1, 9);
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    t.wait(ms(100));
    t.inject(". 1:1 ack 2001");
    assert_eq!(t.sent(), [". 2001:3001 ack 1"]);
    let timer = t.stream.deadline();
    t.wait(ms(100));
    t.inject(". 1:1 ack 3001");
    assert_eq!(t.sent(), [". 3001:4001 ack 1"]);
    assert_eq!(t.stream.deadline(), timer, "only the first restarts it");
}

#[test]
fn recovery_lasts_until_all_that_was_out_is_acknowledged() {
    let mut t = ten_out(40_000);
    duplicates(&mut t, 1, 3);
    t.wait(ms(100));
    t.inject(". 1:1 ack 5001");
    assert_eq!(t.stream.tcb().stats().recoveries, 1);
    duplicates(&mut t, 5001, 3);
    let out = t.stream.tcb().snd_nxt() + 1;
    t.wait(ms(100));
    t.inject(&format!(". 1:1 ack {out}"));
    let tcb = t.stream.tcb();
    assert_eq!(
        (tcb.stats().recoveries, tcb.ssthresh(), tcb.cwnd()),
        (1, 5000, 5000)
    );
}

#[test]
fn a_window_that_moves_makes_no_duplicate() {
    let mut t = ten_out(0);
    for window in [60_001, 60_002, 60_003, 60_004] {
        t.inject(&format!(". 1:1 ack 1 win {window}"));
    }
    t.inject("P. 1:11 ack 1");
    t.inject("P. 11:21 ack 1");
    t.inject("P. 21:31 ack 1");
    assert_eq!(t.stream.tcb().stats().recoveries, 0);
}
