//! Many runs: some at the same time, and series that go on where an earlier one ended.

use clap::Args;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Options of every series.
#[derive(Args, Debug)]
pub(crate) struct Series {
    /// So many runs at the same time, each over a path of its own. Whether the machine bears it is
    /// told by how late the relays are.
    #[arg(long, default_value_t = 1)]
    at_once: usize,
    /// Write the samples to this file as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Go on from the samples that an earlier call wrote to this file: medians are of all.
    #[arg(long, value_name = "FILE")]
    after: Option<PathBuf>,
}

impl Series {
    /// What was measured before.
    pub(crate) fn earlier<S: DeserializeOwned>(&self) -> io::Result<Vec<S>> {
        match &self.after {
            Some(file) => Ok(serde_json::from_slice(&std::fs::read(file)?)?),
            None => Ok(Vec::new()),
        }
    }

    /// Writes everything that is known now.
    pub(crate) fn keep<S: Serialize>(&self, samples: &[S]) -> io::Result<()> {
        match &self.json {
            Some(file) => std::fs::write(file, serde_json::to_vec_pretty(samples)?),
            None => Ok(()),
        }
    }

    /// `measure` of each job, in the order of the jobs.
    pub(crate) fn run<J: Sync, R: Send>(
        &self,
        jobs: &[J],
        measure: impl Fn(&J) -> io::Result<R> + Sync,
    ) -> io::Result<Vec<R>> {
        let next = AtomicUsize::new(0);
        let done = Mutex::new(Vec::new());
        let work = || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = jobs.get(n) else { return };
                let result = measure(job);
                done.lock().expect("no other panicked").push((n, result));
            }
        };
        thread::scope(|scope| {
            for _ in 0..self.at_once.clamp(1, jobs.len().max(1)) {
                scope.spawn(work);
            }
        });
        let mut done = done.into_inner().expect("no other panicked");
        done.sort_by_key(|(n, _)| *n);
        done.into_iter().map(|(_, result)| result).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_come_in_the_order_of_the_jobs() {
        let series = Series {
            at_once: 3,
            json: None,
            after: None,
        };
        let jobs: Vec<u32> = (0..20).collect();
        assert_eq!(series.run(&jobs, |job| Ok(*job)).expect("none fails"), jobs);
        let failing = |job: &u32| match job {
            7 => Err(io::Error::other("seven")),
            _ => Ok(*job),
        };
        let failed = series.run(&jobs, failing).expect_err("one fails");
        assert_eq!(failed.to_string(), "seven");
    }
}
