//! Writing ICMP and ICMPv6.

use super::*;
use crate::checksum;
use crate::frame::{Frame, Transmit};
use crate::ip::{IpBuild, IpPacket, protocol};
use crate::writer::Writer;
use bytes::Bytes;
use smallvec::smallvec;
use std::net::IpAddr;

const TTL: u8 = 64;

/// Largest error message, IP header included (RFC 1812 §4.3.2.3, RFC 4443 §2.4(c)).
const MAX_V4: usize = 576;
const MAX_V6: usize = 1280;

/// The answer to an echo request that came in `frame`; its data is shared, not copied. `None` if
/// the request went to no single host.
pub fn echo_reply(frame: &Frame, ip: &IpPacket, body: Range<usize>) -> Option<Transmit> {
    if ip.dst.is_multicast() || !is_one_host(ip.src) || body.end > frame.data.len() {
        return None;
    }
    let kind = if ip.src.is_ipv4() {
        V4_ECHO_REPLY
    } else {
        V6_ECHO_REPLY
    };
    message(ip.dst, ip.src, [kind, 0], frame.data.slice(body))
}

/// Tells the sender of `packet` (from its IP header on) that it was not delivered; `from` is the
/// address that says so. `None` where no error may be sent: see RFC 1122 §3.2.2.
pub fn unreachable(from: IpAddr, packet: &[u8], why: Unreachable) -> Option<Transmit> {
    let codes = match from {
        IpAddr::V4(_) => [V4_UNREACHABLE, why.v4_code()],
        IpAddr::V6(_) => [V6_UNREACHABLE, why.v6_code()],
    };
    error(from, packet, codes, 0)
}

/// Tells the sender of `packet` that the next link takes packets of `mtu` bytes only.
pub fn packet_too_big(from: IpAddr, packet: &[u8], mtu: u32) -> Option<Transmit> {
    match from {
        IpAddr::V4(_) => error(
            from,
            packet,
            [V4_UNREACHABLE, V4_FRAGMENTATION_NEEDED],
            mtu.min(0xffff),
        ),
        IpAddr::V6(_) => error(from, packet, [V6_PACKET_TOO_BIG, 0], mtu),
    }
}

/// An error about `packet`, which it quotes as far as the smallest MTU allows.
fn error(from: IpAddr, packet: &[u8], codes: [u8; 2], rest: u32) -> Option<Transmit> {
    let ip = IpPacket::parse(packet).ok()?;
    if ip.src.is_ipv4() != from.is_ipv4() || !is_one_host(ip.src) || ip.dst.is_multicast() {
        return None;
    }
    if is_icmp_error(&ip, packet) {
        return None;
    }
    let room = match from {
        IpAddr::V4(_) => MAX_V4 - crate::ip::V4_LEN - HEADER_LEN,
        IpAddr::V6(_) => MAX_V6 - crate::ip::V6_LEN - HEADER_LEN,
    };
    let quote = &packet[..ip.payload.end.min(room)];
    let body = [&rest.to_be_bytes()[..], quote].concat();
    message(from, ip.src, codes, Bytes::from(body))
}

/// Whether an address can be that of one host, so that an answer to it reaches only one.
fn is_one_host(addr: IpAddr) -> bool {
    let broadcast = matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    !(broadcast || addr.is_multicast() || addr.is_unspecified())
}

/// Errors about errors would never end; redirects count as errors.
fn is_icmp_error(ip: &IpPacket, packet: &[u8]) -> bool {
    let Some(&kind) = packet.get(ip.payload.start) else {
        return false;
    };
    match ip.protocol {
        protocol::ICMP => !matches!(kind, 0 | 8 | 13 | 14),
        protocol::ICMPV6 => kind < 128 || kind == 137,
        _ => false,
    }
}

/// A message of type and code, then `body` from behind the checksum on.
fn message(src: IpAddr, dst: IpAddr, codes: [u8; 2], body: Bytes) -> Option<Transmit> {
    let len = 4 + body.len();
    let (number, pseudo) = match src {
        IpAddr::V4(_) => (protocol::ICMP, 0),
        IpAddr::V6(_) => {
            let number = protocol::ICMPV6;
            (
                number,
                checksum::pseudo_header(src, dst, number, len as u32),
            )
        }
    };
    let mut header = Writer::new();
    let ip = IpBuild {
        src,
        dst,
        protocol: number,
        ttl: TTL,
        traffic_class: 0,
        ident: 0,
    };
    ip.emit(len, &mut header).ok()?;
    let ip_len = header.len() as u8;
    let sum = checksum::add(
        checksum::add(pseudo, u16::from_be_bytes(codes)),
        checksum::sum(&body),
    );
    header.put(&codes);
    header.u16(!sum);
    Some(Transmit {
        header: header.finish(),
        ip_len,
        payload: smallvec![body],
        gso_size: 0,
        needs_checksum: false,
    })
}
