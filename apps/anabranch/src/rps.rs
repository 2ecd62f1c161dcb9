//! Which processors do the host's work with packets that this program writes to its TUN device.

use std::str::FromStr;

use anabranch_kernel::{Error, rps};
use nix::sched::{CpuSet, sched_getaffinity};
use nix::unistd::Pid;

use crate::cli::Failure;

/// `--rps`.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Rps {
    /// Those that this program may use and has no thread for.
    #[default]
    Auto,
    /// Whichever a thread of ours runs on: the thread waits until it is done.
    Off,
    /// These.
    Cpus(Vec<usize>),
}

impl FromStr for Rps {
    type Err = String;

    fn from_str(text: &str) -> Result<Rps, String> {
        match text {
            "auto" => Ok(Rps::Auto),
            "off" => Ok(Rps::Off),
            list => cpus(list)
                .map(Rps::Cpus)
                .ok_or_else(|| "expected auto, off or processors, such as 0-3,6".to_owned()),
        }
    }
}

/// A list such as `0-3,6`, in the order and without the repetitions that a set has.
fn cpus(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last >= CpuSet::count() {
            return None;
        }
        cpus.extend(first..=last);
    }
    cpus.sort_unstable();
    cpus.dedup();
    Some(cpus)
}

impl Rps {
    /// Sets it for a TUN device that as many threads as `threads` serve.
    ///
    /// # Errors
    /// What was named cannot be had. What nobody asked for is gone without.
    pub fn apply(&self, interface: &str, threads: usize) -> Result<(), Error> {
        match self {
            Rps::Off => Ok(()),
            Rps::Cpus(cpus) => rps::set(interface, cpus),
            Rps::Auto => {
                let cpus = spare(&allowed(), threads);
                if !cpus.is_empty()
                    && let Err(error) = rps::set(interface, &cpus)
                {
                    tracing::debug!("{error}");
                }
                Ok(())
            }
        }
    }
}

/// The refusal as one line.
pub(crate) fn refused(error: Error) -> Failure {
    Failure::Failed(format!("--rps: {error}"))
}

/// The processors that this program may run on.
fn allowed() -> Vec<usize> {
    let Ok(set) = sched_getaffinity(Pid::from_raw(0)) else {
        return Vec::new();
    };
    let is_set = |cpu: &usize| set.is_set(*cpu).unwrap_or(false);
    (0..CpuSet::count()).filter(is_set).collect()
}

/// All but as many as there are threads. The last ones are theirs: interrupts of network cards mostly
/// come to the first.
fn spare(allowed: &[usize], threads: usize) -> Vec<usize> {
    allowed[..allowed.len().saturating_sub(threads)].to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors_are_listed_by_number_and_range() {
        assert_eq!("auto".parse(), Ok(Rps::Auto));
        assert_eq!("off".parse(), Ok(Rps::Off));
        assert_eq!("0".parse(), Ok(Rps::Cpus(vec![0])));
        assert_eq!("6,0-3,2".parse(), Ok(Rps::Cpus(vec![0, 1, 2, 3, 6])));
        for wrong in ["", "on", "3-1", "1,", "-1", "1-", "99999"] {
            assert!(wrong.parse::<Rps>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn threads_keep_processors_for_themselves() {
        assert_eq!(spare(&[0, 1, 2, 3], 1), [0, 1, 2]);
        assert_eq!(spare(&[4, 5], 1), [4]);
        assert!(spare(&[0, 1], 2).is_empty());
        assert!(spare(&[7], 1).is_empty());
        assert!(spare(&[0, 1], 64).is_empty());
    }
}
