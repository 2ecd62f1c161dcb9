//! Explicit congestion notification: RFC 3168 §6.1.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::{Config, Ecn, State};

fn asking() -> Config {
    Config {
        ecn: Ecn::Classic,
        ..plain()
    }
}

/// Opened by us with ECN agreed.
fn open() -> Script {
    let mut t = Script::connecting(&asking());
    assert_eq!(t.sent(), ["SEW 0:0"]);
    t.wait(ms(100));
    t.inject("SE. 0:0 ack 1 mss 1000 sackok");
    assert_eq!(
        (t.sent(), t.state()),
        (vec![". 1:1 ack 1".into()], State::Established)
    );
    t
}

#[test]
fn asked_for_and_agreed() {
    assert!(open().stream.tcb().ecn());
}

#[test]
fn agreed_to_only_when_the_peer_asks_for_it_with_both_bits() {
    for (syn, answer, agreed) in [
        ("SEW 0:0 mss 1000", "SE. 0:0 ack 1", true),
        ("SEWe 0:0 mss 1000", "SE. 0:0 ack 1", true),
        ("SE 0:0 mss 1000", "S. 0:0 ack 1", false),
        ("SW 0:0 mss 1000", "S. 0:0 ack 1", false),
        ("S 0:0 mss 1000", "S. 0:0 ack 1", false),
    ] {
        let mut t = Script::accepting(&plain(), syn);
        assert_eq!(
            (t.sent(), t.stream.tcb().ecn()),
            (vec![answer.into()], agreed),
            "{syn}"
        );
    }
    let never = Config {
        ecn: Ecn::Off,
        ..plain()
    };
    let mut t = Script::accepting(&never, "SEW 0:0 mss 1000");
    assert_eq!(t.sent(), ["S. 0:0 ack 1"]);
}

#[test]
fn an_answer_that_only_reflects_the_bits_agrees_to_nothing() {
    for answer in [
        "S. 0:0 ack 1 mss 1000",
        "SEW. 0:0 ack 1 mss 1000",
        "SW. 0:0 ack 1 mss 1000",
    ] {
        let mut t = Script::connecting(&asking());
        t.inject(answer);
        t.write(100);
        assert!(!t.stream.tcb().ecn());
        assert_eq!(t.sent()[2], "P. 1:101 ack 1");
    }
    let mut t = Script::connecting(&plain());
    t.inject("SE. 0:0 ack 1 mss 1000");
    assert!(!t.stream.tcb().ecn(), "not asked for");
}

#[test]
fn a_syn_that_goes_unanswered_is_sent_again_without() {
    let mut t = Script::connecting(&asking());
    t.wait(ms(1000));
    assert_eq!(t.sent(), ["SEW 0:0", "S 0:0"]);
    // The answer is to the first after all: marks are reported, but ours may not pass.
    t.inject("SE. 0:0 ack 1 mss 1000");
    t.write(100);
    assert_eq!(t.sent(), [". 1:1 ack 1", "P. 1:101 ack 1"]);
    t.inject(". 1:101 ack 101 ecn 3");
    assert_eq!(t.sent(), ["E. 101:101 ack 101"]);
}

#[test]
fn a_peer_whose_second_syn_does_not_ask_gets_nothing_that_can_be_marked() {
    let mut t = Script::accepting(&plain(), "SEW 0:0 mss 1000");
    t.inject("S 0:0 mss 1000");
    t.inject(". 1:1 ack 1");
    t.write(100);
    assert_eq!(
        t.sent(),
        ["SE. 0:0 ack 1", "SE. 0:0 ack 1", "P. 1:101 ack 1"]
    );
}

#[test]
fn only_new_payload_may_be_marked() {
    let mut t = open();
    t.write(2000);
    assert_eq!(
        t.sent(),
        [". 1:1001 ack 1 ecn 2", "P. 1001:2001 ack 1 ecn 2"]
    );
    t.inject("P. 1:101 ack 1");
    assert_eq!(t.sent(), [". 2001:2001 ack 101"], "no acknowledgement");
    t.wait(ms(10_000));
    let again = t.sent();
    assert!(
        !again.is_empty() && again.iter().all(|line| !line.contains("ecn")),
        "{again:?}"
    );
    t.inject(". 101:101 ack 2001");
    t.shutdown();
    assert_eq!(t.sent(), ["F. 2001:2001 ack 101"], "no FIN");
}

