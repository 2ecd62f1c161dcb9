//! Windows both ways: RFC 9293 §3.8.6, RFC 7323 §2.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::{Close, Config, Event, State};
use std::time::Duration;

#[test]
fn no_more_is_sent_than_the_window_allows() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 2500");
    t.write(5000);
    assert_eq!(t.sent(), [". 1:1001 ack 1", ". 1001:2001 ack 1"]);
    t.inject(". 1:1 ack 2001 win 2500");
    assert_eq!(t.sent(), [". 2001:3001 ack 1", ". 3001:4001 ack 1"]);
}

#[test]
fn a_zero_window_is_probed_with_backoff_for_as_long_as_the_peer_answers() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 0");
    t.write(1000);
    assert!(t.sent().is_empty());
    let mut waits = vec![];
    for _ in 0..40 {
        waits.push(t.wait_for_segment().as_millis());
        assert_eq!(t.sent(), [". 0:0 ack 1"]);
        t.inject(". 1:1 ack 1 win 0");
    }
    assert_eq!(waits[..5], [300, 600, 1200, 2400, 4800]);
    assert_eq!(waits[39], 120_000);
    t.inject(". 1:1 ack 1 win 1000");
    assert_eq!(t.sent(), ["P. 1:1001 ack 1"]);
}

#[test]
fn a_peer_with_a_zero_window_that_falls_silent_is_given_up() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 0");
    t.write(1000);
    t.wait(Duration::from_secs(3600));
    assert_eq!(t.sent().len(), 15);
    assert_eq!(t.events().pop(), Some(Event::Aborted(Close::TimedOut)));
}

#[test]
fn a_silly_window_is_used_only_after_a_while() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 100");
    t.write(1000);
    assert!(t.sent().is_empty());
    assert_eq!(t.wait_for_segment(), ms(300));
    assert_eq!(t.sent(), [". 1:101 ack 1"]);
}

#[test]
fn half_of_the_largest_window_is_not_silly() {
    let mut t = Script::accepting(&plain(), "S 0:0 win 1000 mss 1000");
    t.inject(". 1:1 ack 1 win 600");
    t.sent();
    t.write(2000);
    assert_eq!(t.sent(), [". 1:601 ack 1"]);
}

#[test]
fn a_window_that_shrank_does_not_stop_retransmission() {
    let mut t = Script::open(&plain());
    t.write(3000);
    t.sent();
    t.inject(". 1:1 ack 1 win 500");
    t.write(2000);
    assert!(t.sent().is_empty(), "nothing new");
    t.wait(ms(1000));
    assert!(t.sent().contains(&". 1:1001 ack 1".to_string()));
    t.inject(". 1:1 ack 3001 win 5000");
    assert_eq!(t.sent()[0], ". 3001:4001 ack 1");
}

#[test]
fn acknowledgements_stay_within_a_window_that_shrank() {
    let mut t = Script::open(&plain());
    t.write(3000);
    t.sent();
    t.inject("P. 1:101 ack 1 win 500");
    assert_eq!(t.sent(), [". 501:501 ack 101"]);
}

#[test]
fn an_old_segment_does_not_bring_an_old_window_back() {
    let mut t = Script::open(&plain());
    t.inject("P. 101:201 ack 1 win 3000");
    t.inject("P. 1:101 ack 1 win 9000");
    assert_eq!(t.stream.tcb().peer_wnd(), 3000);
}

#[test]
fn our_right_edge_never_shrinks() {
    let mut t = Script::open(&Config {
        recv_buffer: 10_000,
        ..plain()
    });
    let mut edge = 0;
    for i in 0..10 {
        t.inject(&format!(". {}:{} ack 1", 1 + 1000 * i, 1001 + 1000 * i));
        let now = 1000 * (i + 1) + u32::from(t.window());
        assert!(now >= edge, "{now} after {edge}");
        edge = now;
    }
    assert_eq!(t.window(), 0);
}

#[test]
fn room_is_announced_when_it_is_worth_it() {
    let mut t = Script::open(&Config {
        recv_buffer: 10_000,
        ..plain()
    });
    t.inject(". 1:10001 ack 1 gso 1000");
    assert_eq!((t.sent(), t.window()), (vec![". 1:1 ack 10001".into()], 0));
    t.read(1500);
    assert!(t.sent().is_empty(), "not yet two segments");
    t.read(500);
    assert_eq!(
        (t.sent(), t.window()),
        (vec![". 1:1 ack 10001".into()], 2000)
    );
}

#[test]
fn a_probe_of_our_zero_window_is_answered_and_its_byte_not_taken() {
    let mut t = Script::open(&Config {
        recv_buffer: 1000,
        ..plain()
    });
    t.inject("P. 1:1001 ack 1");
    t.sent();
    t.inject("P. 1001:1002 ack 1");
    assert_eq!((t.sent(), t.window()), (vec![". 1:1 ack 1001".into()], 0));
    t.inject(". 1000:1000 ack 1");
    assert_eq!(t.sent(), [". 1:1 ack 1001"]);
    assert_eq!(t.read(5000), 1000);
}

#[test]
fn acknowledgements_and_resets_count_although_our_window_is_zero() {
    let mut t = Script::open(&Config {
        recv_buffer: 1000,
        ..plain()
    });
    t.write(500);
    t.inject("P. 1:1001 ack 1");
    t.inject("P. 1001:1002 ack 501");
    assert_eq!(t.stream.tcb().snd_una(), 500);
    t.inject("R 1001:1001");
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn a_fin_right_after_a_full_window_is_taken() {
    let mut t = Script::open(&Config {
        recv_buffer: 1000,
        ..plain()
    });
    t.inject("FP. 1:1001 ack 1");
    assert_eq!(t.state(), State::CloseWait);
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 1000");
    t.write(1000);
    t.shutdown();
    assert_eq!(t.sent(), ["P. 1:1001 ack 1", "F. 1001:1001 ack 1"]);
}
