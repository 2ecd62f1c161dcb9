//! IPv4 (RFC 791) and IPv6 (RFC 8200) headers.

use crate::writer::Writer;
use crate::{BuildError, Error, checksum};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::Range;

/// Protocol numbers this crate knows.
#[allow(missing_docs)]
pub mod protocol {
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const ICMPV6: u8 = 58;
}

/// Length of an IPv4 header without options.
pub const V4_LEN: usize = 20;
/// Length of an IPv6 header without extension headers.
pub const V6_LEN: usize = 40;

/// More extension headers than a host of ours has reason to meet.
const MAX_EXTENSIONS: usize = 8;

/// What an IP header says, and where the upper layer stands.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IpPacket {
    /// Source.
    pub src: IpAddr,
    /// Destination.
    pub dst: IpAddr,
    /// Upper-layer protocol, behind any extension headers.
    pub protocol: u8,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// DSCP (upper six bits) and ECN (lower two).
    pub traffic_class: u8,
    /// The upper layer within the bytes that were parsed; what follows it is padding.
    pub payload: Range<usize>,
}

impl IpPacket {
    /// Reads and checks an IPv4 or IPv6 packet. IPv4 options and harmless IPv6 extension headers
    /// are skipped; fragments are refused; bytes beyond the stated length are ignored.
    pub fn parse(bytes: &[u8]) -> Result<IpPacket, Error> {
        let packet = match version(bytes)? {
            4 => v4(bytes)?,
            _ => v6(bytes)?,
        };
        if packet.payload.end > bytes.len() {
            return Err(Error::Truncated);
        }
        // The device and the kernel leave nothing undone in an IPv4 header, so it is always checked.
        if packet.src.is_ipv4() && checksum::sum(&bytes[..packet.payload.start]) != 0xffff {
            return Err(Error::BadIpChecksum);
        }
        Ok(packet)
    }

    /// Reads the beginning of a packet that an ICMP error quotes: it may be cut anywhere behind
    /// the header, and its header checksum may be stale.
    pub fn parse_quoted(bytes: &[u8]) -> Result<IpPacket, Error> {
        let mut packet = match version(bytes)? {
            4 => v4(bytes)?,
            _ => v6(bytes)?,
        };
        packet.payload.end = packet.payload.end.min(bytes.len());
        if packet.payload.is_empty() {
            return Err(Error::Truncated);
        }
        Ok(packet)
    }

    /// The ECN field (RFC 3168): 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced.
    pub fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// Whether the upper layer's checksum, which covers a pseudo-header, is right in `bytes`.
    pub fn checksum_ok(&self, bytes: &[u8]) -> bool {
        let len = self.payload.len() as u32;
        let pseudo = checksum::pseudo_header(self.src, self.dst, self.protocol, len);
        checksum::add(pseudo, checksum::sum(&bytes[self.payload.clone()])) == 0xffff
    }
}

