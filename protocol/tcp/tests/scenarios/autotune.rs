//! Buffers that grow with what the connection can use.

use crate::harness::pair::{Channel, Pair};
use crate::harness::script::{Script, ms, plain};
use anabranch_tcp::SocketOption::{RecvBuffer, SendBuffer};
use anabranch_tcp::budget::Budget;
use anabranch_tcp::config::Buffers;
use anabranch_tcp::{Config, StreamConfig};
use bytes::Bytes;
use std::time::Duration;

const MAX: u32 = 8 << 20;

fn config(initial: u32) -> StreamConfig {
    StreamConfig {
        tcp: Config {
            recv_buffer: MAX,
            buffers: Buffers {
                recv_initial: initial,
                send_initial: initial,
            },
            ..Config::default()
        },
        send_buffer: MAX as usize,
        gso_max: 65_000,
        budget: Budget::unlimited(),
    }
}

fn pair(initial: u32, channel: Channel) -> Pair {
    Pair::new([config(initial), config(initial)], [1, 2], channel, 7)
}

/// Milliseconds for 8 MB over 100 Mbit/s, one way 10 ms.
fn transfer(initial: u32) -> (u128, Pair) {
    const RATE: u64 = 12_500_000;
    const BYTES: u64 = 8_000_000;
    let channel = Channel {
        delay: Duration::from_millis(10),
        rate: RATE,
        queue: RATE / 50,
        ..Channel::default()
    };
    let mut pair = pair(initial, channel);
    pair.apps[0].to_send = BYTES;
    let start = pair.now;
    pair.run_while(start + Duration::from_secs(60), |pair| {
        pair.apps[1].received < BYTES
    });
    (pair.now.since(start).as_millis(), pair)
}

#[test]
fn growing_buffers_cost_no_speed() {
    let (fixed, _) = transfer(MAX);
    let (grown, pair) = transfer(128 << 10);
    assert!(grown <= fixed * 102 / 100, "{grown} ms, fixed {fixed} ms");
    // Both found what the path holds, 250 to 500 KB, and stopped at a multiple of it.
    let (sent, received) = (pair.sides[0].send_buffer(), pair.sides[1].recv_buffer());
    assert!((400_000..1 << 20).contains(&sent), "{sent}");
    assert!((1 << 20..=4 << 20).contains(&received), "{received}");
}

#[test]
fn an_application_that_reads_little_is_promised_little() {
    let mut pair = pair(128 << 10, Channel::default());
    pair.apps[0].to_send = 10 << 20;
    pair.apps[1].stalled = true;
    pair.run(Duration::from_secs(5));
    assert_eq!(pair.sides[1].recv_buffer(), 128 << 10);
    assert!(pair.sides[1].readable() <= 128 << 10);
    // Nor does the sender take more than it could send.
    assert!(pair.sides[0].unacked() <= 512 << 10);
}

#[test]
fn the_window_scale_is_chosen_for_the_largest_window() {
    let pair = pair(128 << 10, Channel::default());
    let scales = pair.sides[1].info().agreed.window_scales;
    assert_eq!(scales, Some((8, 8)), "8 MiB shifted by 8 fits 16 bits");
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let budget = Budget::new(1 << 20);
    let mut t = Script::open_with(&StreamConfig {
        budget: budget.clone(),
        ..config(128 << 10)
    });
    t.write(100_000);
    t.inject("P. 1:1001 ack 14001");
    t.read(5000);
    assert!(budget.used() > 80_000);
    for _ in 0..100 {
        t.wait(ms(100));
        let all = t.stream.tcb().snd_nxt() + 1;
        t.inject(&format!(". 1001:1001 ack {all}"));
    }
    assert_eq!((t.stream.unacked(), budget.used()), (0, 0));
}

#[test]
fn a_size_that_the_application_sets_is_kept() {
    let mut t = Script::open_with(&config(128 << 10));
    t.set(SendBuffer(5000));
    t.set(RecvBuffer(3000));
    assert_eq!(t.stream.send(Bytes::from(vec![0; 9000])), 5000);
    assert_eq!(
        (t.stream.send_buffer(), t.stream.recv_buffer()),
        (5000, 3000)
    );
    t.inject(". 1:2001 ack 1 gso 1000");
    t.read(5000);
    assert_eq!(t.stream.recv_buffer(), 3000);
}

#[test]
fn a_receive_buffer_made_smaller_takes_back_nothing() {
    let mut t = Script::open(&plain());
    t.inject("P. 1:101 ack 1");
    assert_eq!(t.window(), 59_900);
    t.set(RecvBuffer(5000));
    t.inject("P. 101:1101 ack 1");
    assert_eq!(t.window(), 58_900);
    t.inject("P. 1101:60001 ack 1 gso 1000");
    assert_eq!((t.window(), t.read(100_000)), (0, 60_000));
    assert_eq!(t.window(), 5000);
}
