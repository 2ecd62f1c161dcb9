//! What the path carries, found out by probing: RFC 4821, RFC 8899, and RFC 1191 §6.3.

use crate::harness::pair::{Channel, Pair};
use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::budget::Budget;
use anabranch_tcp::config::{MtuProbing, PathMtu};
use anabranch_tcp::icmp::IcmpKind;
use anabranch_tcp::{Config, IcmpError, StreamConfig};
use std::time::Duration;

fn probing(probing: MtuProbing) -> Config {
    let path_mtu = PathMtu {
        probing,
        base_mss: 500,
        ..PathMtu::default()
    };
    Config {
        path_mtu,
        ..plain()
    }
}

fn too_big(t: &mut Script, position: u32, mss: u16) {
    let seq = t.stream.tcb().iss() + position;
    let kind = IcmpKind::TooBig { mss };
    t.stream.on_icmp(t.now, IcmpError { seq, kind });
    t.drain();
}

/// From a base of 500 with 40,000 bytes written: the probe and what followed it.
fn probed() -> Script {
    let mut t = Script::open(&probing(MtuProbing::Always));
    t.write(40_000);
    t.wait(ms(100));
    let sent = t.sent();
    assert_eq!(sent[..2], [". 1:1001 ack 1", ". 1001:1501 ack 1"]);
    t
}

#[test]
fn the_largest_size_is_tried_first_and_what_passes_is_used() {
    let mut t = probed();
    assert_eq!(t.stream.tcb().mss(), 500);
    t.inject(". 1:1 ack 1001");
    assert_eq!(t.stream.tcb().mss(), 1000);
    t.inject(". 1:1 ack 5001");
    t.wait(ms(50));
    assert_eq!(t.sent()[0], ". 5001:6001 ack 1");
    assert_eq!(t.stream.tcb().stats().mtu_probes, 1);
}

#[test]
fn a_probe_that_alone_is_lost_goes_again_in_small_segments_and_is_no_congestion() {
    let mut t = probed();
    let cwnd = t.stream.tcb().cwnd();
    t.inject(". 1:1 ack 1 sack 1001:5001");
    assert_eq!(t.sent()[..2], [". 1:501 ack 1", ". 501:1001 ack 1"]);
    let tcb = t.stream.tcb();
    assert_eq!((tcb.stats().recoveries, tcb.ssthresh()), (0, u64::MAX));
    assert!(tcb.cwnd() >= cwnd);
    assert_eq!(tcb.mss(), 500);
}

#[test]
fn a_probe_that_is_lost_with_other_data_tells_nothing() {
    let mut t = probed();
    t.inject(". 1:1 ack 1 sack 1501:5001");
    let tcb = t.stream.tcb();
    assert_eq!(tcb.stats().recoveries, 1, "that is congestion");
    assert_eq!(tcb.ssthresh(), 3500);
}

#[test]
fn nothing_is_tried_without_enough_data_or_window() {
    let mut t = Script::open(&probing(MtuProbing::Always));
    t.write(1000);
    assert_eq!(t.sent(), [". 1:501 ack 1", "P. 501:1001 ack 1"]);
    t.inject(". 1:1 ack 1001 win 700");
    t.write(5000);
    assert_eq!(t.sent(), [". 1001:1501 ack 1"]);
    assert_eq!(t.stream.tcb().stats().mtu_probes, 0);
}

#[test]
fn a_router_that_answers_a_probe_bounds_the_search() {
    let mut t = probed();
    too_big(&mut t, 1, 720);
    assert_eq!(t.sent()[..2], [". 1:501 ack 1", ". 501:1001 ack 1"]);
    t.wait(ms(100));
    let all = t.stream.tcb().snd_nxt() + 1;
    t.inject(&format!(". 1:1 ack {all}"));
    t.wait(ms(50));
    // One as before, then one half of the way from 500 to 720.
    t.inject(&format!(". 1:1 ack {}", all + 1110));
    assert_eq!(t.stream.tcb().mss(), 610);
}

