//! Thirty pairs of paths: never slower than the better one alone.

use crate::parallel;
use crate::setup::{Line, goodput, scene};
use std::time::Duration;

const TIME: Duration = Duration::from_secs(10);
const SCHEDULERS: [&str; 8] = [
    "minrtt",
    "blest",
    "ecf",
    "adaptive",
    "roundrobin",
    "weighted",
    "backup",
    "redundant",
];
/// The first so many are there to add paths up.
const ADDING: usize = 4;

/// What each of them has at least of the better path alone. It is not all of it for a run of 10 s
/// begins with slow start, and what is out of order at its end does not count.
const LEAST: f64 = 0.97;
/// The same where the path with the lower round-trip time is the one that loses, and the window is
/// small: each loss holds up both.
const LEAST_LOSSY: f64 = 0.90;

/// Two paths, and a receive buffer in KB.
#[derive(Clone, Copy, Debug)]
struct Cell {
    lines: [Line; 2],
    buffer: usize,
}

impl Cell {
    fn least(&self) -> f64 {
        let [first, second] = self.lines;
        match first.loss > second.loss {
            true => LEAST_LOSSY,
            false => LEAST,
        }
    }
}

fn cells() -> Vec<Cell> {
    let mut cells = Vec::new();
    for (ratio, delays, loss, buffer) in [
        (1.0, 1, [0, 0], 64),
        (1.0, 1, [0, 0], 1024),
        (1.0, 2, [0, 0], 64),
        (1.0, 5, [0, 0], 256),
        (1.0, 10, [0, 0], 1024),
        (1.0, 20, [0, 0], 64),
        (2.0, 1, [0, 0], 64),
        (2.0, 2, [0, 0], 128),
        (2.0, 5, [0, 0], 64),
        (2.0, 10, [0, 0], 256),
        (2.0, 20, [0, 0], 1024),
        (5.0, 1, [0, 0], 64),
        (5.0, 2, [0, 0], 128),
        (5.0, 5, [0, 0], 64),
        (5.0, 10, [0, 0], 256),
        (5.0, 20, [0, 0], 64),
        (10.0, 1, [0, 0], 256),
        (10.0, 5, [0, 0], 64),
        (10.0, 10, [0, 0], 1024),
        (10.0, 20, [0, 0], 64),
        (20.0, 1, [0, 0], 64),
        (20.0, 5, [0, 0], 256),
        (20.0, 20, [0, 0], 64),
        (20.0, 20, [0, 0], 1024),
        (1.0, 1, [5, 5], 256),
        (1.0, 2, [20, 0], 64),
        (1.0, 5, [0, 20], 64),
        (2.0, 10, [0, 10], 128),
        (5.0, 5, [10, 10], 64),
        (20.0, 20, [0, 20], 64),
    ] {
        let first = Line {
            loss: loss[0],
            ..Line::new(20.0, 20)
        };
        let second = Line {
            loss: loss[1],
            ..Line::new(20.0 / ratio, 20 * delays)
        };
        cells.push(Cell {
            lines: [first, second],
            buffer: buffer << 10,
        });
    }
    cells
}

/// Mbit/s over these paths with the cell's buffer: where packets are lost, the mean of four seeds.
fn rate(cell: &Cell, lines: &[Line], scheduler: &str) -> f64 {
    let lossy = cell.lines.iter().any(|line| line.loss > 0);
    let seeds = if lossy { 4 } else { 1 };
    let runs = (1..=seeds).map(|seed| scene(seed, lines, scheduler, Some(cell.buffer)));
    runs.map(|scene| goodput(&scene, TIME)).sum::<f64>() / seeds as f64
}

fn alone(cell: &Cell, line: Line) -> f64 {
    rate(cell, &[line], "minrtt")
}

fn together(cell: &Cell, scheduler: &str) -> f64 {
    rate(cell, &cell.lines, scheduler)
}

pub(crate) fn table() -> String {
    let rows = parallel(&cells(), |cell| {
        let best = cell
            .lines
            .map(|line| alone(cell, line))
            .into_iter()
            .fold(0.0, f64::max);
        let all = SCHEDULERS.map(|scheduler| together(cell, scheduler));
        let figures: Vec<_> = all.iter().map(|it| format!("{it:.2}")).collect();
        let row = format!(
            "| {} | {} | {} | {best:.2} | {} |\n",
            cell.lines[0].name(),
            cell.lines[1].name(),
            cell.buffer >> 10,
            figures.join(" | "),
        );
        let worst = all[..ADDING].iter().fold(f64::MAX, |a, b| a.min(*b));
        (worst / best, cell.least(), row)
    });
    let text: String = rows.iter().map(|(_, _, row)| row.as_str()).collect();
    for (worst, least, row) in &rows {
        assert!(
            worst >= least,
            "slower than the better path alone: {row}{text}"
        );
    }
    HEAD.to_owned() + &text
}

const HEAD: &str =
    "| first path | second path | buffer, KB | better one alone | minrtt | blest | ecf | adaptive | roundrobin | weighted | backup | redundant |
|---|---|---|---|---|---|---|---|---|---|---|---|
";
