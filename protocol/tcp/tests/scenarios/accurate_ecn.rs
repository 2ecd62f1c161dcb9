//! Accurate ECN feedback: RFC 9768. `e`, `W` and `E` are the three bits of ACE, 4, 2 and 1.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::{Config, Ecn, StreamConfig, budget::Budget};

fn accurate() -> Config {
    Config {
        ecn: Ecn::Accurate,
        ..plain()
    }
}

/// Opened by us.
fn active() -> Script {
    let mut t = Script::connecting(&accurate());
    assert_eq!(t.sent(), ["SEWe 0:0"]);
    t.wait(ms(100));
    t.inject("SW. 0:0 ack 1 mss 1000 sackok");
    assert_eq!(t.sent(), ["W. 1:1 ack 1 acc 1:0"]);
    assert!(t.stream.tcb().has_accurate_ecn());
    t
}

/// Opened by the peer.
fn passive() -> Script {
    let mut t = Script::accepting(&accurate(), "SEWe 0:0 mss 1000 sackok");
    assert_eq!(t.sent(), ["SW. 0:0 ack 1"]);
    t.wait(ms(100));
    t.inject("W. 1:1 ack 1");
    t
}

#[test]
fn the_answer_to_a_syn_tells_how_it_arrived() {
    for (ecn, answer) in [(0, "SW."), (1, "SEW."), (2, "Se."), (3, "SWe.")] {
        let t = &mut Script::accepting(&accurate(), &format!("SEWe 0:0 mss 1000 ecn {ecn}"));
        assert_eq!(t.sent(), [format!("{answer} 0:0 ack 1")], "{ecn}");
    }
}

#[test]
fn the_answer_to_a_syn_ack_tells_how_it_arrived() {
    for (ecn, answer) in [(0, "W."), (1, "EW."), (2, "e."), (3, "We.")] {
        let mut t = Script::connecting(&accurate());
        t.sent();
        t.inject(&format!("SW. 0:0 ack 1 mss 1000 ecn {ecn}"));
        assert_eq!(t.sent(), [format!("{answer} 1:1 ack 1 acc 1:0")], "{ecn}");
        t.inject(&format!("SW. 0:0 ack 1 mss 1000 ecn {ecn}"));
        assert_eq!(
            t.sent(),
            [format!("{answer} 1:1 ack 1")],
            "and again when it comes again"
        );
    }
}

#[test]
fn what_kind_of_ecn_is_agreed() {
    // Config of the side that is asked, what it is asked, its answer, on, accurate.
    for (ecn, syn, answer, on, accurate) in [
        (Ecn::Accurate, "S", "S.", false, false),
        (Ecn::Accurate, "SEW", "SE.", true, false),
        (Ecn::Accurate, "SEWe", "SW.", true, true),
        (Ecn::Accurate, "Se", "SW.", true, true),
        (Ecn::Accurate, "SEe", "SW.", true, true),
        (Ecn::Classic, "SEWe", "SE.", true, false),
        (Ecn::Passive, "SEWe", "SE.", true, false),
        (Ecn::Off, "SEWe", "S.", false, false),
    ] {
        let config = Config { ecn, ..plain() };
        let mut t = Script::accepting(&config, &format!("{syn} 0:0 mss 1000"));
        let tcb = t.stream.tcb();
        assert_eq!(
            (tcb.ecn(), tcb.has_accurate_ecn()),
            (on, accurate),
            "{ecn:?} {syn}"
        );
        assert_eq!(t.sent(), [format!("{answer} 0:0 ack 1")], "{ecn:?} {syn}");
    }
    // What comes back to one that asks for accurate feedback: on, accurate, may be marked.
    for (answer, on, accurate, ect) in [
        ("SW.", true, true, true),
        ("SEW.", true, true, false),
        ("Se.", true, true, false),
        ("SWe.", true, true, false),
        ("SE.", true, false, true),
        ("SEe.", true, false, true),
        ("S.", false, false, false),
        ("SEWe.", false, false, false),
    ] {
        let mut t = Script::connecting(&self::accurate());
        t.inject(&format!("{answer} 0:0 ack 1 mss 1000"));
        t.write(100);
        let tcb = t.stream.tcb();
        assert_eq!(
            (tcb.ecn(), tcb.has_accurate_ecn()),
            (on, accurate),
            "{answer}"
        );
        let data = t.sent().pop().unwrap();
        assert_eq!(data.contains("ecn 2"), ect, "{answer}: {data}");
    }
}

#[test]
fn what_drops_those_that_ask_lets_the_third_syn_pass() {
    let mut t = Script::connecting(&accurate());
    t.wait(ms(3000));
    assert_eq!(t.sent(), ["SEWe 0:0", "SEWe 0:0", "S 0:0"]);
    let mut t = Script::accepting(&accurate(), "SEWe 0:0 mss 1000");
    t.wait(ms(3000));
    assert_eq!(t.sent(), ["SW. 0:0 ack 1", "SW. 0:0 ack 1", "S. 0:0 ack 1"]);
    t.inject("W. 1:1 ack 1");
    t.write(100);
    assert_eq!(
        t.sent(),
        ["PEe. 1:101 ack 1 acc 1:0"],
        "nothing that may be marked"
    );
}

