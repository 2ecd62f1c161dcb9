//! The retransmission timer and tail-loss probes: RFC 6298, RFC 8985 §7.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::config::{Congestion, Retransmit};
use anabranch_tcp::congestion::Algorithm;
use anabranch_tcp::{Close, Config, Event};
use std::time::Duration;

/// Without tail-loss probes.
fn no_probe() -> Config {
    let retransmit = Retransmit {
        tail_loss_probe: false,
        ..Retransmit::default()
    };
    let congestion = Congestion {
        algorithm: Algorithm::NewReno,
        ..plain().congestion
    };
    Config {
        retransmit,
        congestion,
        ..plain()
    }
}

#[test]
fn the_first_segment_goes_again_with_doubling_waits_until_it_is_given_up() {
    let retransmit = Retransmit {
        data_retries: 5,
        ..no_probe().retransmit
    };
    let mut t = Script::open(&Config {
        retransmit,
        ..no_probe()
    });
    t.write(3000);
    t.sent();
    t.wait(Duration::from_secs(60));
    // RTO = 100 ms + max(200 ms, 4 × 50 ms).
    assert_eq!(
        t.sent_at(),
        [
            "400 . 1:1001 ack 1",
            "1000 . 1:1001 ack 1",
            "2200 . 1:1001 ack 1",
            "4600 . 1:1001 ack 1",
            "9400 . 1:1001 ack 1"
        ]
    );
    assert_eq!(t.events().pop(), Some(Event::Aborted(Close::TimedOut)));
}

#[test]
fn after_a_timeout_slow_start_from_one_segment() {
    let retransmit = Retransmit {
        frto: false,
        ..no_probe().retransmit
    };
    let mut t = Script::open(&Config {
        retransmit,
        ..no_probe()
    });
    t.write(20_000);
    t.sent();
    t.wait(ms(300));
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    assert_eq!(
        (t.stream.tcb().cwnd(), t.stream.tcb().ssthresh()),
        (1000, 5000)
    );
    assert_eq!(t.stream.tcb().rto_streak(), 1);
    t.wait(ms(100));
    t.inject(". 1:1 ack 1001");
    assert_eq!(t.sent(), [". 1001:2001 ack 1", ". 2001:3001 ack 1"]);
    t.wait(ms(100));
    t.inject(". 1:1 ack 3001");
    assert_eq!(t.sent().len(), 4);
    assert_eq!(t.stream.tcb().rto_streak(), 0);
}

#[test]
fn the_timer_restarts_with_each_acknowledgement_of_something_new() {
    let mut t = Script::open(&no_probe());
    t.write(3000);
    t.sent();
    t.wait(ms(250));
    t.inject(". 1:1 ack 1001");
    t.wait(ms(290));
    assert!(t.sent().is_empty());
}

#[test]
fn nothing_outstanding_means_no_timer() {
    let mut t = Script::open(&no_probe());
    t.write(3000);
    t.inject(". 1:1 ack 3001");
    assert_eq!(t.stream.deadline(), None);
}

#[test]
fn min_and_max_bound_the_timeout() {
    let retransmit = Retransmit {
        min_rto: ms(1000),
        max_rto: ms(3000),
        ..no_probe().retransmit
    };
    let mut t = Script::open(&Config {
        retransmit,
        ..no_probe()
    });
    t.write(100);
    t.wait(ms(10_000));
    assert_eq!(
        t.sent_at()[1..],
        [
            "1200 P. 1:101 ack 1",
            "3400 P. 1:101 ack 1",
            "6400 P. 1:101 ack 1",
            "9400 P. 1:101 ack 1"
        ]
    );
}

#[test]
fn a_lost_tail_is_probed_after_two_round_trips() {
    let mut t = Script::open(&plain());
    t.write(3000);
    t.sent();
    assert_eq!(t.wait_for_segment(), ms(202));
    assert_eq!(t.sent(), ["P. 2001:3001 ack 1"]);
    assert_eq!(t.stream.tcb().stats().tail_probes, 1);
    // The probe shows that the two before it are lost.
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 sack 2001:3001");
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    t.wait(ms(100));
    t.inject(". 1:1 ack 1001 sack 2001:3001");
    assert_eq!(t.sent(), [". 1001:2001 ack 1"]);
    assert_eq!(t.stream.tcb().stats().rtos, 0);
}

#[test]
fn the_probe_prefers_new_data() {
    let mut t = Script::open(&plain());
    t.write(12_000);
    t.sent();
    assert_eq!(t.wait_for_segment(), ms(202));
    assert_eq!(t.sent(), [". 10001:11001 ack 1"]);
}

