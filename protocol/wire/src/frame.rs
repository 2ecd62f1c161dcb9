//! What passes between a stack and a packet device: IP packets and super-frames.

mod segment;

use crate::{checksum, tcp};
use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

pub use segment::{Segments, segment};

/// Headers of one packet; 128 bytes hold all but IPv6 with extension headers.
pub type HeaderBytes = SmallVec<[u8; 128]>;

/// An IP packet from a device; a super-frame where receive offload merged several.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Frame {
    /// From the IP header on.
    pub data: Bytes,
    /// The device vouches for the TCP checksum (verified, or partial because it never left the host).
    pub checksum_ok: bool,
    /// Payload bytes of each wire segment that was merged; 0 when it is a single packet.
    pub gso_size: u16,
}

impl Frame {
    /// A single packet whose checksum nobody has verified.
    pub fn packet(data: Bytes) -> Frame {
        Frame {
            data,
            checksum_ok: false,
            gso_size: 0,
        }
    }
}

/// A packet to a device: headers, then slices of payload, written without copying payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Transmit {
    /// IP and transport headers with options.
    pub header: HeaderBytes,
    /// Length of the IP header within `header` (where the TCP header starts).
    pub ip_len: u8,
    /// Payload.
    pub payload: SmallVec<[Bytes; 4]>,
    /// Bytes of payload for each wire segment if this is a super-frame; 0 when one packet.
    pub gso_size: u16,
    /// The TCP checksum field holds the folded, uncomplemented pseudo-header sum (over the length
    /// of the whole super-frame), to be completed by the device or by [`Transmit::packets`]. False
    /// when nothing is left to be done, as with ICMP.
    pub needs_checksum: bool,
}

impl Transmit {
    /// Bytes of payload.
    pub fn payload_len(&self) -> usize {
        self.payload.iter().map(Bytes::len).sum()
    }

    /// Bytes of headers and payload.
    pub fn total_len(&self) -> usize {
        self.header.len() + self.payload_len()
    }

    /// Whether this is an IPv6 packet.
    pub fn is_ipv6(&self) -> bool {
        self.header.first().is_some_and(|byte| byte >> 4 == 6)
    }

    /// Completes the TCP checksum in software, if that is still to be done. For single packets:
    /// those of a super-frame have one each, see [`Transmit::packets`].
    pub fn finish_checksum(&mut self) {
        if !self.needs_checksum {
            return;
        }
        let ip_len = usize::from(self.ip_len);
        let pieces = self.payload.iter().map(|piece| &piece[..]);
        let sum = checksum::sum_slices(std::iter::once(&self.header[ip_len..]).chain(pieces));
        self.set_u16(ip_len + tcp::CHECKSUM_AT, !sum.value());
        self.needs_checksum = false;
    }

    /// The packets as they go on a wire without any offload: segmented, each checksum complete.
    pub fn packets(&self) -> impl Iterator<Item = Transmit> + '_ {
        segment(self).map(|mut packet| {
            packet.finish_checksum();
            packet
        })
    }

    /// Headers and payload in one piece: a copy, for devices and captures that take no slices.
    pub fn to_bytes(&self) -> Bytes {
        let mut bytes = BytesMut::with_capacity(self.total_len());
        bytes.extend_from_slice(&self.header);
        self.payload
            .iter()
            .for_each(|piece| bytes.extend_from_slice(piece));
        bytes.freeze()
    }

    /// What a device in the same memory hands to the other side: the super-frame as it is.
    pub fn to_frame(&self) -> Frame {
        Frame {
            data: self.to_bytes(),
            checksum_ok: self.needs_checksum,
            gso_size: self.gso_size,
        }
    }

    fn u16_at(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.header[at], self.header[at + 1]])
    }

    fn set_u16(&mut self, at: usize, value: u16) {
        self.header[at..at + 2].copy_from_slice(&value.to_be_bytes());
    }
}
