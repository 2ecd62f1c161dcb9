//! Loss found by counting, where RACK is not used: RFC 6675.

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
        rack: false,
        tail_loss_probe: false,
        ..Retransmit::default()
    };
    Config {
        congestion,
        retransmit,
        ..plain()
    }
}

fn ten_out(more: usize) -> Script {
    let mut t = Script::open(&config());
    t.write(10_000 + more);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    t
}

#[test]
fn more_than_two_segments_sacked_beyond_mean_loss() {
    let mut t = ten_out(0);
    t.inject(". 1:1 ack 1 sack 1001:3001");
    assert!(t.sent().is_empty());
    t.inject(". 1:1 ack 1 sack 1001:3002");
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    assert_eq!(t.stream.tcb().ssthresh(), 5000);
}

#[test]
fn three_ranges_sacked_beyond_mean_loss() {
    let mut t = ten_out(0);
    t.inject(". 1:1 ack 1 sack 1001:1101 sack 3001:3101");
    assert!(t.sent().is_empty());
    t.inject(". 1:1 ack 1 sack 1001:1101 sack 3001:3101 sack 5001:5101");
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
}

#[test]
fn no_patience_and_no_timer_for_reordering() {
    let mut t = ten_out(0);
    t.inject(". 1:1 ack 8001 sack 9001:10001");
    t.wait(ms(100));
    assert!(t.sent().is_empty(), "one is not enough, however long ago");
}

#[test]
fn new_data_goes_before_what_is_only_in_doubt() {
    let mut t = ten_out(20_000);
    t.inject(". 1:1 ack 1 sack 1001:5001 sack 6001:7001");
    // 5001 is in doubt: one segment was sacked beyond it.
    let sent = t.sent();
    assert_eq!(sent[0], ". 1:1001 ack 1");
    assert!(!sent.contains(&". 5001:6001 ack 1".into()), "{sent:?}");
}

#[test]
fn with_nothing_new_what_is_in_doubt_goes_again_and_then_the_last_segment_once() {
    let mut t = ten_out(0);
    t.inject(". 1:1 ack 1 sack 1001:5001 sack 6001:8001");
    let mut sent = t.sent();
    for end in [8500, 9000, 9001] {
        t.wait(ms(20));
        t.inject(&format!(". 1:1 ack 1 sack 1001:5001 sack 6001:{end}"));
        sent.extend(t.sent());
    }
    t.wait(ms(20));
    t.inject(". 1:1 ack 1001 sack 1001:5001 sack 6001:9001");
    sent.extend(t.sent());
    t.wait(ms(20));
    t.inject(". 1:1 ack 5001 sack 6001:9001");
    sent.extend(t.sent());
    assert_eq!(
        sent,
        [". 1:1001 ack 1", ". 5001:6001 ack 1", "P. 9001:10001 ack 1"]
    );
    assert_eq!(t.stream.tcb().stats().rtos, 0);
}

#[test]
fn what_was_sent_again_is_lost_again_only_when_the_timer_says_so() {
    let mut t = ten_out(0);
    t.inject(". 1:1 ack 1 sack 1001:6001");
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 sack 1001:10001");
    assert!(t.sent().is_empty());
    t.wait(ms(400));
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    assert_eq!(t.stream.tcb().stats().rtos, 1);
}
