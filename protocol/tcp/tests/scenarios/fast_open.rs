//! Payload on the SYN: Fast Open (RFC 7413), and what happens without it.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::icmp::IcmpKind;
use anabranch_tcp::{Close, Config, Event, IcmpError, State};
use anabranch_wire::tcp::Options;

const COOKIE: &str = "0102030405060708";

#[test]
fn a_client_without_a_cookie_asks_for_one_and_sends_no_payload() {
    let mut t = Script::connecting_fast(&plain(), "", 0, 300);
    assert_eq!(t.sent(), ["S 0:0 fo "]);
    assert_eq!(t.stream.tcb().fast_open_outcome(), None);
    t.inject("S. 0:0 ack 1 mss 900 fo=0102030405060708");
    assert_eq!(t.sent(), ["P. 1:301 ack 1"]);
    let outcome = t.stream.tcb().fast_open_outcome().unwrap();
    assert_eq!(
        outcome.granted.as_ref().unwrap().cookie[..],
        [1, 2, 3, 4, 5, 6, 7, 8]
    );
    assert_eq!(
        (outcome.mss, outcome.sent, outcome.timed_out),
        (900, 0, false)
    );
}

#[test]
fn payload_goes_with_the_syn_as_far_as_it_fits() {
    let mut t = Script::connecting_fast(&plain(), COOKIE, 1000, 300);
    assert_eq!(t.sent(), ["S 0:300 fo 0102030405060708"]);
    t.inject("S. 0:0 ack 301 mss 1000");
    assert_eq!(
        (t.sent(), t.state()),
        (vec![". 301:301 ack 1".into()], State::Established)
    );
    assert_eq!(t.stream.info().flight.unacked, 0);
    // Of what the server said that it takes, 40 bytes are left for options.
    let mut t = Script::connecting_fast(&plain(), COOKIE, 600, 5000);
    assert_eq!(t.sent(), ["S 0:560 fo 0102030405060708"]);
    t.inject("S. 0:0 ack 561 mss 1000 sackok");
    assert_eq!(t.sent()[0], ". 561:1561 ack 1");
    assert_eq!(t.stream.tcb().fast_open_outcome().unwrap().accepted, 560);
}

#[test]
fn payload_that_was_not_taken_goes_again_at_once_and_no_congestion_is_to_blame() {
    for (syn_ack, again) in [
        (
            "S. 0:0 ack 1 mss 1000 sackok fo=1112131415161718",
            "P. 1:301 ack 1",
        ),
        ("S. 0:0 ack 101 mss 1000 sackok", "P. 101:301 ack 1"),
    ] {
        let mut t = Script::connecting_fast(&plain(), COOKIE, 1000, 300);
        t.sent();
        t.wait(ms(100));
        t.inject(syn_ack);
        assert_eq!(t.sent(), [again]);
        assert_eq!(t.stream.tcb().cwnd(), 10_000, "the initial window");
        t.wait(ms(100));
        t.inject(". 1:1 ack 301");
        assert_eq!(t.stream.tcb().in_flight(), 0);
        assert!(t.stream.deadline().is_none(), "nothing is outstanding");
    }
}

#[test]
fn a_server_with_a_smaller_segment_size_gets_what_was_refused_in_smaller_segments() {
    let mut t = Script::connecting_fast(&plain(), COOKIE, 1000, 900);
    t.sent();
    t.inject("S. 0:0 ack 1 mss 400 sackok");
    assert_eq!(
        t.sent(),
        [". 1:401 ack 1", ". 401:801 ack 1", "P. 801:901 ack 1"]
    );
}

#[test]
fn a_syn_that_times_out_goes_again_without_payload_or_cookie() {
    let mut t = Script::connecting_fast(&plain(), COOKIE, 1000, 300);
    t.wait(ms(1000));
    assert_eq!(t.sent(), ["S 0:300 fo 0102030405060708", "S 0:0"]);
    t.inject("S. 0:0 ack 1 mss 1000 sackok");
    assert_eq!(t.sent(), ["P. 1:301 ack 1"]);
    assert!(t.stream.tcb().fast_open_outcome().unwrap().timed_out);
    // The first SYN had arrived, and only the answer was lost.
    let mut t = Script::connecting_fast(&plain(), COOKIE, 1000, 300);
    t.wait(ms(1000));
    t.sent();
    t.inject("S. 0:0 ack 301 mss 1000 sackok");
    assert_eq!(t.sent(), [". 301:301 ack 1"]);
}

