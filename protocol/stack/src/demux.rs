//! Which connection a segment belongs to.

use crate::random::{KeyedHash, SeededMap};
use anabranch_tcp::packed;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, SocketAddr};

/// The two ends of a TCP connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Tuple {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
}

packed!(Tuple { local, remote });

/// In as few words as there are: each packet is looked up by it. What [`Tuple::new`] leaves out is
/// equal, and no tuple has ends of two families.
impl Hash for Tuple {
    fn hash<H: Hasher>(&self, state: &mut H) {
        match self.v4() {
            Some(v4) => v4.hash(state),
            None => {
                state.write_u128(bits(self.local.ip()));
                state.write_u128(bits(self.remote.ip()));
                state.write_u32(self.ports());
            }
        }
    }
}

/// Whose a tuple is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Target {
    /// Slot of the connection.
    pub(crate) index: u32,
    /// Which of its subflows; always 0 for plain TCP.
    pub(crate) subflow: u32,
}

impl Target {
    /// A handshake of the SYN cache, by its place there.
    pub(crate) fn request(index: u32) -> Target {
        Target {
            index,
            subflow: u32::MAX,
        }
    }

    /// The place in the SYN cache, if it is there.
    pub(crate) fn as_request(self) -> Option<u32> {
        (self.subflow == u32::MAX).then_some(self.index)
    }
}

/// From tuples to connections. Those of IPv4, of which a table holds three times as many in as much
/// memory, stand apart: with many connections a look-up takes as long as memory takes to answer.
pub(crate) struct Demux {
    v4: SeededMap<V4, Target>,
    v6: SeededMap<Tuple, Target>,
}

/// A tuple of IPv4.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct V4 {
    local: u32,
    remote: u32,
    ports: u32,
}

impl Hash for V4 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(u64::from(self.local) << 32 | u64::from(self.remote));
        state.write_u32(self.ports);
    }
}

impl Tuple {
    /// Flow information and scope, which say nothing about who is who, are left out.
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        Tuple {
            local: SocketAddr::new(local.ip(), local.port()),
            remote: SocketAddr::new(remote.ip(), remote.port()),
        }
    }

    fn ports(&self) -> u32 {
        u32::from(self.local.port()) << 16 | u32::from(self.remote.port())
    }

    /// The same in short, if it is of IPv4.
    fn v4(&self) -> Option<V4> {
        let (IpAddr::V4(local), IpAddr::V4(remote)) = (self.local.ip(), self.remote.ip()) else {
            return None;
        };
        Some(V4 {
            local: local.to_bits(),
            remote: remote.to_bits(),
            ports: self.ports(),
        })
    }

    /// Before it is known.
    pub(crate) fn nowhere() -> Self {
        let nowhere = SocketAddr::from(([0; 4], 0));
        Tuple::new(nowhere, nowhere)
    }

    /// Both ends of the same family, hosts and ports that exist.
    pub(crate) fn is_usable(&self) -> bool {
        self.local.is_ipv4() == self.remote.is_ipv4()
            && self.remote.port() != 0
            && is_host(self.local)
            && is_host(self.remote)
    }
}

fn bits(ip: IpAddr) -> u128 {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped().to_bits(),
        IpAddr::V6(ip) => ip.to_bits(),
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
            v4: SeededMap::with_hasher(hash.clone()),
            v6: SeededMap::with_hasher(hash),
        }
    }

    pub(crate) fn get(&self, tuple: &Tuple) -> Option<Target> {
        let found = match tuple.v4() {
            Some(v4) => self.v4.get(&v4),
            None => self.v6.get(tuple),
        };
        found.copied()
    }

    pub(crate) fn contains(&self, tuple: &Tuple) -> bool {
        self.get(tuple).is_some()
    }

    pub(crate) fn insert(&mut self, tuple: Tuple, target: Target) {
        let before = self.put(tuple, target);
        debug_assert!(before.is_none(), "{tuple:?} is taken");
    }

    /// The same where a handshake of the SYN cache may have been.
    pub(crate) fn set(&mut self, tuple: Tuple, target: Target) {
        let before = self.put(tuple, target);
        let free = before.is_none_or(|before| before.as_request().is_some());
        debug_assert!(free, "{tuple:?} is taken");
    }

    fn put(&mut self, tuple: Tuple, target: Target) -> Option<Target> {
        match tuple.v4() {
            Some(v4) => self.v4.insert(v4, target),
            None => self.v6.insert(tuple, target),
        }
    }

    /// Removes a tuple if it is still whose it was thought to be.
    pub(crate) fn remove(&mut self, tuple: &Tuple, target: Target) {
        if self.get(tuple) != Some(target) {
            return;
        }
        match tuple.v4() {
            Some(v4) => self.v4.remove(&v4),
            None => self.v6.remove(tuple),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    #[test]
    fn each_end_port_and_family_tells_connections_apart() {
        let mut demux = Demux::new(Random::new([1; 32]).hash());
        let ends = [
            ("10.0.0.1:80", "10.0.0.2:4000"),
            ("10.0.0.1:4000", "10.0.0.2:80"),
            ("10.0.0.2:80", "10.0.0.1:4000"),
            ("10.0.0.1:80", "10.0.0.2:4001"),
            ("10.0.0.1:81", "10.0.0.2:4000"),
            ("[::ffff:10.0.0.1]:80", "[::ffff:10.0.0.2]:4000"),
            ("[fd00::1]:80", "[fd00::2]:4000"),
            ("[fd00::2]:80", "[fd00::1]:4000"),
        ];
        let tuples: Vec<_> = ends
            .iter()
            .map(|(local, remote)| {
                let addr = |text: &str| text.parse::<SocketAddr>().unwrap();
                Tuple::new(addr(local), addr(remote))
            })
            .collect();
        let target = |index| Target {
            index: index as u32,
            subflow: 0,
        };
        for (index, tuple) in tuples.iter().enumerate() {
            demux.insert(*tuple, target(index));
        }
        for (index, tuple) in tuples.iter().enumerate() {
            assert_eq!(demux.get(tuple), Some(target(index)));
            demux.remove(tuple, target(index + 1));
            assert!(demux.contains(tuple), "another's");
            demux.remove(tuple, target(index));
            assert!(!demux.contains(tuple));
        }
        assert!(demux.v4.is_empty() && demux.v6.is_empty());
    }
}
