//! What passes between a stack and a packet device: IP packets and super-frames.

use bytes::Bytes;
use smallvec::SmallVec;

/// An IP packet from a device; a super-frame where receive offload merged several.
#[derive(Clone, Debug)]
pub struct Frame {
    /// From the IP header on.
    pub data: Bytes,
    /// The device vouches for the TCP checksum (verified, or partial because it never left the host).
    pub checksum_ok: bool,
    /// Payload bytes of each wire segment that was merged; 0 when it is a single packet.
    pub gso_size: u16,
}

/// A packet to a device: headers, then slices of payload, written without copying payload.
#[derive(Clone, Debug)]
pub struct Transmit {
    /// IP and TCP headers with options. The TCP checksum field holds the folded, uncomplemented
    /// pseudo-header sum: the device completes it, or [`Transmit`] is segmented in software.
    pub header: SmallVec<[u8; 128]>,
    /// Length of the IP header within `header` (where the TCP header starts).
    pub ip_len: u8,
    /// Payload.
    pub payload: SmallVec<[Bytes; 4]>,
    /// Bytes of payload for each wire segment if this is a super-frame; 0 when one packet.
    pub gso_size: u16,
}
