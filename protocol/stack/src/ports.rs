//! Ephemeral ports (RFC 6056).

use crate::random::{KeyedHash, Random};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;

/// Counters, RFC 6056 §3.3.4: more of them leak less about how many connections there were.
const COUNTERS: usize = 256;

/// Double-hash port selection (RFC 6056 §3.3.4): successive ports towards one destination, from a
/// start that an observer cannot tell; ports towards other destinations say nothing about them.
pub(crate) struct Ports {
    range: RangeInclusive<u16>,
    offset: KeyedHash,
    index: KeyedHash,
    counters: [u16; COUNTERS],
}

impl Ports {
    pub(crate) fn new(range: RangeInclusive<u16>, random: &mut Random) -> Self {
        let mut counters = [0; COUNTERS];
        counters.fill_with(|| random.u32() as u16);
        Ports {
            range,
            offset: random.hash(),
            index: random.hash(),
            counters,
        }
    }

    /// A port for a connection from `local` to `remote` that is not `taken`, if there is one.
    pub(crate) fn pick(
        &mut self,
        local: IpAddr,
        remote: SocketAddr,
        taken: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let (low, high) = (u32::from(*self.range.start()), u32::from(*self.range.end()));
        let count = (high + 1).checked_sub(low)?;
        let offset = self.offset.of((local, remote)) as u32;
        let counter = &mut self.counters[self.index.of((local, remote)) as usize % COUNTERS];
        for _ in 0..count {
            let port = low + offset.wrapping_add(u32::from(*counter)) % count;
            *counter = counter.wrapping_add(1);
            let port = port as u16;
            if port != 0 && !taken(port) {
                return Some(port);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_port_of_the_range_is_found_once() {
        let mut ports = Ports::new(1000..=1099, &mut Random::new([3; 32]));
        let (local, remote) = ([10, 0, 0, 1].into(), ([10, 0, 0, 2], 80).into());
        let mut seen = BTreeSet::new();
        while let Some(port) = ports.pick(local, remote, |p| seen.contains(&p)) {
            assert!(seen.insert(port));
        }
        assert_eq!(seen, (1000..=1099).collect());
    }

    #[test]
    fn another_destination_starts_elsewhere() {
        let pick = |remote: SocketAddr| {
            Ports::new(49152..=65535, &mut Random::new([3; 32])).pick(
                [10, 0, 0, 1].into(),
                remote,
                |_| false,
            )
        };
        assert_ne!(
            pick(([10, 0, 0, 2], 80).into()),
            pick(([10, 0, 0, 3], 80).into())
        );
    }
}
