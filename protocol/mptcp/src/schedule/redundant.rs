//! Everything on every path.

use super::{Copy, Decision, Scheduler, View};
use crate::config::SubflowId;
use smallvec::SmallVec;

/// Every byte on every subflow, as far as windows allow: the connection is as fast as its fastest
/// subflow, and what one loses another has. A subflow that lags behind skips what arrived.
#[derive(Clone, Default, Debug)]
pub struct Redundant {
    /// Up to where each subflow has everything that it is to have.
    cursors: SmallVec<[(SubflowId, u64); 4]>,
}

impl Redundant {
    fn cursor(&mut self, id: SubflowId) -> &mut u64 {
        let at = match self.cursors.iter().position(|(known, _)| *known == id) {
            Some(at) => at,
            None => {
                self.cursors.push((id, 0));
                self.cursors.len() - 1
            }
        };
        &mut self.cursors[at].1
    }

    /// The oldest run that a subflow has not had and nobody delivered.
    fn missing(&mut self, id: SubflowId, view: &View<'_>) -> Option<u64> {
        let cursor = self.cursor(id);
        while let Some(run) = view.runs.after(*cursor) {
            if !run.holders.is_empty() && !run.holders.contains(&id) {
                return Some(run.end);
            }
            *cursor = run.end;
        }
        None
    }
}

impl Scheduler for Redundant {
    fn name(&self) -> &'static str {
        "redundant"
    }

    fn copies(&self) -> bool {
        true
    }

    fn copy(&mut self, view: &View<'_>) -> Option<Copy> {
        self.cursors.retain(|(id, _)| view.get(*id).is_some());
        let copy = view.with_room().find_map(|c| {
            let run = self.missing(c.id, view)?;
            Some(Copy {
                run,
                to: c.id,
                why: "everything on every path",
            })
        })?;
        *self.cursor(copy.to) = copy.run;
        Some(copy)
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        // Whoever has room has everything so far.
        match view.fastest_with_room() {
            Some(best) => Decision::Send(best.id, "first of all paths that take it"),
            None => Decision::Wait("no path has room"),
        }
    }
}