fn version(bytes: &[u8]) -> Result<u8, Error> {
    match bytes.first().ok_or(Error::Truncated)? >> 4 {
        version @ (4 | 6) => Ok(version),
        _ => Err(Error::BadVersion),
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

/// Reads an IPv4 header; the payload's end is as stated, to be checked by the caller.
fn v4(bytes: &[u8]) -> Result<IpPacket, Error> {
    let header: &[u8; V4_LEN] = bytes.first_chunk().ok_or(Error::Truncated)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let total = usize::from(be16(header, 2));
    if header_len < V4_LEN || total < header_len {
        return Err(Error::BadHeaderLength);
    }
    if header_len > bytes.len() {
        return Err(Error::Truncated);
    }
    // More fragments, or an offset.
    if be16(header, 6) & 0x3fff != 0 {
        return Err(Error::Fragment);
    }
    let [.., s0, s1, s2, s3, d0, d1, d2, d3] = *header;
    Ok(IpPacket {
        src: Ipv4Addr::new(s0, s1, s2, s3).into(),
        dst: Ipv4Addr::new(d0, d1, d2, d3).into(),
        protocol: header[9],
        ttl: header[8],
        traffic_class: header[1],
        payload: header_len..total,
    })
}

/// Reads an IPv6 header and its extensions; the payload's end is as stated.
fn v6(bytes: &[u8]) -> Result<IpPacket, Error> {
    let header: &[u8; V6_LEN] = bytes.first_chunk().ok_or(Error::Truncated)?;
    let end = V6_LEN + usize::from(be16(header, 4));
    let within = &bytes[..end.min(bytes.len())];
    let (protocol, start) = skip_extensions(within, header[6])?;
    let mut address = [0u8; 16];
    address.copy_from_slice(&header[8..24]);
    let src = Ipv6Addr::from(address);
    address.copy_from_slice(&header[24..40]);
    let dst = Ipv6Addr::from(address);
    Ok(IpPacket {
        src: src.into(),
        dst: dst.into(),
        protocol,
        ttl: header[7],
        traffic_class: (be16(header, 0) >> 4) as u8,
        payload: start..end,
    })
}

/// Skips hop-by-hop options, routing headers and destination options; returns the upper-layer
/// protocol and where it starts.
fn skip_extensions(bytes: &[u8], first: u8) -> Result<(u8, usize), Error> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let (mut next, mut at) = (first, V6_LEN);
    for nth in 0..=MAX_EXTENSIONS {
        match next {
            // Hop-by-hop options stand first or not at all (RFC 8200 §4.1).
            HOP_BY_HOP if nth > 0 => return Err(Error::ExtensionHeader),
            HOP_BY_HOP | ROUTING | DESTINATION => {}
            FRAGMENT => return Err(Error::Fragment),
            _ => return Ok((next, at)),
        }
        let head = bytes.get(at..at + 8).ok_or(Error::Truncated)?;
        let len = (usize::from(head[1]) + 1) * 8;
        let extension = bytes.get(at..at + len).ok_or(Error::Truncated)?;
        let skippable = match next {
            // With segments left this host is not the destination (RFC 8200 §4.4).
            ROUTING => extension[3] == 0,
            _ => options_skippable(&extension[2..]),
        };
        if !skippable {
            return Err(Error::ExtensionHeader);
        }
        next = head[0];
        at += len;
    }
    Err(Error::ExtensionHeader)
}

/// Whether every option may be skipped by a host that does not know it: its two highest type bits
/// are zero (RFC 8200 §4.2).
fn options_skippable(mut options: &[u8]) -> bool {
    while let Some((&kind, rest)) = options.split_first() {
        if kind == 0 {
            options = rest; // Pad1
            continue;
        }
        let Some((&len, rest)) = rest.split_first() else {
            return false;
        };
        if kind >> 6 != 0 || usize::from(len) > rest.len() {
            return false;
        }
        options = &rest[usize::from(len)..];
    }
    true
}

/// What an IP header to be written says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct IpBuild {
    /// Source.
    pub(crate) src: IpAddr,
    /// Destination, of the same family.
    pub(crate) dst: IpAddr,
    /// Upper-layer protocol.
    pub(crate) protocol: u8,
    /// Time to live, or hop limit.
    pub(crate) ttl: u8,
    /// DSCP and ECN.
    pub(crate) traffic_class: u8,
    /// IPv4 identification. Never needed for reassembly, as "don't fragment" is always set
    /// (RFC 6864 §4.1), but segmentation counts it up.
    pub(crate) ident: u16,
}

impl IpBuild {
    /// Appends the header of a packet with `len` upper-layer bytes.
    pub(crate) fn emit(&self, len: usize, out: &mut Writer) -> Result<(), BuildError> {
        match (self.src, self.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => self.emit_v4(src, dst, len, out),
            (IpAddr::V6(src), IpAddr::V6(dst)) => self.emit_v6(src, dst, len, out),
            _ => Err(BuildError::AddressFamily),
        }
    }

    fn emit_v4(
        &self,
        src: Ipv4Addr,
        dst: Ipv4Addr,
        len: usize,
        out: &mut Writer,
    ) -> Result<(), BuildError> {
        let total = u16::try_from(V4_LEN + len).map_err(|_| BuildError::TooLong)?;
        let mut header = [0u8; V4_LEN];
        header[0] = 0x45;
        header[1] = self.traffic_class;
        header[2..4].copy_from_slice(&total.to_be_bytes());
        header[4..6].copy_from_slice(&self.ident.to_be_bytes());
        header[6] = 0x40; // don't fragment
        header[8] = self.ttl;
        header[9] = self.protocol;
        header[12..16].copy_from_slice(&src.octets());
        header[16..20].copy_from_slice(&dst.octets());
        let check = !checksum::sum(&header);
        header[10..12].copy_from_slice(&check.to_be_bytes());
        out.put(&header);
        Ok(())
    }

    fn emit_v6(
        &self,
        src: Ipv6Addr,
        dst: Ipv6Addr,
        len: usize,
        out: &mut Writer,
    ) -> Result<(), BuildError> {
        let len = u16::try_from(len).map_err(|_| BuildError::TooLong)?;
        let mut header = [0u8; V6_LEN];
        header[0] = 0x60 | self.traffic_class >> 4;
        header[1] = self.traffic_class << 4;
        header[4..6].copy_from_slice(&len.to_be_bytes());
        header[6] = self.protocol;
        header[7] = self.ttl;
        header[8..24].copy_from_slice(&src.octets());
        header[24..40].copy_from_slice(&dst.octets());
        out.put(&header);
        Ok(())
    }
}
