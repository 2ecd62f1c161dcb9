//! What a transfer achieves over a bottleneck, in virtual time.

use crate::harness::pair::{Channel, Pair};
use anabranch_tcp::budget::Budget;
use anabranch_tcp::config::Buffers;
use anabranch_tcp::congestion::Algorithm;
use anabranch_tcp::{Config, StreamConfig};
use std::time::Duration;

/// Of the bottleneck's payload rate, percent, for 4 MB over 100 Mbit/s with a queue of one
/// bandwidth-delay product.
fn percent(algorithm: Algorithm, delay_ms: u64, loss: u64, jitter_ms: u64) -> u64 {
    const BYTES: u64 = 4_000_000;
    const RATE: u64 = 12_500_000;
    let mut tcp = Config {
        recv_buffer: 8 << 20,
        ..Config::default()
    };
    tcp.congestion.algorithm = algorithm;
    // Controllers alone shall decide.
    tcp.buffers = Buffers {
        recv_initial: 8 << 20,
        send_initial: 8 << 20,
    };
    let config = StreamConfig {
        tcp,
        send_buffer: 8 << 20,
        gso_max: 65_000,
        budget: Budget::unlimited(),
    };
    let channel = Channel {
        delay: Duration::from_millis(delay_ms),
        jitter: Duration::from_millis(jitter_ms),
        loss,
        rate: RATE,
        queue: RATE * 2 * delay_ms / 1000,
        ..Channel::default()
    };
    let mut pair = Pair::new([config.clone(), config], [1, 2], channel, 42);
    pair.apps[0].to_send = BYTES;
    let start = pair.now;
    pair.run_while(start + Duration::from_secs(600), |pair| {
        pair.apps[1].received < BYTES
    });
    let took = pair.now.since(start).as_secs_f64();
    let ideal = (BYTES / 1448 * 1508) as f64 / RATE as f64;
    (100.0 * ideal / took) as u64
}

#[test]
fn a_clean_path_is_filled() {
    assert!(percent(Algorithm::Cubic, 5, 0, 0) >= 87);
    assert!(percent(Algorithm::NewReno, 5, 0, 0) >= 79);
    // 80 ms: slow start takes two thirds of the time.
    assert!(percent(Algorithm::Cubic, 40, 0, 0) >= 30);
}

#[test]
fn random_loss_costs_what_the_controller_makes_of_it() {
    // Reno at 0.1 % over 10 ms: 1.22 / √p segments in a round trip, 44 %.
    assert!(percent(Algorithm::Cubic, 5, 1, 0) >= 60);
    assert!(percent(Algorithm::NewReno, 5, 1, 0) >= 38);
}

#[test]
fn reordering_costs_little() {
    assert!(percent(Algorithm::Cubic, 5, 0, 2) >= 80);
    assert!(percent(Algorithm::Cubic, 40, 0, 2) >= 30);
}

#[test]
fn bbr_fills_clean_paths_and_those_that_lose_at_random() {
    assert!(percent(Algorithm::Bbr, 5, 0, 0) >= 80);
    // 80 ms: its Startup doubles a little more slowly than slow start does.
    assert!(percent(Algorithm::Bbr, 40, 0, 0) >= 22);
    assert!(percent(Algorithm::Bbr, 5, 1, 0) >= 78);
    assert!(percent(Algorithm::Bbr, 5, 10, 0) >= 70);
    assert!(percent(Algorithm::Bbr, 5, 0, 2) >= 78);
}
