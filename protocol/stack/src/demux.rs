//! Which connection a segment belongs to.

use crate::random::{KeyedHash, SeededMap};
use std::net::{IpAddr, SocketAddr};

/// The two ends of a TCP connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Tuple {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

/// Whose a tuple is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Slot of the connection.
    pub(crate) index: u32,
    /// Which of its subflows; always 0 for plain TCP.
    pub(crate) subflow: u32,
}

/// From tuples to connections.
pub(crate) struct Demux {
    map: SeededMap<Tuple, Target>,
}

impl Tuple {
    /// Flow information and scope, which say nothing about who is who, are left out.
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Tuple {
            local: SocketAddr::new(local.ip(), local.port()),
            remote: SocketAddr::new(remote.ip(), remote.port()),
        }
    }

    /// Both ends of the same family, hosts and ports that exist.
    pub(crate) fn is_usable(&self) -> bool {
        self.local.is_ipv4() == self.remote.is_ipv4()
            && self.remote.port() != 0
            && is_host(self.local)
            && is_host(self.remote)
    }
}

fn is_host(addr: SocketAddr) -> bool {
    !addr.ip().is_unspecified() && !is_group(addr.ip())
}

/// Multicast or broadcast: no end of a TCP connection (RFC 9293 §3.9.2.3).
pub(crate) fn is_group(ip: IpAddr) -> bool {
    ip.is_multicast() || matches!(ip, IpAddr::V4(v4) if v4.is_broadcast())
}

impl Demux {
    pub(crate) fn new(hash: KeyedHash) -> Self {
        Demux {
            map: SeededMap::with_hasher(hash),
        }
    }

    pub(crate) fn get(&self, tuple: &Tuple) -> Option<Target> {
        self.map.get(tuple).copied()
    }

    pub(crate) fn contains(&self, tuple: &Tuple) -> bool {
        self.map.contains_key(tuple)
    }

    pub(crate) fn insert(&mut self, tuple: Tuple, target: Target) {
        let before = self.map.insert(tuple, target);
        debug_assert!(before.is_none(), "{tuple:?} is taken");
    }

    /// Removes a tuple if it is still whose it was thought to be.
    pub(crate) fn remove(&mut self, tuple: &Tuple, target: Target) {
        if self.get(tuple) == Some(target) {
            self.map.remove(tuple);
        }
    }
}
