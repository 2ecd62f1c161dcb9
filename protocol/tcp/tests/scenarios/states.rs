//! Every state and what may arrive or be called in it: RFC 9293 §3.10, RFC 5961.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::State::{self, *};
use anabranch_tcp::{Close, Event};

const ALL: [State; 9] = [
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
];

/// A connection in this state, without payload either way, and nothing left to look at.
fn in_state(state: State) -> Script {
    let mut t = match state {
        SynSent => Script::connecting(&plain()),
        SynReceived => Script::accepting(&plain(), "S 0:0 mss 1000 sackok"),
        _ => Script::open(&plain()),
    };
    let (we_first, both_at_once) = ([". 1:1 ack 2", "F. 1:1 ack 2"], "F. 1:1 ack 1");
    match state {
        FinWait1 | FinWait2 | Closing | TimeWait => t.shutdown(),
        CloseWait | LastAck => t.inject(both_at_once),
        _ => {}
    }
    match state {
        FinWait2 => t.inject(we_first[0]),
        TimeWait => t.inject(we_first[1]),
        Closing => t.inject(both_at_once),
        LastAck => t.shutdown(),
        _ => {}
    }
    assert_eq!(t.state(), state);
    t.sent();
    t.events();
    t
}

/// The next number expected from the peer: SYN and FIN count.
fn next(t: &Script) -> u32 {
    let tcb = t.stream.tcb();
    u32::from(tcb.irs().is_some()) + u32::from(tcb.peer_fin())
}

/// What must not change: state, positions, what can be read, what the application was told.
fn condition(t: &mut Script) -> (State, u64, u64, usize, Vec<Event>) {
    let tcb = t.stream.tcb();
    let (state, una, nxt) = (tcb.state(), tcb.snd_una(), tcb.rcv_nxt());
    (state, una, nxt, t.read(1000), t.events())
}

#[test]
fn what_is_sent_blindly_changes_nothing_in_any_state() {
    for state in ALL {
        let n = next(&in_state(state));
        let (inside, outside) = (n + 100, n + 70_000);
        let blind = [
            ("RST in the window", format!("R {inside}:{inside}")),
            ("RST beyond it", format!("R {outside}:{outside}")),
            ("RST before it", format!("R {0}:{0}", i64::from(n) - 1)),
            (
                "RST with a wrong ACK",
                format!("R. {inside}:{inside} ack 5000"),
            ),
            ("SYN in the window", format!("S {inside}:{inside} mss 1000")),
            ("SYN beyond it", format!("S {outside}:{outside} mss 1000")),
            ("SYN+ACK", format!("S. {inside}:{inside} ack 5000 mss 1000")),
            (
                "data for an ACK never sent",
                format!("P. {n}:{} ack 5000", n + 10),
            ),
            (
                "data with an ancient ACK",
                format!("P. {n}:{} ack -70000", n + 10),
            ),
            ("data without ACK", format!("P {n}:{}", n + 10)),
            (
                "data beyond the window",
                format!("P. {outside}:{} ack 1", outside + 10),
            ),
            ("FIN for an ACK never sent", format!("F. {n}:{n} ack 5000")),
            ("FIN without ACK", format!("F {n}:{n}")),
            ("neither data nor ACK", format!("P {n}:{n}")),
        ];
        for (what, line) in blind {
            // In SYN-SENT a SYN is simultaneous open, and no number is wrong yet.
            if state == SynSent && line.starts_with("S ") {
                continue;
            }
            let mut t = in_state(state);
            let before = condition(&mut t);
            t.inject(&line);
            assert_eq!(condition(&mut t), before, "{what} in {state}");
            let answers = t.sent();
            assert!(answers.len() <= 1, "{what} in {state}: {answers:?}");
            let opening = matches!(state, SynSent | SynReceived);
            for answer in answers {
                let is_ack = answer.starts_with(". ") && answer.contains(&format!("ack {n}"));
                assert!(
                    is_ack || opening && answer.starts_with('R'),
                    "{what} in {state}: {answer}"
                );
            }
            // And the connection goes on as if nothing had happened.
            if state == Established {
                t.inject("P. 1:101 ack 1");
                assert_eq!(t.read(1000), 100, "after {what}");
            }
        }
    }
}

#[test]
fn a_flood_of_blind_segments_is_answered_within_a_rate_in_every_state() {
    for state in ALL {
        if state == SynSent {
            continue;
        }
        let mut t = in_state(state);
        let n = next(&t) + 100;
        for _ in 0..500 {
            t.inject(&format!("R {n}:{n}"));
            t.inject(&format!("S {n}:{n} mss 1000"));
        }
        assert_eq!((t.sent().len(), t.state()), (10, state));
    }
}

