//! Removing TCP options of any kind.

use crate::network::Middlebox;
use crate::segment::{NOP, TcpView};
use anabranch_tcp::Instant;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;

/// Overwrites options by their kind with NOPs.
#[derive(Clone, Copy, Debug)]
pub struct Forget {
    /// Which kinds; none: all of them.
    pub kinds: &'static [u8],
    /// Only from SYN and SYN+ACK.
    pub syn_only: bool,
}

impl Middlebox for Forget {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let Some(view) = TcpView::sound(&packet) else {
            return vec![packet];
        };
        if self.syn_only && !view.flags.has(Flags::SYN) {
            return vec![packet];
        }
        let mut bytes = packet.to_vec();
        for (kind, range) in view.tcp_options(&packet) {
            if self.kinds.is_empty() || self.kinds.contains(&kind) {
                bytes[range].fill(NOP);
            }
        }
        view.fix_checksum(&mut bytes);
        vec![bytes.into()]
    }
}
