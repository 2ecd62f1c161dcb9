//! Processor time of the whole machine, and where threads run.

use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use std::io;
use std::time::Instant;

use crate::work::Sample;

/// Keeps the calling thread, and what it starts, on one core.
pub(crate) fn pin(core: Option<usize>) -> io::Result<()> {
    let Some(core) = core else { return Ok(()) };
    let mut set = CpuSet::new();
    set.set(core)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// Seconds that the machine's cores were busy since it started: user, nice, system, interrupts.
pub(crate) fn busy_seconds() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let ticks: Vec<u64> = stat
        .lines()
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .skip(1)
        .filter_map(|field| field.parse().ok())
        .collect();
    // Fields 3 and 4 are idle and iowait (proc_stat(5)); a tick is 10 ms on Linux.
    let busy: u64 = [0, 1, 2, 5, 6].iter().filter_map(|i| ticks.get(*i)).sum();
    Ok(busy as f64 / 100.0)
}

/// Counts payload and what it costs.
pub(crate) struct Meter {
    start: Instant,
    busy: f64,
    bytes: u64,
}

impl Meter {
    pub(crate) fn start() -> io::Result<Meter> {
        Ok(Meter {
            start: Instant::now(),
            busy: busy_seconds()?,
            bytes: 0,
        })
    }

    /// Since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    pub(crate) fn moved(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Gbit/s, and seconds of all cores per GB.
    pub(crate) fn finish(self) -> io::Result<Sample> {
        let seconds = self.seconds();
        let busy = busy_seconds()? - self.busy;
        Ok(Sample {
            value: self.bytes as f64 * 8.0 / seconds / 1e9,
            cpu: Some(busy / (self.bytes as f64 / 1e9)),
        })
    }
}
