//! Packets as they leave a Linux host whose device segments.

use anabranch_wire::frame::Transmit;
use std::collections::HashMap;

/// Largest payload of one packet before anything is known of the peer.
pub(crate) const GSO_MAX: u32 = 65_000;

/// Where TCP's sequence number and flags are in its header, and PSH among the flags.
const SEQ: usize = 4;
const FLAGS: usize = 13;
const PSH: u8 = 8;

/// How far each connection has sent, by its ports.
#[derive(Default)]
pub(crate) struct Output {
    sent: HashMap<[u8; 4], u32>,
}

impl Output {
    /// The packet, super-frames in one piece: packetdrill takes several segments in one, as from a
    /// device that segments, for the same as one after the other.
    pub(crate) fn packet(&mut self, mut transmit: Transmit) -> Vec<u8> {
        let several = transmit.gso_size > 0 && transmit.payload_len() > transmit.gso_size.into();
        let again = self.is_sent_again(&transmit);
        let flags = usize::from(transmit.ip_len) + FLAGS;
        if several
            && !again
            && let Some(flags) = transmit.header.get_mut(flags)
        {
            // Linux pushes what leaves in several segments, so that receive offload at the other
            // end does not hold it back; what it sends again, it sends one by one.
            *flags |= PSH;
        }
        transmit.finish_checksum();
        transmit.to_bytes().to_vec()
    }

    fn is_sent_again(&mut self, transmit: &Transmit) -> bool {
        let tcp = &transmit.header[usize::from(transmit.ip_len)..];
        let (Some(ports), Some(seq)) = (
            tcp.first_chunk(),
            tcp.get(SEQ..).and_then(<[u8]>::first_chunk),
        ) else {
            return false;
        };
        let start = u32::from_be_bytes(*seq);
        let end = start.wrapping_add(transmit.payload_len() as u32);
        let sent = self.sent.entry(*ports).or_insert(start);
        let again = (start.wrapping_sub(*sent) as i32) < 0;
        if end.wrapping_sub(*sent) as i32 > 0 {
            *sent = end;
        }
        again
    }
}
