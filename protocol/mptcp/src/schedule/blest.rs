//! BLEST: do not let a slow path block the send window.
//!
//! Ferlin, Alay, Mehani, Boreli: "BLEST: Blocking estimation-based MPTCP scheduler for
//! heterogeneous networks", IFIP Networking 2016.

use super::view::srtt;
use super::{Candidate, Decision, Scheduler, View};
use anabranch_tcp::Instant;

/// Step of the correction, and its bounds, in thousandths.
const DELTA: u64 = 10;
const LAMBDA: std::ops::RangeInclusive<u64> = 1000..=1300;

/// The fastest subflow first. When it is full, a slower one takes a run only if what the fastest
/// could send in the slower one's round trip still fits the peer's window beside it; otherwise the
/// window would be used up by what the slow one has, and the fast one would stand still.
#[derive(Clone, Copy, Debug)]
pub struct Blest {
    /// By how much the estimate is corrected, thousandths.
    lambda: u64,
    /// Times the window had held everything up when the correction was last looked at, and when.
    blocked: u64,
    looked: Instant,
}

impl Default for Blest {
    fn default() -> Blest {
        Blest {
            lambda: *LAMBDA.start(),
            blocked: 0,
            looked: Instant::default(),
        }
    }
}

impl Blest {
    /// Once a round trip of the slow one: up if the window blocked, else down.
    fn correct(&mut self, view: &View<'_>, slow: &Candidate) {
        if view.now.since(self.looked) < slow.srtt.unwrap_or_default() {
            return;
        }
        let next = match view.blocked > self.blocked {
            true => self.lambda + DELTA,
            false => self.lambda - DELTA.min(self.lambda),
        };
        self.lambda = next.clamp(*LAMBDA.start(), *LAMBDA.end());
        (self.blocked, self.looked) = (view.blocked, view.now);
    }

    fn would_block(&self, view: &View<'_>, fast: &Candidate, slow: &Candidate) -> bool {
        let (Some(f), Some(s)) = (fast.srtt, slow.srtt) else {
            return false;
        };
        // What the fast one sends meanwhile, its window growing by a segment a round trip.
        let rounds = (s.as_nanos() as f64 / f.as_nanos().max(1) as f64).max(1.0);
        let mss = f64::from(fast.mss);
        let window = fast.cwnd as f64 / mss;
        let meanwhile = mss * (window + (rounds - 1.0) / 2.0) * rounds;
        let slow_has = slow.queued + u64::from(slow.mss);
        let left = (view.window + view.unacked).saturating_sub(slow_has);
        meanwhile * self.lambda as f64 / 1000.0 > left as f64
    }
}

impl Scheduler for Blest {
    fn name(&self) -> &'static str {
        "blest"
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        let (Some(fast), Some(slow)) = (view.fastest(), view.fastest_with_room()) else {
            return Decision::Wait("no path has room");
        };
        if srtt(fast) >= srtt(slow) {
            return Decision::Send(slow.id, "lowest round-trip time with room");
        }
        self.correct(view, slow);
        if self.would_block(view, fast, slow) {
            Decision::Wait("a slower path would block the window for the fastest")
        } else {
            Decision::Send(slow.id, "the window has room for a slower path")
        }
    }
}
