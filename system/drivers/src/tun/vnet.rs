//! The virtio-net header before each packet.

use anabranch_wire::frame::{Frame, Transmit};
use bytes::{Buf, Bytes};

/// Without the field of merged buffers.
pub(super) const LEN: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_ECN: u8 = 0x80;
/// Where the checksum stands in a TCP header.
const TCP_CHECKSUM: u16 = 16;

pub(super) fn encode(transmit: &Transmit) -> [u8; LEN] {
    let v6 = transmit.header.first().is_some_and(|byte| byte >> 4 == 6);
    let mut out = [0; LEN];
    let mut put = |at: usize, value: u16| out[at..at + 2].copy_from_slice(&value.to_ne_bytes());
    put(2, transmit.header.len() as u16);
    put(6, u16::from(transmit.ip_len));
    put(8, TCP_CHECKSUM);
    put(4, transmit.gso_size);
    out[0] = NEEDS_CSUM;
    if transmit.gso_size > 0 {
        out[1] = if v6 { GSO_TCPV6 } else { GSO_TCPV4 };
    }
    out
}

/// `None` if the header is malformed.
pub(super) fn decode(mut packet: Bytes) -> Option<Frame> {
    let header = packet.get(..LEN)?;
    let gso_size = match header[1] & !GSO_ECN {
        GSO_NONE => 0,
        GSO_TCPV4 | GSO_TCPV6 => u16::from_ne_bytes([header[4], header[5]]),
        _ => return None,
    };
    let checksum_ok = header[0] & (NEEDS_CSUM | DATA_VALID) != 0;
    packet.advance(LEN);
    Some(Frame {
        data: packet,
        checksum_ok,
        gso_size,
    })
}
