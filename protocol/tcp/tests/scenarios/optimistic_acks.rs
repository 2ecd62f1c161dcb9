//! Acknowledgements that claim too much, or too often: RFC 5681 §3.1, RFC 3465, RFC 9293
//! §3.10.7.4.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::Config;

/// Ten segments are out since 100 ms ago, and more wait.
fn ten_out(config: &Config) -> Script {
    let mut t = Script::open(config);
    t.write(100_000);
    assert_eq!(t.sent().len(), 10);
    t.wait(ms(100));
    t
}

#[test]
fn a_segment_acknowledged_byte_by_byte_grows_the_window_by_one_segment() {
    let mut t = ten_out(&plain());
    for byte in 2..=1001 {
        t.inject(&format!(". 1:1 ack {byte}"));
    }
    assert_eq!(t.stream.tcb().cwnd(), 11_000);
}

#[test]
fn the_same_acknowledgement_again_grows_nothing() {
    for sack in [true, false] {
        let mut t = ten_out(&Config { sack, ..plain() });
        t.inject(". 1:1 ack 5001");
        let cwnd = t.stream.tcb().cwnd();
        for _ in 0..1000 {
            t.inject(". 1:1 ack 5001");
        }
        assert!(t.stream.tcb().cwnd() <= cwnd);
    }
}

#[test]
fn duplicates_without_end_let_out_no_more_than_the_window() {
    let mut t = ten_out(&Config {
        sack: false,
        ..plain()
    });
    for _ in 0..10_000 {
        t.inject(". 1:1 ack 1");
    }
    let tcb = t.stream.tcb();
    assert!(tcb.snd_nxt() <= 60_000, "{}", tcb.snd_nxt());
    assert!(tcb.entries() < 100);
    assert_eq!(tcb.snd_una(), 0);
}

#[test]
fn what_was_not_sent_yet_cannot_be_acknowledged() {
    let mut t = ten_out(&plain());
    for beyond in [10_002, 11_001, 60_001, 2_000_000_000] {
        t.inject(&format!(". 1:1 ack {beyond} win 65535"));
    }
    let tcb = t.stream.tcb();
    assert_eq!((tcb.snd_una(), tcb.cwnd()), (0, 10_000));
    assert_eq!(tcb.peer_wnd(), 60_000, "nor does its window count");
    assert_eq!(t.stream.unacked(), 100_000);
}

#[test]
fn acknowledgements_ahead_of_arrival_go_no_faster_than_slow_start_and_the_window() {
    let mut t = ten_out(&plain());
    let mut acked = 0;
    for _ in 0..100 {
        let tcb = t.stream.tcb();
        if tcb.snd_nxt() == 100_000 {
            return;
        }
        acked = tcb.snd_nxt();
        t.inject(&format!(". 1:1 ack {}", acked + 1));
        let tcb = t.stream.tcb();
        assert!(tcb.cwnd() <= 10_000 + acked);
        assert!(tcb.snd_nxt() <= acked + 60_000);
        t.wait(ms(10));
    }
    panic!("only {acked} went out");
}

#[test]
fn an_acknowledgement_of_long_ago_changes_nothing() {
    let mut t = ten_out(&plain());
    t.inject(". 1:1 ack 10001");
    t.sent();
    t.inject(". 1:1 ack 1 win 65535 sack 2001:3001");
    let tcb = t.stream.tcb();
    assert_eq!((tcb.snd_una(), tcb.peer_wnd()), (10_000, 60_000));
    assert_eq!(tcb.stats().undos, 0);
}
