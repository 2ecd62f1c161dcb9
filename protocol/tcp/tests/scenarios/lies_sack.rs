//! SACK blocks that lie: the bytes are delivered, and what is kept about them is bounded.

use crate::harness::script::{Script, ms, plain};
use std::time::Duration;

/// An honest peer takes over, to whom what is sent from now on arrives.
fn finishes(t: &mut Script) {
    let mut arrived: Vec<(u64, u64)> = vec![];
    for _ in 0..10_000 {
        let mut next = t.stream.tcb().snd_una() + 1;
        if next == 40_001 {
            return;
        }
        t.wait(ms(100));
        arrived.extend(t.sent().iter().map(|line| {
            let mut words = line.split([':', ' ']).skip(1);
            let mut number = || words.next().unwrap().parse::<u64>().unwrap();
            (number(), number())
        }));
        arrived.sort_unstable();
        for (start, end) in &arrived {
            next = if *start <= next { next.max(*end) } else { next };
        }
        t.inject(&format!(". 1:1 ack {next}"));
    }
    panic!("stuck at {}", t.stream.tcb().snd_una());
}

fn sender() -> Script {
    let mut t = Script::open(&plain());
    t.write(40_000);
    t
}

#[test]
fn everything_is_sacked_and_nothing_had_arrived() {
    let mut t = sender();
    t.inject(". 1:1 ack 1 sack 1001:10001");
    finishes(&mut t);
}

#[test]
fn every_acknowledgement_takes_the_last_sack_back() {
    let mut t = sender();
    for _ in 0..30 {
        let (una, nxt) = (t.stream.tcb().snd_una() + 1, t.stream.tcb().snd_nxt() + 1);
        t.inject(&format!(". 1:1 ack {una} sack {}:{nxt}", una + 1));
        t.inject(&format!(". 1:1 ack {}", una + 1));
        t.wait(Duration::from_secs(1));
        assert!(t.stream.tcb().entries() < 200, "{:?}", t.stream.info());
    }
    assert!(t.stream.tcb().snd_una() >= 29);
    t.sent();
    t.wait(Duration::from_secs(200));
    finishes(&mut t);
}

#[test]
fn retransmissions_provoked_for_hours_leave_nothing_behind() {
    let mut t = sender();
    let mut most = 0;
    for _ in 0..3000 {
        // A timeout, then acknowledgements of one byte each, so that all goes again.
        t.wait(Duration::from_secs(2));
        for _ in 0..3 {
            let una = t.stream.tcb().snd_una() + 1;
            t.inject(&format!(". 1:1 ack {}", una + 1));
        }
        most = most.max(t.stream.tcb().entries());
    }
    assert!(most < 300, "{most} entries");
}

#[test]
fn blocks_of_one_byte_are_kept_up_to_a_bound() {
    let mut t = sender();
    for left in (2..10_000).step_by(2) {
        t.inject(&format!(". 1:1 ack 1 sack {left}:{}", left + 1));
    }
    let tcb = t.stream.tcb();
    assert!(tcb.entries() < 1000, "{}", tcb.entries());
    assert!(tcb.snd_nxt() <= 40_000);
    t.sent();
    t.wait(Duration::from_secs(200));
    finishes(&mut t);
}

#[test]
fn blocks_that_overlap_count_once() {
    let mut t = sender();
    for left in 1001..3001 {
        t.inject(&format!(". 1:1 ack 1 sack {left}:{}", left + 1000));
        assert!(t.stream.tcb().in_flight() <= t.stream.tcb().snd_nxt());
    }
    assert!(t.stream.tcb().entries() < 100);
    t.sent();
    t.wait(Duration::from_secs(200));
    finishes(&mut t);
}

#[test]
fn blocks_outside_of_what_is_out_mean_nothing() {
    let mut t = sender();
    t.sent();
    for block in [
        "10001:20001",
        "9001:10002",
        "0:1",
        "-9000:-8000",
        "5001:5001",
        "6001:5001",
    ] {
        t.inject(&format!(". 1:1 ack 1 sack {block}"));
    }
    assert!(t.sent().is_empty());
    assert_eq!(t.stream.tcb().in_flight(), 10_000);
}

#[test]
fn duplicates_reported_in_vain_open_no_window_and_widen_no_patience() {
    let mut t = sender();
    t.wait(ms(100));
    t.sent();
    // Nothing was sent again: nothing can have come twice.
    for _ in 0..1000 {
        t.inject(". 1:1 ack 1001 sack 1:1001");
    }
    let cwnd = t.stream.tcb().cwnd();
    assert!(cwnd <= 11_000, "{cwnd}");
    t.wait(ms(100));
    t.sent();
    t.inject(". 1:1 ack 1001 sack 2001:6001");
    assert_eq!(t.sent()[0], ". 1001:2001 ack 1", "at once");
    // One was sent again, and is reported a thousand times: one undo, not more.
    for _ in 0..1000 {
        t.inject(". 1:1 ack 6001 sack 1001:2001");
    }
    assert_eq!(t.stream.tcb().stats().undos, 1);
    assert!(t.stream.tcb().cwnd() <= 20_000);
}