#[test]
fn marks_that_arrive_are_counted_modulo_eight_and_bytes_in_the_option() {
    let mut t = active();
    t.inject("W. 1:1001 ack 1 ecn 2");
    assert_eq!(t.sent(), ["Ee. 1:1 ack 1001 acc 1001:0"], "five: none yet");
    t.inject("W. 1001:2001 ack 1 ecn 3");
    assert_eq!(t.sent(), ["We. 1:1 ack 2001 acc 1001:1000"], "six");
    t.inject("W. 2001:5001 ack 1 ecn 3 gso 1000");
    assert_eq!(
        t.sent(),
        ["E. 1:1 ack 5001 acc 1001:4000"],
        "nine, of a merged segment"
    );
    t.inject("W. 5001:6001 ack 1 ecn 1");
    assert_eq!(
        t.sent(),
        ["E. 1:1 ack 6001 acc 1001:4000:1001"],
        "with ECT(1)"
    );
    t.write(100);
    assert_eq!(t.sent(), ["PE. 1:101 ack 6001 ecn 2"]);
}

#[test]
fn marks_on_what_has_no_payload_count_and_are_told_three_at_a_time() {
    let mut t = active();
    for _ in 0..2 {
        t.inject("W. 1:1 ack 1 ecn 3");
        assert!(t.sent().is_empty());
    }
    t.inject("W. 1:1 ack 1 ecn 3");
    assert_eq!(t.sent(), [". 1:1 ack 1"], "eight is zero");
}

#[test]
fn a_change_of_marking_is_told_at_once() {
    let mut t = active();
    for n in 0..20 {
        t.inject(&format!(
            "W. {}:{} ack 1 ecn 2",
            1000 * n + 1,
            1000 * n + 1001
        ));
    }
    t.wait(ms(100));
    t.sent();
    t.inject("W. 20001:21001 ack 1 ecn 3");
    assert_eq!(t.sent().len(), 1);
    t.inject("W. 21001:22001 ack 1 ecn 2");
    assert_eq!(t.sent().len(), 1);
}

#[test]
fn marks_that_are_reported_reduce_the_window_once_for_each_round() {
    let mut t = passive();
    t.write(20_000);
    let sent = t.sent();
    assert_eq!((sent.len(), &sent[0][..]), (10, "Ee. 1:1001 ack 1 ecn 2"));
    t.wait(ms(100));
    t.inject("Ee. 1:1 ack 1001");
    let before = t.stream.tcb().cwnd();
    t.inject("We. 1:1 ack 2001");
    let reduced = t.stream.tcb().cwnd();
    assert!(reduced < before);
    t.inject("EWe. 1:1 ack 3001");
    t.inject(". 1:1 ack 5001");
    assert_eq!(t.stream.tcb().cwnd(), reduced);
    let stats = t.stream.tcb().stats();
    assert_eq!((stats.marked_out, stats.ecn_reductions), (3, 1));
    assert!(
        t.sent().iter().all(|line| !line.contains('W')),
        "nobody waits for CWR"
    );
}

#[test]
fn the_option_tells_what_three_bits_cannot() {
    let mut t = passive();
    t.write(10_000);
    t.wait(ms(100));
    t.inject("Ee. 1:1 ack 10001 acc 2001:8000");
    assert_eq!(t.stream.tcb().stats().marked_out, 8);
    assert_eq!(t.stream.tcb().stats().ecn_reductions, 1);
}

#[test]
fn an_overtaken_acknowledgement_reports_nothing() {
    let mut t = passive();
    t.write(10_000);
    t.wait(ms(100));
    t.inject("We. 1:1 ack 4001 acc 3001:1000");
    t.inject("Ee. 1:1 ack 2001 acc 2001:0");
    t.inject("We. 1:1 ack 6001 acc 5001:1000");
    assert_eq!(t.stream.tcb().stats().marked_out, 1);
}

#[test]
fn an_option_that_the_path_clears_is_ignored() {
    let mut t = passive();
    t.write(10_000);
    t.inject("Ee. 1:1 ack 2001 acc 0:0");
    t.inject("Ee. 1:1 ack 4001 acc 0:4000");
    assert_eq!(t.stream.tcb().stats().marked_out, 0);
}

#[test]
fn a_path_that_clears_the_bits_or_changes_the_field_gets_nothing_to_mark() {
    for third in [". 1:1 ack 1", "e. 1:1 ack 1", "We. 1:1 ack 1"] {
        let mut t = Script::accepting(&accurate(), "SEWe 0:0 mss 1000");
        t.inject(third);
        t.write(100);
        assert_eq!(t.sent()[1], "PEe. 1:101 ack 1 acc 1:0", "{third}");
    }
    let mut t = active();
    t.inject(". 1:101 ack 1");
    t.write(100);
    assert_eq!(t.sent().pop().unwrap(), "PEe. 1:101 ack 101");
}

#[test]
fn the_first_segment_may_bring_payload_and_counts() {
    let mut t = Script::accepting(&accurate(), "SEWe 0:0 mss 1000");
    t.inject("PEe. 1:101 ack 1 ecn 2");
    t.write(1000);
    assert_eq!(t.sent()[2], "PEe. 1:1001 ack 101 ecn 2");
}

#[test]
fn offload_would_change_the_bits_so_there_is_none_where_they_matter() {
    let config = StreamConfig {
        tcp: accurate(),
        send_buffer: 1 << 20,
        gso_max: 60_000,
        budget: Budget::unlimited(),
    };
    let mut t = Script::accepting_with(&config, "SEWe 0:0 mss 1000 sackok");
    t.inject("W. 1:1 ack 1");
    t.write(4000);
    t.inject("Ee. 1:1001 ack 4001 ecn 3");
    t.sent();
    t.write(4000);
    let all = [
        "We. 4001:5001 ack 1001 ecn 2",
        "We. 5001:6001 ack 1001 ecn 2",
    ];
    assert_eq!(t.sent()[..2], all, "CWR on each, not on the first only");
}
