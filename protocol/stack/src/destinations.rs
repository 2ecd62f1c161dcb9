//! What hosts were seen to take of Multipath TCP, for connections to come: a path where SYNs with
//! MP_CAPABLE vanish costs each connection seconds, and a server of an older version answers each
//! offer of a newer one with plain TCP (RFC 8684 §3.1, §3.9).

use anabranch_mptcp::{FallbackReason, Version, Versions};
use anabranch_tcp::Instant;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::Duration;

/// Destinations remembered; one more takes the place of the one learnt of longest ago.
const MOST: usize = 1024;

/// How often the time without MP_CAPABLE doubles.
const DOUBLINGS: u32 = 6;

/// What became of a connection we opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Seen {
    /// Only a SYN without MP_CAPABLE was answered: so many times in a row.
    Unanswered(u32),
    /// The answer was of an older version.
    OlderVersion,
}

/// How long something is kept in mind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) avoid: Duration,
    pub(crate) older: Duration,
}

/// Hosts that did not answer as we wished.
#[derive(Default)]
pub(crate) struct Destinations {
    known: BTreeMap<IpAddr, (Seen, Instant)>,
}

impl Destinations {
    /// The version to offer to a host; `None` is plain TCP.
    pub(crate) fn offer(
        &self,
        now: Instant,
        to: IpAddr,
        versions: Versions,
        memory: Memory,
    ) -> Option<Version> {
        match self.known.get(&to) {
            Some((Seen::Unanswered(times), at))
                if now.since(*at) < memory.avoid * (1 << (times - 1).min(DOUBLINGS)) =>
            {
                None
            }
            Some((Seen::OlderVersion, at))
                if now.since(*at) < memory.older && versions.contains(Version::V0) =>
            {
                Some(Version::V0)
            }
            _ => Some(versions.offer()),
        }
    }

    /// An offer of ours became plain TCP.
    pub(crate) fn on_fallback(&mut self, now: Instant, to: IpAddr, why: FallbackReason) {
        let seen = match (why, self.known.get(&to)) {
            (FallbackReason::OlderVersion, _) => Seen::OlderVersion,
            (FallbackReason::Unanswered, Some((Seen::Unanswered(times), _))) => {
                Seen::Unanswered(times.saturating_add(1))
            }
            (FallbackReason::Unanswered, _) => Seen::Unanswered(1),
            _ => return,
        };
        if self.known.len() >= MOST && !self.known.contains_key(&to) {
            let oldest = self.known.iter().min_by_key(|(_, (_, at))| *at);
            if let Some(oldest) = oldest.map(|(to, _)| *to) {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(to, (seen, now));
    }

    /// Multipath TCP of this version works with a host.
    pub(crate) fn on_success(&mut self, to: IpAddr, version: u8) {
        let refuted = |(seen, _): &(Seen, Instant)| match seen {
            Seen::Unanswered(_) => true,
            Seen::OlderVersion => version > Version::V0.number(),
        };
        if self.known.get(&to).is_some_and(refuted) {
            self.known.remove(&to);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEMORY: Memory = Memory {
        avoid: Duration::from_secs(60),
        older: Duration::from_secs(600),
    };

    fn host(n: u32) -> IpAddr {
        IpAddr::from(n.to_be_bytes())
    }

    fn at(secs: u64) -> Instant {
        Instant(secs * 1_000_000_000)
    }

    fn offer(known: &Destinations, secs: u64, n: u32) -> Option<Version> {
        known.offer(at(secs), host(n), Versions::ALL, MEMORY)
    }

    #[test]
    fn a_host_of_an_older_version_is_offered_that_for_a_while() {
        let mut known = Destinations::default();
        known.on_fallback(at(0), host(1), FallbackReason::OlderVersion);
        assert_eq!(offer(&known, 599, 1), Some(Version::V0));
        assert_eq!(offer(&known, 600, 1), Some(Version::V1));
        assert_eq!(offer(&known, 0, 2), Some(Version::V1), "another host");
        let only_1 = Versions::only(Version::V1);
        assert_eq!(
            known.offer(at(0), host(1), only_1, MEMORY),
            Some(Version::V1)
        );
        // That it works in version 0 is no news; that it does in version 1 is.
        known.on_success(host(1), 0);
        assert_eq!(offer(&known, 0, 1), Some(Version::V0));
        known.on_success(host(1), 1);
        assert_eq!(offer(&known, 0, 1), Some(Version::V1));
    }

    #[test]
    fn silence_is_avoided_for_a_time_that_doubles_until_something_works() {
        let mut known = Destinations::default();
        let mut now = 0;
        for wait in [60, 120, 240, 480, 960, 1920, 3840, 3840] {
            known.on_fallback(at(now), host(1), FallbackReason::Unanswered);
            assert_eq!(offer(&known, now + wait - 1, 1), None);
            assert_eq!(offer(&known, now + wait, 1), Some(Version::V1));
            now += wait;
        }
        known.on_success(host(1), 0);
        known.on_fallback(at(now), host(1), FallbackReason::Unanswered);
        assert_eq!(offer(&known, now + 60, 1), Some(Version::V1));
    }

    #[test]
    fn other_reasons_are_nothing_to_remember_and_hosts_are_bounded() {
        let mut known = Destinations::default();
        known.on_fallback(at(0), host(1), FallbackReason::SynAck);
        known.on_fallback(at(0), host(1), FallbackReason::ThirdAck);
        assert!(known.known.is_empty());
        for n in 0..3000 {
            known.on_fallback(at(u64::from(n)), host(n), FallbackReason::Unanswered);
        }
        assert_eq!(known.known.len(), MOST);
        assert_eq!(offer(&known, 3000, 0), Some(Version::V1));
        assert_eq!(offer(&known, 3000, 2999), None);
    }
}
