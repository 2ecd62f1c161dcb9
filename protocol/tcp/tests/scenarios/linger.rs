//! What becomes of a connection that its application lets go.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::SocketOption::{FinWait2, Linger};
use anabranch_tcp::State;
use std::time::Duration;

#[test]
fn without_it_everything_is_delivered_in_the_background() {
    let mut t = Script::open(&plain());
    t.write(500);
    t.close();
    assert_eq!(t.state(), State::FinWait1);
    t.sent();
    t.wait(Duration::from_secs(2));
    assert!(t.sent().iter().any(|line| line.contains(" 1:501")));
}

#[test]
fn zero_resets_at_once() {
    let mut t = Script::open(&plain());
    t.set(Linger(Some(Duration::ZERO)));
    t.write(500);
    t.sent();
    t.close();
    assert_eq!(t.sent(), ["R. 501:501 ack 1"]);
    assert_eq!((t.state(), t.stream.unacked()), (State::Closed, 0));
}

#[test]
fn a_time_to_wait_changes_nothing_on_the_wire() {
    let mut t = Script::open(&plain());
    t.set(Linger(Some(Duration::from_secs(1))));
    t.write(500);
    t.close();
    t.wait(Duration::from_secs(5));
    assert_eq!(t.state(), State::FinWait1);
    assert!(!t.sent().iter().any(|line| line.starts_with('R')));
}

#[test]
fn fin_wait_2_lasts_as_long_as_the_application_says() {
    let mut t = Script::open(&plain());
    t.set(FinWait2(Duration::from_secs(5)));
    t.close();
    t.inject(". 1:1 ack 2");
    assert_eq!(t.state(), State::FinWait2);
    t.wait(ms(4999));
    assert_eq!(t.state(), State::FinWait2);
    t.wait(ms(1));
    assert_eq!(t.state(), State::Closed);
}
