//! Packets as they leave a Linux host whose device segments.

use anabranch_wire::frame::Transmit;
use std::collections::{HashMap, VecDeque};

/// Largest payload of one packet before anything is known of the peer.
pub(crate) const GSO_MAX: u32 = 65_000;

/// Where TCP's sequence number and flags are in its header, and PSH among the flags.
const SEQ: usize = 4;
const FLAGS: usize = 13;
/// Where the header's length is, and what comes before options.
const OFFSET: usize = 12;
const HEADER: usize = 20;
/// Kind of Multipath TCP's options.
const MPTCP: u8 = 30;
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
    /// The SYN had a Multipath TCP option: writes are shared out among subflows, and each pushes
    /// where it has nothing more, as the engine does.
    multipath: bool,
    /// Type of service.
    tos: Option<u8>,
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
    ///
    /// `tos` is the type of service that the socket asks for, if there is one still.
    pub(crate) fn packet(&mut self, mut transmit: Transmit, tos: Option<u8>) -> Vec<u8> {
        let several = transmit.gso_size > 0 && transmit.payload_len() > transmit.gso_size.into();
        let len = transmit.payload_len() as u32;
        let ip_len = usize::from(transmit.ip_len);
        if let Some(tcp) = transmit.header.get_mut(ip_len..)
            && let Some(pushed) = self.note(tcp, len)
            && len > 0
        {
            // Linux pushes where a write ends, and what leaves in several segments at once, so that
            // receive offload at the other end does not hold it back.
            let by_write = match pushed.multipath {
                true => tcp[FLAGS] & PSH != 0,
                false => pushed.by_write,
            };
            let push = by_write || (several && !pushed.again);
            tcp[FLAGS] = (tcp[FLAGS] & !PSH) | if push { PSH } else { 0 };
        }
        transmit.finish_checksum();
        let sent = ports(&transmit).and_then(|ports| self.sent.get_mut(&ports));
        let tos_before = sent.and_then(|sent| {
            sent.tos = tos.or(sent.tos);
            sent.tos
        });
        let mut packet = transmit.to_bytes().to_vec();
        match tos.or(tos_before) {
            Some(0) | None => {}
            Some(tos) => serve(&mut packet, tos),
        }
        packet
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
                    multipath: has_option(tcp, MPTCP),
                    tos: None,
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
            multipath: sent.multipath,
        };
        if before(sent.end, end) {
            sent.end = end;
        }
        Some(pushed)
    }
}

/// Both ports of what is to be sent.
pub(crate) fn ports(transmit: &Transmit) -> Option<(u16, u16)> {
    let tcp = transmit.header.get(usize::from(transmit.ip_len)..)?;
    let [a, b, c, d] = *tcp.first_chunk()?;
    Some((u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d])))
}

/// Writes a type of service into an IP packet.
fn serve(packet: &mut [u8], tos: u8) {
    match packet {
        [0x40..=0x4f, place, ..] => {
            let before = u16::from(*place);
            *place |= tos;
            let after = u16::from(*place);
            // One word of the header checksum changes (RFC 1624).
            if let Some([high, low]) = packet.get_mut(10..12) {
                let sum = u32::from(!u16::from_be_bytes([*high, *low]));
                let sum = sum + u32::from(!before) + u32::from(after);
                let folded = (sum & 0xffff) + (sum >> 16);
                let folded = (folded & 0xffff) + (folded >> 16);
                [*high, *low] = (!(folded as u16)).to_be_bytes();
            }
        }
        [first @ 0x60..=0x6f, second, ..] => {
            *first |= tos >> 4;
            *second |= tos << 4;
        }
        _ => {}
    }
}

/// Whether a segment is pushed.
struct Pushed {
    /// A write ends in it.
    by_write: bool,
    /// It was sent before.
    again: bool,
    /// Of a subflow.
    multipath: bool,
}

/// Whether a TCP header has an option of this kind.
fn has_option(tcp: &[u8], kind: u8) -> bool {
    let len = tcp.get(OFFSET).map_or(0, |byte| usize::from(byte >> 4) * 4);
    let mut rest = tcp.get(HEADER..len).unwrap_or(&[]);
    while let [found, tail @ ..] = rest {
        let skip = match (found, tail) {
            (0, _) => return false,
            (1, _) => 1,
            (found, _) if *found == kind => return true,
            (_, [len, ..]) => usize::from(*len).max(2),
            _ => return false,
        };
        rest = rest.get(skip..).unwrap_or(&[]);
    }
    false
}