#[test]
fn what_a_router_took_away_is_tried_again_after_ten_minutes() {
    for (setting, first) in [
        (MtuProbing::OnBlackHole, ". 1:601 ack 1"),
        (MtuProbing::Off, ". 1:601 ack 1"),
    ] {
        let mut t = Script::open(&probing(setting));
        t.write(3000);
        t.sent();
        too_big(&mut t, 1, 600);
        assert_eq!(t.sent()[0], first);
        t.inject(". 1:1 ack 3001");
        t.wait(Duration::from_secs(599));
        t.write(3000);
        assert_eq!(t.sent()[0], ". 3001:3601 ack 1");
        t.inject(". 1:1 ack 6001");
        t.wait(Duration::from_secs(1));
        t.write(3000);
        assert_eq!(t.sent()[0], ". 6001:7001 ack 1");
        let probes = u32::from(setting == MtuProbing::OnBlackHole);
        assert_eq!(t.stream.tcb().stats().mtu_probes, probes);
    }
}

/// 4 MB over a path that swallows segments with more than `limit` bytes of payload and options:
/// the sender's segment size at the end, and how many timeouts it took.
fn swallowing(limit: u32, sack: bool, setting: MtuProbing) -> (u32, u32) {
    let tcp = Config {
        mss: 1460,
        sack,
        timestamps: false,
        path_mtu: PathMtu {
            probing: setting,
            ..PathMtu::default()
        },
        ..Config::default()
    };
    let config = StreamConfig {
        tcp,
        send_buffer: 1 << 20,
        gso_max: 0,
        budget: Budget::unlimited(),
    };
    let mut pair = Pair::new([config.clone(), config], [1, 2], Channel::default(), 7);
    pair.lose = Box::new(move |_, segment| segment.len > limit);
    pair.apps[0].to_send = 4_000_000;
    pair.run(Duration::from_secs(120));
    assert_eq!(pair.apps[1].received, 4_000_000);
    let tcb = pair.sides[0].tcb();
    (tcb.mss(), tcb.stats().rtos)
}

#[test]
fn a_path_that_swallows_large_segments_carries_the_bytes_and_nearly_all_it_can() {
    for sack in [true, false] {
        for limit in [1100, 1200, 1380] {
            let (mss, rtos) = swallowing(limit, sack, MtuProbing::OnBlackHole);
            assert!((limit - 8..=limit).contains(&mss), "{mss} of {limit}");
            assert!((3..=4).contains(&rtos), "{rtos} timeouts, {sack} {limit}");
        }
    }
}

#[test]
fn a_path_that_carries_hardly_anything_is_found_too() {
    let (mss, _) = swallowing(600, true, MtuProbing::OnBlackHole);
    assert!((592..=600).contains(&mss), "{mss}");
}

#[test]
fn from_the_base_upwards_no_timeout_is_needed() {
    let (mss, rtos) = swallowing(1300, true, MtuProbing::Always);
    assert!((1292..=1300).contains(&mss), "{mss}");
    assert_eq!(rtos, 0);
}

#[test]
fn an_outage_costs_the_segment_size_for_a_few_round_trips_only() {
    let config = StreamConfig {
        tcp: Config {
            timestamps: false,
            ..Config::default()
        },
        send_buffer: 1 << 20,
        gso_max: 0,
        budget: Budget::unlimited(),
    };
    let mut pair = Pair::new([config.clone(), config], [1, 2], Channel::default(), 7);
    pair.apps[0].to_send = 3_000_000;
    pair.run_while(pair.now + Duration::from_millis(100), |_| true);
    pair.channel.loss = 1000;
    pair.run_while(pair.now + Duration::from_secs(3), |_| true);
    pair.channel.loss = 0;
    pair.run(Duration::from_secs(120));
    assert_eq!(pair.apps[1].received, 3_000_000);
    let tcb = pair.sides[0].tcb();
    assert_eq!((tcb.stats().black_holes, tcb.mss()), (1, 1460));
    assert!(tcb.stats().mtu_probes <= 2);
}
