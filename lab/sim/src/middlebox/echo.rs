//! Sending unknown options back.

use crate::network::Middlebox;
use crate::segment::{MAX_OPTIONS, MPTCP, TcpView};
use anabranch_tcp::Instant;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;

/// Writes the Multipath TCP option of the SYN into the SYN+ACK instead of the one it has: a server
/// or proxy that copies options it does not know. It has to see both directions.
#[derive(Clone, Debug, Default)]
pub struct Echo {
    syn: Vec<u8>,
}

impl Middlebox for Echo {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let view = TcpView::sound(&packet).filter(|v| v.flags.has(Flags::SYN));
        let Some(view) = view else {
            return vec![packet];
        };
        let options = view.tcp_options(&packet);
        let (unknown, known): (Vec<_>, Vec<_>) = options.into_iter().partition(|o| o.0 == MPTCP);
        let bytes = |list: Vec<(u8, std::ops::Range<usize>)>| -> Vec<u8> {
            list.into_iter()
                .flat_map(|(_, range)| packet[range].to_vec())
                .collect()
        };
        if !view.flags.has(Flags::ACK) {
            self.syn = bytes(unknown);
            return vec![packet];
        }
        let mut options = bytes(known);
        options.extend_from_slice(&self.syn);
        if options.len() > MAX_OPTIONS {
            return vec![packet];
        }
        vec![
            view.rebuild(&packet, &options, &packet[view.payload.clone()])
                .into(),
        ]
    }
}
