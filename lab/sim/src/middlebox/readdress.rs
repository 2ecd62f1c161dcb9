//! Changing addresses inside options.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use bytes::Bytes;
use std::net::Ipv4Addr;

/// Writes another IPv4 address into ADD_ADDR, as a translator that means well does. The HMAC of
/// version 1 shows it (RFC 8684 §3.4.1).
#[derive(Clone, Copy, Debug)]
pub struct Readdress(
    /// The address it writes.
    pub Ipv4Addr,
);

impl Middlebox for Readdress {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        const ADD_ADDR: u8 = 3;
        let Some(view) = TcpView::sound(&packet) else {
            return vec![packet];
        };
        let mut bytes = packet.to_vec();
        for (subtype, range) in view.mptcp_options(&packet) {
            // Without or with port, HMAC or both; others are of IPv6.
            if subtype == ADD_ADDR && matches!(range.len(), 8 | 10 | 16 | 18) {
                bytes[range.start + 4..range.start + 8].copy_from_slice(&self.0.octets());
            }
        }
        view.fix_checksum(&mut bytes);
        vec![bytes.into()]
    }
}
