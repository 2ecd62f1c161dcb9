//! Measures works, interleaved: each round takes one sample of everything.

use crate::report::{self, Measured};
use crate::work::{Length, Work};
use anabranch_interop::require;
use clap::Args;
use std::io;
use std::path::PathBuf;

/// What to measure, and where the figures go.
#[derive(Args, Debug)]
pub(crate) struct Options {
    /// What to measure; everything, if nothing is named.
    names: Vec<String>,
    /// Says what can be measured.
    #[arg(long)]
    list: bool,
    /// Samples of each figure; medians are reported.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of each sample that is counted in time.
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Only rows whose name contains this.
    #[arg(long, value_name = "TEXT")]
    row: Option<String>,
    /// Only these columns.
    #[arg(long, value_name = "NAME")]
    who: Vec<String>,
    /// One short sample of each: shows that everything runs, not how fast.
    #[arg(long)]
    quick: bool,
    /// Write every sample to this file as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write tables into this Markdown file, where it says so, and plots into a folder beside it of
    /// the same name.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

impl Options {
    fn wants(&self, row: &str, who: &str) -> bool {
        let row = self.row.as_ref().is_none_or(|part| row.contains(part));
        row && (self.who.is_empty() || self.who.iter().any(|it| it == who))
    }
}

/// Measures what `options` name.
///
/// # Errors
/// A figure is missing; those that are not have been reported.
pub(crate) fn run(options: &Options, works: &'static [&'static Work]) -> io::Result<()> {
    let chosen = choose(&options.names, works)?;
    if options.list {
        for work in chosen {
            println!("{:<14} {}", work.name, work.about);
        }
        return Ok(());
    }
    if !require::lab() {
        return Ok(());
    }
    let mut measured = Vec::new();
    for work in chosen {
        let mut of_work = Measured::new(work)?;
        of_work
            .cells
            .retain(|it| options.wants(&it.cell.row, it.cell.who));
        measured.push(of_work);
    }
    let rounds = if options.quick {
        1
    } else {
        options.rounds.max(1)
    };
    for round in 1..=rounds {
        for work in &mut measured {
            one_round(work, options, (round, rounds));
        }
    }
    let length = length(options);
    report::everything(
        &measured,
        length,
        options.json.as_deref(),
        options.write.as_deref(),
    )?;
    match report::missing(&measured, rounds) {
        0 => Ok(()),
        n => Err(io::Error::other(format!(
            "{n} samples are missing, see above"
        ))),
    }
}

fn length(options: &Options) -> Length {
    Length {
        seconds: if options.quick { 0.2 } else { options.seconds },
        quick: options.quick,
    }
}

fn choose(names: &[String], works: &'static [&'static Work]) -> io::Result<Vec<&'static Work>> {
    if names.is_empty() {
        return Ok(works.to_vec());
    }
    let find = |name: &String| {
        let found = works.iter().find(|work| work.name == *name).copied();
        found.ok_or_else(|| {
            let known: Vec<_> = works.iter().map(|work| work.name).collect();
            io::Error::other(format!("nothing is called {name}: {}", known.join(", ")))
        })
    };
    names.iter().map(find).collect()
}

/// A sample of each cell. Who comes first changes from round to round.
fn one_round(work: &mut Measured, options: &Options, (round, rounds): (usize, usize)) {
    let unit = work.work.unit;
    for cell in &mut work.cells {
        let title = format!(
            "{round}/{rounds} {} · {} · {}",
            work.work.name, cell.cell.row, cell.cell.who
        );
        // What fails is said, here and below the table, and tried once more: a kernel's receiver may
        // hang (docs/performance.md).
        for attempt in ["", " again"] {
            match (cell.cell.sample)(length(options)) {
                Ok(sample) => {
                    let cpu = sample.cpu.zip(unit.cpu);
                    let cpu = cpu.map_or(String::new(), |(cpu, name)| format!("  {cpu:.2} {name}"));
                    eprintln!(
                        "{title}: {:.*} {}{cpu}",
                        unit.decimals, sample.value, unit.name
                    );
                    cell.samples.push(sample);
                    break;
                }
                Err(error) => {
                    eprintln!("{title}: missing{attempt}: {error}");
                    cell.error = Some(error.to_string());
                }
            }
        }
    }
}
