//! Earliest arrival, and a bounded share of redundancy where it helps most.

use super::settings::{pairs, percent};
use super::view::{RunView, time};
use super::{Candidate, Copy, Decision, Purpose, Scheduler, View};
use crate::config::SubflowId;
use anabranch_tcp::Instant;
use std::time::Duration;

/// What a run is taken for where more than that waits.
const RUN: u64 = 64 << 10;
/// Something is not late before so long.
const PATIENCE: Duration = Duration::from_millis(5);

/// Each run goes where it is expected to arrive first: what is queued there at the path's rate, half
/// a round trip, its variation, and what losses cost on average. A path that is full is waited for
/// if it will be through with everything earlier than the others with this run, or if a run on a
/// slower one would use up the peer's window.
///
/// Some bytes are sent twice, at most `budget` percent of those sent once: what is overdue, then the
/// end of a burst, last run first, as soon as nothing else waits. A small message is such a burst.
#[derive(Clone, Debug)]
pub struct Adaptive {
    budget: u8,
    copied: u64,
    wake: Option<Instant>,
}

impl Default for Adaptive {
    fn default() -> Adaptive {
        Adaptive::new(Adaptive::BUDGET)
    }
}

impl Adaptive {
    /// Percent of bytes sent twice at most, unless set otherwise.
    pub const BUDGET: u8 = 5;

    /// With so many percent of bytes sent twice at most.
    pub fn new(budget: u8) -> Adaptive {
        Adaptive {
            budget,
            copied: 0,
            wake: None,
        }
    }

    /// `budget=5%`.
    pub(super) fn parse(text: &str) -> Result<u8, String> {
        let mut budget = Adaptive::BUDGET;
        for pair in pairs(text) {
            match pair? {
                ("budget", value) => budget = percent(value)?,
                (name, _) => return Err(format!("{name}: expected budget")),
            }
        }
        Ok(budget)
    }

    /// Whether a copy of so many bytes stays within the budget.
    fn affords(&self, view: &View<'_>, bytes: u64) -> bool {
        let spent = u128::from(self.copied + bytes) * 100;
        spent <= u128::from(view.assigned) * u128::from(self.budget)
    }

    /// The oldest run, if it should have arrived by now; else when that will be.
    fn overdue<'a>(&self, view: &View<'a>) -> Result<Option<RunView<'a>>, Instant> {
        let Some(run) = view.runs.after(0).filter(RunView::is_single) else {
            return Ok(None);
        };
        let holder = run.holders.first().and_then(|id| view.get(*id));
        let Some((holder, srtt)) = holder.and_then(|c| Some((c, c.srtt?))) else {
            return Ok(None);
        };
        let wait = srtt + (4 * holder.rttvar).max(PATIENCE);
        let due = run.at + wait;
        if view.now < due {
            Err(due)
        } else {
            Ok(Some(run))
        }
    }

    /// The last run that was sent once, if nothing waits to be sent.
    fn tail<'a>(&self, view: &View<'a>) -> Option<RunView<'a>> {
        if view.queued > 0 {
            return None;
        }
        let mut run = view.runs.before(u64::MAX)?;
        while !run.is_single() && self.affords(view, run.bytes()) {
            run = view.runs.before(run.end)?;
        }
        run.is_single().then_some(run)
    }

    fn copy_of(&self, view: &View<'_>, run: &RunView<'_>, why: super::Why) -> Option<Copy> {
        if !self.affords(view, run.bytes()) {
            return None;
        }
        let free = view.with_room().filter(|c| !run.holders.contains(&c.id));
        let to = free.min_by_key(|c| cost(c, run.bytes()))?;
        Some(Copy {
            run: run.end,
            to: to.id,
            why,
        })
    }
}

/// When so many bytes are expected to have arrived.
fn cost(c: &Candidate, bytes: u64) -> Duration {
    let Some(arrival) = c.arrival(bytes) else {
        return Duration::MAX;
    };
    let srtt = c.srtt.unwrap_or_default();
    // What is lost arrives a round trip and a half later.
    let per_mille = (1000 * c.lost).checked_div(c.sent).unwrap_or(0).min(1000) as u32;
    arrival + c.rttvar + srtt * 3 / 2 * per_mille / 1000
}

/// When everything that is queued would have arrived by this one alone.
fn all(c: &Candidate, queued: u64) -> Duration {
    let (Some(rate), Some(srtt)) = (c.rate, c.srtt) else {
        return Duration::MAX;
    };
    let ahead = (c.queued + queued).saturating_sub(c.cwnd);
    time(ahead.max(queued), rate) + srtt / 2
}

impl Scheduler for Adaptive {
    fn name(&self) -> &'static str {
        "adaptive"
    }

    fn copies(&self) -> bool {
        true
    }

    fn copy(&mut self, view: &View<'_>) -> Option<Copy> {
        self.wake = None;
        if !self.affords(view, 1) {
            return None;
        }
        match self.overdue(view) {
            Ok(Some(run)) => {
                if let Some(copy) = self.copy_of(view, &run, "it is overdue") {
                    return Some(copy);
                }
            }
            Ok(None) => {}
            Err(due) => self.wake = Some(due),
        }
        let run = self.tail(view)?;
        self.copy_of(view, &run, "the end of a burst")
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        let bytes = view.queued.min(RUN);
        let first = view.candidates.iter().min_by_key(|c| cost(c, bytes));
        let able = view.with_room().min_by_key(|c| cost(c, bytes));
        let (Some(first), Some(able)) = (first, able) else {
            return Decision::Wait("no path has room");
        };
        if view.purpose == Purpose::Again {
            return Decision::Send(able.id, "earliest arrival");
        }
        if view.fastest().is_some_and(|it| view.would_block(it, able)) {
            return Decision::Wait("a slower path would use up the window");
        }
        if first.id == able.id {
            return Decision::Send(able.id, "earliest arrival");
        }
        if cost(able, bytes) > all(first, view.queued) {
            return Decision::Wait("a path that is full will be through with everything earlier");
        }
        Decision::Send(able.id, "earliest arrival of the paths with room")
    }

    fn sent(&mut self, _: Instant, _: SubflowId, bytes: u64, purpose: Purpose) {
        if purpose == Purpose::Copy {
            self.copied += bytes;
        }
    }

    fn wake(&self) -> Option<Instant> {
        self.wake
    }
}
