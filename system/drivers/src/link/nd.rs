//! Neighbour discovery for IPv6 (RFC 4861): solicitations and advertisements of neighbours.

use super::ether::{self, Header, Mac, ethertype};
use anabranch_wire::checksum;
use anabranch_wire::ip::{IpPacket, V6_LEN, protocol};
use std::net::{IpAddr, Ipv6Addr};

const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;

/// Type, code, checksum, flags, target.
const MESSAGE_LEN: usize = 24;

const OPTION_SOURCE: u8 = 1;
const OPTION_TARGET: u8 = 2;

const SOLICITED: u8 = 0x40;
const OVERRIDE: u8 = 0x20;

/// No router has forwarded it (RFC 4861 §7.1).
const HOP_LIMIT: u8 = 255;

/// Every node of the link.
pub(super) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

/// The group in which the owner of an address hears questions for it (RFC 4291 §2.7.1).
pub(crate) fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    let [.., a, b, c] = address.octets();
    let low = u16::from_be_bytes([b, c]);
    Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00 | u16::from(a), low)
}

/// A message, of what this host needs to know.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Message {
    /// Who has `target`?
    Solicitation {
        /// Unspecified where somebody asks whether the address is free.
        from: Ipv6Addr,
        target: Ipv6Addr,
        /// Where `from` is.
        source: Option<Mac>,
    },
    /// `target` is there.
    Advertisement {
        target: Ipv6Addr,
        at: Option<Mac>,
        /// It answers a question.
        solicited: bool,
        /// It is right where another address is known.
        overrides: bool,
    },
}

/// Whether a frame of IPv6 carries neighbour discovery of any kind, router discovery included.
pub(super) fn is_one(frame: &[u8]) -> bool {
    const NEXT_HEADER: usize = ether::LEN + 6;
    const TYPE: usize = ether::LEN + V6_LEN;
    frame.get(NEXT_HEADER) == Some(&protocol::ICMPV6)
        && frame
            .get(TYPE)
            .is_some_and(|kind| (133..=137).contains(kind))
}

impl Message {
    /// Reads the message of a frame; `None` for what RFC 4861 §7.1 says to drop in silence.
    pub(super) fn parse(frame: &[u8]) -> Option<Message> {
        let packet = frame.get(ether::LEN..)?;
        let ip = IpPacket::parse(packet).ok()?;
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src, ip.dst) else {
            return None;
        };
        let is_valid =
            ip.protocol == protocol::ICMPV6 && ip.ttl == HOP_LIMIT && ip.checksum_ok(packet);
        let message = &packet[ip.payload];
        let (head, options) = message.split_at_checked(MESSAGE_LEN)?;
        let target = Ipv6Addr::from(*head.last_chunk::<16>()?);
        if !is_valid || head[1] != 0 || target.is_multicast() {
            return None;
        }
        match head[0] {
            SOLICITATION => {
                let source = option(options, OPTION_SOURCE)?;
                let nobody = src.is_unspecified();
                if nobody && (source.is_some() || dst != solicited_node(target)) {
                    return None;
                }
                Some(Message::Solicitation {
                    from: src,
                    target,
                    source,
                })
            }
            ADVERTISEMENT => {
                let solicited = head[4] & SOLICITED != 0;
                if solicited && dst.is_multicast() {
                    return None;
                }
                Some(Message::Advertisement {
                    target,
                    at: option(options, OPTION_TARGET)?,
                    solicited,
                    overrides: head[4] & OVERRIDE != 0,
                })
            }
            _ => None,
        }
    }
}

/// The link-layer address in an option of kind `wanted`; the outer `None`: the options are
/// malformed.
fn option(mut options: &[u8], wanted: u8) -> Option<Option<Mac>> {
    let mut found = None;
    while let [kind, units, ..] = *options {
        let len = usize::from(units) * 8;
        if len == 0 || len > options.len() {
            return None;
        }
        if kind == wanted && found.is_none() {
            let mac = options[2..len].first_chunk().map(|mac| Mac(*mac));
            found = mac.filter(|mac| mac.is_unicast());
        }
        options = &options[len..];
    }
    options.is_empty().then_some(found)
}

/// Asks who has `target`, of everyone or of the one who was last known to.
pub(super) fn solicitation(own: (Mac, Ipv6Addr), target: Ipv6Addr, known: Option<Mac>) -> Vec<u8> {
    let group = solicited_node(target);
    let (dst, mac) = match known {
        Some(mac) => (target, mac),
        None => (group, Mac::of_group(group)),
    };
    // Who has no address yet tells none.
    let option = (!own.1.is_unspecified()).then_some((OPTION_SOURCE, own.0));
    frame(
        (own.0, own.1),
        (mac, dst),
        (SOLICITATION, 0),
        target,
        option,
    )
}

/// Says that `own` is there, to whoever asked, or to everyone.
pub(super) fn advertisement(own: (Mac, Ipv6Addr), asker: Option<(Mac, Ipv6Addr)>) -> Vec<u8> {
    let (to, flags) = match asker {
        Some(asker) => (asker, SOLICITED | OVERRIDE),
        None => ((Mac::of_group(ALL_NODES), ALL_NODES), OVERRIDE),
    };
    let option = Some((OPTION_TARGET, own.0));
    frame(own, to, (ADVERTISEMENT, flags), own.1, option)
}

fn frame(
    (src_mac, src): (Mac, Ipv6Addr),
    (dst_mac, dst): (Mac, Ipv6Addr),
    (kind, flags): (u8, u8),
    target: Ipv6Addr,
    option: Option<(u8, Mac)>,
) -> Vec<u8> {
    let mut message = vec![kind, 0, 0, 0, flags, 0, 0, 0];
    message.extend(target.octets());
    if let Some((kind, mac)) = option {
        message.extend([kind, 1]);
        message.extend(mac.0);
    }
    let len = message.len() as u16;
    let pseudo = checksum::pseudo_header(src.into(), dst.into(), protocol::ICMPV6, len.into());
    let sum = !checksum::add(pseudo, checksum::sum(&message));
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let header = Header {
        dst: dst_mac,
        src: src_mac,
        ethertype: ethertype::IPV6,
    };
    let mut bytes = header.encode().to_vec();
    bytes.extend([6 << 4, 0, 0, 0]);
    bytes.extend(len.to_be_bytes());
    bytes.extend([protocol::ICMPV6, HOP_LIMIT]);
    bytes.extend(src.octets());
    bytes.extend(dst.octets());
    bytes.extend(message);
    bytes
}