#[test]
fn an_answer_to_more_or_less_than_the_syn_is_reset() {
    for ack in [0, 302] {
        let mut t = Script::connecting_fast(&plain(), COOKIE, 1000, 300);
        t.sent();
        t.inject(&format!("S. 0:0 ack {ack} mss 1000"));
        assert_eq!(
            (t.sent(), t.state()),
            (vec![format!("R {ack}:{ack}")], State::SynSent)
        );
    }
    let mut t = Script::connecting_fast(&plain(), COOKIE, 1000, 300);
    t.inject("R. 0:0 ack 301");
    assert_eq!(
        t.events(),
        [Event::Readable, Event::Aborted(Close::Refused)]
    );
}

#[test]
fn the_experimental_option_is_spoken_too() {
    let mut t = Script::connecting_fast(&plain(), "x01020304", 1000, 10);
    assert_eq!(t.sent(), ["S 0:10 fox 01020304"]);
}

#[test]
fn a_cookie_is_granted_on_the_syn_ack() {
    let mut t = Script::granting(&plain(), "S 0:300 mss 1000 fo=", COOKIE);
    assert_eq!(t.sent(), ["S. 0:0 ack 1 fo 0102030405060708"]);
    assert_eq!(t.read(1000), 0, "nothing is taken for a request");
}

#[test]
fn what_the_syn_brought_is_read_and_answered_before_the_handshake_is_complete() {
    let mut t = Script::accepting_fast(&plain(), "S 0:300 mss 1000 sackok fo=01020304");
    assert_eq!(
        (t.sent(), t.state()),
        (vec!["S. 0:0 ack 301".into()], State::SynReceived)
    );
    assert_eq!((t.read(1000), t.events()), (300, vec![Event::Readable]));
    t.write(25_000);
    let sent = t.sent();
    assert_eq!(
        (sent.len(), &sent[0][..]),
        (10, ". 1:1001 ack 301"),
        "the initial window"
    );
    t.wait(ms(100));
    t.inject(". 301:301 ack 3001");
    assert_eq!(
        (t.state(), t.events()),
        (State::Established, vec![Event::Established])
    );
    assert_eq!(t.sent()[0], ". 10001:11001 ack 301");
}

#[test]
fn the_answer_keeps_within_the_window_of_the_syn() {
    let mut t = Script::accepting_fast(&plain(), "S 0:300 mss 1000 win 2000 ws 9 fo=01020304");
    t.write(5000);
    assert_eq!(
        t.sent(),
        ["S. 0:0 ack 301", ". 1:1001 ack 301", ". 1001:2001 ack 301"]
    );
}

#[test]
fn a_lost_syn_ack_goes_again_before_the_answer_that_was_lost_with_it() {
    let mut t = Script::accepting_fast(&plain(), "S 0:300 mss 1000 sackok fo=01020304");
    t.write(500);
    t.sent();
    t.wait(ms(1000));
    assert_eq!(t.sent(), ["S. 0:0 ack 301"]);
    t.inject("S 0:0 mss 1000 sackok");
    assert_eq!(t.sent(), ["S. 0:0 ack 301"], "the SYN without payload");
    t.inject(". 301:301 ack 1");
    t.wait(ms(3000));
    assert_eq!(t.sent()[0], "P. 1:501 ack 301");
}

#[test]
fn the_answer_may_end_before_the_handshake_does() {
    let mut t = Script::accepting_fast(&plain(), "S 0:300 mss 1000 sackok fo=01020304");
    t.write(500);
    t.shutdown();
    assert_eq!(t.sent()[1..], ["P. 1:501 ack 301", "F. 501:501 ack 301"]);
    t.inject("F. 301:301 ack 502");
    assert_eq!(
        (t.state(), t.sent()),
        (State::TimeWait, vec![". 502:502 ack 302".into()])
    );
}

