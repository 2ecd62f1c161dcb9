//! How much of what two paths carry together is used.

use crate::parallel;
use crate::setup::{Line, scene};
use std::time::Duration;

const SCHEDULERS: [&str; 4] = ["minrtt", "blest", "ecf", "adaptive"];
/// The part of a run that does not count, slow start included, and the part that does.
const WARM_UP: Duration = Duration::from_secs(3);
const TIME: Duration = Duration::from_secs(10);

/// Payload delivered, of the sum of the links' rates.
fn part(lines: &[Line], scheduler: &str) -> f64 {
    let mut world = scene(1, lines, scheduler, None).bulk(0, 1 << 40).build();
    let mut received = |time| {
        world.network.run_for(time);
        let client = world.network.node(world.client);
        client.progress().next().map_or(0, |it| it.received)
    };
    let before = received(WARM_UP);
    let bytes = received(TIME) - before;
    let capacity: f64 = lines.iter().map(|line| line.mbit * 1e6).sum();
    bytes as f64 * 8.0 / TIME.as_secs_f64() / capacity
}

pub(crate) fn table() -> String {
    let pairs = [
        [Line::new(50.0, 10), Line::new(20.0, 60)],
        [Line::new(100.0, 10), Line::new(50.0, 10)],
    ];
    let row = |lines: &[Line; 2]| {
        let all = SCHEDULERS.map(|it| format!("{:.3}", part(lines, it)));
        let [first, second] = lines.map(|line| line.name());
        format!("| {first} | {second} | {} |\n", all.join(" | "))
    };
    HEAD.to_owned() + &parallel(&pairs, row).concat()
}

const HEAD: &str = "| first path | second path | minrtt | blest | ecf | adaptive |
|---|---|---|---|---|---|
";
