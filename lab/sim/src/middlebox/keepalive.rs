//! Probes in the name of an end.

use crate::network::Middlebox;
use crate::segment::TcpView;
use anabranch_tcp::Instant;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use std::time::Duration;

/// Sends keepalives (RFC 9293 §3.8.4) of its own, as firewalls that look whether a connection still
/// lives do: one sequence number back, without options.
#[derive(Debug)]
pub struct Keepalive {
    every: Duration,
    /// Bytes of garbage in it.
    garbage: usize,
    last: Option<(TcpView, Bytes)>,
    next: Option<Instant>,
    left: u32,
}

impl Keepalive {
    /// So often, twenty times at most, with 0 or 1 byte that was sent before.
    pub fn new(every: Duration, garbage: usize) -> Keepalive {
        Keepalive {
            every,
            garbage,
            last: None,
            next: None,
            left: 20,
        }
    }
}

impl Middlebox for Keepalive {
    fn pass(&mut self, now: Instant, packet: Bytes) -> Vec<Bytes> {
        let Some(view) = TcpView::sound(&packet) else {
            return vec![packet];
        };
        if view.flags.without(Flags::PSH) == Flags::ACK {
            self.last = Some((view, packet.clone()));
            self.next.get_or_insert(now + self.every);
        } else {
            (self.last, self.next) = (None, None);
        }
        vec![packet]
    }

    fn deadline(&self) -> Option<Instant> {
        self.next.filter(|_| self.left > 0)
    }

    fn release(&mut self, now: Instant) -> Vec<Bytes> {
        self.left -= 1;
        self.next = Some(now + self.every);
        let Some((view, packet)) = &self.last else {
            return Vec::new();
        };
        let mut probe = packet.to_vec();
        let at = view.ip.payload.start;
        probe[at + 4..at + 8].copy_from_slice(&(view.end() - 1).0.to_be_bytes());
        vec![view.rebuild(&probe, &[], &vec![0; self.garbage]).into()]
    }
}
