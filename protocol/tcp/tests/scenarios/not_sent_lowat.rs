//! How much may wait unsent: the application writes late what it can still change.

use crate::harness::script::{Script, plain};
use anabranch_tcp::Event;
use anabranch_tcp::SocketOption::NotSentLowat;
use bytes::Bytes;

#[test]
fn the_application_is_asked_for_more_only_when_little_waits() {
    let mut t = Script::open(&plain());
    t.set(NotSentLowat(Some(4000)));
    t.inject(". 1:1 ack 1 win 10000");
    // Ten segments leave, four thousand bytes wait.
    assert_eq!(t.stream.send(Bytes::from(vec![0; 4000])), 4000);
    t.drain();
    assert_eq!(t.stream.send_room(), 4000);
    t.write(4000);
    t.write(2000);
    t.sent();
    assert_eq!(t.stream.send(Bytes::from(vec![0; 9000])), 4000);
    assert_eq!(t.stream.send_room(), 0);
    assert!(t.events().is_empty());
    t.inject(". 1:1 ack 2001 win 10000");
    assert!(t.events().is_empty(), "half of it still waits");
    t.inject(". 1:1 ack 4001 win 10000");
    assert_eq!(t.events(), [Event::Writable]);
    assert_eq!(t.stream.send_room(), 4000);
}

#[test]
fn raising_it_or_taking_it_away_wakes_the_application() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 0");
    t.set(NotSentLowat(Some(1000)));
    assert_eq!(t.stream.send(Bytes::from(vec![0; 2000])), 1000);
    assert!(t.events().is_empty());
    t.set(NotSentLowat(None));
    assert_eq!(t.events(), [Event::Writable]);
}
