//! Changing payload without changing its length.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use bytes::Bytes;

/// Replaces one byte value by another wherever payload has it, as a proxy that rewrites what it
/// understands, and mends the TCP checksum.
#[derive(Clone, Copy, Debug)]
pub struct Alter {
    /// What it looks for.
    pub from: u8,
    /// What it writes instead.
    pub to: u8,
}

impl Middlebox for Alter {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let Some(view) = TcpView::sound(&packet) else {
            return vec![packet];
        };
        let mut bytes = packet.to_vec();
        let payload = bytes[view.payload.clone()].iter_mut();
        payload
            .filter(|b| **b == self.from)
            .for_each(|b| *b = self.to);
        view.fix_checksum(&mut bytes);
        vec![bytes.into()]
    }
}
