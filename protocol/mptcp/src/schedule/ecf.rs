//! ECF: earliest completion first.
//!
//! Lim, Nahum, Towsley, Gibbens: "ECF: An MPTCP path scheduler to manage heterogeneous paths",
//! CoNEXT 2017.

use super::view::srtt;
use super::{Candidate, Decision, Purpose, Scheduler, View};
use std::time::Duration;

/// How much longer waiting must seem before it ends than before it began.
const BETA: f64 = 0.25;

/// The fastest subflow first. When it is full, it is waited for if it would be through with all
/// that is queued before a slower one could deliver a part of it.
#[derive(Clone, Copy, Default, Debug)]
pub struct Ecf {
    waiting: bool,
}

impl Ecf {
    fn waits(&mut self, view: &View<'_>, fast: &Candidate, slow: &Candidate) -> bool {
        let seconds = |time: Option<Duration>| time.unwrap_or_default().as_secs_f64();
        let (rtt_f, rtt_s) = (seconds(fast.srtt), seconds(slow.srtt));
        let delta = fast.rttvar.max(slow.rttvar).as_secs_f64();
        let queued = view.queued as f64;
        let windows = |c: &Candidate| queued / c.cwnd.max(1) as f64;
        let bias = if self.waiting { 1.0 + BETA } else { 1.0 };
        if (1.0 + windows(fast)) * rtt_f >= bias * (rtt_s + delta) {
            self.waiting = false;
            return false;
        }
        let slow_through = windows(slow).max(1.0) * rtt_s;
        let waits = slow_through >= 2.0 * rtt_f + delta;
        self.waiting |= waits;
        waits
    }
}

impl Scheduler for Ecf {
    fn name(&self) -> &'static str {
        "ecf"
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        let (Some(fast), Some(slow)) = (view.fastest(), view.fastest_with_room()) else {
            return Decision::Wait("no path has room");
        };
        if srtt(fast) >= srtt(slow) {
            return Decision::Send(slow.id, "lowest round-trip time with room");
        }
        if view.purpose == Purpose::New && view.would_block(fast, slow) {
            return Decision::Wait("a slower path would use up the window");
        }
        if self.waits(view, fast, slow) {
            Decision::Wait("the fastest path will be through earlier")
        } else {
            Decision::Send(slow.id, "a slower path is through earlier")
        }
    }
}