#[test]
fn only_one_probe_then_the_timer() {
    let mut t = Script::open(&plain());
    t.write(3000);
    t.sent();
    t.wait(ms(1000));
    assert_eq!(
        t.sent_at(),
        ["302 P. 2001:3001 ack 1", "602 . 1:1001 ack 1"]
    );
}

#[test]
fn a_repaired_tail_loss_reduces_the_window_and_a_needless_probe_does_not() {
    let mut t = Script::open(&plain());
    t.write(3000);
    t.wait(ms(202));
    t.inject(". 1:1 ack 3001");
    t.write(1000);
    t.inject(". 1:1 ack 4001");
    assert_eq!(t.stream.tcb().ssthresh(), 7000);

    let mut t = Script::open(&plain());
    t.write(3000);
    t.wait(ms(202));
    t.inject(". 1:1 ack 3001");
    t.inject(". 1:1 ack 3001 sack 2001:3001");
    t.write(1000);
    t.inject(". 1:1 ack 4001");
    assert_eq!(t.stream.tcb().ssthresh(), u64::MAX);
}

#[test]
fn a_needless_timeout_is_undone() {
    let config = Config {
        timestamps: true,
        mss: 1012,
        ..no_probe()
    };
    let mut t = Script::accepting(&config, "S 0:0 mss 1012 sackok val 1 ecr 0");
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 val 1 ecr 6000");
    t.write(8000);
    let first = t.stamps().unwrap().val;
    t.wait(ms(350));
    assert_eq!(t.stream.tcb().cwnd(), 1000);
    t.inject(&format!(". 1:1 ack 1001 val 2 ecr {first}"));
    let tcb = t.stream.tcb();
    assert_eq!((tcb.stats().undos, tcb.ssthresh()), (1, u64::MAX));
    assert!(tcb.cwnd() >= 10_000);
}

#[test]
fn after_an_idle_time_the_window_is_the_initial_one() {
    let mut t = Script::open(&plain());
    for i in 0..20 {
        t.write(1000 * (i + 1));
        t.wait(ms(100));
        let ack = t.stream.tcb().snd_nxt() + 1;
        t.inject(&format!(". 1:1 ack {ack}"));
        t.wait(ms(1));
        let ack = t.stream.tcb().snd_nxt() + 1;
        t.inject(&format!(". 1:1 ack {ack}"));
    }
    assert!(t.stream.tcb().cwnd() > 12_000, "{}", t.stream.tcb().cwnd());
    t.sent();
    t.wait(Duration::from_secs(10));
    t.write(30_000);
    assert_eq!(t.sent().len(), 10);
}

#[test]
fn the_probe_of_a_super_frame_is_its_last_segment() {
    let mut t = Script::open(&plain());
    t.stream.set_gso_max(65_000);
    t.write(8500);
    assert_eq!(t.sent().len(), 9);
    t.wait_for_segment();
    assert_eq!(t.sent(), ["P. 7501:8501 ack 1"]);
}

#[test]
fn what_was_sent_just_before_a_timeout_is_not_taken_for_lost() {
    let mut t = Script::open(&no_probe());
    t.write(1000);
    t.wait(ms(100));
    t.inject(". 1:1 ack 1001");
    t.write(1000);
    t.wait(ms(250));
    t.write(1000);
    t.sent();
    t.wait(ms(50));
    assert_eq!(t.sent(), [". 1001:2001 ack 1"]);
    assert_eq!(t.stream.tcb().in_flight(), 2000);
    t.wait(ms(50));
    t.inject(". 1:1 ack 2001");
    assert!(t.sent().is_empty());
}

#[test]
fn while_the_peers_window_is_closed_ours_is_kept_until_something_may_leave() {
    let mut t = Script::open(&plain());
    t.write(26_000);
    t.wait(ms(100));
    t.inject(". 1:1 ack 10001");
    t.wait(ms(100));
    t.inject(". 1:1 ack 26001 win 0");
    let cwnd = t.stream.tcb().cwnd();
    assert!(cwnd > 20_000, "{cwnd}");
    t.sent();
    t.write(20_000);
    t.wait(Duration::from_secs(3));
    assert!(t.sent().iter().all(|probe| probe == ". 26000:26000 ack 1"));
    assert_eq!(t.stream.tcb().cwnd(), cwnd);
    t.inject(". 1:1 ack 26001 win 60000");
    assert_eq!(t.sent().len(), 10, "the initial window");
}
