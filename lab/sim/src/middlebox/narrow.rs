//! A router whose next link takes smaller packets only.

use crate::network::{Middlebox, addresses};
use anabranch_tcp::Instant;
use anabranch_wire::icmp::packet_too_big;
use bytes::Bytes;
use std::net::IpAddr;

/// Drops packets longer than an MTU, and tells their sender (RFC 1191, RFC 8201), or does not: then
/// it is a black hole for them (RFC 2923 §2.1).
#[derive(Clone, Copy, Debug)]
pub struct Narrow {
    /// Longest packet that passes, bytes.
    pub mtu: u16,
    /// From this time on; before, everything passes.
    pub from: Instant,
    /// Address of the router, of the family of the packets.
    pub router: IpAddr,
    /// It drops without a word.
    pub silent: bool,
}

impl Middlebox for Narrow {
    fn pass(&mut self, now: Instant, packet: Bytes) -> Vec<Bytes> {
        if now < self.from || packet.len() <= usize::from(self.mtu) {
            return vec![packet];
        }
        if self.silent {
            return vec![];
        }
        if addresses(&packet).is_none_or(|(src, _)| src.is_ipv4() != self.router.is_ipv4()) {
            return vec![];
        }
        let message = packet_too_big(self.router, &packet, u32::from(self.mtu));
        message.map(|m| m.to_bytes()).into_iter().collect()
    }
}
