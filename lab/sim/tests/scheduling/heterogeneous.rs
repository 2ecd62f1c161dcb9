//! Paths that differ: what a scheduler is worth, and what penalising is.

use crate::parallel;
use crate::setup::{Line, goodput, scene};
use anabranch_sim::{End, Pace, Scene};
use std::time::Duration;

const SCHEDULERS: [&str; 5] = ["minrtt", "blest", "ecf", "adaptive", "redundant"];

/// Responses in a row, one at a time.
const RESPONSES: u64 = 20;

/// Milliseconds for each of some responses of so many bytes, one at a time.
fn response_time(lines: &[Line], scheduler: &str, bytes: u64) -> f64 {
    let mut scene: Scene = scene(1, lines, scheduler, None);
    scene.client.send = RESPONSES * 100;
    scene.client.pace = Pace::Rounds {
        mine: 100,
        theirs: bytes,
        first: true,
    };
    scene.server.send = RESPONSES * bytes;
    scene.server.pace = Pace::Rounds {
        mine: bytes,
        theirs: 100,
        first: false,
    };
    scene.server.end = End::AfterEof;
    let report = scene.run().unwrap_or_else(|failure| panic!("{failure}"));
    let since = report.client.established.expect("it was established");
    let until = report.client.last_read;
    until.since(since).as_secs_f64() * 1000.0 / RESPONSES as f64
}

pub(crate) fn table() -> String {
    let mut cells = Vec::new();
    for lines in [
        // WLAN and 3G, as in BLEST's evaluation; then ECF's pairs of rates.
        [Line::new(25.0, 25), Line::new(5.0, 65)],
        [Line::new(8.6, 40), Line::new(0.7, 80)],
        [Line::new(8.6, 40), Line::new(4.2, 80)],
        [Line::new(50.0, 20), Line::new(20.0, 120)],
    ] {
        for kb in [16, 128, 1024] {
            cells.push((lines, kb));
        }
    }
    let row = |(lines, kb): &([Line; 2], u64)| {
        let alone = response_time(&lines[..1], "minrtt", kb << 10);
        let all = SCHEDULERS.map(|it| format!("{:.0}", response_time(lines, it, kb << 10)));
        format!(
            "| {} | {} | {kb} | {alone:.0} | {} |\n",
            lines[0].name(),
            lines[1].name(),
            all.join(" | ")
        )
    };
    TABLE_HEAD.to_owned() + &parallel(&cells, row).concat()
}

const TABLE_HEAD: &str =
    "| first path | second path | KB | first alone | minrtt | blest | ecf | adaptive | redundant |
|---|---|---|---|---|---|---|---|---|
";

/// WiFi and 3G of Raiciu et al.
const WIFI: Line = Line {
    mbit: 8.0,
    rtt_ms: 20,
    loss: 0,
    queue_ms: 80,
};
const THREE_G: Line = Line {
    mbit: 2.0,
    rtt_ms: 150,
    loss: 0,
    queue_ms: 2000,
};

pub(crate) fn small_buffers() -> String {
    let time = Duration::from_secs(20);
    let figure = |lines: &[Line], scheduler: &str, kb: usize, penalise: bool| {
        let mut scene = scene(1, lines, scheduler, Some(kb << 10));
        if let Some(server) = &mut scene.server_config {
            server.mptcp.penalise = penalise;
        }
        format!("{:.2}", goodput(&scene, time))
    };
    let both = [WIFI, THREE_G];
    let row = |kb: &usize| {
        format!(
            "| {kb} | {} | {} | {} | {} | {} | {} | {} |\n",
            figure(&[WIFI], "minrtt", *kb, true),
            figure(&[THREE_G], "minrtt", *kb, true),
            figure(&both, "roundrobin", *kb, false),
            figure(&both, "roundrobin", *kb, true),
            figure(&both, "minrtt", *kb, true),
            figure(&both, "blest", *kb, true),
            figure(&both, "adaptive", *kb, true),
        )
    };
    let sizes = [32, 64, 100, 200, 400, 800, 2000];
    BUFFERS_HEAD.to_owned() + &parallel(&sizes, row).concat()
}

const BUFFERS_HEAD: &str =
    "| buffer, KB | WiFi alone | 3G alone | roundrobin, not penalising | roundrobin | minrtt | blest | adaptive |
|---|---|---|---|---|---|---|---|
";
