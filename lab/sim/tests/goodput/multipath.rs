//! Multipath TCP over two paths.

use crate::path::{Cell, delivered};
use crate::{parallel, percent};
use anabranch_sim::Scene;
use std::time::Duration;

const TIME: Duration = Duration::from_secs(10);

const HEAD: &str = "## Multipath TCP over two paths

The limit is the sum of both limits; the options of Multipath TCP are not taken off it.

| first path | second path | % |
|---|---|---|
";

fn name(cell: &Cell) -> String {
    let mut name = format!("{} Mbit/s, {} ms", cell.mbit, cell.rtt_ms);
    if cell.loss > 0.0 {
        name += &format!(", loss {} %", cell.loss * 100.0);
    }
    if cell.reorder > 0.0 {
        name += &format!(", late {} %", cell.reorder * 100.0);
    }
    name
}

pub(crate) fn paths() -> String {
    let path = Cell::new;
    let lossy = |mbit, rtt_ms| Cell {
        loss: 0.01,
        ..Cell::new(mbit, rtt_ms)
    };
    let late = |mbit, rtt_ms| Cell {
        reorder: 0.01,
        ..Cell::new(mbit, rtt_ms)
    };
    let pairs = [
        [path(10, 40), path(10, 40)],
        [path(50, 20), path(50, 20)],
        [path(50, 10), path(20, 60)],
        [path(50, 20), path(5, 150)],
        [path(50, 20), lossy(50, 20)],
        [path(50, 20), late(50, 20)],
        [lossy(20, 20), lossy(20, 80)],
    ];
    let row = |pair: &[Cell; 2]| {
        let scene = Scene::new(1, pair.iter().map(Cell::path).collect());
        let goodput = delivered(&scene, TIME) as f64 * 8.0 / TIME.as_secs_f64();
        let figure = percent(goodput, pair[0].limit() + pair[1].limit());
        format!("| {} | {} | {figure} |\n", name(&pair[0]), name(&pair[1]))
    };
    HEAD.to_owned() + &parallel(&pairs, row).concat()
}
