//! As much of IP and TCP as judging a capture needs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::option::{self, Class, Mptcp, be16, be32};

pub(crate) const FIN: u8 = 0x01;
pub(crate) const SYN: u8 = 0x02;
pub(crate) const RST: u8 = 0x04;
pub(crate) const ACK: u8 = 0x10;

/// One TCP segment of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Segment<'a> {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    pub(crate) mptcp: Vec<Mptcp>,
    /// Multipath TCP options that nobody can read: subtype and length.
    pub(crate) malformed: Vec<(u8, usize)>,
    /// The payload as far as it was captured.
    pub(crate) payload: &'a [u8],
    /// Bytes of payload the packet had on the network.
    pub(crate) payload_len: usize,
    /// Of the TCP header without its checksum, and the payload: a packet that passes two
    /// interfaces is captured twice.
    pub(crate) fingerprint: u64,
}

impl Segment<'_> {
    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    pub(crate) fn class(&self) -> Class {
        class(self.flags)
    }
}

fn class(flags: u8) -> Class {
    match (flags & SYN != 0, flags & ACK != 0) {
        (true, false) => Class::Syn,
        (true, true) => Class::SynAck,
        (false, _) => Class::Other,
    }
}

/// Parses a packet that begins with its IP header. `None` for anything but TCP over IPv4 or IPv6
/// without extension headers.
pub(crate) fn parse(packet: &[u8]) -> Option<Segment<'_>> {
    let (source, destination, tcp, len) = match packet.first()? >> 4 {
        4 => ipv4(packet)?,
        6 => ipv6(packet)?,
        _ => return None,
    };
    let header = tcp.get(..20)?;
    let header_len = usize::from(header[12] >> 4) * 4;
    let flags = header[13];
    let options = tcp.get(20..header_len)?;
    let (mptcp, malformed) = mptcp_options(options, class(flags));
    let payload = &tcp[header_len..];
    Some(Segment {
        from: SocketAddr::new(source, be16(header, 0)?),
        to: SocketAddr::new(destination, be16(header, 2)?),
        seq: be32(header, 4)?,
        ack: be32(header, 8)?,
        flags,
        mptcp,
        malformed,
        payload,
        payload_len: len.checked_sub(header_len)?,
        fingerprint: fingerprint(&[&header[..16], options, payload]),
    })
}

fn fingerprint(parts: &[&[u8]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for chunk in parts.iter().flat_map(|part| part.chunks(8)) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        hash = (hash ^ u64::from_le_bytes(word)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash
}

/// Addresses, what was captured of the TCP segment, and its length on the network.
type Ip<'a> = (IpAddr, IpAddr, &'a [u8], usize);

fn ipv4(packet: &[u8]) -> Option<Ip<'_>> {
    let header_len = usize::from(packet[0] & 0xf) * 4;
    let header = packet.get(..header_len.max(20))?;
    let fragment = be16(header, 6)? & 0x3fff != 0;
    if header[9] != 6 || fragment {
        return None;
    }
    let addr = |at: usize| Ipv4Addr::from(<[u8; 4]>::try_from(&header[at..at + 4]).unwrap());
    let len = usize::from(be16(header, 2)?).checked_sub(header_len)?;
    let tcp = packet.get(header_len..)?;
    Some((
        addr(12).into(),
        addr(16).into(),
        &tcp[..tcp.len().min(len)],
        len,
    ))
}

fn ipv6(packet: &[u8]) -> Option<Ip<'_>> {
    let header = packet.get(..40)?;
    if header[6] != 6 {
        return None;
    }
    let addr = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&header[at..at + 16]).unwrap());
    let len = usize::from(be16(header, 4)?);
    let tcp = &packet[40..];
    Some((
        addr(8).into(),
        addr(24).into(),
        &tcp[..tcp.len().min(len)],
        len,
    ))
}

fn mptcp_options(mut options: &[u8], class: Class) -> (Vec<Mptcp>, Vec<(u8, usize)>) {
    let (mut found, mut malformed) = (Vec::new(), Vec::new());
    while let [kind, rest @ ..] = options {
        let len = match (kind, rest) {
            (0, _) => break,
            (1, _) => 1,
            (_, [len, ..]) if *len >= 2 => usize::from(*len),
            _ => break,
        };
        let Some(option) = options.get(..len) else {
            break;
        };
        if *kind == option::KIND {
            match option::parse(option, class) {
                Some(option) => found.push(option),
                None => malformed.push((option.get(2).map_or(0, |b| b >> 4), len)),
            }
        }
        options = &options[len..];
    }
    (found, malformed)
}
