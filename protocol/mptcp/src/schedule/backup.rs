//! One path at a time: handover.

use super::view::srtt;
use super::{Candidate, Decision, Purpose, Scheduler, Thresholds, View};
use crate::config::SubflowId;
use anabranch_tcp::Instant;
use std::time::Duration;

/// How often it is asked how those do that are not in use.
const INQUIRY: Duration = Duration::from_secs(1);
/// Bytes over which a share of losses is counted.
const SPAN: u64 = 100_000;

/// All data goes to one subflow, the most preferred that is good; another takes over when it is
/// suspected, ends, or passes a threshold, and gives back when it has been good again for a while.
#[derive(Clone, Default, Debug)]
pub struct Backup {
    thresholds: Thresholds,
    current: Option<SubflowId>,
    /// Another than the most preferred of those there are is in use.
    away: bool,
    paths: Vec<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    id: SubflowId,
    /// Since when it has been usable and below all thresholds.
    good_since: Option<Instant>,
    /// Bytes sent and sent again when the span began, and losses of the last, percent.
    span: (u64, u64),
    loss: u64,
}

impl Backup {
    /// With these thresholds.
    pub fn new(thresholds: Thresholds) -> Backup {
        Backup {
            thresholds,
            ..Backup::default()
        }
    }

    /// The less, the more preferred.
    fn rank(&self, c: &Candidate) -> (usize, bool) {
        let ends = [c.path.local.ip(), c.path.remote.ip()];
        let at = self
            .thresholds
            .prefer
            .iter()
            .position(|addr| ends.contains(addr));
        (at.unwrap_or(usize::MAX), c.backup)
    }

    /// Look at everyone; who is not there is not good.
    fn observe(&mut self, view: &View<'_>) {
        self.paths.retain(|known| view.get(known.id).is_some());
        for c in view.candidates {
            let at = match self.paths.iter().position(|known| known.id == c.id) {
                Some(at) => at,
                None => {
                    self.paths.push(State {
                        id: c.id,
                        good_since: None,
                        span: (c.sent, c.lost),
                        loss: 0,
                    });
                    self.paths.len() - 1
                }
            };
            let state = &mut self.paths[at];
            let (sent, lost) = (c.sent - state.span.0, c.lost - state.span.1);
            if sent >= SPAN {
                state.loss = 100 * lost / sent;
                state.span = (c.sent, c.lost);
            }
            let limits = &self.thresholds;
            let slow = c.srtt.is_some_and(|srtt| srtt >= limits.srtt) || c.rto >= limits.rto;
            if slow || state.loss >= u64::from(limits.loss.max(1)) {
                state.good_since = None;
            } else {
                state.good_since.get_or_insert(view.now);
            }
        }
    }

    fn good_since(&self, id: SubflowId) -> Option<Instant> {
        self.paths.iter().find(|known| known.id == id)?.good_since
    }

    /// Who is to have what another may not deliver.
    fn again(&self, view: &View<'_>) -> Decision {
        let key = |c: &&Candidate| (self.good_since(c.id).is_none(), self.rank(c), srtt(c));
        match view.with_room().min_by_key(key) {
            Some(c) => Decision::Send(c.id, "the path in use may not deliver it"),
            None => Decision::Wait("no other path has room"),
        }
    }

    /// Who is to have the data.
    fn choose<'a>(&self, view: &View<'a>) -> Option<(&'a Candidate, super::Why)> {
        let good = |c: &&Candidate| self.good_since(c.id).is_some();
        let current = self.current.and_then(|id| view.get(id));
        let best = view
            .candidates
            .iter()
            .filter(good)
            .min_by_key(|c| (self.rank(c), srtt(c)));
        let (Some(current), Some(best)) = (current, best) else {
            let any = view
                .candidates
                .iter()
                .min_by_key(|c| (srtt(c), self.rank(c)))?;
            return Some(best.map_or((any, "no path is good"), |best| {
                (best, "the most preferred good path")
            }));
        };
        if self.good_since(current.id).is_none() {
            return Some((best, "the path in use passed a threshold"));
        }
        let since = self.good_since(best.id).unwrap_or(view.now);
        let better = self.rank(best) < self.rank(current);
        if better && view.now.since(since) >= self.thresholds.back_after {
            return Some((best, "a path more preferred has been good for long enough"));
        }
        Some((current, "the path in use"))
    }
}

impl Scheduler for Backup {
    fn name(&self) -> &'static str {
        "backup"
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        if view.purpose != Purpose::New {
            // Who has it is not shown: that says nothing of the path in use.
            return self.again(view);
        }
        self.observe(view);
        let Some((chosen, why)) = self.choose(view) else {
            return Decision::Wait("no path");
        };
        self.current = Some(chosen.id);
        let rank = self.rank(chosen);
        self.away = view.candidates.iter().any(|c| self.rank(c) < rank);
        match chosen.room {
            0 => Decision::Wait("the path in use has no room"),
            _ => Decision::Send(chosen.id, why),
        }
    }

    fn inquires(&self) -> Option<Duration> {
        self.away.then_some(INQUIRY)
    }

    fn handles_backups(&self) -> bool {
        true
    }
}
