//! Arranging options otherwise.

use crate::network::Middlebox;
use crate::segment::{MAX_OPTIONS, MPTCP, NOP, TcpView};
use anabranch_tcp::Instant;
use bytes::Bytes;

/// Writes the same options in another way, as normalisers do. What would not fit into 40 bytes
/// stays as it was.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shuffle {
    /// In the opposite order.
    Reverse,
    /// A NOP before each.
    Pad,
    /// Multipath TCP options twice.
    Duplicate,
}

impl Shuffle {
    fn options(self, packet: &[u8], view: &TcpView) -> Vec<u8> {
        let mut options = view.tcp_options(packet);
        if self == Shuffle::Reverse {
            options.reverse();
        }
        let mut bytes = Vec::new();
        for (kind, range) in options {
            if self == Shuffle::Pad {
                bytes.push(NOP);
            }
            let copies = 1 + usize::from(self == Shuffle::Duplicate && kind == MPTCP);
            (0..copies).for_each(|_| bytes.extend_from_slice(&packet[range.clone()]));
        }
        bytes
    }
}

impl Middlebox for Shuffle {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let Some(view) = TcpView::sound(&packet) else {
            return vec![packet];
        };
        let options = self.options(&packet, &view);
        if options.len() > MAX_OPTIONS {
            return vec![packet];
        }
        let payload = &packet[view.payload.clone()];
        vec![view.rebuild(&packet, &options, payload).into()]
    }
}
