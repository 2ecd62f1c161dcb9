//! A TCP packet's bytes, to compare and to alter in place.

use anabranch_wire::ip::{IpPacket, protocol};
use anabranch_wire::tcp::Flags;
use anabranch_wire::{Error, Seq, checksum};
use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

/// Kind of a Multipath TCP option (RFC 8684 §8).
pub(crate) const MPTCP: u8 = 30;
/// Kind of selective acknowledgements (RFC 2018).
const SACK: u8 = 5;
const CHECKSUM: usize = 16;
/// Kind of the option that only fills (RFC 9293 §3.1).
pub(crate) const NOP: u8 = 1;
/// Most option bytes of a TCP header.
pub(crate) const MAX_OPTIONS: usize = 40;

/// Where things stand in a TCP packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TcpView {
    /// The IP header.
    pub ip: IpPacket,
    /// Source and destination port.
    pub ports: (u16, u16),
    /// Sequence number.
    pub seq: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Option bytes.
    pub options: Range<usize>,
    /// Payload.
    pub payload: Range<usize>,
}

impl TcpView {
    /// Looks at a packet; its TCP checksum is not checked.
    ///
    /// # Errors
    /// Those of [`IpPacket::parse`], or [`Error::BadHeaderLength`] if it is no TCP header.
    pub fn parse(packet: &[u8]) -> Result<TcpView, Error> {
        let ip = IpPacket::parse(packet)?;
        let (start, end) = (ip.payload.start, ip.payload.end);
        if ip.protocol != protocol::TCP || end - start < 20 {
            return Err(Error::BadHeaderLength);
        }
        let tcp = &packet[start..end];
        let header = usize::from(tcp[12] >> 4) * 4;
        if !(20..=tcp.len()).contains(&header) {
            return Err(Error::BadHeaderLength);
        }
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        Ok(TcpView {
            ports: (port(0), port(2)),
            seq: Seq(u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]])),
            flags: Flags::from_bytes([tcp[12], tcp[13]]),
            options: start + 20..start + header,
            payload: start + header..end,
            ip,
        })
    }

    /// Looks at a packet that a box may alter: one with a wrong TCP checksum passes boxes as it is,
    /// as mending it would hide that it was corrupted.
    pub fn sound(packet: &[u8]) -> Option<TcpView> {
        let view = TcpView::parse(packet).ok()?;
        view.checksum_ok(packet).then_some(view)
    }

    /// Acknowledgement number.
    pub fn ack(&self, packet: &[u8]) -> Seq {
        let at = self.ip.payload.start + 8;
        let field = packet.get(at..).and_then(|b| b.first_chunk::<4>());
        Seq(field.map_or(0, |b| u32::from_be_bytes(*b)))
    }

    /// Window field, unscaled.
    pub fn window(&self, packet: &[u8]) -> u16 {
        let at = self.ip.payload.start + 14;
        let field = packet.get(at..).and_then(|b| b.first_chunk::<2>());
        field.map_or(0, |b| u16::from_be_bytes(*b))
    }

    /// Sequence number after the segment.
    pub fn end(&self) -> Seq {
        let controls = [Flags::SYN, Flags::FIN].map(|f| u32::from(self.flags.has(f)));
        self.seq + self.payload.len() as u32 + controls[0] + controls[1]
    }

    /// Whether both are segments of one direction of a connection, the second where the first ends.
    pub(crate) fn continues(&self, before: &TcpView) -> bool {
        self.same_flow(before) && self.seq == before.end()
    }

    /// The packet with other option bytes, 40 at most, padded by NOPs, and another payload.
    pub(crate) fn rebuild(&self, packet: &[u8], options: &[u8], payload: &[u8]) -> Vec<u8> {
        let tcp = self.ip.payload.start;
        let mut bytes = packet[..self.options.start].to_vec();
        bytes.extend_from_slice(options);
        bytes.resize(self.options.start + options.len().next_multiple_of(4), NOP);
        bytes[tcp + 12] = bytes[tcp + 12] & 0x0f | (((bytes.len() - tcp) / 4) as u8) << 4;
        let start = bytes.len();
        bytes.extend_from_slice(payload);
        self.fix_length(&mut bytes);
        let mut view = self.clone();
        view.options.end = start;
        view.payload = start..bytes.len();
        view.ip.payload.end = bytes.len();
        view.fix_checksum(&mut bytes);
        bytes
    }

    /// Whether the TCP checksum is right.
    pub fn checksum_ok(&self, packet: &[u8]) -> bool {
        self.ip.checksum_ok(packet)
    }

    /// Whether both have the same addresses and ports.
    pub(crate) fn same_flow(&self, other: &TcpView) -> bool {
        (self.ip.src, self.ip.dst, self.ports) == (other.ip.src, other.ip.dst, other.ports)
    }

    /// Whether all of both headers is equal but length, identification, sequence number, PSH and
    /// checksums.
    pub(crate) fn same_header(&self, bytes: &[u8], other: &TcpView, others: &[u8]) -> bool {
        let (a, b) = (self.ip.payload.start, other.ip.payload.start);
        // Acknowledgement number and data offset; window.
        let same_fields = [8..13, 14..16]
            .into_iter()
            .all(|r: Range<usize>| bytes[a + r.start..a + r.end] == others[b + r.start..b + r.end]);
        (self.ip.ttl, self.ip.traffic_class) == (other.ip.ttl, other.ip.traffic_class)
            && self.same_flow(other)
            && same_fields
            && bytes[self.options.clone()] == others[other.options.clone()]
    }

    /// Sets the control bits but for AE.
    pub(crate) fn set_flags(&self, packet: &mut [u8], flags: Flags) {
        packet[self.ip.payload.start + 13] = flags.0 as u8;
    }

    /// Makes the IP header tell the packet's true length.
    pub(crate) fn fix_length(&self, packet: &mut [u8]) {
        let len = packet.len();
        if self.ip.src.is_ipv6() {
            packet[4..6].copy_from_slice(&((len - 40) as u16).to_be_bytes());
            return;
        }
        packet[2..4].copy_from_slice(&(len as u16).to_be_bytes());
        packet[10..12].copy_from_slice(&[0, 0]);
        let check = !checksum::sum(&packet[..self.ip.payload.start]);
        packet[10..12].copy_from_slice(&check.to_be_bytes());
    }

    /// Writes other addresses (of the same family) and ports into the headers.
    pub(crate) fn set_ends(&mut self, packet: &mut [u8], src: SocketAddr, dst: SocketAddr) {
        match (src.ip(), dst.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => {
                packet[12..16].copy_from_slice(&src.octets());
                packet[16..20].copy_from_slice(&dst.octets());
            }
            (IpAddr::V6(src), IpAddr::V6(dst)) => {
                packet[8..24].copy_from_slice(&src.octets());
                packet[24..40].copy_from_slice(&dst.octets());
            }
            _ => return,
        }
        let at = self.ip.payload.start;
        packet[at..at + 2].copy_from_slice(&src.port().to_be_bytes());
        packet[at + 2..at + 4].copy_from_slice(&dst.port().to_be_bytes());
        (self.ip.src, self.ip.dst) = (src.ip(), dst.ip());
        self.ports = (src.port(), dst.port());
        self.fix_length(packet);
        self.fix_checksum(packet);
    }

    /// Source and destination.
    pub fn ends(&self) -> (SocketAddr, SocketAddr) {
        (
            SocketAddr::new(self.ip.src, self.ports.0),
            SocketAddr::new(self.ip.dst, self.ports.1),
        )
    }

    /// Adds `n` to the 32-bit number at `at` of the TCP header.
    pub(crate) fn add(&self, packet: &mut [u8], at: usize, n: u32) {
        let at = self.ip.payload.start + at;
        if let Some(field) = packet.get_mut(at..).and_then(|b| b.first_chunk_mut::<4>()) {
            *field = u32::from_be_bytes(*field).wrapping_add(n).to_be_bytes();
        }
    }

    /// Makes the TCP checksum right.
    pub(crate) fn fix_checksum(&self, packet: &mut [u8]) {
        let range = self.ip.payload.clone();
        let at = range.start + CHECKSUM;
        packet[at..at + 2].copy_from_slice(&[0, 0]);
        let len = range.len() as u32;
        let pseudo = checksum::pseudo_header(self.ip.src, self.ip.dst, protocol::TCP, len);
        let check = !checksum::add(pseudo, checksum::sum(&packet[range]));
        packet[at..at + 2].copy_from_slice(&check.to_be_bytes());
    }

    /// Where the Multipath TCP options stand, with their subtypes.
    pub(crate) fn mptcp_options(&self, packet: &[u8]) -> Vec<(u8, Range<usize>)> {
        let mptcp = self.tcp_options(packet).into_iter();
        mptcp
            .filter(|(kind, range)| *kind == MPTCP && range.len() >= 3)
            .map(|(_, range)| (packet[range.start + 2] >> 4, range))
            .collect()
    }

    /// Whether there is any Multipath TCP option.
    pub fn has_mptcp(&self, packet: &[u8]) -> bool {
        !self.mptcp_options(packet).is_empty()
    }

    /// Where the SACK blocks stand.
    pub(crate) fn sack_edges(&self, packet: &[u8]) -> Vec<usize> {
        let sack = self
            .tcp_options(packet)
            .into_iter()
            .filter(|(kind, _)| *kind == SACK);
        sack.flat_map(|(_, range)| (range.start + 2..range.end - 3).step_by(4))
            .collect()
    }

    /// Kind and place of each option that has a length.
    pub(crate) fn tcp_options(&self, packet: &[u8]) -> Vec<(u8, Range<usize>)> {
        const END: u8 = 0;
        let bytes = &packet[..self.options.end];
        let mut found = Vec::new();
        let mut at = self.options.start;
        while let Some(kind) = bytes.get(at).copied().filter(|kind| *kind != END) {
            if kind == NOP {
                at += 1;
                continue;
            }
            let len = usize::from(bytes.get(at + 1).copied().unwrap_or(0));
            if len < 2 || at + len > bytes.len() {
                break;
            }
            found.push((kind, at..at + len));
            at += len;
        }
        found
    }
}
