//! Schedulers and failover over two paths with rate, delay and a queue: servers of ours and of
//! Linux's own Multipath TCP, each with a client of Linux's, through real-time relays between network
//! namespaces.

mod paths;
mod servers;
mod works;

use crate::report::{self, median};
use anabranch_interop::require;
use clap::Args;
use serde::Serialize;
use servers::{Kind, Setup};
use std::io;
use std::path::PathBuf;

/// Options of this scene.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// Runs of each server at each work, interleaved; medians are reported.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Number of the first of them, from which follow seeds and who comes first: for rounds that are
    /// taken apart.
    #[arg(long, default_value_t = 0)]
    from: usize,
    /// Only works whose name contains this, such as `bulk`.
    #[arg(long)]
    work: Option<String>,
    /// Scheduler of our server.
    #[arg(long, default_value = "adaptive")]
    scheduler: String,
    /// How our server steers the client: `off`, or settings such as `give-up=always`.
    #[arg(long, default_value = "on")]
    steer: String,
    /// Congestion control of our server, and of Linux at both ends.
    #[arg(long, default_value = "cubic")]
    congestion: String,
    /// Write the table into this file, where it says so.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
    /// Add the figures to those in this file, JSON, and make the table of all of them.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// One run: figures by the names of the table's rows.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
struct Sample {
    kind: Kind,
    row: String,
    value: f64,
}

/// Every work with either server, interleaved.
pub(crate) fn run(options: &Options) -> io::Result<()> {
    if !require::lab() {
        return Ok(());
    }
    let wanted = |name: &str| options.work.as_ref().is_none_or(|part| name.contains(part));
    let mut samples = match &options.json {
        Some(file) if file.exists() => serde_json::from_slice(&std::fs::read(file)?)?,
        _ => Vec::<Sample>::new(),
    };
    for round in options.from..options.from + options.rounds {
        for work in works::ALL.iter().filter(|work| wanted(work.name)) {
            for kind in Kind::in_order(round) {
                let server = Setup {
                    kind,
                    scheduler: &options.scheduler,
                    steer: &options.steer,
                    congestion: &options.congestion,
                    announced: false,
                };
                match (work.run)(server, round) {
                    Ok(figures) => samples.extend(figures.into_iter().map(|(row, value)| {
                        eprintln!("{} {kind:?} {row}: {value:.1}", round + 1);
                        let row = row.to_owned();
                        Sample { kind, row, value }
                    })),
                    Err(error) => eprintln!("{} {kind:?} {}: {error}", round + 1, work.name),
                }
            }
        }
        // What was measured is kept, whatever happens to the next round.
        if let Some(file) = &options.json {
            std::fs::write(file, serde_json::to_vec_pretty(&samples)?)?;
        }
    }
    let table = table(&samples, &options.scheduler);
    report::publish(&table, "multipath", options.write.as_deref())
}

fn table(samples: &[Sample], scheduler: &str) -> String {
    let mut table = format!(
        "Our server with `{scheduler}`. Median, and the worst in brackets, of so many runs as the \
         last column says.\n\n| | Linux | anabranch | goal | runs |\n|---|---|---|---|---|\n"
    );
    for (row, goal) in works::ROWS {
        let of = |kind| -> Vec<f64> {
            let same = |it: &&Sample| it.kind == kind && it.row == *row;
            samples.iter().filter(same).map(|it| it.value).collect()
        };
        let (theirs, ours) = (of(Kind::Kernel), of(Kind::Anabranch));
        if theirs.is_empty() && ours.is_empty() {
            continue;
        }
        let more_is_better = row.contains("goodput");
        let cell = |values: &[f64]| {
            if values.is_empty() {
                return "–".to_owned();
            }
            let worst = match more_is_better {
                true => values.iter().copied().fold(f64::INFINITY, f64::min),
                false => values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            };
            let digits = if more_is_better { 3 } else { 1 };
            let middle = median(values.to_vec());
            format!("{middle:.digits$} ({worst:.digits$})")
        };
        table += &format!(
            "| {row} | {} | {} | {goal} | {} |\n",
            cell(&theirs),
            cell(&ours),
            ours.len().max(theirs.len())
        );
    }
    table
}
