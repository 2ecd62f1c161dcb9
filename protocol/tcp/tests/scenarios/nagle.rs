//! Small segments: RFC 9293 §3.7.4.

use crate::harness::script::{Script, plain};
use anabranch_tcp::Config;

#[test]
fn a_second_small_write_waits_for_the_first_to_be_acknowledged() {
    let mut t = Script::open(&plain());
    t.write(10);
    t.write(10);
    t.write(20);
    assert_eq!(t.sent(), ["P. 1:11 ack 1"]);
    t.inject(". 1:1 ack 11");
    assert_eq!(t.sent(), ["P. 11:41 ack 1"]);
}

#[test]
fn full_segments_do_not_wait() {
    let mut t = Script::open(&plain());
    t.write(10);
    t.write(2500);
    assert_eq!(
        t.sent(),
        ["P. 1:11 ack 1", ". 11:1011 ack 1", ". 1011:2011 ack 1"]
    );
    t.inject(". 1:1 ack 11");
    assert_eq!(t.sent(), ["P. 2011:2511 ack 1"]);
}

#[test]
fn the_tail_of_a_large_write_does_not_wait_for_its_own_head() {
    let mut t = Script::open(&plain());
    t.write(2500);
    assert_eq!(
        t.sent(),
        [". 1:1001 ack 1", ". 1001:2001 ack 1", "P. 2001:2501 ack 1"]
    );
}

#[test]
fn a_close_lets_everything_go() {
    let mut t = Script::open(&plain());
    t.write(10);
    t.write(10);
    t.sent();
    t.shutdown();
    assert_eq!(t.sent(), ["FP. 11:21 ack 1"]);
}

#[test]
fn off_each_write_leaves_at_once() {
    let mut t = Script::open(&Config {
        nagle: false,
        ..plain()
    });
    t.write(10);
    t.write(10);
    assert_eq!(t.sent(), ["P. 1:11 ack 1", "P. 11:21 ack 1"]);
}
