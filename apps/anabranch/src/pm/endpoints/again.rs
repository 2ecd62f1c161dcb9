//! When an endpoint is added again. The kernel opens a subflow from an endpoint once, when the
//! endpoint is added or the connection made; a connection that loses it stays without. Only all
//! connections together can be given another, and what the others have ends meanwhile: nobody's
//! trouble may be everybody's.
//!
//! What fails a join most is our own REMOVE_ADDR: it goes over another path than the join that follows,
//! and a peer that hears of it after the join closes the new subflow with the old (RFC 8684 §3.4.2
//! knows no order between them). So an address that went stays away a moment.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// How long an endpoint that was removed stays so: longer than a REMOVE_ADDR is on its way.
const AWAY: Duration = Duration::from_millis(500);
/// A subflow that ends sooner after its endpoint was added is a join that failed.
const YOUNG: Duration = Duration::from_secs(5);
/// When joins that failed are looked at, after the first of them: others may follow, and
/// connections that were about to end are gone by then. Doubled each time.
const LOOK: Duration = Duration::from_secs(1);
/// Times an endpoint is added again before its connections are left as they are.
const MOST: u32 = 3;
/// After that long an endpoint has done what it is for, and may be added again as often as before.
const PROVEN: Duration = Duration::from_secs(60);

/// What is known of an address that has, or had, an endpoint of ours.
#[derive(Default, Debug)]
struct Known {
    added: Option<Instant>,
    removed: Option<Instant>,
    /// How often it was added again since the host last had it come or go.
    times: u32,
    /// What ended, and when to look at it.
    ended: Ended,
    look: Option<Instant>,
}

/// Subflows from an address that have ended.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct Ended {
    /// Their connections.
    pub(super) tokens: BTreeSet<u32>,
    /// One of them was a join that failed: those of other connections are as young.
    pub(super) young: bool,
}

impl Ended {
    /// Whether `lacking` connections, that have no subflow from the address any more, are worth ending
    /// those of `having` others for a moment: joins that failed, to as many at least; a subflow that
    /// had lived, if there are none.
    pub(super) fn is_worth_it(&self, lacking: usize, having: usize) -> bool {
        lacking > 0 && (having == 0 || self.young && lacking >= having)
    }
}

/// Of all addresses.
#[derive(Default, Debug)]
pub(super) struct Again(BTreeMap<IpAddr, Known>);

impl Again {
    /// An endpoint was added.
    pub(super) fn added(&mut self, address: IpAddr, now: Instant) {
        let known = self.0.entry(address).or_default();
        known.added = Some(now);
        known.removed = None;
    }

    /// It was removed, because it is not wanted any more.
    pub(super) fn removed(&mut self, address: IpAddr, now: Instant) {
        let removed = Some(now);
        let known = Known {
            removed,
            ..Known::default()
        };
        self.0.insert(address, known);
    }

    /// It was removed so that it can be added again.
    pub(super) fn taken(&mut self, address: IpAddr, now: Instant) {
        let times = self.0.get(&address).map_or(0, |known| known.times) + 1;
        self.removed(address, now);
        self.0.entry(address).or_default().times = times;
    }

    /// It must not be added yet.
    pub(super) fn is_away(&self, address: IpAddr, now: Instant) -> bool {
        let known = self.0.get(&address);
        known.is_some_and(|known| known.back().is_some_and(|at| now < at))
    }

    /// A connection's subflow from it has ended. Whether that will be looked at.
    pub(super) fn ended(&mut self, address: IpAddr, token: u32, now: Instant) -> bool {
        let Some(known) = self.0.get_mut(&address) else {
            return false;
        };
        let Some(added) = known.added else {
            return false;
        };
        if now >= added + PROVEN {
            known.times = 0;
        }
        if known.times >= MOST {
            return false;
        }
        known.ended.tokens.insert(token);
        known.ended.young |= now < added + YOUNG;
        known.look.get_or_insert(now + LOOK * (1 << known.times));
        true
    }

    /// A connection is no more: its subflows ended with it, and nobody lacks them.
    pub(super) fn closed(&mut self, token: u32) {
        for known in self.0.values_mut() {
            if known.ended.tokens.remove(&token) && known.ended.tokens.is_empty() {
                known.ended = Ended::default();
                known.look = None;
            }
        }
    }

    /// The addresses that are to be looked at, each with what has ended.
    pub(super) fn due(&mut self, now: Instant) -> Vec<(IpAddr, Ended)> {
        let due = self.0.iter_mut().filter_map(|(address, known)| {
            known.look.filter(|at| *at <= now)?;
            known.look = None;
            Some((*address, std::mem::take(&mut known.ended)))
        });
        due.collect()
    }

