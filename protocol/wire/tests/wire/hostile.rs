//! Whatever comes from the network, parsers return: no panic, and never more than was there.

use crate::support::shared;
use crate::support::{any, build};
use anabranch_wire::ip::IpPacket;
use anabranch_wire::mptcp::MptcpOption;
use anabranch_wire::vnet::VnetHdr;
use anabranch_wire::{Packet, icmp};
use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use smallvec::smallvec;

/// Runs every parser over the bytes; what they accept must lie within them and be writable again.
fn survive(bytes: &[u8]) {
    if let Ok(packet) = Packet::parse(bytes) {
        assert!(packet.payload.end <= bytes.len());
        let again = build(&packet).emit(packet.payload.len());
        // Options of a peer may have stood unpadded, so that padded ones no longer fit.
        if let Ok(header) = again {
            let mut wire = header.bytes.to_vec();
            wire.extend_from_slice(&bytes[packet.payload.clone()]);
            let read = Packet::parse(&wire).expect("what was written can be read");
            let (payload, bad_options) = (packet.payload.clone(), packet.bad_options);
            assert_eq!(
                Packet {
                    payload,
                    bad_options,
                    ..read
                },
                packet
            );
        }
    }
    if let Ok(ip) = IpPacket::parse(bytes) {
        assert!(ip.payload.start <= ip.payload.end && ip.payload.end <= bytes.len());
        let _ = icmp::parse(&ip, bytes);
    }
    let _ = IpPacket::parse_quoted(bytes);
    for class in [
        anabranch_wire::tcp::Class::Syn,
        anabranch_wire::tcp::Class::SynAck,
        anabranch_wire::tcp::Class::Segment,
    ] {
        let _ = MptcpOption::parse(bytes, class);
    }
    if let Some((header, packet)) = bytes.split_first_chunk() {
        let frame = VnetHdr::decode(header).and_then(|h| h.frame(Bytes::copy_from_slice(packet)));
        let _ = frame.map(|frame| Packet::from_frame(&frame));
    }
}

/// Makes the checksums right again, so that a mutated packet passes beyond them.
fn repair_ip_checksum(bytes: &mut [u8]) {
    let header_len = usize::from(bytes[0] & 0x0f) * 4;
    if bytes[0] >> 4 == 4 && (20..=bytes.len()).contains(&header_len) {
        bytes[10..12].fill(0);
        let check = !anabranch_wire::checksum::sum(&bytes[..header_len]);
        bytes[10..12].copy_from_slice(&check.to_be_bytes());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn random_bytes(mut bytes in vec(any::<u8>(), 0..120), version in 0u8..8) {
        if let Some(first) = bytes.first_mut() {
            *first = *first & 0x0f | version << 4;
        }
        survive(&bytes);
    }

    #[test]
    fn random_options(options in vec(any::<u8>(), 40), kinds in any::<[(Index, Index); 4]>(), flags: u8) {
        let mut options = options;
        for (at, kind) in kinds {
            options[at.index(39)] = [2, 3, 4, 5, 8, 30, 30, 34][kind.index(8)];
            options[at.index(39) + 1] %= 41;
        }
        let mut bytes = vec![0x45, 0, 0, 80, 0, 0, 0, 0, 64, 6];
        bytes.resize(40, 0);
        bytes[32] = 0xf0;
        bytes[33] = flags;
        bytes.extend(options);
        repair_ip_checksum(&mut bytes);
        Packet::parse(&bytes).expect("no option breaks a packet");
        survive(&bytes);
    }

    #[test]
    fn mutated_packets(
        (packet, payload) in any::packet(40),
        changes in vec((any::<Index>(), any::<u8>()), 1..8),
        cut in any::<Index>(),
    ) {
        let transmit = build(&packet).transmit(smallvec![Bytes::from(payload)], 0).unwrap();
        let mut bytes = transmit.to_bytes().to_vec();
        for (at, value) in changes {
            *at.get_mut(&mut bytes) = value;
        }
        repair_ip_checksum(&mut bytes);
        survive(&bytes);
        survive(&bytes[..cut.index(bytes.len())]);
    }
}

#[test]
fn captured_packets_cut_anywhere() {
    let Some(captures) = shared::captures() else {
        return;
    };
    for captured in captures.iter().step_by(7) {
        for cut in 0..captured.bytes.len().min(120) {
            survive(&captured.bytes[..cut]);
        }
    }
}
