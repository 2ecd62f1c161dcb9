//! Links alone: rate, queue, faults.

mod faults;
mod rate;

use anabranch_sim::{Link, Packet};
use anabranch_tcp::Instant;
use bytes::Bytes;

/// So many milliseconds after the origin.
fn ms(n: u64) -> Instant {
    Instant(n * 1_000_000)
}

/// So many microseconds after the origin.
fn us(n: u64) -> Instant {
    Instant(n * 1_000)
}

/// A packet of `len` zero bytes.
fn packet(tag: u32, len: usize) -> Packet {
    Packet {
        data: Bytes::from(vec![0; len]),
        tag,
    }
}

/// Runs a link until nothing is left in it: arrivals with their times.
fn arrivals(link: &mut Link) -> Vec<(Instant, Packet)> {
    let mut all = Vec::new();
    while let Some(now) = link.deadline() {
        while let Some(packet) = link.pop(now) {
            all.push((now, packet));
        }
    }
    all
}
