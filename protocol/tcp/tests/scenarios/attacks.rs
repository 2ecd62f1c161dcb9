//! Segments from off the path, and from peers that lie: RFC 5961, RFC 9293 §3.10.7.4.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::{Close, Config, Event, State};
use std::time::Duration;

#[test]
fn a_rst_resets_only_at_exactly_the_next_number() {
    let mut t = Script::open(&plain());
    t.inject("R 5000:5000");
    assert_eq!(
        (t.sent(), t.state()),
        (vec![". 1:1 ack 1".into()], State::Established)
    );
    t.inject("R 70000:70000");
    t.inject("R 0:0");
    assert_eq!(
        (t.sent().len(), t.state()),
        (0, State::Established),
        "outside of the window"
    );
    t.inject("R 1:1");
    assert_eq!(t.state(), State::Closed);
    assert_eq!(t.events(), [Event::Readable, Event::Aborted(Close::Reset)]);
}

#[test]
fn a_syn_in_the_window_is_challenged() {
    let mut t = Script::open(&plain());
    t.inject("S 100:100 mss 1000");
    t.inject("S. 100:100 ack 1 mss 1000");
    t.inject("S 0:0 mss 1000");
    assert_eq!(t.sent(), vec![". 1:1 ack 1"; 3]);
    assert_eq!(t.state(), State::Established);
}

#[test]
fn an_ack_of_what_was_never_sent_is_challenged_and_its_data_dropped() {
    let mut t = Script::open(&plain());
    t.write(500);
    t.sent();
    t.inject("P. 1:101 ack 502");
    assert_eq!(t.sent(), [". 501:501 ack 1"]);
    t.inject("P. 1:101 ack -70000");
    assert_eq!(t.sent(), [". 501:501 ack 1"], "older than any window");
    assert_eq!((t.read(1000), t.stream.tcb().snd_una()), (0, 0));
}

#[test]
fn challenges_are_limited() {
    let mut t = Script::open(&plain());
    for _ in 0..1000 {
        t.inject("R 5000:5000");
    }
    assert_eq!(t.sent().len(), 10);
    assert_eq!(t.stream.tcb().stats().challenge_acks, 10);
    t.wait(Duration::from_secs(5));
    t.inject("R 5000:5000");
    assert_eq!(t.sent().len(), 1);
}

#[test]
fn segments_without_ack_or_beyond_the_window_are_dropped() {
    let mut t = Script::open(&plain());
    t.inject("P 1:101");
    assert!(t.sent().is_empty());
    t.inject("P. 60002:60102 ack 1");
    assert_eq!((t.sent(), t.read(1000)), (vec![". 1:1 ack 1".into()], 0));
}

#[test]
fn what_reaches_beyond_the_window_is_cut() {
    let mut t = Script::open(&Config {
        recv_buffer: 1500,
        ..plain()
    });
    t.inject("P. 1:2001 ack 1");
    assert_eq!(
        (t.sent(), t.read(5000)),
        (vec![". 1:1 ack 1501".into()], 1500)
    );
}

#[test]
fn a_merged_segment_with_an_old_head_is_taken_from_where_it_is_new() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1001 ack 1");
    t.inject(". 501:3001 ack 1");
    assert_eq!(t.read(5000), 3000);
}

#[test]
fn sack_blocks_that_lie_change_nothing() {
    let mut t = Script::open(&plain());
    t.write(5000);
    t.sent();
    t.inject(". 1:1 ack 1 sack 5000:9000");
    t.inject(". 1:1 ack 1 sack 3001:2001");
    t.inject(". 1:1 ack 1 sack -5000:-4000");
    t.inject(". 1:1 ack 1 sack 1:1");
    assert!(t.sent().is_empty());
    assert_eq!(t.stream.tcb().in_flight(), 5000);
}

#[test]
fn a_thousand_tiny_sack_blocks_keep_to_a_bound() {
    let config = Config {
        recv_buffer: 60_000,
        ..plain()
    };
    let mut t = Script::open(&config);
    t.write(10_000);
    for i in 0..4000 {
        let left = 2 + 2 * i;
        t.inject(&format!(". 1:1 ack 1 sack {left}:{}", left + 1));
    }
    t.wait(ms(60_000));
    t.inject(". 1:1 ack 10001");
    assert_eq!(t.stream.tcb().in_flight(), 0);
    assert_eq!(t.stream.unacked(), 0);
}

#[test]
fn a_peer_that_takes_its_sacks_back_gets_everything_again() {
    let mut t = Script::open(&plain());
    t.write(4000);
    t.sent();
    t.inject(". 1:1 ack 1 sack 2001:4001");
    t.inject(". 1:1 ack 2001 sack 2001:4001");
    t.wait(ms(3000));
    assert!(t.sent().contains(&". 2001:3001 ack 1".to_string()));
    t.inject(". 1:1 ack 3001");
    assert_eq!(t.sent(), ["P. 3001:4001 ack 1"]);
}

#[test]
fn a_fin_that_contradicts_what_came_is_ignored() {
    let mut t = Script::open(&plain());
    t.inject(". 2001:3001 ack 1");
    t.inject("F. 1001:1001 ack 1");
    t.inject(". 1:2001 ack 1");
    assert_eq!((t.read(5000), t.state()), (3000, State::Established));
    t.inject("F. 4001:4001 ack 1");
    t.inject("F. 3501:3501 ack 1");
    t.inject(". 3001:4001 ack 1");
    assert_eq!((t.read(5000), t.state()), (1000, State::CloseWait));
}

#[test]
fn data_after_the_fin_is_not_delivered() {
    let mut t = Script::open(&plain());
    t.inject("F. 1:101 ack 1");
    t.inject("P. 102:202 ack 1");
    t.inject("P. 50:202 ack 1");
    assert_eq!(t.read(1000), 100);
}
