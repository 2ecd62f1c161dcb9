//! What becomes of the samples: a table, a plot, JSON.

mod plot;
mod table;

use crate::work::{Cell, Figure, Goal, Length, Sample, Unit, Work};
use serde::Serialize;
use std::io;
use std::path::Path;

/// A work with its samples.
pub(crate) struct Measured {
    pub(crate) work: &'static Work,
    pub(crate) cells: Vec<MeasuredCell>,
}

/// A cell with its samples.
pub(crate) struct MeasuredCell {
    pub(crate) cell: Cell,
    pub(crate) samples: Vec<Sample>,
    /// Why a sample is missing, if one is.
    pub(crate) error: Option<String>,
}

impl Measured {
    /// With everything set up, and nothing measured.
    pub(crate) fn new(work: &'static Work) -> io::Result<Measured> {
        let cells = (work.cells)()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", work.name)))?;
        let unmeasured = |cell| MeasuredCell {
            cell,
            samples: Vec::new(),
            error: None,
        };
        Ok(Measured {
            work,
            cells: cells.into_iter().map(unmeasured).collect(),
        })
    }

    /// Situations, in their order.
    fn rows(&self) -> Vec<&str> {
        distinct(self.cells.iter().map(|it| it.cell.row.as_str()))
    }

    /// Everyone who is compared, in their order.
    fn everyone(&self) -> Vec<&'static str> {
        distinct(self.cells.iter().map(|it| it.cell.who))
    }

    fn cell(&self, row: &str, who: &str) -> Option<&MeasuredCell> {
        let mut cells = self.cells.iter();
        cells.find(|it| it.cell.row == row && it.cell.who == who)
    }

    /// The median of a figure; `None` where it was not measured.
    fn median(&self, row: &str, who: &str, figure: Figure) -> Option<f64> {
        let samples = self.cell(row, who)?.samples.iter();
        let values: Vec<_> = match figure {
            Figure::Value => samples.map(|sample| sample.value).collect(),
            Figure::Cpu => samples.filter_map(|sample| sample.cpu).collect(),
        };
        (!values.is_empty()).then(|| median(values))
    }

    /// What `goal` speaks of in a row: a ratio of medians, or a median.
    fn reached(&self, row: &str, goal: &Goal) -> Option<f64> {
        let value = self.median(row, goal.who, goal.figure)?;
        match goal.of {
            None => Some(value),
            Some(of) => Some(value / self.median(row, of, goal.figure)?),
        }
    }
}

fn distinct<T: PartialEq>(items: impl Iterator<Item = T>) -> Vec<T> {
    let mut found = Vec::new();
    for item in items {
        if !found.contains(&item) {
            found.push(item);
        }
    }
    found
}

/// Samples that could not be taken.
pub(crate) fn missing(measured: &[Measured], rounds: usize) -> usize {
    let cells = measured.iter().flat_map(|work| &work.cells);
    cells
        .map(|cell| rounds - cell.samples.len().min(rounds))
        .sum()
}

/// Prints every table; writes JSON to `json`, and into `document` tables and plots.
pub(crate) fn everything(
    measured: &[Measured],
    length: Length,
    json: Option<&Path>,
    document: Option<&Path>,
) -> io::Result<()> {
    for work in measured {
        let mut text = table::of(work, length);
        if let Some(document) = document {
            text += &plot::write(work, document)?;
        }
        publish(&text, &format!("bench {}", work.work.name), document)?;
    }
    let Some(json) = json else { return Ok(()) };
    let works: Vec<_> = measured.iter().map(JsonWork::of).collect();
    std::fs::write(json, serde_json::to_vec_pretty(&works)?)
}

#[derive(Serialize)]
struct JsonWork<'a> {
    name: &'a str,
    about: &'a str,
    unit: Unit,
    goals: &'a [Goal],
    cells: Vec<JsonCell<'a>>,
}

#[derive(Serialize)]
struct JsonCell<'a> {
    row: &'a str,
    who: &'a str,
    samples: &'a [Sample],
    missing: Option<&'a str>,
}

impl<'a> JsonWork<'a> {
    fn of(measured: &'a Measured) -> JsonWork<'a> {
        let cells = measured.cells.iter().map(|it| JsonCell {
            row: &it.cell.row,
            who: it.cell.who,
            samples: &it.samples,
            missing: it.error.as_deref(),
        });
        JsonWork {
            name: measured.work.name,
            about: measured.work.about,
            unit: measured.work.unit,
            goals: measured.work.goals,
            cells: cells.collect(),
        }
    }
}

/// Prints a table; with a file also writes it there, between the lines `<!-- NAME -->` and
/// `<!-- end of NAME -->`.
pub(crate) fn publish(table: &str, name: &str, file: Option<&Path>) -> io::Result<()> {
    println!("{table}");
    let Some(file) = file else { return Ok(()) };
    let old = std::fs::read_to_string(file)?;
    let (start, end) = (
        format!("<!-- {name} -->\n"),
        format!("<!-- end of {name} -->"),
    );
    let parts = old
        .split_once(&start)
        .and_then(|(before, rest)| Some((before, rest.split_once(&end)?.1)));
    let Some((before, after)) = parts else {
        let missing = format!("{} has no lines {start}{end}", file.display());
        return Err(io::Error::other(missing.replace('\n', " and ")));
    };
    std::fs::write(file, format!("{before}{start}\n{table}\n{end}{after}"))
}

/// The middle one, or the mean of the two in the middle.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    match values.len() {
        0 => f64::NAN,
        n if n % 2 == 1 => values[n / 2],
        n => (values[n / 2 - 1] + values[n / 2]) / 2.0,
    }
}
