//! Further subflows of all connections with one peer together.

use std::collections::BTreeMap;
use std::net::IpAddr;

/// So many of each peer that has any.
#[derive(Default)]
pub(crate) struct Peers {
    counts: BTreeMap<IpAddr, usize>,
}

impl Peers {
    pub(super) fn of(&self, peer: IpAddr) -> usize {
        self.counts.get(&peer).copied().unwrap_or(0)
    }

    /// A connection with `peer` has `after` of them in place of `before`.
    pub(super) fn change(&mut self, peer: IpAddr, before: usize, after: usize) {
        if before == after {
            return;
        }
        let count = self.counts.entry(peer).or_insert(0);
        *count = (*count + after).saturating_sub(before);
        if *count == 0 {
            self.counts.remove(&peer);
        }
    }
}
