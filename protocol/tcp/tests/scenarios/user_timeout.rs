//! The user timeout: RFC 9293 §3.9.1, RFC 5482.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::SocketOption::{self, UserTimeout};
use anabranch_tcp::config::{Keepalive, Socket};
use anabranch_tcp::{Close, Config, Event, State};
use std::time::Duration;

const LIMIT: SocketOption = UserTimeout(Some(Duration::from_secs(3)));

fn gone(t: &mut Script) -> bool {
    t.state() == State::Closed && t.events().pop() == Some(Event::Aborted(Close::TimedOut))
}

#[test]
fn data_that_stays_unacknowledged_so_long_ends_the_connection() {
    let mut t = Script::open(&plain());
    t.set(LIMIT);
    t.write(1000);
    t.wait(ms(2999));
    assert_eq!(t.state(), State::Established);
    t.wait(ms(1));
    assert!(gone(&mut t));
    assert!(
        t.sent().iter().all(|line| line == "P. 1:1001 ack 1"),
        "no RST"
    );
}

#[test]
fn each_acknowledgement_of_something_new_begins_the_time_anew() {
    let mut t = Script::open(&plain());
    t.set(LIMIT);
    t.write(3000);
    for acked in [1001, 2001] {
        t.wait(ms(2900));
        t.inject(&format!(". 1:1 ack {acked}"));
    }
    t.wait(ms(2900));
    assert_eq!(t.state(), State::Established);
    t.inject(". 1:1 ack 2001");
    t.wait(ms(100));
    assert!(gone(&mut t), "the same again is no progress");
}

#[test]
fn an_idle_connection_lasts() {
    let mut t = Script::open(&plain());
    t.set(LIMIT);
    t.write(10);
    t.inject(". 1:1 ack 11");
    t.wait(Duration::from_secs(3600));
    assert_eq!(t.state(), State::Established);
    t.write(10);
    t.wait(ms(2999));
    assert_eq!(t.state(), State::Established);
}

#[test]
fn it_replaces_the_number_of_retransmissions_both_ways() {
    let mut t = Script::open(&plain());
    t.set(UserTimeout(Some(Duration::from_secs(7200))));
    t.write(10);
    t.wait(Duration::from_secs(7100));
    assert_eq!(t.state(), State::Established, "beyond 15 retransmissions");
    t.wait(Duration::from_secs(100));
    assert!(gone(&mut t));
}

#[test]
fn a_zero_window_counts_although_the_peer_answers_every_probe() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 0");
    t.set(LIMIT);
    t.write(1000);
    let start = t.now;
    while t.state() != State::Closed {
        t.wait(ms(100));
        t.inject(". 1:1 ack 1 win 0");
    }
    assert_eq!(t.now.since(start), Duration::from_secs(3));
    assert!(gone(&mut t));
}

#[test]
fn a_window_that_opens_is_progress() {
    let mut t = Script::open(&plain());
    t.inject(". 1:1 ack 1 win 0");
    t.set(LIMIT);
    t.write(2000);
    t.wait(ms(2900));
    t.inject(". 1:1 ack 1 win 1000");
    t.wait(ms(2900));
    assert_eq!(t.state(), State::Established);
}

#[test]
fn a_handshake_is_bound_by_it_too() {
    let mut t = Script::connecting(&Config {
        socket: Socket {
            user_timeout: Some(Duration::from_secs(3)),
            ..Socket::default()
        },
        ..plain()
    });
    t.wait(ms(2999));
    assert_eq!(t.state(), State::SynSent);
    t.wait(ms(1));
    assert!(gone(&mut t));
}

#[test]
fn keepalive_gives_up_by_it_rather_than_by_the_number_of_probes() {
    let keepalive = Keepalive {
        time: Duration::from_secs(10),
        interval: Duration::from_secs(2),
        probes: 3,
    };
    let mut t = Script::open(&plain());
    t.set(SocketOption::Keepalive(Some(keepalive)));
    t.set(UserTimeout(Some(Duration::from_secs(20))));
    t.wait(Duration::from_secs(19));
    assert_eq!(t.state(), State::Established, "five probes went by");
    t.wait(Duration::from_secs(1));
    assert!(gone(&mut t));
}

#[test]
fn it_can_be_changed_and_taken_away_while_it_runs() {
    let mut t = Script::open(&plain());
    t.set(LIMIT);
    t.write(10);
    t.wait(ms(2000));
    t.set(UserTimeout(None));
    t.wait(ms(2000));
    assert_eq!(t.state(), State::Established);
    t.set(UserTimeout(Some(Duration::from_secs(5))));
    t.wait(ms(1000));
    assert!(gone(&mut t), "five seconds since the write");
}