#[test]
fn payload_without_fast_open_is_left_for_the_peer_to_send_again() {
    let mut t = Script::accepting(&plain(), "S 0:300 mss 1000");
    assert_eq!(t.sent(), ["S. 0:0 ack 1"]);
    t.inject("P. 1:301 ack 1");
    assert_eq!(t.read(1000), 300);
}

#[test]
fn a_handshake_of_which_nothing_was_kept_is_completed_by_its_last_segment() {
    let config = Config {
        recv_buffer: 1 << 20,
        window_scaling: true,
        ..plain()
    };
    let mut t = Script::resumed(&config, "S 0:0 mss 1000 ws 7 sackok");
    assert_eq!(t.state(), State::SynReceived);
    t.wait(ms(300));
    t.inject("P. 1:101 ack 1 win 100");
    assert_eq!((t.state(), t.read(1000)), (State::Established, 100));
    let tcb = t.stream.tcb();
    assert_eq!(
        (tcb.srtt(), tcb.peer_wnd(), tcb.sack()),
        (None, 12_800, true)
    );
}

#[test]
fn a_syn_too_big_for_the_path_goes_again_at_once_without_payload() {
    let mut t = Script::connecting_fast(&plain(), COOKIE, 1000, 900);
    t.sent();
    let error = IcmpError {
        seq: t.stream.tcb().iss(),
        kind: IcmpKind::TooBig { mss: 600 },
    };
    for _ in 0..2 {
        t.stream.on_icmp(t.now, error);
        t.drain();
    }
    assert_eq!(t.sent(), ["S 0:0"], "once");
    t.inject("S. 0:0 ack 1 mss 1000 sackok");
    assert_eq!(t.sent(), [". 1:601 ack 1", "P. 601:901 ack 1"]);
    assert!(!t.stream.tcb().fast_open_outcome().unwrap().timed_out);
}

#[test]
fn the_syn_that_goes_again_announces_what_the_path_takes() {
    let mut t = Script::connecting_fast(&plain(), COOKIE, 1000, 300);
    t.sent();
    let error = IcmpError {
        seq: t.stream.tcb().iss(),
        kind: IcmpKind::TooBig { mss: 600 },
    };
    t.stream.on_icmp(t.now, error);
    t.drain();
    assert_eq!(t.sent(), ["S 0:0"]);
    let options = &t.last.as_ref().unwrap().options;
    assert!(matches!(options, Options::Syn(syn) if syn.mss == Some(600)));
    t.inject("S. 0:0 ack 1 mss 1000");
    assert_eq!(t.sent(), ["P. 1:301 ack 1"]);
    t.write(1000);
    t.inject(". 1:1 ack 301");
    assert_eq!(t.sent(), [". 301:901 ack 1", "P. 901:1301 ack 1"]);
}

#[test]
fn where_no_cookie_is_needed_payload_goes_with_a_syn_that_looks_as_any() {
    let config = Config {
        fast_open_without_cookie: true,
        ..plain()
    };
    let mut t = Script::connecting_fast(&config, "", 0, 300);
    assert_eq!(t.sent(), ["S 0:300"]);
    t.inject("S. 0:0 ack 301 mss 1000 fo=0102030405060708");
    assert_eq!(t.sent(), [". 301:301 ack 1"]);
    // A cookie that nobody asked for is not kept.
    assert_eq!(t.stream.tcb().fast_open_outcome().unwrap().granted, None);
    // A cookie that is known is used even so, and what times out goes again without payload.
    let mut t = Script::connecting_fast(&config, COOKIE, 1000, 300);
    assert_eq!(t.sent(), ["S 0:300 fo 0102030405060708"]);
    let mut t = Script::connecting_fast(&config, "", 0, 300);
    t.sent();
    t.wait(ms(1000));
    assert_eq!(t.sent(), ["S 0:0"]);
}
