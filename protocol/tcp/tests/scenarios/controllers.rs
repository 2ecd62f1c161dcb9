//! Another congestion controller, and other bounds of timeouts and rates, while a connection lasts.

use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::SocketOption::{Congestion, MaxPacingRate, RtoMax, RtoMin};
use anabranch_tcp::congestion::Algorithm;
use std::time::Duration;

#[test]
fn another_controller_goes_on_with_the_windows_as_they_are() {
    let mut t = Script::open(&plain());
    t.write(10_000);
    t.wait(ms(100));
    t.inject(". 1:1 ack 1 sack 1001:5001");
    t.inject(". 1:1 ack 10001");
    let before = t.stream.info();
    assert_eq!(before.algorithm, "cubic");
    t.set(Congestion(Algorithm::NewReno));
    let after = t.stream.info();
    assert_eq!(after.algorithm, "newreno");
    assert_eq!(after.windows.cwnd, before.windows.cwnd);
    assert_eq!(after.windows.ssthresh, before.windows.ssthresh);
    assert!(after.windows.ssthresh < 10_000);
}

#[test]
fn one_set_before_the_handshake_is_the_one_that_starts() {
    let mut t = Script::connecting(&plain());
    t.set(Congestion(Algorithm::NewReno));
    t.inject("S. 0:0 ack 1 mss 1000");
    assert_eq!(t.stream.info().algorithm, "newreno");
    assert_eq!(t.stream.info().windows.cwnd, 10_000);
}

#[test]
fn bounds_of_the_retransmission_timeout_hold_for_the_next() {
    let mut t = Script::open(&plain());
    t.set(RtoMin(ms(20)));
    // 100 ms smoothed, and four times its variation of 50 ms.
    assert_eq!(t.stream.info().timing.rto, ms(300));
    t.write(10);
    t.wait(ms(100));
    t.inject(". 1:1 ack 11");
    let steady = t.stream.info().timing.rto;
    assert!(steady < ms(300), "{steady:?}");
    t.set(RtoMax(Duration::from_secs(1)));
    t.write(10);
    t.wait(Duration::from_secs(10));
    assert_eq!(t.stream.info().timing.rto, Duration::from_secs(1));
}

#[test]
fn a_rate_is_not_exceeded() {
    let mut t = Script::open(&plain());
    t.set(MaxPacingRate(Some(10_000)));
    t.write(5000);
    t.wait(ms(310));
    let sent = t.sent().len();
    assert!(
        (3..=5).contains(&sent),
        "{sent} segments of 1000 bytes in 310 ms"
    );
    t.set(MaxPacingRate(None));
    t.wait(ms(100));
    assert_eq!(t.stream.tcb().unsent(), 0);
}
