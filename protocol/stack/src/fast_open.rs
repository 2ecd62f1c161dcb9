//! Fast Open (RFC 7413): who gets a cookie, and where those that we were given are kept.

use crate::counters::Counter;
use crate::demux::Tuple;
use crate::flow::Flow;
use crate::id::ListenerId;
use crate::lifecycle::Handle;
use crate::random::{Random, SeededMap};
use crate::receive::Arrival;
use crate::stack::Stack;
use anabranch_mptcp::{SubflowId, keys};
use anabranch_tcp::fast_open::Outcome;
use anabranch_tcp::{Instant, Tcb};
use anabranch_wire::tcp::{FastOpen, Options};
use siphasher::sip::SipHasher24;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

/// A key makes cookies for so long, and recognises them for as long again.
const KEY_LIFE: Duration = Duration::from_secs(24 * 3600);
/// Servers whose cookies are kept; beyond, the first is forgotten.
const MAX_SERVERS: usize = 1024;
/// How often the time doubles for which a server gets no SYN with the option.
const AVOID_DOUBLINGS: u32 = 6;

/// What a host needs for Fast Open in both roles.
pub(crate) struct Cookies {
    /// What makes cookies for our clients, and made them before.
    current: SipHasher24,
    previous: Option<SipHasher24>,
    since: Instant,
    /// The application set the keys: they do not change by themselves.
    fixed: bool,
    /// What servers gave us.
    servers: SeededMap<IpAddr, Server>,
    order: VecDeque<IpAddr>,
}

/// What is known of a server.
#[derive(Default)]
struct Server {
    cookie: Option<FastOpen>,
    mss: u16,
    /// Times that a SYN+ACK answered the request for a cookie with none.
    refusals: u32,
    /// Times in a row that only a SYN without the option was answered.
    timeouts: u32,
    avoid_until: Option<Instant>,
}

/// What a SYN's Fast Open option leads to.
pub(crate) enum Early {
    /// Nothing.
    No,
    /// The SYN+ACK gives a cookie.
    Grant(FastOpen),
    /// The SYN's payload is taken, and a newer cookie perhaps given.
    Take(Option<FastOpen>),
}

impl Cookies {
    pub(crate) fn new(random: &mut Random, now: Instant) -> Self {
        Cookies {
            current: draw(random),
            previous: None,
            since: now,
            fixed: false,
            servers: SeededMap::with_hasher(random.hash()),
            order: VecDeque::new(),
        }
    }

    /// A new key when the time has come.
    fn rotate(&mut self, now: Instant) {
        while now.since(self.since) >= KEY_LIFE && !self.fixed {
            let next = successor(&self.current);
            self.previous = Some(std::mem::replace(&mut self.current, next));
            self.since = self.since + KEY_LIFE;
        }
    }

    fn server(&mut self, addr: IpAddr) -> &mut Server {
        if !self.servers.contains_key(&addr) {
            if self.order.len() >= MAX_SERVERS
                && let Some(oldest) = self.order.pop_front()
            {
                self.servers.remove(&oldest);
            }
            self.order.push_back(addr);
        }
        self.servers.entry(addr).or_default()
    }

    /// What a SYN to `addr` carries, and the segment size of the server; `None`: no option.
    fn offer(&self, now: Instant, addr: IpAddr) -> Option<(FastOpen, u16)> {
        let Some(server) = self.servers.get(&addr) else {
            return Some(Default::default());
        };
        if server.avoid_until.is_some_and(|until| now < until) {
            return None;
        }
        // After the first refusal the option of before RFC 7413 is tried, once.
        let request = || FastOpen {
            experimental: server.refusals == 1,
            ..FastOpen::default()
        };
        Some((server.cookie.clone().unwrap_or_else(request), server.mss))
    }

    fn learn(&mut self, now: Instant, addr: IpAddr, outcome: &Outcome, avoid: Duration) {
        let server = self.server(addr);
        // Who gives a cookie even so is reached by the option.
        if outcome.timed_out && outcome.granted.is_none() {
            let times = server.timeouts.min(AVOID_DOUBLINGS);
            server.timeouts += 1;
            server.avoid_until = Some(now + avoid * (1 << times));
            return;
        }
        (server.timeouts, server.avoid_until) = (0, None);
        match &outcome.granted {
            Some(granted) => server.cookie = Some(granted.clone()),
            None if server.cookie.is_none() => server.refusals = server.refusals.saturating_add(1),
            None => {}
        }
        server.mss = outcome.mss;
    }
}

