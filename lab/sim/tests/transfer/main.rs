//! Two hosts of ours, a network between them, bytes in and bytes out.

mod closing;
mod determinism;
mod goodput;
mod joins;
mod many;
mod middleboxes;
mod mtu;
mod outage;
mod plain;
mod random;
mod versions;

use anabranch_sim::{LinkConfig, Path, Report, Scene};
use anabranch_stack::{FlowInfo, Protocol};
use anabranch_tcp::Instant;
use std::time::Duration;

/// So many milliseconds after the origin.
fn at_ms(n: u64) -> Instant {
    Instant(n * 1_000_000)
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `n` paths of 50 Mbit/s and 10 ms each way.
fn paths(n: usize) -> Vec<Path> {
    vec![Path::new(LinkConfig::new(50, 10)); n]
}

/// Runs a scene that must succeed.
fn run(scene: &Scene) -> Report {
    scene.run().unwrap_or_else(|failure| panic!("{failure}"))
}

/// What is known of the server's end.
fn server(report: &Report) -> &FlowInfo {
    report
        .server_info
        .as_ref()
        .expect("the server had a connection")
}

fn is_mptcp(info: &FlowInfo) -> bool {
    matches!(info.protocol, Protocol::Mptcp(m) if !m.fallback)
}

/// Payload rate, Mbit/s.
fn mbit(bytes: u64, time: Duration) -> f64 {
    bytes as f64 * 8.0 / time.as_secs_f64() / 1e6
}
