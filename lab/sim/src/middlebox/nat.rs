//! Changing addresses and ports.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use bytes::Bytes;
use std::net::{IpAddr, SocketAddr};

/// Network address translation of one inside address. One value serves both directions: it keeps
/// no state, as the port outside is the port inside with some bits flipped.
#[derive(Clone, Copy, Debug)]
pub struct Nat {
    /// The address that packets come from.
    pub inside: IpAddr,
    /// The address they seem to come from, of the same family.
    pub outside: IpAddr,
    /// Bits of the port that change.
    pub flip: u16,
}

impl Middlebox for Nat {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let Ok(mut view) = TcpView::parse(&packet) else {
            return vec![packet];
        };
        let (mut src, mut dst) = view.ends();
        let flip = |end: SocketAddr, ip| SocketAddr::new(ip, end.port() ^ self.flip);
        if src.ip() == self.inside {
            src = flip(src, self.outside);
        } else if dst.ip() == self.outside {
            dst = flip(dst, self.inside);
        }
        if !view.checksum_ok(&packet) {
            return vec![];
        }
        let mut bytes = packet.to_vec();
        view.set_ends(&mut bytes, src, dst);
        vec![bytes.into()]
    }
}
