//! What the window of each controller does over twenty seconds, as reviewed plots in
//! `docs/traces`. `ANABRANCH_TRACES=write` draws them anew: look at them before they land.

mod plot;

use anabranch_sim::{LinkConfig, Loss, Path, Queue, Scene};
use anabranch_tcp::congestion::Algorithm;
use plot::{Line, Plot};
use std::path::PathBuf;
use std::time::Duration;

/// Bit/s, and the round-trip time without queue.
const RATE: u64 = 20_000_000;
const RTT: Duration = Duration::from_millis(40);
/// Bytes in flight that fill the path; as much again may queue.
const BDP: u64 = RATE / 8 * 40 / 1000;
const SECONDS: u32 = 20;
const STEP: Duration = Duration::from_millis(100);

/// One kilobyte values at each step: congestion window, in flight, queue; and what arrived.
struct Trace {
    cwnd: Vec<f64>,
    in_flight: Vec<f64>,
    queue: Vec<f64>,
    received: u64,
}

fn trace(algorithm: Algorithm, loss: f64) -> Trace {
    let there = LinkConfig {
        rate: Some(RATE),
        delay: RTT / 2,
        queue: Queue::Bytes(BDP),
        loss: Loss::Random(loss),
        ..LinkConfig::default()
    };
    let back = LinkConfig {
        loss: Loss::None,
        ..there.clone()
    };
    let path = Path {
        there,
        back,
        ..Path::new(LinkConfig::default())
    };
    let mut scene = Scene::new(1, vec![path]).bulk(1 << 40, 0);
    scene.mptcp = false;
    scene.config.tcp.congestion.algorithm = algorithm;
    let mut world = scene.build();
    let mut trace = Trace {
        cwnd: vec![],
        in_flight: vec![],
        queue: vec![],
        received: 0,
    };
    let kilobytes = |bytes: u64| bytes as f64 / 1000.0;
    for _ in 0..Duration::from_secs(SECONDS.into()).div_duration_f64(STEP) as u32 {
        world.network.run_for(STEP);
        let host = world.network.node(world.client);
        let info = host.flow(0).and_then(|flow| host.stack.info(flow));
        let tcp = &info.expect("a connection").subflows[0].tcp;
        trace.cwnd.push(kilobytes(tcp.windows.cwnd));
        trace.in_flight.push(kilobytes(tcp.flight.in_flight));
        let queued = world.network.link_queued(world.links[0].0);
        trace.queue.push(kilobytes(queued));
    }
    let server = world.network.node(world.server);
    trace.received = server.progress().map(|p| p.received).sum();
    trace
}

/// Compares with the reviewed plot. Gives back how much of the path was used, percent.
fn check(algorithm: Algorithm, loss: f64, name: &str) -> u64 {
    let trace = trace(algorithm, loss);
    let used = trace.received * 8 * 100 / (RATE * u64::from(SECONDS));
    let line = |name, colour, values| Line {
        name,
        colour,
        values,
    };
    let svg = Plot {
        title: format!("{algorithm}: {name}"),
        subtitle: format!("20 Mbit/s, 40 ms, 100 kB of queue: {used} % used"),
        seconds: SECONDS,
        most: 300,
        unit: "kilobytes",
        lines: vec![
            line("window", "#1f77b4", trace.cwnd),
            line("in flight", "#2ca02c", trace.in_flight),
            line("queue", "#d62728", trace.queue),
        ],
        level: (BDP as f64 / 1000.0, "bandwidth-delay product"),
    }
    .svg();
    let file = format!("{algorithm}-{}.svg", name.replace([' ', '%'], "-"));
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs/traces")
        .join(&file);
    if std::env::var("ANABRANCH_TRACES").is_ok_and(|v| v == "write") {
        std::fs::write(&path, &svg).expect("docs/traces can be written");
    }
    let reviewed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        svg == reviewed,
        "the trace differs from docs/traces/{file}: ANABRANCH_TRACES=write draws it anew"
    );
    used
}

#[test]
fn cubic_fills_a_clean_path() {
    assert!(check(Algorithm::Cubic, 0.0, "no loss") >= 90);
}

#[test]
fn reno_fills_a_clean_path() {
    assert!(check(Algorithm::NewReno, 0.0, "no loss") >= 90);
}

#[test]
fn bbr_fills_a_clean_path() {
    assert!(check(Algorithm::Bbr, 0.0, "no loss") >= 90);
}

#[test]
fn cubic_gives_way_to_random_loss() {
    assert!((10..50).contains(&check(Algorithm::Cubic, 0.01, "loss of one percent")));
}

#[test]
fn reno_gives_way_to_random_loss() {
    assert!((10..50).contains(&check(Algorithm::NewReno, 0.01, "loss of one percent")));
}

#[test]
fn bbr_bears_random_loss() {
    assert!(check(Algorithm::Bbr, 0.01, "loss of one percent") >= 70);
}
