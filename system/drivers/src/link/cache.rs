//! Which station has which address of the link, as far as it was asked or told.

use super::ether::Mac;
use anabranch_wire::frame::Transmit;
use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Neighbours known or asked for, at most.
const MAX_NEIGHBOURS: usize = 512;

/// Packets that wait for the answer of one neighbour; the oldest gives way.
const MAX_WAITING: usize = 32;

/// Packets that wait for answers, in all.
const MAX_WAITING_IN_ALL: usize = 256;

/// How long what a neighbour said is taken for true (RFC 4861 §10, REACHABLE_TIME).
const REACHABLE: Duration = Duration::from_secs(30);

/// No neighbour is asked more often (RFC 1122 §2.3.2.1; RFC 4861 §10, RETRANS_TIMER).
const ASK_EVERY: Duration = Duration::from_secs(1);

/// Questions to a station that does not answer before everyone is asked again (RFC 4861 §10,
/// MAX_UNICAST_SOLICIT).
const ASKS: u8 = 3;

/// Questions in a second, to all neighbours: a flood that seems to come from many must not become
/// one of ours.
const ASKS_A_SECOND: u32 = 256;

/// Where packets to a neighbour go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Answer {
    /// `None`: nobody knows yet, the packet has to wait.
    pub(super) mac: Option<Mac>,
    /// Whom to ask now: everyone, or the station known so far.
    pub(super) ask: Option<Ask>,
    /// Until when the same would be said again; `None`: ask again with the next packet.
    pub(super) until: Option<Instant>,
}

/// Whom to ask for an address.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    Everyone,
    Station(Mac),
}

#[derive(Debug)]
struct Neighbour {
    mac: Option<Mac>,
    /// When it last said so.
    confirmed: Instant,
    asked: Option<Instant>,
    /// Questions since then.
    asks: u8,
    used: Instant,
    waiting: VecDeque<Transmit>,
}

/// The neighbours of a link.
#[derive(Debug, Default)]
pub(super) struct Cache {
    neighbours: HashMap<IpAddr, Neighbour>,
    /// Packets in all of them.
    waiting: usize,
    /// The second that counts questions, and how many were asked in it.
    asking: Option<(Instant, u32)>,
}

impl Cache {
    /// Where packets to `address` go, at `now`.
    pub(super) fn look_up(&mut self, now: Instant, address: IpAddr) -> Answer {
        if !self.neighbours.contains_key(&address) {
            self.make_room();
        }
        let new = || Neighbour::new(None, now);
        let neighbour = self.neighbours.entry(address).or_insert_with(new);
        neighbour.used = now;
        let fresh_until = neighbour.confirmed + REACHABLE;
        if neighbour.mac.is_some() && now < fresh_until {
            return Answer {
                mac: neighbour.mac,
                ask: None,
                until: Some(fresh_until),
            };
        }
        if neighbour.may_ask(now) && Cache::may_ask(&mut self.asking, now) {
            if neighbour.asks >= ASKS {
                // It is there no more, or elsewhere.
                neighbour.mac = None;
            }
            neighbour.asked = Some(now);
            neighbour.asks = neighbour.asks.saturating_add(1);
            return Answer {
                mac: neighbour.mac,
                ask: Some(neighbour.mac.map_or(Ask::Everyone, Ask::Station)),
                until: None,
            };
        }
        Answer {
            mac: neighbour.mac,
            ask: None,
            until: None,
        }
    }

    /// Keeps a packet until `address` is known; tells whether another packet was lost for it.
    pub(super) fn wait(&mut self, address: IpAddr, transmit: Transmit) -> bool {
        let Some(neighbour) = self.neighbours.get_mut(&address) else {
            return true;
        };
        neighbour.waiting.push_back(transmit);
        self.waiting += 1;
        if neighbour.waiting.len() > MAX_WAITING || self.waiting > MAX_WAITING_IN_ALL {
            neighbour.waiting.pop_front();
            self.waiting -= 1;
            return true;
        }
        false
    }

    /// A neighbour said where it is; returns what has waited for it.
    pub(super) fn tell(&mut self, now: Instant, address: IpAddr, mac: Mac) -> VecDeque<Transmit> {
        let Some(neighbour) = self.neighbours.get_mut(&address) else {
            return VecDeque::new();
        };
        neighbour.mac = Some(mac);
        neighbour.confirmed = now;
        (neighbour.asked, neighbour.asks) = (None, 0);
        self.waiting -= neighbour.waiting.len();
        std::mem::take(&mut neighbour.waiting)
    }

    /// The station that is known to have `address`, if any is.
    pub(super) fn known(&self, address: IpAddr) -> Option<Mac> {
        self.neighbours.get(&address)?.mac
    }