/// The key after this one: the same on every stack of a host, whichever a client comes to next.
fn successor(key: &SipHasher24) -> SipHasher24 {
    SipHasher24::new_with_keys(key.hash(b"next 0"), key.hash(b"next 1"))
}

/// A new key.
fn draw(random: &mut Random) -> SipHasher24 {
    SipHasher24::new_with_keys(random.u64(), random.u64())
}

/// The cookie of a client, bound to both addresses (RFC 7413 §4.1.2). It is the one that Linux
/// makes, so that servers behind one address may share a key.
fn cookie(key: &SipHasher24, tuple: &Tuple, experimental: bool) -> FastOpen {
    let mut addresses: SmallVec<[u8; 32]> = SmallVec::new();
    for ip in [tuple.remote.ip(), tuple.local.ip()] {
        match ip {
            IpAddr::V4(ip) => addresses.extend_from_slice(&ip.octets()),
            IpAddr::V6(ip) => addresses.extend_from_slice(&ip.octets()),
        }
    }
    FastOpen {
        cookie: SmallVec::from_slice(&key.hash(&addresses).to_le_bytes()),
        experimental,
    }
}

impl Stack {
    /// Has these keys make Fast Open cookies from now on (RFC 7413 §4.1.2): for servers that share
    /// an address, or that restart. Cookies of the second are taken too, and renewed.
    pub fn set_fast_open_keys(&mut self, key: [u8; 16], previous: Option<[u8; 16]>) {
        self.cookies.current = SipHasher24::new_with_key(&key);
        self.cookies.previous = previous.map(|key| SipHasher24::new_with_key(&key));
        self.cookies.fixed = true;
    }

    /// Forgets what is known of servers that were reached with Fast Open.
    pub fn forget_fast_open_servers(&mut self) {
        self.cookies.servers.clear();
        self.cookies.order.clear();
    }

    /// Whether a server gave us a cookie, so that a connection to it with Fast Open may send
    /// payload with its SYN.
    pub fn has_fast_open_cookie(&self, now: Instant, server: IpAddr) -> bool {
        let offer = self.cookies.offer(now, server);
        offer.is_some_and(|(option, _)| !option.cookie.is_empty())
    }

    /// What comes of the Fast Open option of a SYN to a listener.
    pub(crate) fn fast_open_of(
        &mut self,
        now: Instant,
        id: ListenerId,
        arrival: &Arrival,
    ) -> Early {
        let Some(listener) = self.listeners.get_mut(id) else {
            return Early::No;
        };
        let (Some(limit), Options::Syn(options)) =
            (listener.config.fast_open, &arrival.segment.options)
        else {
            return Early::No;
        };
        let full = listener.early >= limit;
        if self.config.fast_open_without_cookie && arrival.segment.len > 0 && !full {
            self.counters.inc(Counter::TcpExtTCPFastOpenPassive);
            return Early::Take(None);
        }
        let Some(option) = &options.fast_open else {
            return Early::No;
        };
        self.cookies.rotate(now);
        let fresh = cookie(&self.cookies.current, &arrival.tuple, option.experimental);
        if option.cookie.is_empty() {
            self.counters.inc(Counter::TcpExtTCPFastOpenCookieReqd);
            return Early::Grant(fresh);
        }
        let is = |made: &FastOpen| keys::same(&option.cookie[..], &made.cookie[..]);
        let old = self.cookies.previous.as_ref();
        let is_old = old.is_some_and(|key| is(&cookie(key, &arrival.tuple, option.experimental)));
        if !is(&fresh) && !is_old {
            self.counters.inc(Counter::TcpExtTCPFastOpenPassiveFail);
            return Early::Grant(fresh);
        }
        let newer = is_old.then_some(fresh);
        if full {
            // Those that spoof addresses fill this queue, not the others (RFC 7413 §5.1).
            self.counters.inc(Counter::TcpExtTCPFastOpenListenOverflow);
            return Early::No;
        }
        self.counters.inc(Counter::TcpExtTCPFastOpenPassive);
        Early::Take(newer)
    }

    /// What a SYN to this server carries, and the segment size of the server; `None`: no option.
    pub(crate) fn offer_fast_open(&self, now: Instant, tuple: &Tuple) -> Option<(FastOpen, u16)> {
        self.cookies.offer(now, tuple.remote.ip())
    }

