//! One after the other.

use super::{Decision, Scheduler, View};
use crate::config::SubflowId;

/// Subflows take runs in turn; one without room is passed over.
#[derive(Clone, Copy, Default, Debug)]
pub struct RoundRobin {
    /// Who had the last turn.
    last: Option<SubflowId>,
}

impl Scheduler for RoundRobin {
    fn name(&self) -> &'static str {
        "roundrobin"
    }

    fn pick(&mut self, view: &View<'_>) -> Decision {
        // IDs grow with the age of subflows, so the next one is the next larger.
        let later = |id: SubflowId| self.last.is_none_or(|last| id > last);
        let next = view.with_room().find(|c| later(c.id));
        match next.or_else(|| view.with_room().next()) {
            Some(next) => {
                self.last = Some(next.id);
                Decision::Send(next.id, "its turn")
            }
            None => Decision::Wait("no path has room"),
        }
    }
}
