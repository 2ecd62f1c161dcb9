//! Sending again with other boundaries.

use super::split::Keep;
use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;

/// Sends data again that passed, cut otherwise: the second half of one segment and the first half
/// of the next, as a box that retransmits from a buffer of its own does.
#[derive(Debug)]
pub struct Respool {
    keep: Keep,
    last: Option<(TcpView, Bytes)>,
}

impl Respool {
    /// What is sent again has the options of the first segment, or of the last.
    pub fn new(keep: Keep) -> Respool {
        Respool { keep, last: None }
    }
}

impl Middlebox for Respool {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let data = TcpView::sound(&packet).filter(|v| v.payload.len() > 1);
        let Some(view) = data.filter(|v| !v.flags.has(Flags::SYN) && !v.flags.has(Flags::FIN))
        else {
            return vec![packet];
        };
        let before = self.last.replace((view.clone(), packet.clone()));
        let again = before
            .filter(|(before, _)| view.continues(before))
            .map(|(before, first)| straddling(&before, &first, &view, &packet, self.keep));
        [packet].into_iter().chain(again).collect()
    }
}

fn straddling(first: &TcpView, head: &[u8], last: &TcpView, tail: &[u8], keep: Keep) -> Bytes {
    let skip = first.payload.len() / 2;
    let old = &head[first.payload.start + skip..first.payload.end];
    let new = &tail[last.payload.start..last.payload.start + last.payload.len() / 2];
    let options = match keep {
        Keep::Last => &tail[last.options.clone()],
        Keep::First | Keep::Both => &head[first.options.clone()],
    };
    let mut packet = tail.to_vec();
    let at = last.ip.payload.start + 4;
    packet[at..at + 4].copy_from_slice(&(first.seq + skip as u32).0.to_be_bytes());
    last.rebuild(&packet, options, &[old, new].concat()).into()
}
