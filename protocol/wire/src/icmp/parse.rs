//! Reading ICMP and ICMPv6.

use super::*;
use crate::ip::{IpPacket, protocol};
use crate::{Error, checksum};

/// Reads the message of a packet whose IP header was read from the same bytes, and verifies its
/// checksum.
pub fn parse(ip: &IpPacket, bytes: &[u8]) -> Result<Message, Error> {
    let message = bytes.get(ip.payload.clone()).ok_or(Error::Truncated)?;
    let header: &[u8; HEADER_LEN] = message.first_chunk().ok_or(Error::Truncated)?;
    let body = ip.payload.start + 4..ip.payload.end;
    match (ip.protocol, ip.src.is_ipv4()) {
        (protocol::ICMP, true) if checksum::sum(message) != 0xffff => Err(Error::BadChecksum),
        (protocol::ICMP, true) => Ok(v4(header, &message[HEADER_LEN..], body)),
        (protocol::ICMPV6, false) if !ip.checksum_ok(bytes) => Err(Error::BadChecksum),
        (protocol::ICMPV6, false) => Ok(v6(header, &message[HEADER_LEN..], body)),
        _ => Err(Error::OtherProtocol),
    }
}

fn v4(header: &[u8; HEADER_LEN], quote: &[u8], body: Range<usize>) -> Message {
    let [kind, code, _, _, _, _, mtu_high, mtu_low] = *header;
    match (kind, quoted(quote)) {
        (V4_ECHO_REQUEST, _) => Message::EchoRequest { body },
        (V4_UNREACHABLE, Some(quoted)) if code == V4_FRAGMENTATION_NEEDED => {
            let mtu = u16::from_be_bytes([mtu_high, mtu_low]).into();
            Message::PacketTooBig { mtu, quoted }
        }
        (V4_UNREACHABLE, Some(quoted)) => Message::Unreachable {
            why: Unreachable::from_v4(code),
            quoted,
        },
        (V4_TIME_EXCEEDED, Some(quoted)) => Message::TimeExceeded { quoted },
        _ => Message::Other,
    }
}

fn v6(header: &[u8; HEADER_LEN], quote: &[u8], body: Range<usize>) -> Message {
    let [kind, code, _, _, mtu @ ..] = *header;
    match (kind, quoted(quote)) {
        (V6_ECHO_REQUEST, _) => Message::EchoRequest { body },
        (V6_UNREACHABLE, Some(quoted)) => Message::Unreachable {
            why: Unreachable::from_v6(code),
            quoted,
        },
        (V6_PACKET_TOO_BIG, Some(quoted)) => Message::PacketTooBig {
            mtu: u32::from_be_bytes(mtu),
            quoted,
        },
        (V6_TIME_EXCEEDED, Some(quoted)) => Message::TimeExceeded { quoted },
        _ => Message::Other,
    }
}

/// The TCP segment quoted behind the header; ports and sequence number are always there
/// (RFC 792: at least eight bytes).
fn quoted(quote: &[u8]) -> Option<Quoted> {
    let ip = IpPacket::parse_quoted(quote).ok()?;
    if ip.protocol != protocol::TCP {
        return None;
    }
    let &[a, b, c, d, seq @ ..] = quote[ip.payload].first_chunk::<8>()?;
    Some(Quoted {
        src: SocketAddr::new(ip.src, u16::from_be_bytes([a, b])),
        dst: SocketAddr::new(ip.dst, u16::from_be_bytes([c, d])),
        seq: Seq(u32::from_be_bytes(seq)),
    })
}