#[test]
fn a_probe_of_a_window_may_not_be_marked() {
    let mut t = open();
    t.inject(". 1:1 ack 1 win 10");
    t.write(1000);
    t.wait(ms(5000));
    let sent = t.sent();
    assert_eq!(sent[0], ". 1:11 ack 1");
}

#[test]
fn a_mark_is_reported_at_once_until_the_peer_has_reacted() {
    let mut t = open();
    t.inject(". 1:1001 ack 1 ecn 3");
    assert_eq!(t.sent(), ["E. 1:1 ack 1001"]);
    t.inject(". 1001:3001 ack 1 ecn 2 gso 1000");
    assert_eq!(t.sent(), ["E. 1:1 ack 3001"]);
    t.write(100);
    assert_eq!(t.sent(), ["PE. 1:101 ack 3001 ecn 2"]);
    t.inject("W. 3001:4001 ack 101 ecn 2");
    assert_eq!(t.sent(), [". 101:101 ack 4001"]);
    t.inject("W. 4001:5001 ack 101 ecn 3");
    assert_eq!(t.sent(), ["E. 101:101 ack 5001"], "marked once more");
    assert_eq!(t.stream.tcb().stats().marked_in, 2);
}

#[test]
fn a_mark_on_what_has_no_payload_or_was_not_agreed_is_not_reported() {
    let mut t = open();
    t.inject(". 1:1 ack 1 ecn 3");
    t.inject(". 1:1001 ack 1");
    assert_eq!(t.sent(), [". 1:1 ack 1001"]);
    let mut t = Script::open(&plain());
    t.inject(". 1:1001 ack 1 ecn 3");
    assert_eq!(t.sent(), [". 1:1 ack 1001"]);
}

#[test]
fn a_report_reduces_the_window_once_for_each_round_and_cwr_tells() {
    let mut t = open();
    t.write(20_000);
    assert_eq!(t.sent().len(), 10);
    let before = t.stream.tcb().cwnd();
    t.wait(ms(100));
    t.inject("E. 1:1 ack 1001");
    let reduced = t.stream.tcb().cwnd();
    assert!(reduced < before, "{reduced} of {before}");
    for ack in 2..=9 {
        t.inject(&format!("E. 1:1 ack {}", 1000 * ack + 1));
    }
    assert_eq!(
        t.stream.tcb().cwnd(),
        reduced,
        "neither less nor more in this round"
    );
    let sent = t.sent();
    assert_eq!(sent[0], "W. 10001:11001 ack 1 ecn 2");
    assert!(
        sent[1..].iter().all(|line| line.starts_with(". ")),
        "{sent:?}"
    );
    // Of what was sent before the reduction, then of what was sent since.
    t.inject("E. 1:1 ack 10001");
    assert_eq!(t.stream.tcb().cwnd(), reduced);
    t.inject("E. 1:1 ack 11001");
    assert!(t.stream.tcb().cwnd() < reduced);
    assert_eq!(t.stream.tcb().stats().ecn_reductions, 2);
    assert_eq!(t.stream.tcb().stats().retransmits, 0);
}

#[test]
fn a_loss_is_told_by_cwr_too_but_not_on_what_is_sent_again() {
    let mut t = open();
    t.write(12_000);
    t.sent();
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 sack 1001:9001");
    t.inject(". 1:1 ack 10001");
    let sent = t.sent();
    assert_eq!(sent[0], ". 1:1001 ack 1");
    assert_eq!(sent.iter().filter(|line| line.contains('W')).count(), 1);
    assert!(
        sent.contains(&"W. 10001:11001 ack 1 ecn 2".into()),
        "{sent:?}"
    );
}

#[test]
fn a_report_where_nothing_was_agreed_means_nothing() {
    let mut t = Script::open(&plain());
    t.write(5000);
    let before = t.stream.tcb().cwnd();
    t.inject("E. 1:1 ack 1001");
    assert!(t.stream.tcb().cwnd() >= before);
}
