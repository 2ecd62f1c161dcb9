//! Closing in every order: RFC 9293 §3.6.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::{Close, Config, Event, State};
use std::time::Duration;

#[test]
fn we_close_first_and_sit_out_time_wait() {
    let mut t = Script::open(&plain());
    t.shutdown();
    assert_eq!(
        (t.sent(), t.state()),
        (vec!["F. 1:1 ack 1".into()], State::FinWait1)
    );
    t.inject(". 1:1 ack 2");
    assert_eq!(t.state(), State::FinWait2);
    t.inject("F. 1:1 ack 2");
    assert_eq!(
        (t.sent(), t.state()),
        (vec![". 2:2 ack 2".into()], State::TimeWait)
    );
    assert_eq!(t.events(), [Event::Readable, Event::PeerFin, Event::Closed]);
    t.wait(Duration::from_secs(59));
    assert_eq!(t.state(), State::TimeWait);
    t.wait(Duration::from_secs(1));
    assert_eq!((t.state(), t.sent().len()), (State::Closed, 0));
}

#[test]
fn the_peer_closes_first() {
    let mut t = Script::open(&plain());
    t.inject("F. 1:1 ack 1");
    assert_eq!(
        (t.sent(), t.state()),
        (vec![". 1:1 ack 2".into()], State::CloseWait)
    );
    assert_eq!(t.events(), [Event::Readable, Event::PeerFin]);
    t.write(100);
    t.shutdown();
    assert_eq!(t.sent(), ["P. 1:101 ack 2", "F. 101:101 ack 2"]);
    assert_eq!(t.state(), State::LastAck);
    t.inject(". 2:2 ack 102");
    assert_eq!(
        (t.state(), t.events()),
        (State::Closed, vec![Event::Readable, Event::Closed])
    );
}

#[test]
fn both_close_at_once() {
    let mut t = Script::open(&plain());
    t.shutdown();
    t.inject("F. 1:1 ack 1");
    assert_eq!(t.state(), State::Closing);
    assert_eq!(t.sent(), ["F. 1:1 ack 1", ". 2:2 ack 2"]);
    t.inject(". 2:2 ack 2");
    assert_eq!(t.state(), State::TimeWait);
    assert_eq!(t.events(), [Event::Readable, Event::PeerFin, Event::Closed]);
}

#[test]
fn fin_and_the_ack_of_ours_in_one_segment() {
    let mut t = Script::open(&plain());
    t.shutdown();
    t.sent();
    t.inject("F. 1:1 ack 2");
    assert_eq!(
        (t.sent(), t.state()),
        (vec![". 2:2 ack 2".into()], State::TimeWait)
    );
}

#[test]
fn half_a_close_leaves_the_other_direction_open() {
    let mut t = Script::open(&plain());
    t.shutdown();
    t.inject(". 1:1 ack 2");
    t.inject("P. 1:1001 ack 2");
    t.wait(Duration::from_secs(3600));
    t.inject("FP. 1001:2001 ack 2");
    assert_eq!((t.read(5000), t.state()), (2000, State::TimeWait));
    assert!(t.stream.at_end());
}

#[test]
fn fin_follows_the_data_that_waits() {
    let mut t = Script::open(&plain());
    t.write(10_500);
    t.shutdown();
    let sent = t.sent();
    assert_eq!((sent.len(), sent[9].as_str()), (10, ". 9001:10001 ack 1"));
    t.inject(". 1:1 ack 10001");
    assert_eq!(t.sent(), ["FP. 10001:10501 ack 1"]);
}

#[test]
fn a_fin_out_of_order_is_remembered() {
    let mut t = Script::open(&plain());
    t.inject("F. 1001:2001 ack 1");
    assert_eq!(t.sent(), [". 1:1 ack 1 sack 1001:2002"]);
    assert_eq!(t.state(), State::Established);
    t.inject(". 1:1001 ack 1");
    assert_eq!(
        (t.sent(), t.state()),
        (vec![". 1:1 ack 2002".into()], State::CloseWait)
    );
    assert_eq!(t.read(5000), 2000);
}

#[test]
fn a_lost_fin_is_sent_again() {
    let mut t = Script::open(&plain());
    t.shutdown();
    t.sent();
    assert_eq!(t.wait_for_segment(), ms(300));
    assert_eq!(t.sent(), ["F. 1:1 ack 1"]);
}

