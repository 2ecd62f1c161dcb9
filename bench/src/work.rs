//! What a measurement is to the runner and to the reports: names, figures, goals.

use serde::Serialize;
use std::io;

/// A line of measurements: who is compared, in which situations, to which goals. Each stands in a
/// file of its own under `works/` and in the list of `works/mod.rs`.
pub(crate) struct Work {
    /// Its name on the command line, in JSON and in the documents.
    pub(crate) name: &'static str,
    /// What is measured, as the caption of its table.
    pub(crate) about: &'static str,
    pub(crate) unit: Unit,
    pub(crate) goals: &'static [Goal],
    /// Sets up what its samples need, and lists them: row by row, and in each row everyone who is
    /// compared, side by side.
    pub(crate) cells: fn() -> io::Result<Vec<Cell>>,
}

/// One figure of a table: somebody in some situation.
pub(crate) struct Cell {
    /// The situation: a row of the table.
    pub(crate) row: String,
    /// Who is measured: a column.
    pub(crate) who: &'static str,
    /// Measures once.
    pub(crate) sample: Sampler,
}

pub(crate) type Sampler = Box<dyn Fn(Length) -> io::Result<Sample>>;

impl Cell {
    pub(crate) fn new(
        row: impl Into<String>,
        who: &'static str,
        sample: impl Fn(Length) -> io::Result<Sample> + 'static,
    ) -> Cell {
        Cell {
            row: row.into(),
            who,
            sample: Box::new(sample),
        }
    }
}

/// How long a sample is to take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Length {
    /// Seconds that count. What is not counted in time (memory, say) takes what it needs.
    pub(crate) seconds: f64,
    /// Only to show that it works: as small as it can be.
    pub(crate) quick: bool,
}

impl Length {
    /// Seconds before those that count: slow start and the joins of subflows.
    pub(crate) fn warm_up(self) -> f64 {
        (self.seconds / 4.0).min(0.5)
    }
}

/// What one run found.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Sample {
    /// In the unit of the work.
    pub(crate) value: f64,
    /// Time of all cores of the machine, in what [`Unit::cpu`] says.
    pub(crate) cpu: Option<f64>,
}

/// What figures are counted in.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Unit {
    pub(crate) name: &'static str,
    /// Decimals that mean something.
    pub(crate) decimals: usize,
    /// What processor time is counted in, where it is.
    pub(crate) cpu: Option<&'static str>,
}

impl Unit {
    /// Payload.
    pub(crate) const GBITS: Unit = Unit {
        name: "Gbit/s",
        decimals: 1,
        cpu: Some("CPU s/GB"),
    };
}

/// What somebody is to reach.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Goal {
    pub(crate) who: &'static str,
    /// In rows whose name contains this.
    pub(crate) rows: &'static str,
    pub(crate) figure: Figure,
    /// Compared with whom in the same row; without, the figure itself is meant.
    pub(crate) of: Option<&'static str>,
    pub(crate) bound: Bound,
}

/// Which of a sample's figures.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Figure {
    Value,
    Cpu,
}

#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Goal {
    /// `who` reaches so many times what `of` does, or more.
    pub(crate) const fn times(who: &'static str, times: f64, of: &'static str) -> Goal {
        Goal {
            who,
            rows: "",
            figure: Figure::Value,
            of: Some(of),
            bound: Bound::AtLeast(times),
        }
    }

    /// `who` is at most this.
    pub(crate) const fn at_most(who: &'static str, limit: f64) -> Goal {
        Goal {
            who,
            rows: "",
            figure: Figure::Value,
            of: None,
            bound: Bound::AtMost(limit),
        }
    }

    /// The same, in some rows only.
    pub(crate) const fn in_rows(self, rows: &'static str) -> Goal {
        Goal { rows, ..self }
    }

    /// No more than so many times, of this figure.
    pub(crate) const fn less(self, figure: Figure) -> Goal {
        let Bound::AtLeast(times) = self.bound else {
            return self;
        };
        Goal {
            figure,
            bound: Bound::AtMost(times),
            ..self
        }
    }

    /// `who` needs no more processor time than this.
    pub(crate) const fn cpu(who: &'static str, limit: f64) -> Goal {
        Goal {
            who,
            rows: "",
            figure: Figure::Cpu,
            of: None,
            bound: Bound::AtMost(limit),
        }
    }
}

impl Bound {
    pub(crate) fn is_met(self, figure: f64) -> bool {
        match self {
            Bound::AtLeast(bound) => figure >= bound,
            Bound::AtMost(bound) => figure <= bound,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Bound::AtLeast(bound) => write!(f, "≥ {bound}"),
            Bound::AtMost(bound) => write!(f, "≤ {bound}"),
        }
    }
}
