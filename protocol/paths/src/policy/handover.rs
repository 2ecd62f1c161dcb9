//! One subflow is used, the others stand by as backups: for devices whose links differ in cost.
//!
//! The one in use is the one that is no backup. It is left when it does badly and another does
//! not, and for a better-ranked one that has done well for [`crate::Policy::failback`].

use super::{Join, free_pairs};
use crate::connection::Subflow;
use crate::{Connection, Ends, Handover, Time};

/// How good a subflow's address is: the lesser, the better.
fn rank(c: &Connection, subflow: &Subflow) -> (bool, u8, usize) {
    let ip = subflow.ends.local.ip();
    let place = c.sources().position(|s| s.addr.ip() == ip);
    let source = c.source(ip);
    let backup = source.is_none_or(|s| s.backup);
    let rank = source.map_or(u8::MAX, |s| s.rank);
    (backup, rank, place.unwrap_or(usize::MAX))
}

fn ours(c: &Connection) -> impl Iterator<Item = &Subflow> {
    c.subflow_list().iter().filter(|s| s.is_up() && s.ours)
}

/// The subflow that should be in use.
fn active(c: &Connection, now: Time) -> Option<&Subflow> {
    let failback = c.policy().failback;
    let current = ours(c).filter(|s| !s.backup).min_by_key(|s| rank(c, s));
    let best = ours(c).filter(|s| s.good).min_by_key(|s| rank(c, s));
    match (current, best) {
        (Some(current), Some(best)) if current.good => {
            let better = rank(c, best) < rank(c, current);
            let ripe = best.has_been_good(now, failback);
            Some(if better && ripe { best } else { current })
        }
        (_, Some(best)) => Some(best),
        (current, None) => current.or_else(|| ours(c).min_by_key(|s| rank(c, s))),
    }
}

pub(super) fn backup(c: &Connection, now: Time, subflow: &Subflow) -> bool {
    active(c, now).is_some_and(|active| active.ends != subflow.ends)
}

/// One from each address that has none; without standing by, only while none does well.
pub(super) fn wanted(c: &Connection, now: Time, handover: Handover) -> Option<Join> {
    let current = active(c, now);
    let well = current.is_some_and(|s| s.good);
    // A better one than that in use is gone back to, once it is there and does well.
    let better = |s: &crate::Source| {
        let place = c.sources().position(|known| known.addr == s.addr);
        let there = (s.backup, s.rank, place.unwrap_or(usize::MAX));
        current.is_none_or(|active| there < rank(c, active))
    };
    let idle = free_pairs(c).filter(|(from, _)| c.count_from(from.addr.ip()) == 0);
    let mut due = idle.filter(|(from, _)| handover.warm || !well || better(from));
    let (from, to) = due.next()?;
    let backup = current.is_some();
    Some(Join { from, to, backup })
}

/// Without standing by, a worse subflow than the one in use is closed when that has done well for
/// long enough.
pub(super) fn unwanted(c: &Connection, now: Time, handover: Handover) -> Option<Ends> {
    let current = active(c, now).filter(|_| !handover.warm)?;
    if !current.has_been_good(now, c.policy().failback) {
        return None;
    }
    let worse = |s: &&Subflow| s.ends != current.ends && rank(c, s) > rank(c, current);
    ours(c).find(worse).map(|s| s.ends)
}
