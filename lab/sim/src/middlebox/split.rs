//! Cutting segments in two.

use crate::network::Middlebox;
use crate::segment::{NOP, TcpView};
use anabranch_tcp::Instant;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;

/// Which part keeps the Multipath TCP options of a segment that is cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Keep {
    /// Both, as segmentation offload does.
    Both,
    /// The first.
    First,
    /// The last.
    Last,
}

/// Cuts each segment with two bytes of payload or more in two.
#[derive(Clone, Copy, Debug)]
pub struct Split(
    /// Where its options stay.
    pub Keep,
);

impl Middlebox for Split {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        match TcpView::parse(&packet) {
            Ok(view) if view.payload.len() > 1 && view.checksum_ok(&packet) => {
                let cut = view.payload.len() / 2;
                vec![
                    part(&packet, &view, 0..cut, self.0 != Keep::Last),
                    part(
                        &packet,
                        &view,
                        cut..view.payload.len(),
                        self.0 != Keep::First,
                    ),
                ]
            }
            _ => vec![packet],
        }
    }
}

/// The packet with these bytes of its payload.
fn part(packet: &[u8], view: &TcpView, range: std::ops::Range<usize>, options: bool) -> Bytes {
    let payload = &packet[view.payload.clone()];
    let mut bytes = packet[..view.payload.start].to_vec();
    if !options {
        for (_, range) in view.mptcp_options(packet) {
            bytes[range].fill(NOP);
        }
    }
    bytes.extend_from_slice(&payload[range.clone()]);
    view.fix_length(&mut bytes);
    let mut view = view.clone();
    view.ip.payload.end = bytes.len();
    view.add(&mut bytes, 4, range.start as u32);
    if range.end < payload.len() {
        let flags = view.flags.without(Flags::FIN).without(Flags::PSH);
        view.set_flags(&mut bytes, flags);
    }
    view.fix_checksum(&mut bytes);
    bytes.into()
}