    /// A connection that we opened is established: what is to be learned for the next.
    pub(crate) fn learn_fast_open(&mut self, now: Instant, handle: Handle) {
        let Some(slot) = self.flows.get(handle) else {
            return;
        };
        let flow = slot.look();
        let (tcb, tuple) = match &*flow {
            Flow::Tcp(plain) => (Some(plain.stream.tcb()), plain.tuple),
            Flow::Mptcp(multi) => (multi.connection.tcb(SubflowId(0)), multi.initial),
        };
        let Some(outcome) = tcb.and_then(Tcb::fast_open_outcome) else {
            return;
        };
        if outcome.timed_out {
            self.counters.inc(Counter::TcpExtTCPFastOpenBlackhole);
        }
        if outcome.sent > 0 {
            self.counters.inc(if outcome.accepted > 0 {
                Counter::TcpExtTCPFastOpenActive
            } else {
                Counter::TcpExtTCPFastOpenActiveFail
            });
        }
        let avoid = self.config.fast_open_avoid;
        self.cookies.learn(now, tuple.remote.ip(), outcome, avoid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(cookies: &mut Cookies, now: Instant, n: u32, timed_out: bool) -> IpAddr {
        let addr = IpAddr::from(n.to_be_bytes());
        let outcome = Outcome {
            granted: (!timed_out).then(|| FastOpen {
                cookie: SmallVec::from_slice(&[1; 8]),
                experimental: false,
            }),
            mss: 1000,
            timed_out,
            ..Outcome::default()
        };
        cookies.learn(now, addr, &outcome, Duration::from_secs(3600));
        addr
    }

    /// As Linux has it: a key, addresses and the cookie from packets of a real server.
    #[test]
    fn cookies_are_those_of_linux() {
        let key = [
            0xf7, 0x63, 0xbf, 0xa0, 0x81, 0x3d, 0x80, 0xed, 0x30, 0x1d, 0x64, 0xcd, 0x90, 0x4a,
            0xbc, 0xce,
        ];
        let here = "192.168.0.2:8080".parse().unwrap();
        let tuple = Tuple::new(here, "10.248.0.2:40000".parse().unwrap());
        let made = cookie(&SipHasher24::new_with_key(&key), &tuple, true);
        assert_eq!(
            made.cookie.as_slice(),
            0x00ab_aaab_e8e9_54c2_u64.to_be_bytes()
        );
    }

    #[test]
    fn so_many_servers_are_remembered_and_no_more() {
        let now = Instant(0);
        let mut cookies = Cookies::new(&mut Random::new([3; 32]), now);
        for n in 0..5000 {
            learned(&mut cookies, now, n, false);
        }
        assert_eq!(
            (cookies.servers.len(), cookies.order.len()),
            (MAX_SERVERS, MAX_SERVERS)
        );
        let last = IpAddr::from(4999u32.to_be_bytes());
        assert_eq!(cookies.offer(now, last).unwrap().1, 1000);
        assert!(
            cookies
                .offer(now, [0, 0, 0, 0].into())
                .unwrap()
                .0
                .cookie
                .is_empty()
        );
    }

    #[test]
    fn a_server_that_gives_no_cookie_is_asked_once_by_the_experimental_option() {
        let (now, server) = (Instant(0), IpAddr::from([192, 0, 2, 1]));
        let mut cookies = Cookies::new(&mut Random::new([3; 32]), now);
        let none = Outcome::default();
        let asked = [(); 4].map(|()| {
            let (option, _) = cookies.offer(now, server).unwrap();
            cookies.learn(now, server, &none, Duration::ZERO);
            assert!(option.cookie.is_empty());
            option.experimental
        });
        assert_eq!(asked, [false, true, false, false]);
    }

    #[test]
    fn where_syns_vanish_none_is_tried_for_longer_each_time() {
        let mut now = Instant(0);
        let mut cookies = Cookies::new(&mut Random::new([3; 32]), now);
        for hours in [1, 2, 4, 8, 16, 32, 64, 64] {
            let addr = learned(&mut cookies, now, 1, true);
            now = now + Duration::from_secs(hours * 3600 - 1);
            assert!(cookies.offer(now, addr).is_none(), "{hours}");
            now = now + Duration::from_secs(1);
            assert!(cookies.offer(now, addr).is_some(), "{hours}");
        }
    }
}
