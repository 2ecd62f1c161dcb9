//! Lowest round-trip time first.

use super::{Scheduler, View};
use std::time::Duration;

/// The subflow with the lowest smoothed round-trip time that has room; one that was not measured
/// yet comes last.
#[derive(Clone, Copy, Debug)]
pub struct MinRtt;

impl Scheduler for MinRtt {
    fn pick(&mut self, view: &View<'_>) -> Option<usize> {
        let with_room = view
            .candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| c.room > 0);
        with_room
            .min_by_key(|(_, c)| c.srtt.unwrap_or(Duration::MAX))
            .map(|(i, _)| i)
    }

    fn name(&self) -> &'static str {
        "minrtt"
    }
}
