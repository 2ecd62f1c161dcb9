//! Marks of the network between two hosts, in super-frames and single packets, over plain and
//! Multipath TCP: RFC 3168, RFC 9768.

use crate::pair::*;
use anabranch_stack::Config;
use anabranch_tcp::Ecn;
use anabranch_wire::Packet;
use std::time::Duration;

fn host(ecn: Ecn, gso_max: u32) -> Config {
    let mut config = Config {
        gso_max,
        ..Config::default()
    };
    config.tcp.ecn = ecn;
    config
}

/// Marks every thirtieth IPv6 packet or super-frame that may be marked.
fn marking() -> Filter {
    let mut count = 0;
    Box::new(move |_, mut transmit| {
        let may = transmit.header[1] >> 4 & 3 == 2;
        count += u32::from(may);
        if may && count.is_multiple_of(30) {
            transmit.header[1] |= 0x30;
        }
        Some(transmit)
    })
}

#[test]
fn marks_reduce_the_window_and_nothing_is_taken_for_lost() {
    for ecn in [Ecn::Classic, Ecn::Accurate] {
        for gso_max in [0, 60_000] {
            for mptcp in [false, true] {
                let mut pair = Pair::new(host(ecn, gso_max), host(ecn, gso_max));
                let listener = pair.listen();
                let (local, remote) = (addr("[fd00::1]:0"), addr("[fd00::2]:80"));
                let (c, s) = pair.connect(listener, local, remote, mptcp);
                pair.filter = Some(marking());
                pair.transfer((A, c), (B, s), &pattern(3_000_000));
                pair.transfer((B, s), (A, c), &pattern(3_000_000));
                pair.run(Duration::from_millis(100));
                let what = format!("{ecn:?}, gso {gso_max}, mptcp {mptcp}");
                for side in [A, B] {
                    let id = if side == A { c } else { s };
                    let info = pair.host(side).info(id).unwrap();
                    let subflow = &info.subflows[0];
                    assert!(subflow.tcp.stats.ecn_reductions > 0, "{what}: {side:?}");
                    assert!(subflow.tcp.stats.marked_in > 0, "{what}: {side:?}");
                    // A tail may be probed for needlessly; nothing is taken for lost.
                    let stats = &subflow.tcp.stats;
                    assert_eq!((stats.recoveries, stats.rtos), (0, 0), "{what}: {side:?}");
                }
            }
        }
    }
}

/// Marks every fifth IPv6 packet that may be marked and leaves from the second host: the window
/// stays at two segments or three.
fn heavy_marking() -> Filter {
    let mut count = 0;
    Box::new(move |from, mut transmit| {
        let may = from == B && transmit.header[1] >> 4 & 3 == 2;
        count += u32::from(may);
        if may && count.is_multiple_of(5) {
            transmit.header[1] |= 0x30;
        }
        Some(transmit)
    })
}

#[test]
fn a_window_of_two_segments_waits_for_no_delayed_acknowledgement() {
    let took = [false, true].map(|mptcp| {
        let config = || host(Ecn::Classic, 60_000);
        let mut pair = Pair::new(config(), config());
        let listener = pair.listen();
        let (local, remote) = (addr("[fd00::1]:0"), addr("[fd00::2]:80"));
        let (c, s) = pair.connect(listener, local, remote, mptcp);
        pair.filter = Some(heavy_marking());
        let start = pair.now;
        pair.transfer((B, s), (A, c), &pattern(1_000_000));
        pair.now.since(start)
    });
    let [plain, multipath] = took;
    assert!(multipath < plain + plain / 4, "{took:?}");
}

#[test]
fn a_host_that_was_not_told_otherwise_agrees_but_does_not_ask() {
    let mut pair = Pair::new(host(Ecn::Classic, 0), Config::default());
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    pair.transfer((A, c), (B, s), &pattern(10_000));
    pair.transfer((B, s), (A, c), &pattern(10_000));
    let capable = |p: &Packet| !p.payload.is_empty() && p.ecn() == 2;
    assert!(pair.sent(A).iter().any(capable) && pair.sent(B).iter().any(capable));
    let mut pair = Pair::new(Config::default(), Config::default());
    let listener = pair.listen();
    let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr("10.0.0.2:80"), false);
    pair.transfer((A, c), (B, s), &pattern(10_000));
    assert!(
        pair.sent(A)
            .iter()
            .chain(&pair.sent(B))
            .all(|p| p.ecn() == 0)
    );
}
