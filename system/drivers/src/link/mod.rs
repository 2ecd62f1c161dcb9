//! An Ethernet link on which this program has addresses of its own: where packets go next, and who
//! asks for us. No I/O and no clock: messages go through an outbox, time is an argument.

mod arp;
mod cache;
mod ether;
mod nd;
#[cfg(test)]
mod tests;

pub(crate) use ether::{LEN as ETHER_LEN, ethertype};
pub(crate) use nd::solicited_node;

pub use ether::Mac;

use anabranch_wire::frame::Transmit;
use anabranch_wire::ip::{V4_LEN, V6_LEN};
use arp::{Arp, Operation};
use cache::{Ask, Cache};
use ether::Header;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::{Duration, Instant};

/// A claim to an address is defended once in this time (RFC 5227 §1.1, DEFEND_INTERVAL).
const DEFEND_EVERY: Duration = Duration::from_secs(10);

/// An address of ours, and how many of its bits are the link's.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Own {
    /// The address; the host's kernel must not have it.
    pub address: IpAddr,
    /// Bits that every address of the link shares with it: at most 32 or 128.
    pub prefix: u8,
}

impl FromStr for Own {
    type Err = String;

    fn from_str(text: &str) -> Result<Own, String> {
        let shape = || "expected ADDRESS/PREFIX, such as 192.0.2.7/24".to_owned();
        let (address, prefix) = text.split_once('/').ok_or_else(shape)?;
        let address: IpAddr = address.parse().map_err(|_| shape())?;
        let prefix: u8 = prefix.parse().map_err(|_| shape())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if prefix > bits {
            return Err(format!("/{prefix}: {address} has {bits} bits"));
        }
        Ok(Own { address, prefix })
    }
}

impl Own {
    /// Whether one station of the link can have the address.
    pub(crate) fn is_possible(&self) -> bool {
        let address = self.address;
        let broadcast = matches!(address, IpAddr::V4(v4) if v4.is_broadcast());
        !(broadcast || address.is_multicast() || address.is_unspecified() || address.is_loopback())
    }

    /// Whether `other` is on the link.
    pub fn is_near(&self, other: IpAddr) -> bool {
        match (self.address, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let different = u32::from(own) ^ u32::from(other);
                different.leading_zeros() >= self.prefix.into()
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let different = u128::from(own) ^ u128::from(other);
                other.is_unicast_link_local() || different.leading_zeros() >= self.prefix.into()
            }
            _ => false,
        }
    }
}

/// What is to be done with a packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Hop {
    /// It goes on the link behind this header.
    Header([u8; ETHER_LEN]),
    /// The next hop is asked where it is: see [`Link::wait`].
    Unknown(IpAddr),
    /// It is not on the link, and there is no gateway.
    Unreachable,
}

/// What came of a frame that was ours to read.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Heard {
    /// Another station claims an address of ours.
    pub(crate) conflict: Option<(IpAddr, Mac)>,
}

/// The state of a link.
#[derive(Debug)]
pub(crate) struct Link {
    mac: Mac,
    own: Vec<Own>,
    gateways: Vec<IpAddr>,
    cache: Cache,
    /// The next hop that was looked up last, and until when nothing changes about it.
    last: Option<(IpAddr, Mac, Instant)>,
    defended: Option<Instant>,
    /// Frames that are to be sent.
    outbox: Vec<Vec<u8>>,
    /// Packets whose next hop has become known.
    released: Vec<Transmit>,
}

impl Link {
    pub(crate) fn new(mac: Mac, own: Vec<Own>, gateways: Vec<IpAddr>) -> Link {
        Link {
            mac,
            own,
            gateways,
            cache: Cache::default(),
            last: None,
            defended: None,
            outbox: Vec::new(),
            released: Vec::new(),
        }
    }

    /// What is to be done with a packet at `now`.
    pub(crate) fn hop(&mut self, now: Instant, transmit: &Transmit) -> Hop {
        let Some((src, dst)) = addresses(&transmit.header) else {
            return Hop::Unreachable;
        };
        let Some(next) = self.next_hop(dst) else {
            return Hop::Unreachable;
        };
        if let Some((address, mac, until)) = self.last
            && address == next
            && now < until
        {
            return Hop::Header(self.header(mac, next));
        }
        let answer = self.cache.look_up(now, next);
        if let Some(ask) = answer.ask {
            self.ask(src, next, ask);
        }
        match answer.mac {
            None => Hop::Unknown(next),
            Some(mac) => {
                self.last = answer.until.map(|until| (next, mac, until));
                Hop::Header(self.header(mac, next))
            }
        }
    }

