//! Joins of peers whose third ACK has not come yet: so many from one address and no more.

use crate::demux::Target;
use crate::random::{KeyedHash, SeededMap};
use std::net::{IpAddr, Ipv6Addr};

/// Half-open joins, and how many of them each peer address has.
pub(crate) struct HalfOpenJoins {
    owners: SeededMap<(u32, u32), IpAddr>,
    counts: SeededMap<IpAddr, usize>,
}

impl HalfOpenJoins {
    pub(crate) fn new(hash: &KeyedHash) -> Self {
        HalfOpenJoins {
            owners: SeededMap::with_hasher(hash.clone()),
            counts: SeededMap::with_hasher(hash.clone()),
        }
    }

    /// How many an address has.
    pub(crate) fn of(&self, addr: IpAddr) -> usize {
        self.counts.get(&network(addr)).copied().unwrap_or(0)
    }

    pub(crate) fn begin(&mut self, target: Target, addr: IpAddr) {
        let addr = network(addr);
        self.owners.insert((target.index, target.subflow), addr);
        *self.counts.entry(addr).or_default() += 1;
    }

    /// A subflow is established, or gone.
    pub(crate) fn end(&mut self, target: Target) {
        let Some(addr) = self.owners.remove(&(target.index, target.subflow)) else {
            return;
        };
        if let Some(count) = self.counts.get_mut(&addr) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&addr);
            }
        }
    }
}

/// What counts as one peer: a host has a whole /64 of IPv6 to send from.
fn network(addr: IpAddr) -> IpAddr {
    match addr {
        IpAddr::V4(_) => addr,
        IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() & !u128::from(u64::MAX)).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn each_address_has_its_own_count_and_leaves_nothing() {
        let mut joins = HalfOpenJoins::new(&Random::new([1; 32]).hash());
        let target = |subflow| Target { index: 3, subflow };
        let addr = |text: &str| text.parse::<IpAddr>().unwrap();
        joins.begin(target(1), addr("10.0.0.1"));
        joins.begin(target(2), addr("10.0.0.1"));
        joins.begin(target(3), addr("fd00::1"));
        joins.begin(target(4), addr("fd00::ffff:1"));
        joins.begin(target(5), addr("fd00:0:0:1::1"));
        let counts = |joins: &HalfOpenJoins| {
            ["10.0.0.1", "10.0.0.2", "fd00::2", "fd00:0:0:1::"].map(|text| joins.of(addr(text)))
        };
        assert_eq!(counts(&joins), [2, 0, 2, 1]);
        joins.end(target(1));
        joins.end(target(1));
        assert_eq!(counts(&joins), [1, 0, 2, 1]);
        (2..6).for_each(|subflow| joins.end(target(subflow)));
        assert!(joins.owners.is_empty() && joins.counts.is_empty());
    }
}
