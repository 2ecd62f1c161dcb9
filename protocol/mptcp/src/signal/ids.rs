//! IDs of our addresses: an address has one until it is withdrawn, and 0 is that of the initial
//! subflow (RFC 8684 §3.2, §3.4.1).

use super::{MAX_ADDRESSES, Signals};
use anabranch_tcp::packed;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// An address that a subflow uses without having been announced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Implicit {
    addr: IpAddr,
    id: u8,
}

packed!(Implicit { addr, id });

impl Default for Implicit {
    fn default() -> Implicit {
        Implicit {
            addr: Ipv4Addr::UNSPECIFIED.into(),
            id: 0,
        }
    }
}

impl Signals {
    /// The ID of one of our addresses: as announced, 0 for that of the initial subflow unless
    /// that was withdrawn just now, or a new one.
    /// `apart`: rather a new one than that of the initial subflow.
    pub(crate) fn local_id(&mut self, local: SocketAddr, apart: bool) -> u8 {
        let port = |p: Option<u16>| p.is_none_or(|p| p == local.port());
        let mut announced = self.ours.iter();
        if let Some(a) = announced.find(|a| a.addr == local.ip() && port(a.port)) {
            return a.id;
        }
        if let Some(known) = self.implicit.iter().find(|i| i.addr == local.ip()) {
            return known.id;
        }
        // Its withdrawal, under way on another path, would take the new subflow with it.
        let withdrawn = self.withdrawn.holds(self.now, 0);
        if local.ip() == self.initial.local.ip() && !withdrawn && !apart {
            return 0;
        }
        let id = self.free_id();
        if self.implicit.len() < MAX_ADDRESSES {
            let addr = local.ip();
            self.implicit.push(Implicit { addr, id });
        }
        id
    }

    /// See [`crate::Connection::identify`].
    pub(crate) fn identify(&mut self, addr: IpAddr, id: u8) {
        let has_one = addr == self.initial.local.ip()
            || self.ours.iter().any(|a| a.addr == addr && a.port.is_none())
            || self.implicit.iter().any(|i| i.addr == addr);
        let taken = self.ours.iter().any(|a| a.id == id)
            || self.implicit.iter().any(|i| i.id == id)
            // It may still be repeated to the peer, and would take new subflows with it.
            || self.withdrawn.holds(self.now, id)
            || id == 0;
        if !has_one && !taken && self.implicit.len() < MAX_ADDRESSES {
            self.implicit.push(Implicit { addr, id });
        }
    }

    /// From the top: path managers count from 1. What was withdrawn just now may still be repeated
    /// to the peer.
    fn free_id(&self) -> u8 {
        let used = |id: &u8| {
            self.ours.iter().any(|a| a.id == *id)
                || self.implicit.iter().any(|i| i.id == *id)
                || self.withdrawn.holds(self.now, *id)
        };
        (1..=u8::MAX).rev().find(|id| !used(id)).unwrap_or(u8::MAX)
    }

    /// The port that an ID was announced with, if it was announced: `None` in it is that of the
    /// initial subflow.
    pub(crate) fn announced(&self, id: u8) -> Option<Option<u16>> {
        self.ours.iter().find(|a| a.id == id).map(|a| a.port)
    }

    /// Whether the peer may yet hear that an ID is withdrawn.
    pub(crate) fn is_withdrawn(&self, id: u8) -> bool {
        self.withdrawn.holds(self.now, id)
    }

    /// Whether an address may be announced with this ID: it has no other one, nor has the ID
    /// another address. With a port of its own it is another address.
    pub(super) fn may_announce(&self, id: u8, addr: IpAddr, port: Option<u16>) -> bool {
        let initial = self.initial.local;
        let is_initial = addr == initial.ip() && port.is_none_or(|p| p == initial.port());
        let announced = self
            .ours
            .iter()
            .all(|a| (a.id == id) == (a.addr == addr && a.port == port));
        let implied = self.implicit.iter().all(|i| match i.id == id {
            true => i.addr == addr,
            false => i.addr != addr || port.is_some(),
        });
        id != 0 && !is_initial && announced && implied
    }

    /// An ID stands for an announced address: it is not withdrawn any more.
    pub(super) fn reclaim(&mut self, id: u8, port: Option<u16>) {
        self.withdrawn.cancel(id);
        self.implicit.retain(|i| i.id != id || port.is_some());
    }

    /// An ID is free again.
    pub(super) fn release(&mut self, id: u8) {
        self.ours.forget(id);
        self.implicit.retain(|i| i.id != id);
    }
}
