//! As much of IP, TCP and MPTCP as judging a capture needs.
//!
//! Written apart from `anabranch-wire` on purpose: a judge that shares the parser of the accused
//! would share its mistakes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// One TCP segment of a capture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment<'a> {
    /// Sender.
    pub(super) from: SocketAddr,
    /// Receiver.
    pub(super) to: SocketAddr,
    /// Sequence number of the first byte (or of the SYN).
    pub(super) seq: u32,
    /// SYN is set.
    pub(super) syn: bool,
    /// ACK is set.
    pub(super) ack: bool,
    /// RST is set.
    pub(super) rst: bool,
    /// The MPTCP options that matter here.
    pub(super) options: Vec<Mptcp>,
    /// The payload as far as it was captured.
    pub(super) payload: &'a [u8],
    /// Bytes of payload the packet had on the network.
    pub(super) payload_len: usize,
}

/// The MPTCP options that tell which bytes belong where (RFC 8684 §3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mptcp {
    /// MP_CAPABLE of the third ACK or the first data: both keys, the length of the first mapping.
    Keys {
        /// Version 0 or 1.
        version: u8,
        /// The sender's key.
        sender: u64,
        /// The receiver's key.
        receiver: u64,
        /// Data-level length of an implicit first mapping.
        len: Option<u16>,
    },
    /// MP_JOIN of a SYN: the receiver's token.
    Join {
        /// The most significant 32 bits of the hash of the receiver's key.
        token: u32,
    },
    /// The mapping of a DSS.
    Map {
        /// Data sequence number, of 64 bits or of the low 32.
        dsn: u64,
        /// Whether `dsn` has all 64 bits.
        wide: bool,
        /// Subflow sequence number, the first byte after the SYN being 1; 0 for a lone DATA_FIN.
        ssn: u32,
        /// Bytes, counting a DATA_FIN. 0 is the infinite mapping of a fallback.
        len: u16,
        /// DATA_FIN is set: the last of `len` is no byte.
        fin: bool,
    },
}

/// Parses a packet that begins with its IP header. `None` for anything but TCP over IPv4 or IPv6
/// without extension headers.
pub(super) fn parse(packet: &[u8]) -> Option<Segment<'_>> {
    let (source, destination, tcp, len) = match packet.first()? >> 4 {
        4 => ipv4(packet)?,
        6 => ipv6(packet)?,
        _ => return None,
    };
    let header = tcp.get(..20)?;
    let header_len = usize::from(header[12] >> 4) * 4;
    let flags = header[13];
    let options = tcp.get(20..header_len)?;
    Some(Segment {
        from: SocketAddr::new(source, be16(header, 0)?),
        to: SocketAddr::new(destination, be16(header, 2)?),
        seq: be32(header, 4)?,
        syn: flags & 0x02 != 0,
        ack: flags & 0x10 != 0,
        rst: flags & 0x04 != 0,
        options: mptcp_options(options, flags & 0x02 != 0),
        payload: &tcp[header_len..],
        payload_len: len.checked_sub(header_len)?,
    })
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

fn mptcp_options(mut options: &[u8], syn: bool) -> Vec<Mptcp> {
    let mut found = Vec::new();
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
        if *kind == 30 {
            found.extend(mptcp_option(option, syn));
        }
        options = &options[len..];
    }
    found
}

fn mptcp_option(option: &[u8], syn: bool) -> Option<Mptcp> {
    match option.get(2)? >> 4 {
        0 if !syn && option.len() >= 20 => Some(Mptcp::Keys {
            version: option[2] & 0xf,
            sender: be64(option, 4)?,
            receiver: be64(option, 12)?,
            len: be16(option, 20),
        }),
        1 if syn && option.len() == 12 => Some(Mptcp::Join {
            token: be32(option, 4)?,
        }),
        2 => dss(option),
        _ => None,
    }
}

/// DSS (RFC 8684 §3.3): flags F m M a A, then DATA_ACK, then the mapping.
fn dss(option: &[u8]) -> Option<Mptcp> {
    let flags = *option.get(3)?;
    let ack = match flags & 0x03 {
        0 | 2 => 0,
        1 => 4,
        _ => 8,
    };
    if flags & 0x04 == 0 {
        return None;
    }
    let wide = flags & 0x08 != 0;
    let at = 4 + ack;
    let (dsn, rest) = match wide {
        true => (be64(option, at)?, at + 8),
        false => (be32(option, at)?.into(), at + 4),
    };
    let (ssn, len) = (be32(option, rest)?, be16(option, rest + 4)?);
    Some(Mptcp::Map {
        dsn,
        wide,
        ssn,
        len,
        fin: flags & 0x10 != 0,
    })
}

fn be16(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn be32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn be64(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}
