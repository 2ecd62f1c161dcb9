//! One sender at a time: anabranch's TCP and Linux's over the same path.

use crate::relayed::ends::{self, Congestion, Kind, Receiver, Sender};
use crate::relayed::path::Path;
use crate::relayed::series::Series;
use crate::report::{self, median};
use anabranch_interop::require;
use anabranch_sim::{Faults, LinkConfig, Loss};
use clap::Args;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

const PORT: u16 = 5001;

/// Options of this scene.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Runs of each sender in each cell; medians are reported.
    #[arg(long, default_value_t = 5)]
    rounds: u64,
    /// Seconds of a run at 10 ms; twice as long at 80 ms.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// One short round: rough figures.
    #[arg(long)]
    quick: bool,
    /// Congestion control of both senders.
    #[arg(long, value_enum, default_value_t = Congestion::Cubic)]
    congestion: Congestion,
    /// Only cells whose name contains this, such as `100M-80ms-1%`.
    #[arg(long)]
    cell: Option<String>,
    /// Write the packets of the last run of each sender to FILE.anabranch and FILE.kernel.
    #[arg(long, value_name = "FILE")]
    capture: Option<PathBuf>,
    /// Write the table into this file, where it says so.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    #[command(flatten)]
    series: Series,
}

/// What befalls packets on their way to the receiver.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Trouble {
    /// Nothing but a full queue.
    Nothing,
    /// This part is lost, at random.
    Loss(f64),
    /// One packet in a hundred is late by half a round trip.
    Reorder,
}

/// A path to compare on.
#[derive(Clone, Copy, PartialEq, Debug)]
struct Cell {
    mbit: u64,
    rtt_ms: u64,
    trouble: Trouble,
}

impl fmt::Display for Cell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}M-{}ms-{}", self.mbit, self.rtt_ms, self.trouble)
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Nothing => f.pad("0%"),
            Trouble::Loss(part) => f.pad(&format!("{}%", part * 100.0)),
            Trouble::Reorder => f.pad("reorder"),
        }
    }
}

impl Cell {
    fn all() -> Vec<Cell> {
        let mut cells = Vec::new();
        for mbit in [10, 100] {
            for rtt_ms in [10, 80] {
                for trouble in [
                    Trouble::Nothing,
                    Trouble::Loss(0.001),
                    Trouble::Loss(0.01),
                    Trouble::Loss(0.03),
                    Trouble::Reorder,
                ] {
                    cells.push(Cell {
                        mbit,
                        rtt_ms,
                        trouble,
                    });
                }
            }
        }
        cells
    }

    /// Towards the receiver and back; only what goes there is lost or reordered.
    fn links(&self) -> (LinkConfig, LinkConfig) {
        let back = LinkConfig::new(self.mbit, self.rtt_ms / 2);
        let there = back.clone();
        let there = match self.trouble {
            Trouble::Nothing => there,
            Trouble::Loss(part) => there.loss(Loss::Random(part)),
            Trouble::Reorder => there.faults(Faults {
                reorder: 0.01,
                reorder_delay: Duration::from_millis(self.rtt_ms / 2),
                ..Faults::default()
            }),
        };
        (there, back)
    }
}

/// One run.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Sample {
    cell: String,
    sender: Kind,
    seed: u64,
    /// Payload at the receiver, Mbit/s, from its first byte on.
    mbits: f64,
    retransmits: u64,
    timeouts: u64,
    /// Segments the receiver had already.
    duplicates: u64,
    /// Dropped by the queue of the path.
    queue_drops: u64,
    /// Lost on the path.
    lost: u64,
    /// The relay's delay beyond what it should have been: median and 99 % of packets, µs.
    relay_late_us: [u64; 2],
}

/// Everything, interleaved: in each round each cell is measured with both senders.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    if !require::lab() {
        return Ok(());
    }
    let (rounds, seconds) = match options.quick {
        true => (1, options.seconds / 2.0),
        false => (options.rounds.max(1), options.seconds),
    };
    let mut cells = Cell::all();
    if let Some(part) = &options.cell {
        cells.retain(|cell| cell.to_string().contains(part));
    }
    let mut samples: Vec<Sample> = options.series.earlier()?;
    let first = samples.iter().map(|it| it.seed + 1).max().unwrap_or(0);
    let rounds = first + rounds;
    let jobs: Vec<_> = (first..rounds)
        .flat_map(|round| cells.iter().map(move |cell| (round, *cell)))
        .collect();
    let new = options.series.run(&jobs, |&(round, cell)| {
        let both = compare(cell, round, seconds, options)?;
        eprintln!(
            "{}/{rounds} {}",
            round + 1,
            both.each_ref().map(line).concat()
        );
        Ok(both)
    })?;
    samples.extend(new.into_iter().flatten());
    let table = table(&cells, &samples, rounds, options.congestion);
    let name = format!("sender {}", options.congestion);
    report::publish(&table, &name, options.write.as_deref())?;
    options.series.keep(&samples)
}

