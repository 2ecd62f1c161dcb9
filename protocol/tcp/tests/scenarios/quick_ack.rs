//! When acknowledgements are delayed, and when the application says that they shall not be.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::SocketOption::QuickAck;

/// A connection on which acknowledgements are delayed: the application answered.
fn interactive() -> Script {
    let mut t = Script::open(&plain());
    t.inject("P. 1:11 ack 1");
    t.set(QuickAck(false));
    t.sent();
    t.inject("P. 11:21 ack 1");
    assert!(t.sent().is_empty());
    t
}

#[test]
fn a_new_connection_acknowledges_at_once_while_the_peer_is_in_slow_start() {
    let mut t = Script::open(&plain());
    for i in 0..16 {
        t.inject(&format!("P. {}:{} ack 1", 1 + 10 * i, 11 + 10 * i));
        assert_eq!(t.sent().len(), 1, "segment {i}");
    }
    t.inject("P. 161:171 ack 1");
    assert!(t.sent().is_empty());
}

#[test]
fn off_acknowledgements_wait_for_an_answer_to_ride_on() {
    let mut t = interactive();
    t.write(5);
    assert_eq!(t.sent(), ["P. 1:6 ack 21"]);
    t.inject("P. 21:31 ack 6");
    assert_eq!(t.wait_for_segment(), ms(40));
}

#[test]
fn on_what_waits_is_acknowledged_now_and_what_follows_at_once() {
    let mut t = interactive();
    t.set(QuickAck(true));
    assert_eq!(t.sent(), [". 1:1 ack 21"]);
    t.inject("P. 21:31 ack 1");
    assert_eq!(t.sent(), [". 1:1 ack 31"]);
}

#[test]
fn it_is_not_permanent() {
    let mut t = interactive();
    t.set(QuickAck(true));
    t.sent();
    t.inject("P. 21:31 ack 1");
    t.inject("P. 31:41 ack 1");
    assert_eq!(t.sent().len(), 2);
    for i in 0..20 {
        t.inject(&format!("P. {}:{} ack 1", 41 + 10 * i, 51 + 10 * i));
    }
    t.sent();
    t.inject("P. 241:251 ack 1");
    assert!(t.sent().is_empty(), "after sixteen the engine decides");
}

#[test]
fn nothing_to_acknowledge_is_not_acknowledged() {
    let mut t = Script::open(&plain());
    t.set(QuickAck(true));
    assert!(t.sent().is_empty());
}
