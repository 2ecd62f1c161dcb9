//! The data-level window: shared by all subflows, never shrinking, closed for long.

use crate::script::{PEER_KEY, Script};
use crate::world::{Side, World, pattern};
use anabranch_mptcp::{Config, Outgoing};
use anabranch_tcp::Kind;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

/// The window a segment of ours offers: the script's default scale is 7.
fn window(o: &Outgoing) -> u32 {
    u32::from(o.emit.wnd) << 7
}

/// A window as it can be written.
fn round(bytes: u32) -> u32 {
    bytes >> 7 << 7
}

fn small_buffer(bytes: u32) -> Config {
    let mut config = Config {
        initial_window: bytes,
        ..Config::default()
    };
    config.tcp.recv_buffer = bytes;
    config
}

#[test]
fn a_reader_that_sleeps_for_long_gets_everything() {
    for links in [1, 2] {
        let mut world = World::with(Config::default(), small_buffer(30_000), links);
        world.establish();
        world.join_all();
        world.server.reads = false;
        let data = pattern(400_000, 1);
        world.send_all(Side::Client, data.clone());
        world.run_for(Duration::from_secs(90));
        assert!(world.server.conn().readable() <= 30_000);
        assert!(
            world.server.conn().readable() >= 25_000,
            "{}",
            world.describe()
        );
        world.server.reads = true;
        world.settle();
        world.run_for(Duration::from_secs(30));
        assert!(world.server.received == data, "{}", world.describe());
    }
}

#[test]
fn a_lost_window_update_is_recovered_by_probing() {
    let mut world = World::with(Config::default(), small_buffer(30_000), 2);
    world.establish();
    world.join_all();
    world.server.reads = false;
    let data = pattern(100_000, 1);
    world.send_all(Side::Client, data.clone());
    world.run_for(Duration::from_secs(3));
    // The update leaves on every subflow, and all are lost.
    world.links.iter_mut().for_each(|l| l.up = false);
    world.server.reads = true;
    world.settle();
    world.run_for(Duration::from_millis(100));
    world.links.iter_mut().for_each(|l| l.up = true);
    world.run_for(Duration::from_secs(30));
    assert!(world.server.received == data, "{}", world.describe());
}

#[test]
fn a_closed_window_is_probed_with_growing_intervals() {
    let mut s = Script::new();
    s.lines[0].window = 0;
    let ack = s.dss(0, None);
    s.mapped_window(0, ack);
    s.conn.send(Bytes::from_static(b"waits for room"));
    let out = s.wait(Duration::from_secs(60));
    let data: Vec<_> = out.iter().filter(|o| !o.payload.is_empty()).collect();
    assert!(data.is_empty(), "{data:?}");
    let probes = out.iter().filter(|o| o.emit.kind == Kind::Probe).count();
    assert!((4..20).contains(&probes), "{probes} probes");
    s.lines[0].window = 1000;
    let ack = s.dss(0, None);
    s.ack_at(0, 1, vec![ack]);
    let out = s.out();
    assert!(out.iter().any(|o| !o.payload.is_empty()), "{out:?}");
}

#[test]
fn the_window_counts_from_the_data_ack_and_is_the_same_on_every_subflow() {
    let config = Config {
        initial_window: 50_000,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    let second = s.join(1);
    s.mapped(0, 0, 0, &[1; 10_000]);
    s.out();
    s.mapped(second, 0, 10_000, &[2; 5_000]);
    let windows: Vec<u32> = s.out().iter().map(window).collect();
    // Nothing was read: 35,000 are left, on whichever subflow it is told.
    assert_eq!(windows, [round(35_000)]);
    let dss = s.dss(0, None);
    s.ack_at(0, 10_000, vec![dss]);
    s.mapped(0, 10_000, 15_000, &[3; 1_000]);
    assert_eq!(window(&s.out()[0]), round(34_000));
}

#[test]
fn out_of_order_data_does_not_move_the_right_edge() {
    let config = Config {
        initial_window: 50_000,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    s.join(1);
    s.mapped(0, 0, 20_000, &[1; 1_000]);
    let out = s.out();
    assert_eq!(window(&out[0]), round(50_000));
    assert_eq!(s.data_acked(&out), Some(0));
}

#[test]
fn reading_after_the_window_closed_tells_every_subflow() {
    let config = Config {
        initial_window: 40_000,
        ..Config::default()
    };
    let mut s = Script::with(config, PEER_KEY);
    s.join(1);
    for i in 0..40 {
        s.mapped(0, i * 1000, i * 1000, &[7; 1000]);
    }
    s.out();
    assert_eq!(s.conn.info().window, 0);
    s.read();
    let out = s.out();
    let subflows: Vec<u32> = out.iter().map(|o| o.subflow.0).collect();
    assert_eq!(subflows, [0, 1]);
    assert!(
        out.iter()
            .all(|o| window(o) >= round(40_000) && o.emit.flags == Flags::ACK)
    );
}

#[test]
fn the_window_grows_with_what_the_application_reads() {
    let mut world = World::with(
        Config::default(),
        Config {
            initial_window: 64 << 10,
            ..Config::default()
        },
        1,
    );
    world.links[0].rate = Some(50_000_000);
    world.establish();
    let data = pattern(30 << 20, 1);
    world.keep_log = false;
    world.send_all(Side::Client, data.clone());
    world.run_for(Duration::from_secs(5));
    assert!(world.server.received == data);
    assert!(
        world.server.info().window > 1 << 20,
        "{}",
        world.server.info().window
    );
}

#[test]
fn the_maximum_right_edge_over_all_subflows_counts() {
    let mut s = Script::new();
    let second = s.join(1);
    // One says 30,000, then another, older, says less: the edge stays.
    s.lines[0].window = 30_000;
    let dss = s.dss(0, None);
    s.mapped_window(0, dss.clone());
    s.lines[second].window = 10;
    s.ack_at(second, 0, vec![dss]);
    s.conn.send(pattern(5_000, 1));
    let sent: usize = s
        .out()
        .iter()
        .flat_map(|o| &o.payload)
        .map(Bytes::len)
        .sum();
    assert_eq!(sent, 5_000);
}