/// Both senders in one cell, one after the other; who comes first changes from round to round.
fn compare(cell: Cell, round: u64, seconds: f64, options: &Options) -> io::Result<[Sample; 2]> {
    let mut kinds = [Kind::Anabranch, Kind::Kernel];
    if round % 2 == 1 {
        kinds.reverse();
    }
    let [first, second] = kinds;
    Ok([
        measure(cell, first, round, seconds, options)?,
        measure(cell, second, round, seconds, options)?,
    ])
}

fn line(sample: &Sample) -> String {
    format!(
        "{:<16} {} {:6.2} Mbit/s ({} again, {} timeouts, {} twice)  ",
        sample.cell,
        sample.sender,
        sample.mbits,
        sample.retransmits,
        sample.timeouts,
        sample.duplicates
    )
}

fn measure(
    cell: Cell,
    kind: Kind,
    seed: u64,
    seconds: f64,
    options: &Options,
) -> io::Result<Sample> {
    let capture = options.capture.as_ref().map(|file| {
        let mut name = file.clone().into_os_string();
        name.push(format!(".{kind:?}").to_lowercase());
        PathBuf::from(name)
    });
    let path = Path::new(cell.links(), seed, capture.as_ref())?;
    let receiver = Receiver::start(&path, PORT)?;
    let sender = Sender::start(&path, kind, options.congestion, 0, PORT)?;
    let first = receiver.first()?;
    let length = seconds * if cell.rtt_ms > 40 { 2.0 } else { 1.0 };
    let end = first + Duration::from_secs_f64(length);
    thread::sleep(end.saturating_duration_since(Instant::now()));
    let (bytes, elapsed) = (receiver.bytes(), first.elapsed().as_secs_f64());
    let duplicates = ends::duplicates(&path)?;
    let sent = sender.stop(&path)?;
    let seen = path.close()?;
    Ok(Sample {
        cell: cell.to_string(),
        sender: kind,
        seed,
        mbits: bytes as f64 * 8.0 / elapsed / 1e6,
        retransmits: sent.retransmits,
        timeouts: sent.timeouts,
        duplicates,
        queue_drops: seen.there.queue_drops,
        lost: seen.there.lost,
        relay_late_us: [0.5, 0.99].map(|part| seen.lateness.quantile(part).as_micros() as u64),
    })
}

fn table(cells: &[Cell], samples: &[Sample], rounds: u64, congestion: Congestion) -> String {
    let mut table = format!(
        "{congestion} at both senders, median of {rounds} runs; payload in Mbit/s. Pairs are \
         anabranch / Linux.\n\n\
         | Mbit/s | RTT, ms | trouble | anabranch | Linux | × Linux | sent again | timeouts | received twice |\n\
         |---|---|---|---|---|---|---|---|---|\n"
    );
    for cell in cells {
        let name = cell.to_string();
        let of = |kind, value: fn(&Sample) -> f64| {
            let same = |it: &&Sample| it.cell == name && it.sender == kind;
            median(samples.iter().filter(same).map(value).collect())
        };
        let both = |value| [of(Kind::Anabranch, value), of(Kind::Kernel, value)];
        let pair = |value| {
            let [a, b] = both(value);
            format!("{a} / {b}")
        };
        let [ours, theirs] = both(|it| it.mbits);
        table += &format!(
            "| {} | {} | {} | {ours:.2} | {theirs:.2} | {:.2} | {} | {} | {} |\n",
            cell.mbit,
            cell.rtt_ms,
            cell.trouble,
            ours / theirs,
            pair(|it| it.retransmits as f64),
            pair(|it| it.timeouts as f64),
            pair(|it| it.duplicates as f64),
        );
    }
    let late = |at: usize| {
        let all = samples.iter().map(|it| it.relay_late_us[at] as f64);
        median(all.collect())
    };
    table
        + &format!(
            "\nThe relay was late by {} µs (median of packets) and {} µs (99 %).\n",
            late(0),
            late(1)
        )
}
