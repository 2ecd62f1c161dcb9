//! Whether a retransmission timeout was needed: F-RTO, RFC 5682.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::Config;
use anabranch_tcp::config::Retransmit;

/// Without timestamps and tail-loss probes: nothing else tells.
fn bare(sack: bool) -> Config {
    let retransmit = Retransmit {
        tail_loss_probe: false,
        ..Retransmit::default()
    };
    Config {
        retransmit,
        sack,
        ..plain()
    }
}

/// Ten segments are out, more wait, and the timer has expired.
fn timed_out(config: &Config) -> Script {
    let mut t = Script::open(config);
    t.write(40_000);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(300));
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    assert_eq!(t.stream.tcb().cwnd(), 1000);
    t
}

const NEW: [&str; 2] = [". 10001:11001 ack 1", ". 11001:12001 ack 1"];

#[test]
fn what_was_only_late_undoes_the_timeout() {
    let mut t = timed_out(&bare(true));
    t.inject(". 1:1 ack 1001");
    assert_eq!(t.sent(), NEW, "new data rather than old");
    t.inject(". 1:1 ack 2001");
    let tcb = t.stream.tcb();
    assert_eq!((tcb.stats().undos, tcb.ssthresh()), (1, u64::MAX));
    assert!(tcb.cwnd() >= 10_000);
    assert_eq!(tcb.stats().retransmits, 1);
}

#[test]
fn new_data_that_arrives_first_means_that_the_loss_was_real() {
    let mut t = timed_out(&bare(true));
    t.inject(". 1:1 ack 1001");
    assert_eq!(t.sent(), NEW);
    t.inject(". 1:1 ack 1001 sack 10001:11001");
    assert_eq!(t.sent()[0], ". 1001:2001 ack 1");
    t.inject(". 1:1 ack 1001 sack 10001:12001");
    let tcb = t.stream.tcb();
    assert_eq!((tcb.stats().undos, tcb.ssthresh()), (0, 7000));
}

#[test]
fn late_data_reported_out_of_order_undoes_it_at_once() {
    let mut t = timed_out(&bare(true));
    t.inject(". 1:1 ack 1 sack 3001:4001");
    assert_eq!(t.stream.tcb().stats().undos, 1);
}

#[test]
fn without_sack_two_acknowledgements_in_order_are_needed() {
    let mut t = timed_out(&bare(false));
    // It may cover what had arrived beyond a hole that was now filled.
    t.inject(". 1:1 ack 3001");
    assert_eq!(t.sent()[..2], NEW);
    assert_eq!(t.stream.tcb().stats().undos, 0);
    t.inject(". 1:1 ack 4001");
    assert_eq!(t.stream.tcb().stats().undos, 1);
}

#[test]
fn without_sack_a_duplicate_means_that_the_loss_was_real() {
    let mut t = timed_out(&bare(false));
    t.inject(". 1:1 ack 3001");
    assert_eq!(t.sent()[..2], NEW);
    t.inject(". 1:1 ack 3001");
    t.inject(". 1:1 ack 4001");
    assert_eq!(t.sent()[0], ". 4001:5001 ack 1");
    assert_eq!(t.stream.tcb().stats().undos, 0);
}

#[test]
fn with_nothing_new_to_send_the_old_goes_again() {
    let mut t = Script::open(&bare(true));
    t.write(5000);
    t.sent();
    t.wait(ms(300));
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    t.inject(". 1:1 ack 1001");
    assert_eq!(t.sent(), [". 1001:2001 ack 1", ". 2001:3001 ack 1"]);
}

#[test]
fn a_path_that_stalls_and_returns_costs_one_segment() {
    let mut t = timed_out(&bare(true));
    // All ten acknowledgements arrive at once, a second after they were due.
    t.wait(ms(200));
    for n in 1..=10 {
        t.inject(&format!(". 1:1 ack {n}001"));
    }
    let stats = t.stream.tcb().stats();
    assert_eq!((stats.retransmits, stats.undos, stats.rtos), (1, 1, 1));
}
