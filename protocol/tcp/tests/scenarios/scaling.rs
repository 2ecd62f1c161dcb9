//! Window scale: RFC 7323 §2.

use crate::harness::script::{Script, plain};
use anabranch_tcp::Config;

fn scaling() -> Config {
    Config {
        window_scaling: true,
        ..plain()
    }
}

#[test]
fn every_shift_from_0_to_14_scales_the_peers_window_and_more_is_14() {
    for shift in 0..=20u32 {
        let mut t = Script::accepting(&scaling(), &format!("S 0:0 mss 1000 ws {shift}"));
        assert_eq!(
            t.stream.tcb().peer_wnd(),
            0,
            "that of a SYN comes to nothing yet"
        );
        t.inject(". 1:1 ack 1 win 65535");
        assert_eq!(
            t.stream.tcb().peer_wnd(),
            65_535 << shift.min(14),
            "{shift}"
        );
    }
}

#[test]
fn the_window_of_a_syn_ack_is_not_scaled_and_without_the_option_none_is() {
    let mut t = Script::connecting(&scaling());
    t.inject("S. 0:0 ack 1 win 1000 mss 1000 ws 14");
    assert_eq!(t.stream.tcb().peer_wnd(), 1000);
    let mut t = Script::connecting(&scaling());
    t.inject("S. 0:0 ack 1 win 1000 mss 1000");
    t.inject(". 1:1 ack 1 win 60000");
    assert_eq!(t.stream.tcb().peer_wnd(), 60_000);
}

#[test]
fn a_window_of_a_gigabyte_is_used_without_overflow() {
    let mut t = Script::accepting(&scaling(), "S 0:0 mss 1000 ws 14");
    t.inject(". 1:1 ack 1 win 65535");
    t.write(9000);
    t.sent();
    t.inject(". 1:1 ack 9001 win 65535");
    assert_eq!(t.stream.tcb().peer_wnd(), 65_535 << 14);
    t.write(1000);
    assert_eq!(t.sent(), ["P. 9001:10001 ack 1"]);
}
