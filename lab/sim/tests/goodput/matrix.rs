//! One path in many conditions.

use crate::path::Cell;
use crate::{parallel, percent};
use anabranch_tcp::congestion::Algorithm;

/// Mbit/s and round-trip times in ms.
const PATHS: [(u64, &[u64]); 4] = [
    (1, &[10, 40, 150]),
    (10, &[10, 40, 150]),
    (100, &[1, 10, 40, 150]),
    (1000, &[1, 10]),
];

/// Buffers below this are too small for segments of this size.
const LEAST_BUFFER: u64 = 16_000;

const PATHS_HEAD: &str = "## One path, CUBIC

Queue and buffer in bandwidth-delay products (queue 1 and an ample buffer where nothing else is
said; a queue holds at least ten packets). With loss the limit is the average of CUBIC's response
function (RFC 9438 §5.1), or of Reno's where that is more, and figures are the mean of two seeds.
A run lasts for 20,000 packets and at least 50 round trips (with loss for 15,000 and 500), slow
start included, and at most a minute.
Late: one packet in a hundred takes half a round trip longer than the others.

| Mbit/s | RTT, ms | queue ¼ | queue 1 | queue 4 | loss 0.1 % | loss 1 % | loss 3 % | late 1 % | buffer ½ |
|---|---|---|---|---|---|---|---|---|---|
";

const CONTROLLERS_HEAD: &str = "## Controllers

As above. With loss BBR is held against the link: it does not take loss of this size for congestion.

| controller | Mbit/s | RTT, ms | queue ¼ | queue 1 | queue 4 | loss 0.1 % | loss 1 % | loss 3 % | late 1 % |
|---|---|---|---|---|---|---|---|---|---|
";

/// The conditions that a path is put in; the last one is the buffer.
fn conditions(path: &Cell) -> [Cell; 8] {
    let queue = |queue| Cell {
        queue,
        ..path.clone()
    };
    let loss = |loss| Cell {
        loss,
        ..path.clone()
    };
    let late = Cell {
        reorder: 0.01,
        ..path.clone()
    };
    let buffer = Cell {
        buffer: Some(0.5),
        ..path.clone()
    };
    [
        queue(0.25),
        queue(1.0),
        queue(4.0),
        loss(0.001),
        loss(0.01),
        loss(0.03),
        late,
        buffer,
    ]
}

pub(crate) fn paths() -> String {
    let mut cells = Vec::new();
    for (mbit, rtts) in PATHS {
        for rtt_ms in rtts {
            cells.push(Cell::new(mbit, *rtt_ms));
        }
    }
    let all: Vec<Cell> = cells.iter().flat_map(conditions).collect();
    let sensible =
        |cell: &Cell| cell.buffer.is_none() || cell.mbit * cell.rtt_ms * 125 / 2 >= LEAST_BUFFER;
    let figures = parallel(&all, |cell| match sensible(cell) {
        true => percent(cell.goodput(), cell.limit()),
        false => "–".to_owned(),
    });
    let rows = cells.iter().zip(figures.chunks(8));
    let row = |(cell, figures): (&Cell, &[String])| {
        format!(
            "| {} | {} | {} |\n",
            cell.mbit,
            cell.rtt_ms,
            figures.join(" | ")
        )
    };
    PATHS_HEAD.to_owned() + &rows.map(row).collect::<String>()
}

pub(crate) fn controllers() -> String {
    let mut cells = Vec::new();
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr] {
        for (mbit, rtt_ms) in [(10, 40), (100, 40)] {
            cells.push(Cell {
                algorithm,
                ..Cell::new(mbit, rtt_ms)
            });
        }
    }
    let seven = |cell: &Cell| conditions(cell).into_iter().take(7);
    let all: Vec<Cell> = cells.iter().flat_map(seven).collect();
    let figures = parallel(&all, |cell| {
        let limit = match cell.algorithm {
            Algorithm::Bbr => cell.capacity(),
            _ => cell.limit(),
        };
        percent(cell.goodput(), limit)
    });
    let rows = cells.iter().zip(figures.chunks(7));
    let row = |(cell, figures): (&Cell, &[String])| {
        let Cell {
            algorithm,
            mbit,
            rtt_ms,
            ..
        } = cell;
        format!(
            "| {algorithm} | {mbit} | {rtt_ms} | {} |\n",
            figures.join(" | ")
        )
    };
    CONTROLLERS_HEAD.to_owned() + &rows.map(row).collect::<String>()
}
