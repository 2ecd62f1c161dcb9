//! Real traffic of both MPTCP versions: every packet parses, and is written again byte for byte.

use crate::support::build;
use crate::support::shared::{Captured, captures};
use anabranch_wire::ip::{IpPacket, protocol};
use anabranch_wire::{Packet, checksum};
use std::ops::Range;

/// Every TCP packet of the captures, parsed.
pub(crate) struct Seen {
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
    pub(crate) complete: bool,
    ip: IpPacket,
    pub(crate) packet: Packet,
}

impl Seen {
    /// The TCP header with its options.
    fn header(&self) -> Range<usize> {
        self.ip.payload.start..self.packet.payload.start
    }
}

pub(crate) fn tcp_packets() -> Option<Vec<Seen>> {
    let captures = captures()?;
    Some(captures.into_iter().filter_map(parse).collect())
}

/// Parses a packet; those that are not TCP over IP (ARP, DNS) are none of ours.
fn parse(captured: Captured) -> Option<Seen> {
    if !matches!(captured.bytes[0] >> 4, 4 | 6) {
        return None;
    }
    let Captured { name, complete, .. } = captured;
    let bytes = filled(captured.bytes, complete);
    let ip = IpPacket::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    if ip.protocol != protocol::TCP {
        return None;
    }
    let packet = Packet::parse(&bytes).unwrap_or_else(|error| panic!("{name}: {error}"));
    Some(Seen {
        name,
        bytes,
        complete,
        ip,
        packet,
    })
}

/// A capture may cut a packet: its length then promises more than there is. Filled up with zeros,
/// its headers can be read.
fn filled(mut bytes: Vec<u8>, complete: bool) -> Vec<u8> {
    let stated = match bytes[0] >> 4 {
        4 => usize::from(u16::from_be_bytes([bytes[2], bytes[3]])),
        _ => 40 + usize::from(u16::from_be_bytes([bytes[4], bytes[5]])),
    };
    if !complete {
        bytes.resize(stated.max(bytes.len()), 0);
    }
    bytes
}

fn emitted(packet: &Packet) -> Vec<u8> {
    let header = build(packet)
        .emit(packet.payload.len())
        .expect("what was received can be sent");
    header.bytes[usize::from(header.ip_len)..].to_vec()
}

/// Without its checksum: captures on the sending host hold partial ones.
fn blank_checksum(header: &[u8]) -> Vec<u8> {
    let mut header = header.to_vec();
    header[16..18].fill(0);
    header
}

/// The one packet of the captures whose options are malformed: a DSS of three bytes on a SYN.
const MALFORMED: &str = "tcpdump-dss-oobr.pcap:1";

#[test]
fn every_packet_is_written_again_as_it_was() {
    let Some(packets) = tcp_packets() else { return };
    assert!(packets.len() > 4_500, "only {} packets", packets.len());
    for seen in packets.iter().filter(|seen| seen.name != MALFORMED) {
        let original = &seen.bytes[seen.header()];
        assert_eq!(seen.packet.bad_options, 0, "{}", seen.name);
        let again = emitted(&seen.packet);
        assert_eq!(
            blank_checksum(original),
            blank_checksum(&again),
            "{}",
            seen.name
        );
    }
}

#[test]
fn a_malformed_option_is_counted_and_the_others_stand() {
    let Some(packets) = tcp_packets() else { return };
    let seen = packets
        .iter()
        .find(|seen| seen.name == MALFORMED)
        .expect("the capture is there");
    assert_eq!(seen.packet.bad_options, 1);
    assert!(seen.packet.mptcp.is_empty());
    assert!(seen.packet.options.timestamps().is_some());
}

#[test]
fn every_complete_packet_has_a_right_checksum_or_an_offloaded_one() {
    let Some(packets) = tcp_packets() else { return };
    let (mut right, mut offloaded) = (0, 0);
    for seen in packets.iter().filter(|seen| seen.complete) {
        if Packet::parse_verified(&seen.bytes).is_ok() {
            right += 1;
            continue;
        }
        // Captured before the device completed it: the sum of the pseudo-header.
        let Seen { ip, .. } = &seen;
        let partial = checksum::pseudo_header(ip.src, ip.dst, ip.protocol, ip.payload.len() as u32);
        let at = seen.header().start + 16;
        assert_eq!(
            seen.bytes[at..at + 2],
            partial.to_be_bytes(),
            "{}",
            seen.name
        );
        offloaded += 1;
    }
    assert!(
        right > 250 && offloaded > 4_000,
        "{right} right, {offloaded} offloaded"
    );
}
