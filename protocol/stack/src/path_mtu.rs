//! What routers said of the paths to other hosts, for connections to come (RFC 1191 §3, RFC 8201
//! §5.2): without it each of them would have to hear it again.

use anabranch_tcp::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Destinations remembered; one more takes the place of the oldest.
const MOST: usize = 1024;

/// Sizes of segments that paths take, by destination.
#[derive(Default)]
pub(crate) struct PathMtus {
    /// The size (payload and TCP options), and when it was told.
    known: BTreeMap<IpAddr, (u16, Instant)>,
}

impl PathMtus {
    /// A connection to `to` believed a router that said so.
    pub(crate) fn learn(&mut self, now: Instant, to: IpAddr, mss: u16) {
        if self.known.len() >= MOST && !self.known.contains_key(&to) {
            let oldest = self.known.iter().min_by_key(|(_, told)| told.1);
            if let Some(oldest) = oldest.map(|(to, _)| *to) {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(to, (mss, now));
    }

    /// What was told of the path to `to` less than `keep` ago.
    pub(crate) fn get(&self, now: Instant, to: IpAddr, keep: Duration) -> Option<u16> {
        let (mss, told) = self.known.get(&to)?;
        (now.since(*told) < keep).then_some(*mss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_so_many_destinations_are_remembered_and_none_for_ever() {
        let keep = Duration::from_secs(600);
        let host = |n: u32| IpAddr::from(n.to_be_bytes());
        let at = |n: u32| Instant(u64::from(n) * 1_000_000);
        let mut known = PathMtus::default();
        for n in 0..3000 {
            known.learn(at(n), host(n), 1400);
        }
        assert_eq!(known.known.len(), MOST);
        assert_eq!(known.get(at(3000), host(0), keep), None);
        assert_eq!(known.get(at(3000), host(2999), keep), Some(1400));
        assert_eq!(known.get(at(2999) + keep, host(2999), keep), None);
    }
}