    /// Forgets addresses that were away long enough and have no endpoint again.
    pub(super) fn settle(&mut self, now: Instant) {
        let is_away = |known: &Known| known.back().is_some_and(|at| now < at);
        self.0
            .retain(|_, known| known.added.is_some() || is_away(known));
    }

    /// When something is due next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let all = self.0.values();
        all.flat_map(|known| known.look.into_iter().chain(known.back()))
            .min()
    }
}

impl Known {
    fn back(&self) -> Option<Instant> {
        Some(self.removed? + AWAY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 1));

    #[test]
    fn an_address_that_went_stays_away_a_moment() {
        let (mut again, start) = (Again::default(), Instant::now());
        assert!(!again.is_away(ADDRESS, start), "it never was there");
        again.added(ADDRESS, start);
        again.removed(ADDRESS, start);
        assert!(again.is_away(ADDRESS, start + AWAY / 2));
        assert_eq!(again.deadline(), Some(start + AWAY));
        assert!(!again.is_away(ADDRESS, start + AWAY));
        again.settle(start + AWAY);
        assert!(again.0.is_empty());
        assert_eq!(again.deadline(), None);
    }

    #[test]
    fn joins_that_fail_at_once_are_looked_at_together() {
        let (mut again, start) = (Again::default(), Instant::now());
        again.added(ADDRESS, start);
        assert!(again.ended(ADDRESS, 1, start));
        assert!(again.ended(ADDRESS, 2, start + LOOK / 2));
        assert_eq!(again.due(start + LOOK / 2), []);
        assert_eq!(again.deadline(), Some(start + LOOK));
        let both = Ended {
            tokens: BTreeSet::from([1, 2]),
            young: true,
        };
        assert_eq!(again.due(start + LOOK), [(ADDRESS, both)]);
        assert_eq!(again.deadline(), None);
    }

    /// So that a host whose connections come and go does not ask for all of them again and again.
    #[test]
    fn a_connection_that_ended_with_its_subflow_is_not_looked_at() {
        let (mut again, start) = (Again::default(), Instant::now());
        again.added(ADDRESS, start);
        again.ended(ADDRESS, 1, start);
        again.ended(ADDRESS, 2, start);
        again.closed(1);
        assert_eq!(again.deadline(), Some(start + LOOK));
        again.closed(2);
        assert_eq!(again.deadline(), None);
    }

    #[test]
    fn a_subflow_that_lived_is_told_from_a_join_that_failed() {
        let (mut again, start) = (Again::default(), Instant::now());
        again.added(ADDRESS, start);
        assert!(again.ended(ADDRESS, 1, start + YOUNG));
        let due = again.due(start + YOUNG + LOOK);
        assert!(!due[0].1.young);
    }

    #[test]
    fn one_that_lacks_a_subflow_does_not_end_those_of_many() {
        let ended = |young| Ended {
            young,
            ..Ended::default()
        };
        assert!(ended(true).is_worth_it(1, 1));
        assert!(!ended(true).is_worth_it(1, 2));
        assert!(!ended(true).is_worth_it(0, 0), "all have ended");
        assert!(ended(false).is_worth_it(1, 0));
        assert!(!ended(false).is_worth_it(9, 1));
    }

    #[test]
    fn addresses_of_others_are_none_of_it() {
        let (mut again, start) = (Again::default(), Instant::now());
        assert!(!again.ended(ADDRESS, 1, start));
        assert_eq!(again.deadline(), None);
    }

    /// Later each time, and not for ever; anew once the host has had it come and go.
    #[test]
    fn it_is_added_again_three_times() {
        let (mut again, mut now) = (Again::default(), Instant::now());
        for times in 0..MOST {
            again.added(ADDRESS, now);
            assert!(again.ended(ADDRESS, 1, now));
            assert_eq!(again.due(now + (LOOK * (1 << times)) / 2), []);
            now += LOOK * (1 << times);
            assert_eq!(again.due(now).len(), 1);
            again.taken(ADDRESS, now);
            assert!(again.is_away(ADDRESS, now));
            now += AWAY;
        }
        again.added(ADDRESS, now);
        assert!(!again.ended(ADDRESS, 1, now));
        let mut proven = Again(BTreeMap::from([(
            ADDRESS,
            Known {
                added: Some(now),
                times: MOST,
                ..Known::default()
            },
        )]));
        assert!(proven.ended(ADDRESS, 1, now + PROVEN));
        again.removed(ADDRESS, now);
        again.added(ADDRESS, now + AWAY);
        assert!(again.ended(ADDRESS, 1, now + AWAY));
    }
}