    /// Keeps a packet until its next hop is known; tells whether one was lost for want of room.
    pub(crate) fn wait(&mut self, next: IpAddr, transmit: Transmit) -> bool {
        self.cache.wait(next, transmit)
    }

    /// Whether a frame is the link's own business, for [`Link::hear`].
    pub(crate) fn is_for(frame: &[u8]) -> bool {
        match ether::ethertype(frame) {
            Some(ethertype::ARP) => true,
            Some(ethertype::IPV6) => nd::is_one(frame),
            _ => false,
        }
    }

    /// Reads a frame of which [`Link::is_for`] is true.
    pub(crate) fn hear(&mut self, now: Instant, frame: &[u8]) -> Heard {
        match ether::ethertype(frame) {
            Some(ethertype::ARP) => Arp::parse(frame).map(|arp| self.hear_arp(now, &arp)),
            _ => nd::Message::parse(frame).map(|message| self.hear_nd(now, message)),
        }
        .unwrap_or_default()
    }

    /// Frames to be sent now.
    pub(crate) fn take_outbox(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.outbox)
    }

    /// Frames to be sent now, and packets that may be sent now.
    pub(crate) fn take(&mut self) -> (Vec<Vec<u8>>, Vec<Transmit>) {
        (self.take_outbox(), std::mem::take(&mut self.released))
    }

    /// Tells the link that our addresses are here (RFC 5227 §2.3; RFC 4861 §7.2.6).
    pub(crate) fn announce(&mut self) {
        self.defended = None;
        for own in self.own.clone() {
            self.claim(own.address);
        }
    }

    /// Asks the link whether anybody has our addresses (RFC 5227 §2.1.1; RFC 4862 §5.4); who has
    /// answers by [`Heard::conflict`], and is let have it.
    pub(crate) fn probe(&mut self, now: Instant) {
        self.defended = Some(now);
        for own in self.own.clone() {
            match own.address {
                IpAddr::V4(address) => {
                    let probe = Arp::request((self.mac, Ipv4Addr::UNSPECIFIED), address);
                    self.outbox.push(probe.frame(Mac::BROADCAST));
                }
                IpAddr::V6(address) => {
                    let nobody = (self.mac, Ipv6Addr::UNSPECIFIED);
                    self.outbox.push(nd::solicitation(nobody, address, None));
                }
            }
        }
    }

    fn next_hop(&self, dst: IpAddr) -> Option<IpAddr> {
        if self.own.iter().any(|own| own.is_near(dst)) {
            return Some(dst);
        }
        let same_family = |gateway: &&IpAddr| gateway.is_ipv4() == dst.is_ipv4();
        self.gateways.iter().find(same_family).copied()
    }

    fn header(&self, dst: Mac, next: IpAddr) -> [u8; ETHER_LEN] {
        let header = Header {
            dst,
            src: self.mac,
            ethertype: match next {
                IpAddr::V4(_) => ethertype::IPV4,
                IpAddr::V6(_) => ethertype::IPV6,
            },
        };
        header.encode()
    }

    fn ask(&mut self, src: IpAddr, next: IpAddr, ask: Ask) {
        let known = match ask {
            Ask::Everyone => None,
            Ask::Station(mac) => Some(mac),
        };
        match (src, next) {
            (IpAddr::V4(src), IpAddr::V4(next)) => {
                let request = Arp::request((self.mac, src), next);
                let to = known.unwrap_or(Mac::BROADCAST);
                self.outbox.push(request.frame(to));
            }
            (IpAddr::V6(src), IpAddr::V6(next)) => {
                let asked = nd::solicitation((self.mac, src), next, known);
                self.outbox.push(asked);
            }
            // No packet has addresses of both families.
            _ => {}
        }
    }

    fn is_own(&self, address: IpAddr) -> bool {
        self.own.iter().any(|own| own.address == address)
    }

    fn hear_arp(&mut self, now: Instant, arp: &Arp) -> Heard {
        let (mac, sender) = (arp.sender.0, IpAddr::V4(arp.sender.1));
        if !mac.is_unicast() || mac == self.mac {
            return Heard::default();
        }
        let for_us = self.is_own(arp.target.1.into());
        // Somebody who has no address yet asks whether ours is free: it is not.
        if self.is_own(sender) {
            return self.conflict(now, sender, mac);
        }
        // "Merge_flag" of RFC 826: whoever is known is updated, whoever asks us becomes known.
        if self.cache.contains(sender) {
            self.update(now, sender, mac);
        } else if for_us && self.may_meet(sender) {
            self.cache.meet(now, sender, mac);
        }
        if for_us && arp.operation == Operation::Request {
            let reply = Arp {
                operation: Operation::Reply,
                sender: (self.mac, arp.target.1),
                target: arp.sender,
            };
            self.outbox.push(reply.frame(mac));
        }
        Heard::default()
    }

    fn hear_nd(&mut self, now: Instant, message: nd::Message) -> Heard {
        match message {
            nd::Message::Solicitation {
                from,
                target,
                source,
            } => self.hear_solicitation(now, from, target, source),
            nd::Message::Advertisement {
                target,
                at,
                solicited,
                overrides,
            } => return self.hear_advertisement(now, target.into(), at, solicited, overrides),
        }
        Heard::default()
    }

    fn hear_solicitation(
        &mut self,
        now: Instant,
        from: Ipv6Addr,
        target: Ipv6Addr,
        source: Option<Mac>,
    ) {
        if !self.is_own(target.into()) || source == Some(self.mac) {
            return;
        }
        let own = (self.mac, target);
        if from.is_unspecified() {
            self.outbox.push(nd::advertisement(own, None));
            return;
        }
        if let Some(mac) = source {
            if self.cache.contains(from.into()) {
                self.update(now, from.into(), mac);
            } else if self.may_meet(from.into()) {
                self.cache.meet(now, from.into(), mac);
            }
        }
        // One that asks us alone may leave its address out: it is the one we know, if we do.
        if let Some(mac) = source.or_else(|| self.cache.known(from.into())) {
            self.outbox.push(nd::advertisement(own, Some((mac, from))));
        }
    }

    fn hear_advertisement(
        &mut self,
        now: Instant,
        target: IpAddr,
        at: Option<Mac>,
        solicited: bool,
        overrides: bool,
    ) -> Heard {
        if self.is_own(target) {
            return match at.filter(|&mac| mac != self.mac) {
                Some(mac) => self.conflict(now, target, mac),
                None => Heard::default(),
            };
        }
        let known = self.cache.known(target);
        // RFC 4861 §7.2.5: what is known gives way to an override only.
        match at.or(known) {
            Some(mac) if known == Some(mac) && !solicited => {}
            Some(mac) if known.is_none() || known == Some(mac) || overrides => {
                self.update(now, target, mac);
            }
            _ => {}
        }
        Heard::default()
    }

    fn update(&mut self, now: Instant, address: IpAddr, mac: Mac) {
        self.last = None;
        self.released.extend(self.cache.tell(now, address, mac));
    }

    /// Strangers are remembered by addresses of the link only.
    fn may_meet(&self, address: IpAddr) -> bool {
        let unusable = address.is_multicast() || address.is_unspecified();
        !unusable && self.own.iter().any(|own| own.is_near(address))
    }

    fn conflict(&mut self, now: Instant, address: IpAddr, mac: Mac) -> Heard {
        let recently = |at: Instant| now.duration_since(at) < DEFEND_EVERY;
        if !self.defended.is_some_and(recently) {
            self.defended = Some(now);
            self.claim(address);
        }
        Heard {
            conflict: Some((address, mac)),
        }
    }

    fn claim(&mut self, address: IpAddr) {
        let frame = match address {
            IpAddr::V4(address) => Arp::request((self.mac, address), address).frame(Mac::BROADCAST),
            IpAddr::V6(address) => nd::advertisement((self.mac, address), None),
        };
        self.outbox.push(frame);
    }
}

/// Source and destination of the packet that begins with `header`.
pub(crate) fn addresses(header: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match header.first()? >> 4 {
        4 if header.len() >= V4_LEN => {
            let (src, dst) = ether::v4_addresses(header)?;
            Some((src.into(), dst.into()))
        }
        6 if header.len() >= V6_LEN => {
            let (src, dst) = ether::v6_addresses(header)?;
            Some((src.into(), dst.into()))
        }
        _ => None,
    }
}
