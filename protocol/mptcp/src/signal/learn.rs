//! What the peer announces: ADD_ADDR, and our echo of it (RFC 8684 §3.4.1, RFC 6824 §3.4.1).

use super::MAX_ADDRESSES;
use super::probe::PathProbe;
use crate::config::{Path, SubflowId};
use crate::connection::Connection;
use crate::event::{Event, RemoteAddr};
use crate::keys;
use anabranch_tcp::Instant;
use anabranch_tcp::packed;
use anabranch_wire::mptcp::AddAddr;
use std::collections::VecDeque;
use std::net::IpAddr;

/// Echoes that may wait; the peer repeats what was not echoed.
const MAX_ECHOES: usize = 8;

/// What the peer told of its addresses.
#[derive(Debug, Default)]
pub(super) struct Learned {
    /// Announced and not withdrawn.
    pub(super) addrs: Vec<RemoteAddr>,
    echoes: VecDeque<(SubflowId, AddAddr)>,
    /// Subflows to withdrawn addresses that have yet to show that they are alive.
    pub(super) probes: Vec<PathProbe>,
}

packed!(Learned { addrs } empty { echoes, probes });

impl Learned {
    fn echo(&mut self, on: SubflowId, add: &AddAddr) {
        let echo = AddAddr {
            echo: true,
            hmac: None,
            ..add.clone()
        };
        let waits = self.echoes.iter().any(|(_, e)| *e == echo);
        if self.echoes.len() < MAX_ECHOES && !waits {
            self.echoes.push_back((on, echo));
        }
    }

    pub(super) fn next_echo(&self) -> Option<AddAddr> {
        self.echoes.front().map(|(_, echo)| echo.clone())
    }

    /// Where the next echo belongs: on the subflow that the announcement came on.
    pub(super) fn echo_on(&self) -> Option<SubflowId> {
        self.echoes.front().map(|(on, _)| *on)
    }

    /// The next echo left.
    pub(super) fn echoed(&mut self) {
        self.echoes.pop_front();
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        self.probes.iter().map(|p| p.next).min()
    }

    pub(super) fn clear(&mut self) {
        self.addrs.clear();
        self.echoes.clear();
        self.probes.clear();
    }

    /// Whether an announcement fits to what is known. An ID stands for one address until it is
    /// withdrawn; with another port it is one more way to the same.
    fn agrees(&self, initial: &Path, add: &AddAddr) -> bool {
        let same = |a: &RemoteAddr| a.id != add.address_id || a.addr == add.addr;
        let initial = add.address_id != 0 || add.addr == initial.remote.ip();
        initial && self.addrs.iter().all(same)
    }
}

/// Whether a join to an address can reach the peer, and nobody but the peer.
fn is_joinable(addr: IpAddr, initial: &Path) -> bool {
    let nowhere = match addr {
        IpAddr::V4(a) => a.is_unspecified() || a.is_broadcast(),
        IpAddr::V6(a) => a.is_unspecified(),
    };
    let ours = addr == initial.local.ip() && addr != initial.remote.ip();
    let inside = addr.is_loopback() && !initial.remote.ip().is_loopback();
    !(nowhere || ours || inside || addr.is_multicast())
}

impl Connection {
    /// Addresses the peer announced and did not withdraw.
    pub fn remote_addrs(&self) -> &[RemoteAddr] {
        &self.signals.theirs.addrs
    }

    /// ADD_ADDR is echoed whether or not the address is of use to us, so that it is not repeated.
    /// What is forged or contradicts what was announced before is ignored.
    pub(super) fn on_add_addr(&mut self, i: usize, add: &AddAddr) {
        let initial = self.signals.initial;
        if !self.is_genuine(add) || !self.signals.theirs.agrees(&initial, add) {
            self.counters.add_addr_dropped += 1;
            return;
        }
        self.counters.add_addr_in += 1;
        let subflow = &self.paths.list[i];
        if add.hmac.is_some() {
            // Who made this HMAC has both keys. Without one anybody may have sent it.
            self.handshake.confirmed = true;
            self.signals.theirs.echo(subflow.id, add);
        }
        // Without a port it is that of this subflow.
        let port = subflow.path.remote.port();
        let addr = RemoteAddr {
            id: add.address_id,
            addr: add.addr,
            port: add
                .port
                .or_else(|| (port != initial.remote.port()).then_some(port)),
        };
        let known = &mut self.signals.theirs.addrs;
        if known.contains(&addr) {
            return;
        }
        if known.len() >= MAX_ADDRESSES || !is_joinable(addr.addr, &initial) {
            self.counters.add_addr_dropped += 1;
            return;
        }
        known.push(addr);
        self.events.push(Event::Announced(addr));
    }

    /// Whether the peer made an ADD_ADDR: nobody else knows the keys, which are wiped after the
    /// end.
    fn is_genuine(&self, add: &AddAddr) -> bool {
        let expected = self.handshake.their_address_hmac(add);
        let same = match (add.hmac, expected) {
            (Some(hmac), Some(expected)) => keys::same(&hmac, &expected),
            (hmac, expected) => hmac.is_none() && expected.is_none(),
        };
        self.is_multipath() && same
    }
}
