//! Opening: RFC 9293 §3.5.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::config::Buffers;
use anabranch_tcp::{Close, Config, Event, State};
use anabranch_wire::tcp::Options;

fn syn_options(script: &Script) -> (Option<u16>, Option<u8>, bool, bool) {
    match &script.last.as_ref().expect("a segment").options {
        Options::Syn(o) => (
            o.mss,
            o.window_scale,
            o.sack_permitted,
            o.timestamps.is_some(),
        ),
        Options::Segment(_) => panic!("not a SYN"),
    }
}

#[test]
fn active_open() {
    let mut t = Script::connecting(&plain());
    assert_eq!(t.sent(), ["S 0:0"]);
    t.inject("S. 0:0 ack 1 win 5000 mss 1000 sackok");
    assert_eq!(t.sent(), [". 1:1 ack 1"]);
    assert_eq!(
        (t.state(), t.events()),
        (State::Established, vec![Event::Established])
    );
}

#[test]
fn passive_open() {
    let mut t = Script::accepting(&plain(), "S 0:0 mss 1000");
    assert_eq!(
        (t.sent(), t.state()),
        (vec!["S. 0:0 ack 1".into()], State::SynReceived)
    );
    t.inject(". 1:1 ack 1");
    assert_eq!((t.sent().len(), t.state()), (0, State::Established));
    assert_eq!(t.events(), [Event::Established]);
}

#[test]
fn simultaneous_open() {
    let mut t = Script::connecting(&plain());
    t.sent();
    t.inject("S 0:0 mss 1000");
    assert_eq!(
        (t.sent(), t.state()),
        (vec!["S. 0:0 ack 1".into()], State::SynReceived)
    );
    t.inject("S. 0:0 ack 1 mss 1000");
    assert_eq!(t.state(), State::Established);
    t.write(10);
    assert_eq!(t.sent(), [". 1:1 ack 1", "P. 1:11 ack 1"]);
}

#[test]
fn everything_is_offered_and_what_the_peer_offers_is_agreed() {
    let config = Config {
        recv_buffer: 1 << 20,
        buffers: Buffers {
            recv_initial: 1 << 20,
            ..Buffers::default()
        },
        ..Config::default()
    };
    let mut t = Script::connecting(&config);
    assert_eq!(syn_options(&t), (Some(1460), Some(5), true, true));
    assert_eq!(t.window(), 65_535, "the window of a SYN is not scaled");
    t.inject("S. 0:0 ack 1 win 1000 mss 1400 ws 7 sackok val 9 ecr 6000");
    assert_eq!(t.window(), 32_768, "1 MiB shifted by 5");
    assert_eq!(t.stamps().map(|s| s.ecr), Some(9));
    assert_eq!(t.stream.tcb().mss(), 1400 - 12);
    assert_eq!(
        t.stream.tcb().peer_wnd(),
        1000,
        "that of a SYN is not scaled"
    );
    t.inject(". 1:1 ack 1 win 1000 val 10 ecr 6000");
    assert_eq!(t.stream.tcb().peer_wnd(), 1000 << 7);
}

#[test]
fn a_bare_syn_is_answered_with_nothing_it_did_not_offer() {
    let t = Script::accepting(&Config::default(), "S 0:0 mss 1460");
    assert_eq!(syn_options(&t), (Some(1460), None, false, false));
    let t = Script::accepting(&Config::default(), "S 0:0 mss 1460 ws 3 sackok val 1 ecr 0");
    assert_eq!(syn_options(&t), (Some(1460), Some(7), true, true));
}

#[test]
fn no_mss_means_536_and_a_shift_beyond_14_means_14() {
    let mut t = Script::accepting(&Config::default(), "S 0:0 ws 255");
    t.inject(". 1:1 ack 1 win 1");
    assert_eq!(t.stream.tcb().mss(), 536);
    assert_eq!(t.stream.tcb().peer_wnd(), 1 << 14);
}

