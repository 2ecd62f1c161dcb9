//! Timestamps that lie: RFC 7323 §4, §5.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::Config;
use std::time::Duration;

/// Open with timestamps; the peer's clock shows 1, ours 6100.
fn open() -> Script {
    let config = Config {
        timestamps: true,
        mss: 1012,
        ..plain()
    };
    let mut t = Script::accepting(&config, "S 0:0 mss 1012 sackok val 1 ecr 0");
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 val 1 ecr 6000");
    t.sent();
    t
}

#[test]
fn an_echo_of_the_future_or_of_nothing_is_no_measurement() {
    for ecr in [0, 50_000, 2_000_000_000] {
        let mut t = open();
        let rto = t.stream.tcb().rto();
        t.write(1000);
        t.wait(ms(650));
        assert_eq!(t.sent().len(), 3, "new, probe, timeout");
        t.inject(&format!(". 1:1 ack 1001 val 2 ecr {ecr}"));
        let tcb = t.stream.tcb();
        assert_eq!(tcb.srtt(), Some(ms(100)), "{ecr}");
        assert!(tcb.rto() <= 2 * rto, "{ecr}: {:?}", tcb.rto());
    }
}

#[test]
fn an_old_echo_undoes_one_reduction_and_makes_no_window() {
    let mut t = open();
    t.write(40_000);
    for round in 0..20u64 {
        t.wait(ms(100));
        let una = t.stream.tcb().snd_una() + 1;
        let nxt = t.stream.tcb().snd_nxt() + 1;
        if nxt - una < 5000 {
            break;
        }
        t.inject(&format!(
            ". 1:1 ack {una} val 2 ecr 1 sack {}:{nxt}",
            una + 1000
        ));
        t.inject(&format!(". 1:1 ack {} val 2 ecr 1", una + 1000));
        let cwnd = t.stream.tcb().cwnd();
        // No more than if every byte had been acknowledged in slow start.
        assert!(cwnd <= 10_000 + una + nxt - una, "{cwnd} in round {round}");
        assert!(t.stream.tcb().stats().undos <= round as u32 + 1);
    }
}

#[test]
fn a_clock_that_jumps_ahead_ends_the_connection_of_who_lied_and_delivers_nothing_wrong() {
    let mut t = open();
    t.inject_bytes(". 1:101 ack 1 val 2000000000 ecr 6100", b'a');
    assert_eq!(t.read_bytes(), vec![b'a'; 100]);
    // By PAWS the truth is older now: dropped, and answered.
    t.sent();
    t.inject_bytes(". 101:201 ack 1 val 3 ecr 6100", b'b');
    assert_eq!(t.sent().len(), 1);
    assert!(t.read_bytes().is_empty());
}

#[test]
fn a_timestamp_of_a_segment_outside_the_window_changes_nothing() {
    let mut t = open();
    t.inject(". 90001:90101 ack 1 val 2000000000 ecr 6100");
    t.inject(". 2001:2101 ack 1 val 1000000 ecr 6100");
    t.inject_bytes(". 1:101 ack 1 val 3 ecr 6100", b'b');
    assert_eq!(t.read_bytes(), vec![b'b'; 100]);
}

#[test]
fn the_retransmission_timeout_stays_within_its_bounds_whatever_is_echoed() {
    let mut t = open();
    t.write(30_000);
    for age in [0u32, 1, 100_000, 10_000_000] {
        t.wait(Duration::from_secs(1));
        let echo = t.stamps().unwrap().val.wrapping_sub(age);
        let una = t.stream.tcb().snd_una() + 1;
        t.inject(&format!(". 1:1 ack {} val 3 ecr {echo}", una + 1000));
        let rto = t.stream.tcb().rto();
        assert!(rto >= ms(200) && rto <= Duration::from_secs(120), "{rto:?}");
    }
}
