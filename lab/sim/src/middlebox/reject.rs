//! Answering with a reset.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use anabranch_wire::tcp::{Flags, Options, SegmentOptions};
use anabranch_wire::{Build, Seq};
use bytes::Bytes;

/// Whom a reset tells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tell {
    /// Who sent the packet.
    Sender,
    /// Both ends.
    Both,
}

/// Resets connections in the name of the other end, as firewalls and censors do.
pub struct Reject<F> {
    which: F,
    tell: Tell,
}

impl<F: FnMut(&TcpView, &[u8]) -> bool> Reject<F> {
    /// Packets of which `which`, given the view and the bytes, says so do not pass.
    pub fn new(tell: Tell, which: F) -> Reject<F> {
        Reject { which, tell }
    }
}

impl<F: FnMut(&TcpView, &[u8]) -> bool> Middlebox for Reject<F> {
    fn pass(&mut self, _: Instant, packet: Bytes) -> Vec<Bytes> {
        let Some(view) = TcpView::sound(&packet).filter(|view| (self.which)(view, &packet)) else {
            return vec![packet];
        };
        let ack = view.ack(&packet);
        let back = reset(&view, true, ack, view.end());
        let on = reset(&view, false, view.seq, ack);
        match self.tell {
            Tell::Sender => back.into_iter().collect(),
            Tell::Both => on.into_iter().chain(back).collect(),
        }
    }
}

/// A reset from one end to the other; `back`: to who sent what was seen.
fn reset(view: &TcpView, back: bool, seq: Seq, ack: Seq) -> Option<Bytes> {
    let (src, dst) = view.ends();
    let (src, dst) = if back { (dst, src) } else { (src, dst) };
    let build = Build {
        src,
        dst,
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq,
        ack,
        flags: Flags::RST.with(Flags::ACK),
        window: 0,
        urgent: 0,
        options: &Options::Segment(SegmentOptions::default()),
        mptcp: &[],
    };
    let transmit = build.transmit(smallvec::SmallVec::new(), 0).ok()?;
    transmit.packets().next().map(|packet| packet.to_bytes())
}
