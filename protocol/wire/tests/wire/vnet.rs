//! The virtio-net header: its layout, what it makes of a packet, and values that cannot be.

use crate::support::ack;
use anabranch_wire::frame::Transmit;
use anabranch_wire::tcp::{Class, Flags, Options};
use anabranch_wire::vnet::{GsoType, LEN, LEN_MERGEABLE, VnetHdr};
use anabranch_wire::{Build, Error, Packet, icmp};
use bytes::Bytes;
use proptest::prelude::*;
use smallvec::smallvec;

/// An ACK with this many bytes of payload, in segments of 1000.
fn transmit(payload: usize, ipv6: bool, flags: Flags) -> Transmit {
    let options = Options::empty(Class::Segment);
    let mut build = Build {
        flags,
        ..ack(&options)
    };
    if ipv6 {
        build.src = "[2001:db8::1]:443".parse().unwrap();
        build.dst = "[2001:db8::2]:50000".parse().unwrap();
    }
    build
        .transmit(smallvec![Bytes::from(vec![5; payload])], 1_000)
        .unwrap()
}

#[test]
fn a_super_frame_asks_for_checksum_and_segmentation() {
    let header = VnetHdr::for_transmit(&transmit(2_500, false, Flags::ACK.with(Flags::CWR)));
    let mut expected = [0u8; LEN];
    expected[0] = 1; // VIRTIO_NET_HDR_F_NEEDS_CSUM
    expected[1] = 0x81; // VIRTIO_NET_HDR_GSO_TCPV4 | VIRTIO_NET_HDR_GSO_ECN
    expected[2..4].copy_from_slice(&40u16.to_ne_bytes()); // hdr_len
    expected[4..6].copy_from_slice(&1_000u16.to_ne_bytes()); // gso_size
    expected[6..8].copy_from_slice(&20u16.to_ne_bytes()); // csum_start
    expected[8..10].copy_from_slice(&16u16.to_ne_bytes()); // csum_offset
    assert_eq!(header.encode(), expected);

    let mergeable: [u8; LEN_MERGEABLE] = header.encode_mergeable();
    assert_eq!(mergeable[..LEN], expected);
    assert_eq!(mergeable[LEN..], 1u16.to_ne_bytes());
}

#[test]
fn ipv6_and_single_packets() {
    let header = VnetHdr::for_transmit(&transmit(2_500, true, Flags::ACK));
    assert_eq!(
        (header.gso_type, header.ecn, header.csum_start),
        (GsoType::TcpV6, false, 40)
    );
    let header = VnetHdr::for_transmit(&transmit(1_000, true, Flags::ACK));
    assert_eq!(
        (header.gso_type, header.gso_size, header.needs_csum),
        (GsoType::None, 0, true)
    );
}

#[test]
fn a_finished_packet_asks_for_nothing() {
    let mut tcp = transmit(10, false, Flags::ACK);
    tcp.finish_checksum();
    let rejected = transmit(10, false, Flags::ACK).to_bytes();
    let from = "198.51.100.2".parse().unwrap();
    let icmp = icmp::unreachable(from, &rejected, icmp::Unreachable::Port).unwrap();
    for packet in [tcp, icmp] {
        assert_eq!(VnetHdr::for_transmit(&packet).encode(), [0; LEN]);
    }
}

#[test]
fn what_one_side_sends_the_other_receives() {
    for (payload, ipv6) in [(0, false), (1_000, false), (2_500, false), (2_500, true)] {
        let sent = transmit(payload, ipv6, Flags::ACK);
        let header = VnetHdr::decode(&VnetHdr::for_transmit(&sent).encode()).unwrap();
        let frame = header.frame(sent.to_bytes()).unwrap();
        assert_eq!(frame, sent.to_frame());
        assert!(frame.checksum_ok);
        assert_eq!(Packet::from_frame(&frame).unwrap().payload.len(), payload);
    }
}

#[test]
fn a_checksum_nobody_vouches_for_is_verified() {
    let packet = transmit(10, false, Flags::ACK);
    let frame = VnetHdr::default().frame(packet.to_bytes()).unwrap();
    assert_eq!(
        Packet::from_frame(&frame),
        Err(Error::BadChecksum),
        "it is only partial"
    );
    let finished = packet.packets().next().unwrap();
    let frame = VnetHdr::default().frame(finished.to_bytes()).unwrap();
    assert!(Packet::from_frame(&frame).is_ok());
}

#[test]
fn values_that_contradict_the_packet_are_refused() {
    let sent = transmit(2_500, false, Flags::ACK);
    let good = VnetHdr::for_transmit(&sent);
    let bad = [
        VnetHdr {
            gso_type: GsoType::TcpV6,
            ..good
        },
        VnetHdr {
            gso_size: 0,
            ..good
        },
        VnetHdr {
            needs_csum: false,
            ..good
        },
        VnetHdr {
            csum_start: 0,
            ..good
        },
        VnetHdr {
            csum_start: 21,
            ..good
        },
        VnetHdr {
            csum_start: u16::MAX,
            ..good
        },
        VnetHdr {
            csum_offset: 6,
            ..good
        },
        VnetHdr {
            csum_offset: u16::MAX,
            ..good
        },
    ];
    for header in bad {
        assert_eq!(
            header.frame(sent.to_bytes()),
            Err(Error::BadVnetHeader),
            "{header:?}"
        );
    }
    assert_eq!(good.frame(Bytes::new()), Err(Error::BadVnetHeader));
    for udp in [3, 5, 0x83] {
        let mut bytes = good.encode();
        bytes[1] = udp;
        assert_eq!(VnetHdr::decode(&bytes), Err(Error::BadVnetHeader));
    }
}

proptest! {
    #[test]
    fn a_header_is_read_as_it_was_written(bits: [bool; 3], kind in 0..3, fields: [u16; 4]) {
        let header = VnetHdr {
            needs_csum: bits[0],
            data_valid: bits[1],
            ecn: bits[2],
            gso_type: [GsoType::None, GsoType::TcpV4, GsoType::TcpV6][kind as usize],
            hdr_len: fields[0],
            gso_size: fields[1],
            csum_start: fields[2],
            csum_offset: fields[3],
        };
        prop_assert_eq!(VnetHdr::decode(&header.encode()), Ok(header));
    }
}
