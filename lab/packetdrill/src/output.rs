//! Packets as they leave a Linux host whose device segments.

use anabranch_wire::frame::Transmit;
use std::collections::{HashMap, VecDeque};

/// Largest payload of one packet before anything is known of the peer.
pub(crate) const GSO_MAX: u32 = 65_000;

/// Where TCP's sequence number and flags are in its header, and PSH among the flags.
const SEQ: usize = 4;
const FLAGS: usize = 13;
const SYN: u8 = 2;
const PSH: u8 = 8;

/// Writes remembered for each connection: far more than a window of small ones.
const MAX_PUSHES: usize = 4096;

/// What packets looked like so far, by the connection's ports.
#[derive(Default)]
pub(crate) struct Output {
    sent: HashMap<(u16, u16), Sent>,
}

/// One connection; sequence numbers.
struct Sent {
    /// After the SYN.
    start: u32,
    /// After everything sent.
    end: u32,
    /// Ends of writes.
    pushes: VecDeque<u32>,
}

impl Output {
    /// The application wrote up to payload position `end`, and no more follows soon.
    pub(crate) fn push(&mut self, ports: (u16, u16), end: u64) {
        if let Some(sent) = self.sent.get_mut(&ports) {
            sent.pushes.push_back(sent.start.wrapping_add(end as u32));
            if sent.pushes.len() > MAX_PUSHES {
                sent.pushes.pop_front();
            }
        }
    }

    /// The packet, super-frames in one piece: packetdrill takes several segments in one, as from a
    /// device that segments, for the same as one after the other.
    pub(crate) fn packet(&mut self, mut transmit: Transmit) -> Vec<u8> {
        let several = transmit.gso_size > 0 && transmit.payload_len() > transmit.gso_size.into();
        let len = transmit.payload_len() as u32;
        let ip_len = usize::from(transmit.ip_len);
        if let Some(tcp) = transmit.header.get_mut(ip_len..)
            && let Some(pushed) = self.note(tcp, len)
            && len > 0
        {
            // Linux pushes where a write ends, and what leaves in several segments at once, so that
            // receive offload at the other end does not hold it back.
            let push = pushed.by_write || (several && !pushed.again);
            tcp[FLAGS] = (tcp[FLAGS] & !PSH) | if push { PSH } else { 0 };
        }
        transmit.finish_checksum();
        transmit.to_bytes().to_vec()
    }

    /// What is known of a segment with `len` bytes of payload; `None` where it is no TCP.
    fn note(&mut self, tcp: &[u8], len: u32) -> Option<Pushed> {
        let port = |at: usize| Some(u16::from_be_bytes([*tcp.get(at)?, *tcp.get(at + 1)?]));
        let ports = (port(0)?, port(2)?);
        let seq = u32::from_be_bytes(*tcp.get(SEQ..)?.first_chunk()?);
        if tcp.get(FLAGS)? & SYN != 0 {
            let start = seq.wrapping_add(1);
            let known = self.sent.get(&ports).filter(|sent| sent.start == start);
            if known.is_none() {
                let sent = Sent {
                    start,
                    end: start,
                    pushes: VecDeque::new(),
                };
                self.sent.insert(ports, sent);
            }
            return None;
        }
        let sent = self.sent.get_mut(&ports)?;
        let end = seq.wrapping_add(len);
        let before = |a: u32, b: u32| (a.wrapping_sub(b) as i32) < 0;
        let within = |push: &u32| before(seq, *push) && !before(end, *push);
        let pushed = Pushed {
            by_write: sent.pushes.iter().any(within),
            again: before(seq, sent.end),
        };
        if before(sent.end, end) {
            sent.end = end;
        }
        Some(pushed)
    }
}

/// Whether a segment is pushed.
struct Pushed {
    /// A write ends in it.
    by_write: bool,
    /// It was sent before.
    again: bool,
}
