//! A super-frame cut in software is what a device with offload would have sent.

use crate::support::{any, build};
use anabranch_wire::frame::{Transmit, segment};
use anabranch_wire::tcp::Flags;
use anabranch_wire::{Build, Packet, Seq};
use bytes::Bytes;
use proptest::prelude::*;
use smallvec::smallvec;

/// A super-frame of up to 3,000 bytes in pieces, cut to 1 to 400.
fn super_frame() -> impl Strategy<Value = (Packet, Vec<u8>, Transmit)> {
    (any::packet(3_000), 1u16..400)
        .prop_flat_map(|((packet, payload), size)| {
            (
                Just(packet),
                Just(payload.clone()),
                any::pieces(payload),
                Just(size),
            )
        })
        .prop_map(|(packet, payload, pieces, size)| {
            let transmit = build(&packet).transmit(pieces, size).unwrap();
            (packet, payload, transmit)
        })
}

/// The options as they stand on the wire.
fn options(transmit: &Transmit) -> &[u8] {
    &transmit.header[usize::from(transmit.ip_len) + 20..]
}

proptest! {
    #[test]
    fn segments_carry_the_same_bytes((packet, payload, transmit) in super_frame()) {
        let segments: Vec<Transmit> = transmit.packets().collect();
        let size = if transmit.gso_size == 0 { payload.len() } else { transmit.gso_size.into() };
        prop_assert_eq!(segments.len(), payload.len().div_ceil(size.max(1)).max(1));

        let mut delivered = Vec::new();
        for (nth, segment) in segments.iter().enumerate() {
            let wire = segment.to_bytes();
            let read = Packet::parse_verified(&wire).unwrap();
            let last = nth + 1 == segments.len();
            prop_assert_eq!(read.payload.end, wire.len());
            prop_assert_eq!(read.seq, packet.seq + delivered.len() as u32);
            prop_assert_eq!(options(segment), options(&transmit));
            prop_assert!(last || read.payload.len() == size);

            let mut flags = packet.flags;
            if !last {
                flags = flags.without(Flags::FIN).without(Flags::PSH);
            }
            if nth > 0 {
                flags = flags.without(Flags::CWR);
            }
            prop_assert_eq!(read.flags, flags);
            delivered.extend_from_slice(&wire[read.payload.clone()]);

            // All else is as it was.
            let (seq, payload) = (packet.seq, packet.payload.clone());
            let rest = Packet { seq, payload, flags: packet.flags, ..read };
            prop_assert_eq!(&rest, &packet);
        }
        prop_assert_eq!(delivered, payload);
    }

    #[test]
    fn a_partial_checksum_is_that_of_the_segment_alone((_, _, transmit) in super_frame()) {
        for segment in segment(&transmit) {
            let wire = segment.to_bytes();
            let read = Packet::parse(&wire).unwrap();
            let alone = build(&read).emit(read.payload.len()).unwrap();
            let tcp = usize::from(segment.ip_len);
            prop_assert_eq!(&segment.header[tcp..], &alone.bytes[tcp..]);
            prop_assert!(segment.needs_checksum);
        }
    }
}

/// Payload of each packet shares memory with the super-frame's.
#[test]
fn payload_is_not_copied() {
    let payload = Bytes::from(vec![7; 4_000]);
    let options = anabranch_wire::tcp::Options::empty(anabranch_wire::tcp::Class::Segment);
    let transmit = crate::support::ack(&options)
        .transmit(smallvec![payload.clone()], 1_000)
        .unwrap();
    let inside = payload.as_ptr_range();
    let mut packets = 0;
    for packet in transmit.packets() {
        assert!(
            packet
                .payload
                .iter()
                .all(|piece| inside.contains(&piece.as_ptr()))
        );
        packets += 1;
    }
    assert_eq!(packets, 4);
}

#[test]
fn ipv4_identification_counts_up() {
    let options = anabranch_wire::tcp::Options::empty(anabranch_wire::tcp::Class::Segment);
    let build = Build {
        ident: 0xffff,
        seq: Seq(u32::MAX),
        ..crate::support::ack(&options)
    };
    let transmit = build
        .transmit(smallvec![Bytes::from(vec![0; 250])], 100)
        .unwrap();
    let idents: Vec<u16> = transmit
        .packets()
        .map(|packet| u16::from_be_bytes([packet.header[4], packet.header[5]]))
        .collect();
    assert_eq!(idents, [0xffff, 0, 1]);
}

#[test]
fn a_single_packet_and_a_bare_header_pass_as_they_are() {
    let options = anabranch_wire::tcp::Options::empty(anabranch_wire::tcp::Class::Segment);
    let build = crate::support::ack(&options);
    for (payload, size) in [
        (vec![], 0),
        (vec![1; 100], 0),
        (vec![1; 100], 100),
        (vec![], 100),
    ] {
        let transmit = build
            .transmit(smallvec![Bytes::from(payload)], size)
            .unwrap();
        assert_eq!(transmit.gso_size, 0);
        assert_eq!(segment(&transmit).collect::<Vec<_>>(), [transmit]);
    }
}
