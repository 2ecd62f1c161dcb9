//! A subflow from each address of ours to each of the peer's.

use super::{Join, free_pairs};
use crate::Connection;

/// The pair that has none, of the address of ours that is used least.
pub(super) fn wanted(c: &Connection) -> Option<Join> {
    let least = free_pairs(c).min_by_key(|(from, _)| c.count_from(from.addr.ip()));
    least.map(|(from, to)| Join::new(from, to))
}