#[test]
fn what_the_peer_sends_in_order_leads_from_state_to_state() {
    for (state, line, then, answers) in [
        (
            SynSent,
            "S. 0:0 ack 1 mss 1000",
            Established,
            vec![". 1:1 ack 1"],
        ),
        (SynSent, "S 0:0 mss 1000", SynReceived, vec!["S. 0:0 ack 1"]),
        (SynSent, "R. 0:0 ack 1", Closed, vec![]),
        (SynSent, ". 1:1 ack 1", SynSent, vec![]),
        (SynReceived, ". 1:1 ack 1", Established, vec![]),
        (SynReceived, "F. 1:1 ack 1", CloseWait, vec![". 1:1 ack 2"]),
        (
            SynReceived,
            "S 0:0 mss 1000 sackok",
            SynReceived,
            vec!["S. 0:0 ack 1"],
        ),
        (SynReceived, "R 1:1", Closed, vec![]),
        (Established, ". 1:1 ack 1", Established, vec![]),
        (Established, "F. 1:1 ack 1", CloseWait, vec![". 1:1 ack 2"]),
        (Established, "R 1:1", Closed, vec![]),
        (FinWait1, ". 1:1 ack 2", FinWait2, vec![]),
        (FinWait1, "F. 1:1 ack 1", Closing, vec![". 2:2 ack 2"]),
        (FinWait1, "F. 1:1 ack 2", TimeWait, vec![". 2:2 ack 2"]),
        (FinWait1, "R 1:1", Closed, vec![]),
        (FinWait2, "F. 1:1 ack 2", TimeWait, vec![". 2:2 ack 2"]),
        (FinWait2, "R 1:1", Closed, vec![]),
        (CloseWait, ". 2:2 ack 1", CloseWait, vec![]),
        (
            CloseWait,
            "F. 1:1 ack 1",
            CloseWait,
            vec![". 1:1 ack 2 sack 1:2"],
        ),
        (CloseWait, "R 2:2", Closed, vec![]),
        (Closing, ". 2:2 ack 2", TimeWait, vec![]),
        (
            Closing,
            "F. 1:1 ack 1",
            Closing,
            vec![". 2:2 ack 2 sack 1:2"],
        ),
        (Closing, "R 2:2", Closed, vec![]),
        (LastAck, ". 2:2 ack 2", Closed, vec![]),
        (
            LastAck,
            "F. 1:1 ack 1",
            LastAck,
            vec![". 2:2 ack 2 sack 1:2"],
        ),
        (LastAck, "R 2:2", Closed, vec![]),
        (
            TimeWait,
            "F. 1:1 ack 2",
            TimeWait,
            vec![". 2:2 ack 2 sack 1:2"],
        ),
        (TimeWait, ". 2:2 ack 2", TimeWait, vec![]),
        (TimeWait, "R 2:2", Closed, vec![]),
    ] {
        let mut t = in_state(state);
        t.inject(line);
        assert_eq!(t.state(), then, "{line} in {state}");
        assert_eq!(t.sent(), answers, "{line} in {state}");
    }
}

#[test]
fn closing_in_every_state() {
    for (state, then, sent) in [
        (SynSent, Closed, vec![]),
        (SynReceived, SynReceived, vec![]),
        (Established, FinWait1, vec!["F. 1:1 ack 1"]),
        (FinWait1, FinWait1, vec![]),
        (FinWait2, FinWait2, vec![]),
        (CloseWait, LastAck, vec!["F. 1:1 ack 2"]),
        (Closing, Closing, vec![]),
        (LastAck, LastAck, vec![]),
        (TimeWait, TimeWait, vec![]),
    ] {
        let mut t = in_state(state);
        t.shutdown();
        assert_eq!(
            (t.state(), t.sent()),
            (then, sent.iter().map(|s| s.to_string()).collect())
        );
    }
    // In SYN-RECEIVED it waits for the handshake (RFC 9293 §3.10.4).
    let mut t = in_state(SynReceived);
    t.shutdown();
    t.inject(". 1:1 ack 1");
    assert_eq!(
        (t.state(), t.sent()),
        (FinWait1, vec!["F. 1:1 ack 1".into()])
    );
}

#[test]
fn aborting_in_every_state() {
    for (state, sent) in [
        (SynSent, vec![]),
        (SynReceived, vec!["R. 1:1 ack 1"]),
        (Established, vec!["R. 1:1 ack 1"]),
        (FinWait1, vec!["R. 2:2 ack 1"]),
        (FinWait2, vec!["R. 2:2 ack 1"]),
        (CloseWait, vec!["R. 1:1 ack 2"]),
        (Closing, vec![]),
        (LastAck, vec![]),
        (TimeWait, vec![]),
    ] {
        let mut t = in_state(state);
        t.stream.abort();
        t.drain();
        assert_eq!(t.sent(), sent, "{state}");
        assert_eq!((t.state(), t.stream.deadline()), (Closed, None), "{state}");
    }
}

