//! Packets as they leave a Linux host whose device segments.

use anabranch_wire::frame::Transmit;

/// Largest payload of one packet. packetdrill takes several segments in one, as from a device that
/// segments, for the same as one after the other.
pub(crate) const GSO_MAX: u32 = 65_000;

/// Where TCP's flags are in its header, and PSH among them.
const FLAGS: usize = 13;
const PSH: u8 = 8;

/// The packet, super-frames in one piece.
pub(crate) fn packet(mut transmit: Transmit) -> Vec<u8> {
    let several = transmit.gso_size > 0 && transmit.payload_len() > transmit.gso_size.into();
    let flags = usize::from(transmit.ip_len) + FLAGS;
    if several && let Some(flags) = transmit.header.get_mut(flags) {
        // Linux pushes what leaves in several segments, so that receive offload at the other end
        // does not hold it back.
        *flags |= PSH;
    }
    transmit.finish_checksum();
    transmit.to_bytes().to_vec()
}
