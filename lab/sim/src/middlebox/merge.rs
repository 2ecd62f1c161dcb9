//! Making one segment of two.

use super::split::Keep;
use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

/// Merges pairs of successive segments, as traffic normalisers and receive offload in routers do.
/// Their options can not all stay: two DSS beside timestamps are more than 40 bytes.
#[derive(Debug)]
pub struct Merge {
    keep: Keep,
    hold: Duration,
    held: Option<(Instant, TcpView, Bytes)>,
}

impl Merge {
    /// Keeps the options of the first or of the last segment of two; waits for the second so long.
    pub fn new(keep: Keep, hold: Duration) -> Merge {
        Merge {
            keep,
            hold,
            held: None,
        }
    }
}

impl Middlebox for Merge {
    fn pass(&mut self, now: Instant, packet: Bytes) -> Vec<Bytes> {
        let data = TcpView::sound(&packet).filter(|v| {
            let plain = v.flags.without(Flags::PSH).without(Flags::FIN) == Flags::ACK;
            plain && !v.payload.is_empty()
        });
        let (held, view) = match (self.held.take(), data) {
            (None, Some(view)) => {
                self.held = Some((now + self.hold, view, packet));
                return Vec::new();
            }
            (None, None) => return vec![packet],
            (Some((_, _, held)), None) => return vec![held, packet],
            (Some((_, before, held)), Some(view)) => ((before, held), view),
        };
        if !view.continues(&held.0) {
            return vec![held.1, packet];
        }
        vec![merged(&held.0, &held.1, &view, &packet, self.keep)]
    }

    fn deadline(&self) -> Option<Instant> {
        self.held.as_ref().map(|(at, ..)| *at)
    }

    fn release(&mut self, _: Instant) -> Vec<Bytes> {
        self.held
            .take()
            .into_iter()
            .map(|(.., packet)| packet)
            .collect()
    }
}

/// Acknowledgement, window and control bits are those of the last.
fn merged(first: &TcpView, head: &[u8], last: &TcpView, tail: &[u8], keep: Keep) -> Bytes {
    let options = match keep {
        Keep::Last => &tail[last.options.clone()],
        Keep::First | Keep::Both => &head[first.options.clone()],
    };
    let payload = [&head[first.payload.clone()], &tail[last.payload.clone()]].concat();
    let mut packet = tail.to_vec();
    let at = last.ip.payload.start + 4;
    packet[at..at + 4].copy_from_slice(&first.seq.0.to_be_bytes());
    last.rebuild(&packet, options, &payload).into()
}
