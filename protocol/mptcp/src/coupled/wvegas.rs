//! wVegas: weighted Vegas, by delay.
//!
//! Cao, Xu, Fu: "Delay-based congestion control for multipath TCP", ICNP 2012; constants as in the
//! authors' implementation for Linux.

use super::{Coupling, Figures};
use crate::config::SubflowId;
use anabranch_tcp::congestion::Steer;
use smallvec::SmallVec;

/// Segments that all subflows together keep in queues.
const TOTAL: f64 = 10.0;
/// Each keeps at least so many, and so many before its share is known.
const LEAST: f64 = 2.0;
/// With more than so many queued, slow start ends.
const GAMMA: f64 = 1.0;

/// Each subflow keeps a few segments in the queues of its path, in proportion to its share of the
/// rate, and so moves away from where queues grow before anything is lost. It decides once a round
/// trip. Where the queueing delay has become twice the least since, it lets the queue run empty, so
/// that all who share it see how short the round trip is.
#[derive(Clone, Default, Debug)]
pub struct Wvegas {
    known: SmallVec<[Known; 2]>,
}

/// A subflow, from one round to the next.
#[derive(Clone, Copy, Debug)]
struct Known {
    id: SubflowId,
    /// The round is over when this position is acknowledged.
    end: u64,
    /// Segments to be kept in queues.
    wanted: f64,
    /// Segments a second when so many were queued last.
    rate: f64,
    /// Least queueing delay since the queue was emptied, seconds.
    least_delay: Option<f64>,
    /// What the window grows by in this round.
    gain: f64,
}

impl Known {
    fn new(id: SubflowId) -> Known {
        Known {
            id,
            end: 0,
            wanted: LEAST,
            rate: 0.0,
            least_delay: None,
            gain: 1.0,
        }
    }

    /// The queueing delay of a round; whether the queue is to be emptied.
    fn delayed(&mut self, delay: f64) -> bool {
        let least = self.least_delay.map_or(delay, |least| least.min(delay));
        let empties = delay >= 2.0 * least && least > 0.0;
        self.least_delay = (!empties && least > 0.0).then_some(least);
        empties
    }
}

impl Wvegas {
    fn index(&mut self, id: SubflowId) -> usize {
        let at = self.known.iter().position(|known| known.id == id);
        at.unwrap_or_else(|| {
            self.known.push(Known::new(id));
            self.known.len() - 1
        })
    }

    /// A round of this subflow is over.
    fn round(&mut self, at: usize, path: &Figures, steer: &mut Steer) {
        let delay = path.rtt - path.base_rtt;
        let queued = path.window * delay / path.rtt;
        if path.slow_start {
            steer.end_slow_start = queued > GAMMA;
            return;
        }
        if queued >= self.known[at].wanted {
            self.known[at].rate = path.rate();
            let sum: f64 = self.known.iter().map(|known| known.rate).sum();
            self.known[at].wanted = (TOTAL * path.rate() / sum).max(LEAST);
        }
        let known = &mut self.known[at];
        // Whole segments, as windows are.
        let over = queued.floor() - known.wanted.floor();
        known.gain = if over == 0.0 { 0.0 } else { -over.signum() };
        if known.delayed(delay) {
            steer.now = path.base_rtt / (2.0 * path.rtt);
        }
    }
}

impl Coupling for Wvegas {
    fn weigh(&mut self, paths: &[Figures], steers: &mut [Steer]) {
        self.known
            .retain(|known| paths.iter().any(|path| path.id == known.id));
        for (path, steer) in paths.iter().zip(steers) {
            let at = self.index(path.id);
            if path.acked >= self.known[at].end {
                self.known[at].end = path.sent + 1;
                self.round(at, path, steer);
            }
            steer.gain = self.known[at].gain;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::path;
    use super::*;

    fn queueing(window: f64, base_rtt: f64) -> Figures {
        Figures {
            base_rtt,
            ..path(window, 0.1)
        }
    }

    /// The steps of two paths in one round.
    fn weigh(wvegas: &mut Wvegas, paths: [Figures; 2], round: u64) -> [Steer; 2] {
        let mut steers = [Steer::default(); 2];
        let mut n = 0;
        let numbered = paths.map(|path| {
            n += 1;
            Figures {
                id: SubflowId(n),
                acked: round,
                sent: round,
                ..path
            }
        });
        wvegas.weigh(&numbered, &mut steers);
        steers
    }

    #[test]
    fn windows_grow_until_queues_do() {
        let mut wvegas = Wvegas::default();
        let steers = weigh(&mut wvegas, [path(40.0, 0.1), queueing(40.0, 0.05)], 1);
        assert_eq!((steers[0].gain, steers[1].gain), (1.0, -1.0));
    }

    #[test]
    fn ten_segments_in_queues_are_shared_by_rate() {
        let mut wvegas = Wvegas::default();
        for round in 1..3 {
            weigh(
                &mut wvegas,
                [queueing(60.0, 0.05), queueing(20.0, 0.05)],
                round,
            );
        }
        let wanted: Vec<f64> = wvegas.known.iter().map(|known| known.wanted).collect();
        assert_eq!(wanted, [7.5, 2.5]);
    }

    #[test]
    fn a_queue_that_has_doubled_is_emptied_once() {
        let mut wvegas = Wvegas::default();
        let mut now = |base, round| {
            let paths = [queueing(40.0, base), path(40.0, 0.1)];
            weigh(&mut wvegas, paths, round)[0].now
        };
        assert_eq!(now(0.09, 1), 1.0);
        let left = now(0.07, 2);
        assert!((left - 0.35).abs() < 1e-9, "half of what the path holds");
        assert_eq!(now(0.07, 3), 1.0);
    }
}
