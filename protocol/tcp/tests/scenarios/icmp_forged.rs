//! ICMP that no router sent: RFC 5927.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::icmp::IcmpKind;
use anabranch_tcp::{IcmpError, State};

fn icmp(t: &mut Script, position: i64, kind: IcmpKind) {
    let seq = t.stream.tcb().iss() + position as u32;
    t.stream.on_icmp(t.now, IcmpError { seq, kind });
    t.drain();
}

fn sender() -> Script {
    let mut t = Script::open(&plain());
    t.write(40_000);
    t.sent();
    t
}

const KINDS: [IcmpKind; 3] = [
    IcmpKind::TooBig { mss: 600 },
    IcmpKind::Unreachable { hard: true },
    IcmpKind::Unreachable { hard: false },
];

#[test]
fn outside_of_what_is_in_flight_nothing_is_believed() {
    let mut t = sender();
    t.inject(". 1:1 ack 2001");
    t.sent();
    let before = format!("{:?}", t.stream.info());
    for kind in KINDS {
        for position in [0, 1, 2000, -1, 1 << 31, 40_001, 14_001] {
            icmp(&mut t, position, kind);
        }
    }
    assert!(t.sent().is_empty());
    let tcb = t.stream.tcb();
    assert_eq!((tcb.mss(), tcb.state()), (1000, State::Established));
    assert_eq!(tcb.stats().dropped, 21, "and all are counted: {before}");
}

#[test]
fn an_idle_connection_believes_nothing() {
    let mut t = Script::open(&plain());
    for kind in KINDS {
        for position in -3..4 {
            icmp(&mut t, position, kind);
        }
    }
    assert_eq!(
        (t.stream.tcb().mss(), t.state()),
        (1000, State::Established)
    );
}

#[test]
fn a_hard_error_that_guessed_right_aborts_no_connection() {
    let mut t = sender();
    for _ in 0..1000 {
        icmp(&mut t, 1, IcmpKind::Unreachable { hard: true });
    }
    assert_eq!(t.state(), State::Established);
    t.wait(ms(100));
    t.inject(". 1:1 ack 10001");
    assert_eq!(t.stream.tcb().snd_una(), 10_000);
}

#[test]
fn sizes_that_shrink_one_by_one_stop_at_the_floor_and_send_within_the_window() {
    let mut t = sender();
    for mss in (0..1000u16).rev() {
        icmp(&mut t, 1, IcmpKind::TooBig { mss });
        let tcb = t.stream.tcb();
        assert!(tcb.mss() >= 512);
        assert!(tcb.in_flight() <= tcb.cwnd().max(10_000));
    }
    let tcb = t.stream.tcb();
    assert_eq!(tcb.mss(), 512);
    assert!(tcb.entries() < 300, "{}", tcb.entries());
    assert_eq!(tcb.ssthresh(), u64::MAX, "nor is congestion blamed");
}

#[test]
fn no_size_is_raised_by_what_a_router_says() {
    let mut t = sender();
    icmp(&mut t, 1, IcmpKind::TooBig { mss: 700 });
    for mss in [701, 1000, 1460, 9000, u16::MAX] {
        icmp(&mut t, 1, IcmpKind::TooBig { mss });
    }
    assert_eq!(t.stream.tcb().mss(), 700);
}
