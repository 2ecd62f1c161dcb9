//! Keepalive: RFC 9293 §3.8.4.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::config::Keepalive;
use anabranch_tcp::{Close, Config, Event, State};
use std::time::Duration;

fn open() -> Script {
    let keepalive = Keepalive {
        time: Duration::from_secs(10),
        interval: Duration::from_secs(2),
        probes: 3,
    };
    Script::open(&Config {
        keepalive: Some(keepalive),
        ..plain()
    })
}

#[test]
fn an_idle_peer_is_probed_and_its_answer_is_enough() {
    let mut t = open();
    t.wait(ms(9999));
    assert!(t.sent().is_empty());
    t.wait(ms(1));
    assert_eq!(t.sent(), [". 0:0 ack 1"]);
    t.inject(". 1:1 ack 1");
    t.wait(ms(9999));
    assert!(t.sent().is_empty());
    t.wait(ms(1));
    assert_eq!(t.sent().len(), 1);
}

#[test]
fn a_dead_peer_is_given_up() {
    let mut t = open();
    t.wait(Duration::from_secs(16));
    assert_eq!(
        t.sent_at(),
        [
            "10100 . 0:0 ack 1",
            "12100 . 0:0 ack 1",
            "14100 . 0:0 ack 1",
            "16100 R. 1:1 ack 1"
        ]
    );
    assert_eq!(t.state(), State::Closed);
    assert_eq!(
        t.events(),
        [Event::Readable, Event::Aborted(Close::TimedOut)]
    );
}

#[test]
fn we_answer_the_probes_of_a_peer() {
    let mut t = Script::open(&plain());
    t.inject(". 0:0 ack 1");
    t.inject(". 0:1 ack 1");
    assert_eq!(
        t.sent(),
        [". 1:1 ack 1", ". 1:1 ack 1 sack 0:1"].map(|s| s.to_string())
    );
}

#[test]
fn data_in_flight_is_the_retransmission_timers_business() {
    let mut t = open();
    t.write(10);
    t.wait(Duration::from_secs(12));
    assert!(t.sent().iter().all(|line| line.contains("1:11")));
}
