//! What the owner of a `Tcb` decides: runs, option space, super-frames, a window it shares.

use crate::harness::script::plain;
use anabranch_tcp::{Change, Config, Emit, Grant, Instant, Kind, Receipt, Segment, State, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, SynOptions};
use std::time::Duration;

const ISS: Seq = Seq(u32::MAX - 50);
const GRANT: Grant = Grant {
    rcv_room: 60_000,
    data_options: 0,
    ack_options: 0,
    gso_max: 0,
};
const START: Instant = Instant(1_000_000_000);

fn segment(seq: u32, ack: u32, wnd: u16, len: u32) -> Segment {
    Segment {
        seq: Seq(seq),
        ack: ISS + ack,
        wnd,
        flags: Flags::ACK,
        len,
        gso_size: 0,
        options: Options::Segment(SegmentOptions::default()),
        ecn: 0,
        signal_only: false,
    }
}

fn with_sack(mut segment: Segment, left: u32, right: u32) -> Segment {
    let sack = [(ISS + left, ISS + right)].into_iter().collect();
    segment.options = Options::Segment(SegmentOptions {
        sack,
        ..SegmentOptions::default()
    });
    segment
}

fn at(ms: u64) -> Instant {
    START + Duration::from_millis(ms)
}

/// Established after 10 ms; the peer's segments are of 1000 bytes.
fn open(config: &Config, grant: Grant) -> Tcb {
    open_after(config, grant, Duration::from_millis(10))
}

fn open_after(config: &Config, grant: Grant, rtt: Duration) -> Tcb {
    let options = SynOptions {
        mss: Some(1000),
        sack_permitted: true,
        ..SynOptions::default()
    };
    let flags = Flags::SYN;
    let syn = Segment {
        flags,
        options: Options::Syn(options),
        ..segment(0, 0, 60_000, 0)
    };
    let mut tcb = Tcb::accept(START, config, &syn, ISS, 0);
    assert!(tcb.poll(START, grant).is_some());
    let receipt = tcb.on_segment(START + rtt, &segment(1, 1, 60_000, 0), grant);
    assert_eq!(
        (receipt.change, tcb.state()),
        (Change::Established, State::Established)
    );
    tcb
}

fn drain(tcb: &mut Tcb, now: Instant, grant: Grant) -> Vec<Emit> {
    std::iter::from_fn(|| tcb.poll(now, grant)).collect()
}

fn new(receipt: &Receipt) -> Vec<(u32, u32)> {
    receipt.new.iter().map(|r| (r.start, r.end)).collect()
}

fn ranges(emits: &[Emit]) -> Vec<(u64, u64)> {
    emits.iter().map(|e| (e.rel.start, e.rel.end)).collect()
}

#[test]
fn no_segment_spans_two_runs_when_sent_or_sent_again() {
    let mut tcb = open(&plain(), GRANT);
    tcb.append(1500, false);
    tcb.append(500, false);
    tcb.append(1200, true);
    tcb.append(300, true);
    let sent = drain(&mut tcb, at(10), GRANT);
    let runs = [
        (0, 1000),
        (1000, 2000),
        (2000, 3000),
        (3000, 3200),
        (3200, 3500),
    ];
    assert_eq!(ranges(&sent), runs);
    assert!(sent.iter().all(|e| e.kind == Kind::New));
    // Everything is lost; the window after a timeout opens as acknowledgements come.
    let mut again = vec![];
    let mut now = at(10);
    while tcb.snd_una() < 3500 {
        now = tcb.deadline().map_or(now, |d| d.max(now));
        tcb.on_deadline(now);
        let emits = drain(&mut tcb, now, GRANT);
        for emit in emits.iter().filter(|e| !e.rel.is_empty()) {
            assert!(emit.kind != Kind::New);
            again.push((emit.rel.start, emit.rel.end));
            let ack = segment(1, emit.rel.end as u32 + 1, 60_000, 0);
            if emit.rel.start == tcb.snd_una() {
                tcb.on_segment(now, &ack, GRANT);
            }
        }
    }
    for (start, end) in again {
        assert!(
            runs.iter().any(|run| run.0 <= start && end <= run.1),
            "{start}..{end}"
        );
    }
}