#[test]
fn a_closed_connection_resets_what_still_arrives_but_no_reset() {
    let mut t = in_state(Established);
    t.inject("R 1:1");
    t.inject("P. 1:101 ack 1");
    t.inject("S 500:500 mss 1000");
    t.inject("R 1:1");
    assert_eq!(
        t.sent(),
        ["R 1:1", "R. -4294965296:-4294965296 ack 501"].map(relative)
    );
    assert_eq!(t.read(1000), 0);
}

/// A RST without an acknowledgement to answer has the sequence number 0 on the wire.
fn relative(line: &str) -> String {
    let zero = 0u32.wrapping_sub(u32::MAX - 2000) as i32;
    line.replace("-4294965296", &zero.to_string())
}

#[test]
fn a_rst_may_have_payload() {
    // RFC 1122 §4.2.2.12: it may say why; nobody reads it.
    let mut t = in_state(Established);
    t.inject("R 1:21");
    assert_eq!((t.state(), t.read(100)), (Closed, 0));
}

#[test]
fn a_peer_that_crashed_is_found_out_by_its_new_syn() {
    // RFC 9293 §3.5.1, figure 9.
    let mut t = Script::open(&plain());
    t.write(100);
    t.sent();
    t.inject("S 7000:7000 mss 1000");
    assert_eq!(t.sent(), [". 101:101 ack 1"]);
    t.inject("R 1:1");
    assert_eq!(t.events(), [Event::Readable, Event::Aborted(Close::Reset)]);
}

#[test]
fn a_peer_that_crashed_is_found_out_by_its_answer_to_data() {
    // RFC 9293 §3.5.1, figure 10.
    let mut t = Script::open(&plain());
    t.write(100);
    assert_eq!(t.sent(), ["P. 1:101 ack 1"]);
    t.inject("R 1:1");
    assert_eq!(t.state(), Closed);
}

#[test]
fn an_old_duplicate_syn_is_recovered_from() {
    // RFC 9293 §3.5, figure 8: the peer resets what it did not ask for, and its own SYN follows.
    let mut t = Script::accepting(&plain(), "S 90:90 mss 1000");
    t.inject("R 91:91");
    assert_eq!((t.state(), t.events().len()), (Closed, 2));
}

#[test]
fn both_ends_open_at_once() {
    // RFC 9293 §3.5, figure 7, with the SYN+ACKs crossing, and with one lost.
    for answer in [
        "S. 0:0 ack 1 mss 1000 sackok",
        ". 1:1 ack 1",
        "P. 1:11 ack 1",
    ] {
        let mut t = Script::connecting(&plain());
        t.inject("S 0:0 mss 1000 sackok");
        assert_eq!(t.sent(), ["S 0:0", "S. 0:0 ack 1"]);
        t.inject(answer);
        assert_eq!(
            (t.state(), t.stream.tcb().sack()),
            (Established, true),
            "{answer}"
        );
    }
    let mut t = Script::connecting(&plain());
    t.inject("S 0:0 mss 1000 sackok");
    t.inject("R 1:1");
    assert_eq!(
        t.events(),
        [Event::Readable, Event::Aborted(Close::Refused)]
    );
}

#[test]
fn urgent_data_is_delivered_in_line() {
    // RFC 9293 §3.8.5 (MUST-31, MUST-32): any length, at any place, alone or in a series.
    let mut t = Script::open(&plain());
    t.inject("U. 1:1 ack 1");
    t.inject("UP. 1:101 ack 1");
    t.inject("U. 201:301 ack 1");
    t.inject("U. 101:201 ack 1");
    t.inject("UF. 301:302 ack 1");
    assert_eq!((t.read(1000), t.state()), (301, CloseWait));
    t.write(10);
    assert!(
        t.sent().iter().all(|line| !line.contains('U')),
        "and never sent"
    );
}

#[test]
fn numbers_wrap_in_the_middle_of_everything() {
    // Our numbers wrap after 2000 bytes, the peer's after 500 (see the harness).
    let mut t = Script::open(&plain());
    t.write(5000);
    assert_eq!(t.sent().len(), 5);
    t.inject(". 401:1001 ack 1 sack 2001:4001");
    t.inject(". 1:401 ack 2001 sack 2001:4001");
    t.wait(ms(500));
    t.inject(". 1001:1001 ack 5001");
    assert_eq!((t.read(5000), t.stream.info().flight.unacked), (1000, 0));
    t.inject("R 1002:1002");
    t.inject("R 1000:1000");
    assert_eq!(t.state(), Established);
    t.inject("R 1001:1001");
    assert_eq!(t.state(), Closed);
}
