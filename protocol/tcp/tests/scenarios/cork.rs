//! Cork: segments that are not full wait, for 200 ms at most.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::SocketOption::{Cork, NoDelay};

#[test]
fn only_full_segments_leave_while_corked() {
    let mut t = Script::open(&plain());
    t.set(Cork(true));
    t.write(10);
    t.write(1500);
    assert_eq!(t.sent(), [". 1:1001 ack 1"]);
    t.write(490);
    assert_eq!(t.sent(), ["P. 1001:2001 ack 1"]);
}

#[test]
fn taking_the_cork_away_lets_go_what_waits() {
    let mut t = Script::open(&plain());
    t.set(Cork(true));
    t.write(10);
    t.write(20);
    assert!(t.sent().is_empty());
    t.set(Cork(false));
    assert_eq!(t.sent(), ["P. 1:31 ack 1"]);
}

#[test]
fn nothing_waits_longer_than_200_ms() {
    let mut t = Script::open(&plain());
    t.set(Cork(true));
    t.write(10);
    t.wait(ms(150));
    t.write(10);
    assert_eq!(t.wait_for_segment(), ms(50), "since the first byte");
    assert_eq!(t.sent(), ["P. 1:21 ack 1"]);
    t.inject(". 1:1 ack 21");
    t.write(10);
    assert_eq!(t.wait_for_segment(), ms(200), "and again");
}

#[test]
fn nodelay_lets_go_what_waits_now_but_not_what_is_written_later() {
    let mut t = Script::open(&plain());
    t.set(Cork(true));
    t.write(10);
    t.set(NoDelay(true));
    assert_eq!(t.sent(), ["P. 1:11 ack 1"]);
    t.inject(". 1:1 ack 11");
    t.write(10);
    assert!(t.sent().is_empty());
}

#[test]
fn a_close_pulls_the_cork() {
    let mut t = Script::open(&plain());
    t.set(Cork(true));
    t.write(10);
    t.shutdown();
    assert_eq!(t.sent(), ["FP. 1:11 ack 1"]);
}

#[test]
fn a_write_that_says_that_more_follows_waits_for_the_one_that_does_not() {
    let mut t = Script::open(&plain());
    t.write_more(10);
    t.write_more(10);
    assert!(t.sent().is_empty());
    t.write(10);
    assert_eq!(t.sent(), ["P. 1:31 ack 1"]);
    t.inject(". 1:1 ack 31");
    t.write_more(10);
    assert_eq!(t.wait_for_segment(), ms(200));
}
