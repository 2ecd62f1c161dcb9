//! What a device with segmentation and receive offload does: super-frames to wire packets, and
//! wire packets to super-frames.

use crate::segment::TcpView;
use anabranch_tcp::Instant;
use anabranch_wire::frame::{Frame, Transmit};
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

/// The wire packets of what a stack sends.
pub fn split(transmit: &Transmit) -> Vec<Bytes> {
    transmit.packets().map(|packet| packet.to_bytes()).collect()
}

/// Merges successive packets of a flow whose headers are equal, as receive offload does: same
/// acknowledgement, window and option bytes, contiguous, all of one size but for the last.
#[derive(Debug)]
pub struct Coalescer {
    hold: Duration,
    runs: Vec<Run>,
    first: Option<Instant>,
}

/// Packets to be merged.
#[derive(Debug)]
struct Run {
    head: Bytes,
    /// `None` for a packet that is no clean TCP data.
    view: Option<TcpView>,
    pieces: Vec<Bytes>,
    len: usize,
    last_flags: Flags,
    /// More may follow.
    open: bool,
}

impl Coalescer {
    /// Holds packets back for `hold` after the first.
    pub fn new(hold: Duration) -> Coalescer {
        Coalescer {
            hold,
            runs: Vec::new(),
            first: None,
        }
    }

    /// A packet arrived.
    pub fn push(&mut self, now: Instant, packet: Bytes) {
        self.first.get_or_insert(now);
        let view = TcpView::parse(&packet)
            .ok()
            .filter(|v| v.checksum_ok(&packet));
        let run = Run::new(packet, view);
        if let Some(view) = &run.view {
            let of_flow = |r: &&mut Run| r.view.as_ref().is_some_and(|v| v.same_flow(view));
            if let Some(last) = self.runs.iter_mut().rev().find(of_flow) {
                if last.append(&run) {
                    return;
                }
                last.open = false;
            }
        }
        self.runs.push(run);
    }

    /// When what is held must be taken.
    pub fn deadline(&self) -> Option<Instant> {
        self.first.map(|at| at + self.hold)
    }

    /// What is held, merged.
    pub fn take(&mut self) -> Vec<Frame> {
        self.first = None;
        self.runs.drain(..).map(Run::merge).collect()
    }
}

impl Run {
    fn new(packet: Bytes, view: Option<TcpView>) -> Run {
        let data = view.as_ref().map_or(0..0, |v| v.payload.clone());
        let flags = view.as_ref().map_or(Flags::default(), |v| v.flags);
        Run {
            pieces: vec![packet.slice(data.clone())],
            len: data.len(),
            open: !data.is_empty() && flags == Flags::ACK,
            last_flags: flags,
            head: packet,
            view,
        }
    }

    /// Takes a run of one packet, if it fits.
    fn append(&mut self, next: &Run) -> bool {
        let (Some(view), Some(next_view)) = (&self.view, &next.view) else {
            return false;
        };
        let size = view.payload.len();
        let fits = self.open
            && next.len > 0
            && next.len <= size
            && view.payload.start + self.len + next.len <= 65_535
            && next_view.seq == view.seq + self.len as u32
            && next_view.flags.without(Flags::PSH) == Flags::ACK
            && next_view.same_header(&next.head, view, &self.head);
        if fits {
            self.pieces.push(next.pieces[0].clone());
            self.len += next.len;
            self.last_flags = next.last_flags;
            self.open = next.open && next.len == size;
        }
        fits
    }

    fn merge(self) -> Frame {
        let checksum_ok = self.view.is_some();
        let (Some(view), true) = (self.view, self.pieces.len() > 1) else {
            return Frame {
                data: self.head,
                checksum_ok,
                gso_size: 0,
            };
        };
        let gso_size = view.payload.len() as u16;
        let mut data = self.head[..view.payload.start].to_vec();
        self.pieces.iter().for_each(|p| data.extend_from_slice(p));
        view.set_flags(&mut data, view.flags.with(self.last_flags));
        view.fix_length(&mut data);
        Frame {
            data: data.into(),
            checksum_ok,
            gso_size,
        }
    }
}
