//! The same seeds and the same input give the same packets, byte for byte.

use crate::pair::*;
use anabranch_stack::{Config, Instant, Stack};
use bytes::Bytes;

/// Everything two hosts say to each other in a session with plain TCP and Multipath TCP.
fn session(seed: u8) -> Vec<(Side, Bytes)> {
    let config = Config {
        gso_max: 65_000,
        ..Config::default()
    };
    let mut pair = Pair::new(config.clone(), config.clone());
    pair.a = Stack::new(config.clone(), [seed; 32], Instant(0));
    let listener = pair.listen();
    for mptcp in [false, true] {
        for remote in ["10.0.0.2:80", "10.0.0.3:80"] {
            let (c, s) = pair.connect(listener, addr("10.0.0.1:0"), addr(remote), mptcp);
            pair.transfer((A, c), (B, s), &pattern(300_000));
            pair.a.release(pair.now, c);
            pair.b.release(pair.now, s);
        }
    }
    pair.run(std::time::Duration::from_secs(100));
    pair.log
}

#[test]
fn the_same_seed_gives_the_same_packets() {
    let first = session(7);
    assert!(first.len() > 100);
    assert!(first == session(7));
}

#[test]
fn another_seed_gives_other_numbers() {
    let (first, second) = (session(7), session(8));
    assert_ne!(
        first[0], second[0],
        "initial sequence number, timestamp and port differ"
    );
}
