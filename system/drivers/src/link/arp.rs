//! The Address Resolution Protocol over Ethernet, for IPv4 (RFC 826).

use super::ether::{self, Header, Mac, ethertype};
use std::net::Ipv4Addr;

const ETHERNET: u16 = 1;
const LEN: usize = 28;

/// What a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Operation {
    /// Who has the target address?
    Request,
    /// The sender has the sender's address.
    Reply,
}

/// A message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Arp {
    pub(super) operation: Operation,
    pub(super) sender: (Mac, Ipv4Addr),
    pub(super) target: (Mac, Ipv4Addr),
}

impl Arp {
    /// Reads the message of a frame; `None` if it is none, or not of IPv4 over Ethernet.
    pub(super) fn parse(frame: &[u8]) -> Option<Arp> {
        let bytes: &[u8; LEN] = frame.get(ether::LEN..)?.first_chunk()?;
        let u16_at = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
        let mac_at = |at: usize| {
            let mut mac = [0; 6];
            mac.copy_from_slice(&bytes[at..at + 6]);
            Mac(mac)
        };
        let ip_at =
            |at: usize| Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]);
        let known = u16_at(0) == ETHERNET && u16_at(2) == ethertype::IPV4;
        if !known || (bytes[4], bytes[5]) != (6, 4) {
            return None;
        }
        Some(Arp {
            operation: match u16_at(6) {
                1 => Operation::Request,
                2 => Operation::Reply,
                _ => return None,
            },
            sender: (mac_at(8), ip_at(14)),
            target: (mac_at(18), ip_at(24)),
        })
    }

    /// The frame that carries the message to `dst`.
    pub(super) fn frame(&self, dst: Mac) -> Vec<u8> {
        let header = Header {
            dst,
            src: self.sender.0,
            ethertype: ethertype::ARP,
        };
        let operation: u16 = match self.operation {
            Operation::Request => 1,
            Operation::Reply => 2,
        };
        [
            &header.encode()[..],
            &ETHERNET.to_be_bytes(),
            &ethertype::IPV4.to_be_bytes(),
            &[6, 4],
            &operation.to_be_bytes(),
            &self.sender.0.0,
            &self.sender.1.octets(),
            &self.target.0.0,
            &self.target.1.octets(),
        ]
        .concat()
    }

    /// Asks who has `wanted`; with `own` unspecified, whether anyone has (a probe, RFC 5227 §2.1.1).
    pub(super) fn request(own: (Mac, Ipv4Addr), wanted: Ipv4Addr) -> Arp {
        Arp {
            operation: Operation::Request,
            sender: own,
            target: (Mac([0; 6]), wanted),
        }
    }
}