#[test]
fn super_frames_are_whole_segments_but_for_the_end_of_a_run() {
    let grant = Grant {
        gso_max: 4500,
        ..GRANT
    };
    let mut tcb = open(&plain(), grant);
    tcb.append(5300, true);
    tcb.append(2000, true);
    let sent = drain(&mut tcb, at(10), grant);
    assert_eq!(ranges(&sent), [(0, 4000), (4000, 5300), (5300, 7300)]);
    assert!(sent.iter().all(|e| e.mss == 1000));
}

#[test]
fn a_super_frame_lost_in_the_middle_is_sent_again_in_the_middle() {
    let grant = Grant {
        gso_max: 65_000,
        ..GRANT
    };
    let mut tcb = open(&plain(), grant);
    tcb.append(10_000, false);
    // Half the window each.
    let sent = drain(&mut tcb, at(10), grant);
    assert_eq!(ranges(&sent), [(0, 5000), (5000, 10_000)]);
    let sack = with_sack(segment(1, 2001, 60_000, 0), 5001, 10_001);
    tcb.on_segment(at(20), &sack, grant);
    let again = drain(&mut tcb, at(20), grant);
    assert_eq!(ranges(&again), [(2000, 5000)]);
    assert_eq!((again[0].kind, again[0].mss), (Kind::Retransmit, 1000));
    tcb.on_segment(
        at(30),
        &with_sack(segment(1, 3001, 60_000, 0), 5001, 10_001),
        grant,
    );
    assert_eq!(ranges(&drain(&mut tcb, at(30), grant)), []);
    assert_eq!(tcb.in_flight(), 2000);
}

#[test]
fn the_owners_options_take_from_the_payload() {
    let grant = Grant {
        data_options: 28,
        ..GRANT
    };
    let mut tcb = open(&plain(), grant);
    tcb.append(2000, false);
    let sent = drain(&mut tcb, at(10), grant);
    assert_eq!(ranges(&sent), [(0, 972), (972, 1944), (1944, 2000)]);
    assert_eq!((tcb.mss(), sent[0].mss), (972, 972));
}

#[test]
fn the_owners_options_take_from_the_sack_blocks() {
    for (ack_options, blocks) in [(0, 4), (8, 3), (28, 1), (32, 0)] {
        let grant = Grant {
            ack_options,
            ..GRANT
        };
        let mut tcb = open(&plain(), grant);
        for hole in 0..6 {
            tcb.on_segment(at(20), &segment(1001 + 2000 * hole, 1, 60_000, 1000), grant);
        }
        let emit = tcb.poll(at(20), grant).expect("an ACK");
        let Options::Segment(options) = &emit.options else {
            panic!("not a SYN")
        };
        assert_eq!(options.sack.len(), blocks, "beside {ack_options} bytes");
    }
}

#[test]
fn room_is_what_could_leave_now() {
    let mut tcb = open(&plain(), GRANT);
    assert_eq!(tcb.room(), 10_000);
    tcb.append(3000, false);
    assert_eq!((tcb.room(), tcb.unsent()), (7000, 3000));
    drain(&mut tcb, at(10), GRANT);
    assert_eq!((tcb.room(), tcb.unsent(), tcb.in_flight()), (7000, 0, 3000));
    tcb.on_segment(at(20), &segment(1, 1001, 4000, 0), GRANT);
    assert_eq!(tcb.room(), 2000, "the peer's window");
    tcb.close();
    assert_eq!(tcb.room(), 0);
}

#[test]
fn an_ack_is_sent_on_request() {
    let mut tcb = open(&plain(), GRANT);
    assert!(tcb.poll(at(10), GRANT).is_none());
    tcb.request_ack();
    assert_eq!(
        drain(&mut tcb, at(10), GRANT)
            .iter()
            .map(|e| e.kind)
            .collect::<Vec<_>>(),
        [Kind::Ack]
    );
}

#[test]
fn a_blocked_owner_has_the_peer_probed() {
    let mut tcb = open(&plain(), GRANT);
    tcb.set_blocked(true);
    assert!(tcb.poll(at(10), GRANT).is_none());
    for _ in 0..3 {
        let due = tcb.deadline().expect("the persist timer");
        tcb.on_deadline(due);
        let probe = tcb.poll(due, GRANT).expect("a probe");
        assert_eq!(
            (probe.seq, probe.kind, probe.rel.is_empty()),
            (ISS, Kind::Probe, true)
        );
        assert!(tcb.poll(due, GRANT).is_none());
        tcb.on_segment(due, &segment(1, 1, 60_000, 0), GRANT);
        assert!(tcb.poll(due, GRANT).is_none());
    }
    tcb.set_blocked(false);
    assert!(tcb.poll(at(9000), GRANT).is_none());
    assert_eq!(tcb.deadline(), None);
}

