//! Windows that promise more than the peer can hold.
//!
//! Linux counts what is out of order with all that its buffers cost, more than twice the payload in
//! packets of 1500 bytes, and once that exceeds the receive buffer, it takes from no subflow any
//! more, not even what would close the gap: the connection hangs for good. Until it has seen enough
//! to know better, and made the buffer larger, its window promises more than it can hold.
//!
//! What a subflow brings after its own bytes is in order, or waits in its TCP, which can drop it. So
//! only what one subflow brings beyond a gap that another leaves is counted here: a window that has
//! not grown may be used as a whole, but not so that more than a part of it would be beyond a gap
//! if one subflow stood still.

use super::{Run, SendQueue};
use crate::config::SubflowId;
use smallvec::SmallVec;
use std::ops::RangeInclusive;

/// What Linux offers for its first buffer and for one as large again. Windows of a few segments are
/// needed as a whole.
const UNGROWN: RangeInclusive<u64> = 16 << 10..=128 << 10;

impl SendQueue {
    /// Bytes of the peer's window that this subflow may use now.
    pub(crate) fn window_of(&self, id: SubflowId) -> u64 {
        let offered = self.edge.saturating_sub(self.una());
        let window = self.window();
        if !(self.spread && UNGROWN.contains(&offered)) {
            return window;
        }
        let beyond = self.others(id).into_iter().map(|it| self.beyond(it, id));
        let most = beyond.max().unwrap_or(0);
        window.min((offered * 3 / 4).saturating_sub(most))
    }

    /// The other subflows that have something to deliver.
    fn others(&self, id: SubflowId) -> SmallVec<[SubflowId; 4]> {
        let mut others = SmallVec::new();
        for holder in self.runs.iter().flat_map(|run| &run.holders) {
            if *holder != id && !others.contains(holder) {
                others.push(*holder);
            }
        }
        others
    }

    /// Bytes that wait at the peer beyond a gap if `still` stands still, and `id` does not.
    fn beyond(&self, still: SubflowId, id: SubflowId) -> u64 {
        let stuck = |run: &Run| run.held_by(still) && !run.held_by(id);
        let Some(gap) = self.runs.iter().position(stuck) else {
            return 0;
        };
        let rest = self.runs.range(gap + 1..).filter(|run| !stuck(run));
        rest.map(Run::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Fit;
    use super::*;
    use anabranch_tcp::Instant;
    use anabranch_tcp::autotune::SendSize;
    use anabranch_tcp::budget::Budget;
    use bytes::Bytes;

    const EDGE: u64 = 64 << 10;

    /// What may be sent at once of plenty, to a peer that offers 64 KB, by these subflows in turn.
    fn sent(by: &[u32]) -> u64 {
        let mut queue = SendQueue::new(SendSize::new(1 << 20, 1 << 20), Budget::new(1 << 20));
        queue.push(Bytes::from(vec![0; 512 << 10]));
        queue.allow(0, EDGE);
        queue.spread = by.len() > 1;
        for id in by.iter().cycle().map(|id| SubflowId(*id)) {
            let fit = Fit {
                room: 1 << 20,
                window: queue.window_of(id),
                mss: 1000,
                max: 8000,
                least: 0,
                nagle: true,
                cork: false,
            };
            let Some(len) = queue.fit(&fit) else { break };
            queue.assign(Instant(0), len, (id, 1000), false);
        }
        queue.next()
    }

    fn is_about(bytes: u64, wanted: u64) -> bool {
        bytes <= wanted && bytes > wanted - 1000
    }

    #[test]
    fn one_subflow_fills_it() {
        assert!(is_about(sent(&[0]), EDGE));
    }

    #[test]
    fn two_fill_it_where_each_has_half() {
        assert!(is_about(sent(&[0, 1]), EDGE));
    }

    #[test]
    fn little_of_it_is_left_beyond_a_gap() {
        let mostly_one = [&[0][..], &[1; 15]].concat();
        let beyond = sent(&mostly_one) - 8000;
        assert!(is_about(beyond, EDGE * 3 / 4), "{beyond}");
    }
}