    /// Whether `address` was asked for.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.neighbours.contains_key(&address)
    }

    /// A stranger said where it is: worth remembering where there is room, for nothing else.
    pub(super) fn meet(&mut self, now: Instant, address: IpAddr, mac: Mac) {
        if self.neighbours.len() < MAX_NEIGHBOURS {
            self.neighbours
                .insert(address, Neighbour::new(Some(mac), now));
        }
    }

    /// Forgets the one that was not used for the longest; first among those that never answered.
    fn make_room(&mut self) {
        if self.neighbours.len() < MAX_NEIGHBOURS {
            return;
        }
        let oldest = self
            .neighbours
            .iter()
            .min_by_key(|(_, neighbour)| (neighbour.mac.is_some(), neighbour.used))
            .map(|(address, _)| *address);
        if let Some(gone) = oldest.and_then(|address| self.neighbours.remove(&address)) {
            self.waiting -= gone.waiting.len();
        }
    }

    fn may_ask(asking: &mut Option<(Instant, u32)>, now: Instant) -> bool {
        match asking {
            Some((since, count)) if now.duration_since(*since) < Duration::from_secs(1) => {
                *count += 1;
                *count <= ASKS_A_SECOND
            }
            _ => {
                *asking = Some((now, 1));
                true
            }
        }
    }
}

impl Neighbour {
    fn new(mac: Option<Mac>, now: Instant) -> Neighbour {
        Neighbour {
            mac,
            confirmed: now,
            asked: None,
            asks: 0,
            used: now,
            waiting: VecDeque::new(),
        }
    }

    fn may_ask(&self, now: Instant) -> bool {
        self.asked
            .is_none_or(|asked| now.duration_since(asked) >= ASK_EVERY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAC: Mac = Mac([2, 0, 0, 0, 0, 1]);
    const OTHER: Mac = Mac([2, 0, 0, 0, 0, 2]);

    fn address(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0x0a00_0000 + n).into()
    }

    fn packet() -> Transmit {
        Transmit {
            header: [0x45; 20].as_slice().into(),
            ip_len: 20,
            payload: Default::default(),
            gso_size: 0,
            needs_checksum: false,
        }
    }

    #[test]
    fn everyone_is_asked_once_a_second_until_somebody_answers() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        let first = cache.look_up(start, address(1));
        assert_eq!((first.mac, first.ask), (None, Some(Ask::Everyone)));
        assert!(!cache.wait(address(1), packet()));
        let soon = cache.look_up(start + Duration::from_millis(900), address(1));
        assert_eq!((soon.mac, soon.ask), (None, None));
        let later = cache.look_up(start + Duration::from_secs(1), address(1));
        assert_eq!(later.ask, Some(Ask::Everyone));
        assert_eq!(cache.tell(start, address(1), MAC).len(), 1);
        let answered = cache.look_up(start, address(1));
        assert_eq!((answered.mac, answered.ask), (Some(MAC), None));
        assert_eq!(answered.until, Some(start + REACHABLE));
    }

    #[test]
    fn one_that_was_silent_for_long_is_used_while_it_is_asked() {
        let (mut cache, start) = (Cache::default(), Instant::now());
        cache.look_up(start, address(1));
        cache.tell(start, address(1), MAC);
        let mut now = start + REACHABLE;
        for _ in 0..ASKS {
            let stale = cache.look_up(now, address(1));
            assert_eq!((stale.mac, stale.ask), (Some(MAC), Some(Ask::Station(MAC))));
            assert_eq!(cache.look_up(now, address(1)).ask, None, "not twice");
            now += ASK_EVERY;
        }
        let lost = cache.look_up(now, address(1));
        assert_eq!((lost.mac, lost.ask), (None, Some(Ask::Everyone)));
        cache.tell(now, address(1), OTHER);
        assert_eq!(cache.look_up(now, address(1)).mac, Some(OTHER));
    }

    #[test]
    fn what_waits_is_bounded_for_each_and_for_all() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        for n in 0..20 {
            cache.look_up(now, address(n));
            let kept = (0..100).filter(|_| !cache.wait(address(n), packet()));
            assert_eq!(kept.count(), if n < 8 { MAX_WAITING } else { 0 });
        }
        assert_eq!(cache.waiting, MAX_WAITING_IN_ALL);
        assert_eq!(cache.tell(now, address(0), MAC).len(), MAX_WAITING);
        assert_eq!(cache.waiting, MAX_WAITING_IN_ALL - MAX_WAITING);
    }

    #[test]
    fn a_flood_from_many_addresses_displaces_nobody_who_answers() {
        let (mut cache, now) = (Cache::default(), Instant::now());
        cache.look_up(now, address(0));
        cache.tell(now, address(0), MAC);
        let mut asked = 0;
        for n in 1..10_000 {
            asked += u32::from(cache.look_up(now, address(n)).ask.is_some());
            cache.wait(address(n), packet());
            cache.meet(now, address(n + 10_000), OTHER);
        }
        assert_eq!(cache.neighbours.len(), MAX_NEIGHBOURS);
        assert!(asked < ASKS_A_SECOND, "{asked} questions");
        assert!(cache.waiting <= MAX_WAITING_IN_ALL);
        assert_eq!(cache.known(address(0)), Some(MAC));
    }
}