#[test]
fn a_shared_window_is_told_as_it_is_and_kept_as_a_promise() {
    let config = Config {
        shared_window: true,
        ..plain()
    };
    let mut tcb = open(&config, GRANT);
    tcb.on_segment(at(20), &segment(1, 1, 60_000, 1000), GRANT);
    let less = Grant {
        rcv_room: 10_000,
        ..GRANT
    };
    assert_eq!(
        tcb.poll(at(20), less).expect("an ACK").wnd,
        10_000,
        "others used the rest"
    );
    let receipt = tcb.on_segment(at(20), &segment(50_001, 1, 7000, 1000), less);
    assert_eq!(
        new(&receipt),
        [(0, 1000)],
        "within what was once advertised"
    );
    assert_eq!((receipt.rel_start, receipt.rcv_nxt), (50_000, 1000));
    assert_eq!(receipt.peer_wnd, Some(7000));
    let receipt = tcb.on_segment(at(20), &segment(60_001, 1, 7000, 1000), less);
    assert!(receipt.new.is_empty());
}

#[test]
fn the_receipt_tells_which_payload_is_new() {
    let mut tcb = open(&plain(), GRANT);
    assert_eq!(
        new(&tcb.on_segment(at(20), &segment(1001, 1, 60_000, 500), GRANT)),
        [(0, 500)]
    );
    assert_eq!(
        new(&tcb.on_segment(at(20), &segment(2001, 1, 60_000, 500), GRANT)),
        [(0, 500)]
    );
    let receipt = tcb.on_segment(at(20), &segment(501, 1, 60_000, 2500), GRANT);
    assert_eq!(new(&receipt), [(0, 500), (1000, 1500), (2000, 2500)]);
    assert_eq!((receipt.rel_start, receipt.rcv_nxt), (500, 0));
    let receipt = tcb.on_segment(at(20), &segment(1, 1, 60_000, 600), GRANT);
    assert_eq!((new(&receipt), receipt.rcv_nxt), (vec![(0, 500)], 3000));
}

/// The window is 20 segments, all out but for two of them, for which an acknowledgement has just
/// come.
fn two_of_twenty_open(rtt: Duration) -> (Tcb, Vec<Emit>) {
    let grant = Grant {
        gso_max: 65_000,
        ..GRANT
    };
    let mut tcb = open_after(&plain(), grant, rtt);
    let (first, second, third) = (START + rtt, START + 2 * rtt, START + 3 * rtt);
    tcb.append(200_000, false);
    drain(&mut tcb, first, grant);
    for i in 1..=5 {
        // The window doubles: 20 segments, ten of them out at first.
        tcb.on_segment(second, &segment(1, 2000 * i + 1, 60_000, 0), grant);
        drain(&mut tcb, second, grant);
    }
    assert_eq!(tcb.cwnd(), 20_000);
    tcb.on_segment(third, &segment(1, 12_001, 60_000, 0), grant);
    let emits = drain(&mut tcb, third, grant);
    (tcb, emits)
}

#[test]
fn a_small_opening_of_a_large_window_is_saved_up_for_a_super_frame() {
    let rtt = Duration::from_micros(500);
    let (mut tcb, emits) = two_of_twenty_open(rtt);
    assert!(emits.is_empty(), "4 of 22: worth waiting");
    let grant = Grant {
        gso_max: 65_000,
        ..GRANT
    };
    tcb.on_segment(START + 3 * rtt, &segment(1, 14_001, 60_000, 0), grant);
    assert_eq!(drain(&mut tcb, START + 3 * rtt, grant).len(), 1);
}

#[test]
fn nothing_is_saved_up_for_longer_than_a_millisecond() {
    // 2 segments a millisecond: a burst of more would flood a slow link's queue.
    let (_, emits) = two_of_twenty_open(Duration::from_millis(10));
    assert_eq!(emits.len(), 1);
    assert_eq!(emits[0].rel.end - emits[0].rel.start, 4000);
}
