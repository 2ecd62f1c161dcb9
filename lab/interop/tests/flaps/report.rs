//! What a run has found.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::trouble::Kind;

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) flaps: usize,
    pub(crate) connections: usize,
    pub(crate) bytes: u64,
    pub(crate) longest_stall: Duration,
    /// How long after a path was back it carried something again, for each connection.
    pub(crate) rejoined: BTreeMap<Kind, Vec<Duration>>,
    /// Paths that did not come back to a connection.
    pub(crate) never: BTreeMap<Kind, usize>,
    /// Bytes that Linux's receiver put together wrongly.
    pub(crate) by_linux: Vec<String>,
    /// What was not as before when all had ended.
    pub(crate) left: Vec<String>,
    /// The most there was of each kind of thing.
    pub(crate) most: String,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report {
            flaps,
            connections,
            bytes,
            longest_stall,
            ..
        } = self;
        let (mebibytes, stall) = (bytes >> 20, longest_stall.as_millis());
        writeln!(
            f,
            "{flaps} flaps, {connections} connections, {mebibytes} MiB received, \
             longest stall {stall} ms"
        )?;
        let all = self.rejoined.values().flatten().copied().collect();
        let never = self.never.values().sum();
        writeln!(f, "{}", line("all", all, never))?;
        for kind in Kind::ALL {
            let some = self.rejoined.get(&kind).cloned().unwrap_or_default();
            let never = self.never.get(&kind).copied().unwrap_or(0);
            writeln!(f, "{}", line(kind.name(), some, never))?;
        }
        for wrong in &self.by_linux {
            writeln!(f, "Linux delivered wrong bytes: {wrong}")?;
        }
        write!(f, "most at once: {}", self.most)
    }
}

fn line(name: &str, mut all: Vec<Duration>, never: usize) -> String {
    all.sort_unstable();
    let ms = |part: usize| {
        let last = all.len().checked_sub(1);
        last.map_or(0, |last| all[last * part / 100].as_millis())
    };
    let within = all.iter().filter(|it| it.as_secs() < 1).count();
    format!(
        "| {name} | {} | {} | {} | {} | {} | {within} | {never} |",
        all.len() + never,
        ms(50),
        ms(90),
        ms(99),
        ms(100),
    )
}
