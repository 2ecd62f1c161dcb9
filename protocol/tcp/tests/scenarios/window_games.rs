//! Windows and segment sizes that make no sense: RFC 9293 §3.8.6, §3.7.1.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::{Config, State};
use std::time::Duration;

#[test]
fn a_window_opened_byte_by_byte_makes_no_stream_of_tiny_segments() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 0");
    t.write(20_000);
    assert!(t.sent().is_empty());
    for window in 1..=900 {
        t.inject(&format!(". 1:1 ack 1 win {window}"));
    }
    assert!(t.sent().is_empty());
    t.inject(". 1:1 ack 1 win 1000");
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
}

#[test]
fn a_window_that_comes_and_goes_is_never_overrun() {
    let mut t = Script::open(&plain());
    t.write(100_000);
    t.sent();
    let mut right = 60_000;
    for round in 0..500u64 {
        let una = t.stream.tcb().snd_una();
        let window = [0, 1, 30_000, 500, 65_535][(round % 5) as usize];
        let ack = una + 1 + (round % 3) * 100;
        if ack <= t.stream.tcb().snd_nxt() + 1 {
            right = right.max(ack - 1 + window);
            t.inject(&format!(". 1:1 ack {ack} win {window}"));
        }
        t.wait(ms(50));
        assert!(t.stream.tcb().snd_nxt() <= right);
        assert!(t.stream.tcb().entries() < 300);
    }
}

#[test]
fn a_window_closed_for_ever_costs_a_probe_now_and_then_and_no_memory() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 0");
    t.write(20_000);
    let mut probes = 0;
    for _ in 0..1000 {
        t.wait(Duration::from_secs(10));
        probes += t.sent().len();
        t.inject(". 1:1 ack 1 win 0");
    }
    assert_eq!(t.state(), State::Established);
    // The backoff reaches two minutes: about 83 in 10,000 seconds.
    assert!(probes < 110, "{probes}");
    assert_eq!(t.stream.tcb().entries(), 0);
    t.inject(". 1:1 ack 1 win 60000");
    assert_eq!(t.sent().len(), 10);
}

#[test]
fn a_window_that_was_forged_to_be_closed_opens_again() {
    let mut t = Script::open(&plain());
    // Somewhere in our window, and newer than all the peer is going to say.
    t.inject(". 30001:30001 ack 1 win 0");
    t.write(20_000);
    t.inject(". 1:1 ack 1 win 60000");
    assert!(t.sent().is_empty(), "older, it seems");
    t.wait(ms(500));
    assert_eq!(t.sent(), [". 0:0 ack 1"]);
    t.inject(". 1:1 ack 1 win 60000");
    assert_eq!(t.sent().len(), 10);
}

#[test]
fn segment_sizes_of_next_to_nothing_are_not_obeyed() {
    for mss in [0, 1, 20, 87] {
        let mut t = Script::accepting(&plain(), &format!("S 0:0 mss {mss} sackok"));
        t.wait(ms(100));
        t.inject(". 1:1 ack 1");
        t.sent();
        t.write(2000);
        assert_eq!(t.sent()[0], ". 1:89 ack 1", "{mss}");
    }
}

#[test]
fn options_leave_room_for_payload_whatever_the_segment_size() {
    let config = Config {
        timestamps: true,
        ..plain()
    };
    let mut t = Script::accepting(&config, "S 0:0 mss 1 sackok val 1 ecr 0");
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 val 1 ecr 6000");
    t.sent();
    t.write(1000);
    assert_eq!(t.sent()[0], ". 1:77 ack 1");
}

#[test]
fn a_window_of_our_own_is_not_overrun_by_what_arrives() {
    let config = Config {
        recv_buffer: 3000,
        ..plain()
    };
    let mut t = Script::open(&config);
    for start in (1..20_000).step_by(1000) {
        t.inject(&format!(". {start}:{} ack 1", start + 1000));
    }
    assert_eq!(t.read(100_000), 3000);
}
