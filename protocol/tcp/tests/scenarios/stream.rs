//! The application's side of a stream: buffers, budget, events.

use crate::harness::pair::{Channel, Pair};
use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::budget::Budget;
use anabranch_tcp::{Config, Event, State, StreamConfig};
use bytes::Bytes;
use std::time::Duration;

#[test]
fn the_send_buffer_bounds_what_is_taken_and_room_is_told() {
    let config = StreamConfig {
        tcp: plain(),
        send_buffer: 3000,
        gso_max: 0,
        budget: Budget::unlimited(),
    };
    let mut t = Script::open_with(&config);
    assert_eq!(t.stream.send(Bytes::from(vec![0; 5000])), 3000);
    assert_eq!(t.stream.send(Bytes::from(vec![0; 10])), 0);
    t.drain();
    t.inject(". 1:1 ack 501");
    assert_eq!(t.events(), [], "not yet a third");
    t.inject(". 1:1 ack 1501");
    assert_eq!(t.events(), [Event::Writable]);
    assert_eq!(t.stream.send_room(), 1500);
}

#[test]
fn a_spent_budget_takes_nothing_and_closes_the_window() {
    let budget = Budget::new(10_000);
    let config = StreamConfig {
        tcp: plain(),
        send_buffer: 1 << 20,
        gso_max: 0,
        budget: budget.clone(),
    };
    let mut t = Script::open_with(&config);
    let others = budget.charge(9500).expect("there is room");
    assert_eq!(
        t.stream.send(Bytes::from(vec![0; 5000])),
        0,
        "a chunk does not fit"
    );
    t.inject("P. 1:1001 ack 1");
    assert_eq!(t.read(1000), 1000, "what was promised is kept");
    drop(others);
    assert_eq!(t.stream.send(Bytes::from(vec![0; 5000])), 5000);
    assert_eq!(budget.used(), 5000);
    t.drain();
    t.inject(". 1001:1001 ack 5001");
    assert_eq!(budget.used(), 0);
}

#[test]
fn large_writes_reach_the_device_without_a_copy() {
    let mut t = Script::open(&plain());
    let bytes = Bytes::from(vec![7; 8000]);
    assert_eq!(t.stream.send(bytes.clone()), 8000);
    let (_, payload) = t.stream.poll_transmit(t.now).expect("a segment");
    assert_eq!(payload[0].as_ptr(), bytes.as_ptr());
}

#[test]
fn a_reader_that_stalls_stops_the_sender_and_loses_nothing() {
    let tcp = Config {
        recv_buffer: 50_000,
        ..Config::default()
    };
    let config = StreamConfig {
        tcp,
        send_buffer: 30_000,
        gso_max: 65_000,
        budget: Budget::unlimited(),
    };
    let mut pair = Pair::new(
        [config.clone(), config],
        [u32::MAX - 10, 5],
        Channel::default(),
        1,
    );
    pair.apps[0].to_send = 300_000;
    pair.apps[1].stalled = true;
    pair.run(Duration::from_secs(60));
    assert_eq!(pair.sides[1].readable(), 50_000);
    assert_eq!(pair.sides[0].tcb().peer_wnd(), 0);
    pair.apps[1].stalled = false;
    pair.run(Duration::from_secs(200));
    assert_eq!(pair.apps[1].received, 300_000);
    assert_eq!(pair.sides[0].tcb().state(), State::Closed);
    let closed = |side: usize| pair.apps[side].events.contains(&Event::Closed);
    assert!(closed(0) && closed(1));
}

#[test]
fn a_segment_does_not_span_the_end_of_a_record() {
    let mut t = Script::open(&plain());
    t.write(10_000);
    assert_eq!(t.sent().len(), 10);
    t.write(300);
    t.stream.end_record();
    t.write(700);
    t.wait(ms(100));
    t.inject(". 1:1 ack 10001");
    let records = [". 10001:10301 ack 1", "P. 10301:11001 ack 1"];
    assert_eq!(t.sent(), records);
    // Sent again neither.
    t.wait(Duration::from_secs(1));
    assert!(!t.sent().iter().any(|line| line.contains("10001:11001")));
}
