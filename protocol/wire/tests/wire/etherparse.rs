//! Against another implementation: `etherparse` reads what we write and we read what it writes.

use crate::support::{any, build};
use anabranch_wire::Packet;
use anabranch_wire::tcp::{Class, Flags, Options};
use bytes::Bytes;
use etherparse::{NetSlice, SlicedPacket, TcpOptionElement, TransportSlice};
use proptest::prelude::*;
use smallvec::smallvec;

proptest! {
    #[test]
    fn it_reads_what_we_write((packet, payload) in any::packet(100)) {
        let transmit = build(&packet).transmit(smallvec![Bytes::from(payload.clone())], 0).unwrap();
        let wire = transmit.packets().next().unwrap().to_bytes();
        let sliced = SlicedPacket::from_ip(&wire).unwrap();

        let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else { panic!("no TCP") };
        prop_assert_eq!((tcp.source_port(), tcp.destination_port()), (packet.src.port(), packet.dst.port()));
        prop_assert_eq!((tcp.sequence_number(), tcp.acknowledgment_number()), (packet.seq.0, packet.ack.0));
        prop_assert_eq!((tcp.window_size(), tcp.urgent_pointer()), (packet.window, packet.urgent));
        prop_assert_eq!(flags(tcp), packet.flags);
        prop_assert_eq!(tcp.payload(), &payload[..]);

        let expected = match sliced.net.as_ref().unwrap() {
            NetSlice::Ipv4(ip) => {
                let header = ip.header();
                prop_assert_eq!(header.header_checksum(), header.to_header().calc_header_checksum());
                prop_assert_eq!(header.ttl(), packet.ttl);
                prop_assert!(header.dont_fragment());
                tcp.to_header().calc_checksum_ipv4(&header.to_header(), &payload).unwrap()
            }
            NetSlice::Ipv6(ip) => {
                let header = ip.header();
                prop_assert_eq!((header.hop_limit(), header.traffic_class()), (packet.ttl, packet.traffic_class));
                tcp.to_header().calc_checksum_ipv6(&header.to_header(), &payload).unwrap()
            }
            _ => panic!("no IP"),
        };
        prop_assert_eq!(tcp.checksum(), expected);
        prop_assert_eq!(basic_options(tcp), own_options(&packet.options));
    }

    #[test]
    fn we_read_what_it_writes(
        addresses: ([u8; 4], [u8; 4]), ports: (u16, u16), numbers: (u32, u32, u16),
        timestamps: (u32, u32), shift in 0u8..=14, mss in 1u16.., payload: Vec<u8>,
    ) {
        let options = [
            TcpOptionElement::MaximumSegmentSize(mss),
            TcpOptionElement::Noop,
            TcpOptionElement::WindowScale(shift),
            TcpOptionElement::Timestamp(timestamps.0, timestamps.1),
            TcpOptionElement::SelectiveAcknowledgementPermitted,
        ];
        let (seq, ack, window) = numbers;
        let builder = etherparse::PacketBuilder::ipv4(addresses.0, addresses.1, 9)
            .tcp(ports.0, ports.1, seq, window)
            .syn()
            .ack(ack)
            .options(&options)
            .unwrap();
        let mut bytes = Vec::new();
        builder.write(&mut bytes, &payload).unwrap();

        let read = Packet::parse_verified(&bytes).unwrap();
        prop_assert_eq!(read.src, (addresses.0, ports.0).into());
        prop_assert_eq!(read.dst, (addresses.1, ports.1).into());
        prop_assert_eq!((read.seq.0, read.ack.0, read.window), numbers);
        prop_assert_eq!(read.flags, Flags::SYN.with(Flags::ACK));
        prop_assert_eq!(&bytes[read.payload.clone()], &payload[..]);
        let Options::Syn(syn) = &read.options else { panic!("a SYN") };
        prop_assert_eq!((syn.mss, syn.window_scale, syn.sack_permitted), (Some(mss), Some(shift), true));
        let read = syn.timestamps.unwrap();
        prop_assert_eq!((read.val, read.ecr), timestamps);
    }
}

fn flags(tcp: &etherparse::TcpSlice) -> Flags {
    let bits = [
        (tcp.fin(), Flags::FIN),
        (tcp.syn(), Flags::SYN),
        (tcp.rst(), Flags::RST),
        (tcp.psh(), Flags::PSH),
        (tcp.ack(), Flags::ACK),
        (tcp.urg(), Flags::URG),
        (tcp.ece(), Flags::ECE),
        (tcp.cwr(), Flags::CWR),
        (tcp.ns(), Flags::AE),
    ];
    bits.iter()
        .filter(|(set, _)| *set)
        .fold(Flags::default(), |all, (_, bit)| all.with(*bit))
}

/// What the other reads of the options it knows, up to the first that it does not.
fn basic_options(tcp: &etherparse::TcpSlice) -> Vec<TcpOptionElement> {
    tcp.options_iterator()
        .map_while(Result::ok)
        .filter(|option| *option != TcpOptionElement::Noop)
        .collect()
}

/// The same from ours, in the order they are written; the other stops at Fast Open and MPTCP.
fn own_options(options: &Options) -> Vec<TcpOptionElement> {
    let timestamps = options
        .timestamps()
        .map(|ts| TcpOptionElement::Timestamp(ts.val, ts.ecr));
    match options {
        Options::Syn(syn) => {
            let sack = syn
                .sack_permitted
                .then_some(TcpOptionElement::SelectiveAcknowledgementPermitted);
            let mss = syn.mss.map(TcpOptionElement::MaximumSegmentSize);
            let scale = syn.window_scale.map(TcpOptionElement::WindowScale);
            [mss, sack, timestamps, scale]
                .into_iter()
                .flatten()
                .collect()
        }
        Options::Segment(segment) => {
            let mut blocks = segment.sack.iter().map(|(left, right)| (left.0, right.0));
            let sack = blocks.next().map(|first| {
                let rest = [blocks.next(), blocks.next(), blocks.next()];
                TcpOptionElement::SelectiveAcknowledgement(first, rest)
            });
            [timestamps, sack].into_iter().flatten().collect()
        }
    }
}

#[test]
fn both_know_the_class_of_a_segment() {
    assert_eq!(Class::of(Flags::SYN.with(Flags::ECE)), Class::Syn);
    assert_eq!(Class::of(Flags::SYN.with(Flags::ACK)), Class::SynAck);
    assert_eq!(Class::of(Flags::RST.with(Flags::ACK)), Class::Segment);
}
