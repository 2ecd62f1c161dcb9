//! Software segmentation: a super-frame into the packets a device with offload would send.

use super::{HeaderBytes, Transmit};
use crate::tcp::{CHECKSUM_AT, Flags};
use crate::{checksum, ip};
use bytes::Bytes;
use smallvec::SmallVec;

/// Where these fields stand in an IPv4 header.
const V4_TOTAL_LEN: usize = 2;
const V4_IDENT: usize = 4;
const V4_CHECKSUM: usize = 10;
/// And in an IPv6 header.
const V6_PAYLOAD_LEN: usize = 4;
/// And in a TCP header.
const SEQ_AT: usize = 4;
const FLAGS_AT: usize = 13;

/// Cuts a super-frame into single packets of at most `gso_size` payload bytes. Options are
/// replicated byte for byte; sequence numbers, lengths, IPv4 identification and header checksum
/// follow; FIN and PSH stand on the last only, CWR on the first only (RFC 3168 §6.1.2). TCP
/// checksums stay partial. A single packet comes out as it is.
pub fn segment(super_frame: &Transmit) -> Segments<'_> {
    let len = super_frame.payload_len();
    let size = match usize::from(super_frame.gso_size) {
        0 => len.max(1),
        size => size,
    };
    Segments {
        super_frame,
        size,
        len,
        offset: 0,
        done: false,
        piece: 0,
        piece_offset: 0,
    }
}

/// The packets of a super-frame, made by [`segment`].
#[derive(Clone, Debug)]
pub struct Segments<'a> {
    super_frame: &'a Transmit,
    /// Payload of each segment but the last.
    size: usize,
    /// Payload of all.
    len: usize,
    /// Payload handed out so far.
    offset: usize,
    done: bool,
    /// The piece of payload that comes next, and what of it is handed out.
    piece: usize,
    piece_offset: usize,
}

impl Iterator for Segments<'_> {
    type Item = Transmit;

    fn next(&mut self) -> Option<Transmit> {
        if self.done {
            return None;
        }
        let (start, end) = (self.offset, self.len.min(self.offset + self.size));
        self.done = end == self.len;
        self.offset = end;
        if self.done && start == 0 {
            return Some(Transmit {
                gso_size: 0,
                ..self.super_frame.clone()
            });
        }
        let mut packet = Transmit {
            header: HeaderBytes::from_slice(&self.super_frame.header),
            ip_len: self.super_frame.ip_len,
            payload: self.take(end - start),
            gso_size: 0,
            needs_checksum: self.super_frame.needs_checksum,
        };
        packet.fix_ip(start / self.size, end - start);
        packet.fix_tcp(start, end - start, self.len, self.done);
        Some(packet)
    }
}

impl Segments<'_> {
    /// The next `len` bytes of payload, sharing memory with the super-frame.
    fn take(&mut self, mut len: usize) -> SmallVec<[Bytes; 4]> {
        let mut out = SmallVec::new();
        while len > 0 {
            let piece = &self.super_frame.payload[self.piece];
            let end = piece.len().min(self.piece_offset + len);
            if end > self.piece_offset {
                out.push(piece.slice(self.piece_offset..end));
                len -= end - self.piece_offset;
            }
            self.piece_offset = end;
            if end == piece.len() {
                self.piece += 1;
                self.piece_offset = 0;
            }
        }
        out
    }
}

impl Transmit {
    /// Length, and for IPv4 identification and checksum, of segment number `nth`.
    fn fix_ip(&mut self, nth: usize, payload: usize) {
        let len = self.header.len() + payload;
        if self.is_ipv6() {
            self.set_u16(V6_PAYLOAD_LEN, (len - ip::V6_LEN) as u16);
            return;
        }
        let ident = self.u16_at(V4_IDENT).wrapping_add(nth as u16);
        for (at, value) in [(V4_TOTAL_LEN, len as u16), (V4_IDENT, ident)] {
            let check = checksum::update(self.u16_at(V4_CHECKSUM), self.u16_at(at), value);
            self.set_u16(V4_CHECKSUM, check);
            self.set_u16(at, value);
        }
    }

    /// Sequence number, control bits and partial checksum of the segment whose payload starts at
    /// `offset` of `whole`.
    fn fix_tcp(&mut self, offset: usize, payload: usize, whole: usize, last: bool) {
        let tcp = usize::from(self.ip_len);
        let seq_at = tcp + SEQ_AT;
        let seq = u32::from(self.u16_at(seq_at)) << 16 | u32::from(self.u16_at(seq_at + 2));
        let seq = seq.wrapping_add(offset as u32);
        self.header[seq_at..seq_at + 4].copy_from_slice(&seq.to_be_bytes());

        let mut removed = Flags::default();
        if !last {
            removed = removed.with(Flags::FIN).with(Flags::PSH);
        }
        if offset > 0 {
            removed = removed.with(Flags::CWR);
        }
        self.header[tcp + FLAGS_AT] &= !(removed.0 as u8);

        // The pseudo-header counts this segment's length instead of the whole one's.
        let removed = (whole - payload) as u16;
        let partial = checksum::add(self.u16_at(tcp + CHECKSUM_AT), !removed);
        self.set_u16(tcp + CHECKSUM_AT, partial);
    }
}