#[test]
fn the_peers_fin_again_is_acknowledged_again_in_time_wait() {
    let mut t = Script::open(&plain());
    t.shutdown();
    t.inject("F. 1:1 ack 2");
    t.sent();
    t.wait(Duration::from_secs(50));
    t.inject("F. 1:1 ack 2");
    assert_eq!(t.sent(), [". 2:2 ack 2 sack 1:2"]);
    t.wait(Duration::from_secs(59));
    assert_eq!(t.state(), State::TimeWait, "it started again");
}

#[test]
fn a_new_syn_may_take_the_place_of_time_wait() {
    let mut t = Script::open(&plain());
    t.shutdown();
    t.inject("F. 1:1 ack 2");
    assert!(t.may_reuse("S 5000:5000 mss 1000"));
    assert!(
        !t.may_reuse("S 1:1 mss 1000"),
        "not beyond what was received"
    );
    assert!(!t.may_reuse("S. 5000:5000 ack 1"));
}

#[test]
fn fin_wait_2_ends_when_nobody_reads() {
    let mut t = Script::open(&plain());
    t.stream.close();
    t.drain();
    t.inject(". 1:1 ack 2");
    assert_eq!(t.state(), State::FinWait2);
    t.wait(Duration::from_secs(60));
    assert_eq!(t.state(), State::Closed);
}

#[test]
fn data_after_close_is_reset() {
    let mut t = Script::open(&plain());
    t.stream.close();
    t.drain();
    t.inject(". 1:1 ack 2");
    t.sent();
    t.inject("P. 1:101 ack 2");
    assert_eq!((t.sent(), t.state()), (vec!["R 2:2".into()], State::Closed));
    assert_eq!(t.events().pop(), Some(Event::Aborted(Close::Local)));
}

#[test]
fn closing_with_unread_bytes_resets() {
    let mut t = Script::open(&plain());
    t.inject("P. 1:101 ack 1");
    t.sent();
    t.stream.close();
    t.drain();
    assert_eq!(
        (t.sent(), t.state()),
        (vec!["R. 1:1 ack 101".into()], State::Closed)
    );
}

#[test]
fn abort_resets_and_frees() {
    let mut t = Script::open(&plain());
    t.write(5000);
    t.sent();
    t.stream.abort();
    t.drain();
    assert_eq!(t.sent(), ["R. 5001:5001 ack 1"]);
    assert_eq!((t.state(), t.stream.unacked()), (State::Closed, 0));
    assert_eq!(t.stream.send(vec![0; 10].into()), 0);
    assert_eq!(t.stream.deadline(), None);
}

#[test]
fn what_comes_before_the_reset_of_an_abort_has_left_does_not_take_its_place() {
    let mut t = Script::open(&plain());
    t.write(5000);
    t.sent();
    t.stream.abort();
    t.inject("P. 1:101 ack 1");
    assert_eq!(t.sent(), ["R. 5001:5001 ack 1"]);
}

#[test]
fn a_segment_for_a_closed_stream_is_reset() {
    let mut t = Script::open(&plain());
    t.stream.abort();
    t.drain();
    t.sent();
    t.inject("P. 1:101 ack 1");
    assert_eq!(t.sent(), ["R 1:1"]);
    t.inject("R 1:1");
    assert!(t.sent().is_empty());
}

#[test]
fn bytes_received_before_a_reset_can_be_read() {
    let mut t = Script::open(&plain());
    t.inject("P. 1:101 ack 1");
    t.inject("R 101:101");
    assert_eq!(t.events().pop(), Some(Event::Aborted(Close::Reset)));
    assert_eq!(t.read(1000), 100);
}

#[test]
fn the_reset_of_a_connection_with_timestamps_has_them() {
    let config = Config {
        timestamps: true,
        ..plain()
    };
    let mut t = Script::accepting(&config, "S 0:0 mss 1012 val 1 ecr 0");
    t.inject(". 1:1 ack 1 val 2 ecr 6000");
    t.sent();
    t.stream.abort();
    t.drain();
    assert_eq!(t.sent(), ["R. 1:1 ack 1"]);
    assert_eq!(t.stamps().map(|stamps| stamps.ecr), Some(2));
}

#[test]
fn a_fin_alone_takes_no_room_in_the_congestion_window_and_pushes_nothing() {
    let mut t = Script::open(&plain());
    t.write(10_000);
    assert_eq!(t.sent().len(), 10);
    assert_eq!(t.stream.tcb().room(), 0);
    t.close();
    assert_eq!(t.sent(), ["F. 10001:10001 ack 1"]);
}