#[test]
fn a_lost_syn_is_sent_again_with_backoff_then_given_up() {
    let mut t = Script::connecting(&plain());
    t.wait(ms(200_000));
    let times: Vec<_> = t.sent_at();
    let expected = [
        "0 S 0:0",
        "1000 S 0:0",
        "3000 S 0:0",
        "7000 S 0:0",
        "15000 S 0:0",
        "31000 S 0:0",
        "63000 S 0:0",
    ];
    assert_eq!(times, expected);
    assert_eq!(
        (t.state(), t.events()),
        (
            State::Closed,
            vec![Event::Readable, Event::Aborted(Close::TimedOut)]
        )
    );
}

#[test]
fn a_lost_syn_ack_is_sent_again_by_timer_and_on_the_syn_again() {
    let mut t = Script::accepting(&plain(), "S 0:0 mss 1000");
    t.inject("S 0:0 mss 1000");
    t.wait(ms(1500));
    assert_eq!(
        t.sent_at(),
        ["0 S. 0:0 ack 1", "0 S. 0:0 ack 1", "1000 S. 0:0 ack 1"]
    );
}

#[test]
fn data_on_the_third_ack_is_taken() {
    let mut t = Script::accepting(&plain(), "S 0:0 mss 1000");
    t.inject("P. 1:101 ack 1");
    assert_eq!(t.read(1000), 100);
    assert_eq!(t.events(), [Event::Established, Event::Readable]);
}

#[test]
fn a_fin_on_the_third_ack_is_taken() {
    let mut t = Script::accepting(&plain(), "S 0:0 mss 1000");
    t.inject("F. 1:101 ack 1");
    assert_eq!(t.state(), State::CloseWait);
    assert_eq!(
        t.events(),
        [Event::Established, Event::Readable, Event::PeerFin]
    );
}

#[test]
fn an_ack_of_nothing_we_sent_is_reset_while_opening() {
    let mut t = Script::connecting(&plain());
    t.sent();
    t.inject("S. 0:0 ack 77 mss 1000");
    assert_eq!(
        (t.sent(), t.state()),
        (vec!["R 77:77".into()], State::SynSent)
    );
    let mut t = Script::accepting(&plain(), "S 0:0 mss 1000");
    t.sent();
    t.inject(". 1:1 ack 77");
    assert_eq!(
        (t.sent(), t.state()),
        (vec!["R 77:77".into()], State::SynReceived)
    );
}

#[test]
fn a_rst_to_our_syn_refuses_but_only_with_the_right_ack() {
    let mut t = Script::connecting(&plain());
    t.inject("R. 0:0 ack 5");
    t.inject("R 0:0");
    assert_eq!(t.state(), State::SynSent);
    t.inject("R. 0:0 ack 1");
    assert_eq!(
        t.events(),
        [Event::Readable, Event::Aborted(Close::Refused)]
    );
}

#[test]
fn closing_before_anything_was_sent_is_quiet() {
    let mut t = Script::connecting(&plain());
    t.sent();
    t.shutdown();
    assert_eq!((t.state(), t.sent().len()), (State::Closed, 0));
    assert_eq!(t.events(), [Event::Readable, Event::Closed]);
}

#[test]
fn data_written_while_opening_goes_with_the_handshake() {
    let mut t = Script::connecting(&plain());
    t.write(500);
    t.shutdown();
    t.sent();
    t.inject("S. 0:0 ack 1 mss 1000");
    assert_eq!(
        (t.sent(), t.state()),
        (vec!["FP. 1:501 ack 1".into()], State::FinWait1)
    );
}

#[test]
fn an_answer_that_echoes_no_timestamp_of_ours_is_of_another_connection() {
    let config = Config {
        timestamps: true,
        ..plain()
    };
    // The first SYN carries 6000 (see the harness).
    for (ecr, ours) in [
        (5999, false),
        (7001, false),
        (6000, true),
        (6500, true),
        (0, true),
    ] {
        let mut t = Script::connecting(&config);
        t.sent();
        t.wait(ms(500));
        t.inject(&format!("S. 0:0 ack 1 mss 1000 val 9 ecr {ecr}"));
        let expected = if ours {
            State::Established
        } else {
            State::SynSent
        };
        assert_eq!(t.state(), expected, "{ecr}");
        let answer = if ours { ". 1:1 ack 1" } else { "R 1:1" };
        assert_eq!(t.sent(), [answer], "{ecr}");
    }
}
