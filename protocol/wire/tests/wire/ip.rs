//! IP headers: what is skipped, what is refused, what lengths mean.

use crate::support::{ack, hex};
use anabranch_wire::ip::{IpPacket, protocol};
use anabranch_wire::tcp::{Class, Options};
use anabranch_wire::{Build, BuildError, Error, Packet, checksum};
use bytes::Bytes;
use smallvec::smallvec;

/// 20 bytes of TCP: ports 1 and 2, no options.
const TCP: &str = "0001 0002 00000003 00000004 5010 0005 0000 0000";

/// An IPv6 packet: first next header, extension headers, upper layer.
fn v6(next: u8, extensions: &str, upper: &str) -> Vec<u8> {
    let rest = [hex(extensions), hex(upper)].concat();
    let mut bytes = hex("6ab00000 0000 00 40");
    bytes[4..6].copy_from_slice(&(rest.len() as u16).to_be_bytes());
    bytes[6] = next;
    bytes.extend(hex(
        "20010db8 00000000 00000000 00000001 20010db8 00000000 00000000 00000002",
    ));
    bytes.extend(rest);
    bytes
}

/// An IPv4 packet with a right header checksum.
fn v4(header: &str, upper: &str) -> Vec<u8> {
    let mut header = hex(header);
    let check = !checksum::sum(&header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
    [header, hex(upper)].concat()
}

const V4: &str = "4502 0028 1234 4000 4006 0000 c0000201 c6336402";

#[test]
fn an_ipv4_header_reads_as_it_stands() {
    let ip = IpPacket::parse(&v4(V4, TCP)).unwrap();
    assert_eq!(
        (ip.src.to_string(), ip.dst.to_string()),
        ("192.0.2.1".into(), "198.51.100.2".into())
    );
    assert_eq!(
        (ip.protocol, ip.ttl, ip.traffic_class, ip.ecn()),
        (protocol::TCP, 64, 2, 2)
    );
    assert_eq!(ip.payload, 20..40);
}

#[test]
fn an_ipv6_header_reads_as_it_stands() {
    let ip = IpPacket::parse(&v6(6, "", TCP)).unwrap();
    assert_eq!(
        (ip.src.to_string(), ip.dst.to_string()),
        ("2001:db8::1".into(), "2001:db8::2".into())
    );
    assert_eq!(
        (ip.protocol, ip.ttl, ip.traffic_class),
        (protocol::TCP, 64, 0xab)
    );
    assert_eq!(ip.payload, 40..60);
}

#[test]
fn bytes_beyond_the_stated_length_are_padding() {
    for mut bytes in [v4(V4, TCP), v6(6, "", TCP)] {
        let len = bytes.len();
        bytes.extend([0xee; 6]);
        assert_eq!(Packet::parse(&bytes).unwrap().payload, len..len);
    }
}

#[test]
fn a_stated_length_beyond_the_bytes_is_refused() {
    for bytes in [v4(V4, TCP), v6(6, "", TCP)] {
        for cut in 1..bytes.len() {
            assert_eq!(Packet::parse(&bytes[..cut]), Err(Error::Truncated), "{cut}");
        }
    }
    assert_eq!(Packet::parse(&[]), Err(Error::Truncated));
}

#[test]
fn a_length_of_65535_is_real() {
    let options = Options::empty(Class::Segment);
    let payload = Bytes::from(vec![9; 65_495]);
    let transmit = ack(&options).transmit(smallvec![payload], 1_448).unwrap();
    assert_eq!(transmit.total_len(), 65_535);
    let read = Packet::from_frame(&transmit.to_frame()).unwrap();
    assert_eq!(read.payload, 40..65_535);

    let longer = ack(&options).emit(65_496);
    assert_eq!(longer.unwrap_err(), BuildError::TooLong);
}

#[test]
fn ipv4_options_are_skipped() {
    let router_alert = "4602 002c 1234 4000 4006 0000 c0000201 c6336402 94040000";
    assert_eq!(
        IpPacket::parse(&v4(router_alert, TCP)).unwrap().payload,
        24..44
    );
}

#[test]
fn ipv4_nonsense_is_refused() {
    let cases = [
        (
            "4402 0028 1234 4000 4006 0000 c0000201 c6336402",
            Error::BadHeaderLength,
        ),
        (
            "4502 0013 1234 4000 4006 0000 c0000201 c6336402",
            Error::BadHeaderLength,
        ),
        (
            "4502 0000 1234 4000 4006 0000 c0000201 c6336402",
            Error::BadHeaderLength,
        ),
        (
            "5502 0028 1234 4000 4006 0000 c0000201 c6336402",
            Error::BadVersion,
        ),
        (
            "4502 0028 1234 2000 4006 0000 c0000201 c6336402",
            Error::Fragment,
        ),
        (
            "4502 0028 1234 0001 4006 0000 c0000201 c6336402",
            Error::Fragment,
        ),
    ];
    for (header, error) in cases {
        assert_eq!(IpPacket::parse(&v4(header, TCP)), Err(error), "{header}");
    }
    let mut bytes = v4(V4, TCP);
    bytes[8] -= 1;
    assert_eq!(IpPacket::parse(&bytes), Err(Error::BadIpChecksum));
}

#[test]
fn harmless_extension_headers_are_skipped() {
    let cases = [
        (0, "06 00 01 04 00000000", 48),     // hop-by-hop: PadN
        (60, "06 00 00 00 00 00 00 00", 48), // destination: Pad1
        (0, "06 00 05 02 0000 01 00", 48),   // hop-by-hop: router alert
        (
            43,
            "06 02 00 00 00000000 20010db8 00000000 00000000 00000009",
            64,
        ), // routing, used up
        (
            0,
            "3c 00 01 04 00000000 2b 00 01 04 00000000 06 00 00 00 00000000",
            64,
        ),
    ];
    for (next, extensions, start) in cases {
        let ip = IpPacket::parse(&v6(next, extensions, TCP)).unwrap();
        assert_eq!(
            (ip.protocol, ip.payload.start),
            (protocol::TCP, start),
            "{extensions}"
        );
    }
}

#[test]
fn other_extension_headers_are_refused() {
    let nine = "3c 00 01 04 00000000".repeat(9);
    let cases = [
        (44, "06 00 0001 00000000", Error::Fragment),
        (44, "06 00 0000 00000000", Error::Fragment), // even an atomic one
        (
            43,
            "06 02 00 01 00000000 20010db8 00000000 00000000 00000009",
            Error::ExtensionHeader,
        ),
        (60, "06 00 c9 04 00000000", Error::ExtensionHeader), // an option that forbids skipping
        (60, "06 00 01 05 00000000", Error::ExtensionHeader), // an option beyond its header
        (
            60,
            "00 00 01 04 00000000 06 00 01 04 00000000",
            Error::ExtensionHeader,
        ),
        (60, &nine, Error::ExtensionHeader),
        (60, "06 ff 01 04 00000000", Error::Truncated),
    ];
    for (next, extensions, error) in cases {
        assert_eq!(
            IpPacket::parse(&v6(next, extensions, TCP)),
            Err(error),
            "{extensions}"
        );
    }
}

#[test]
fn another_protocol_is_told_apart() {
    let bytes = v6(17, "", TCP);
    assert_eq!(IpPacket::parse(&bytes).unwrap().protocol, 17);
    assert_eq!(Packet::parse(&bytes), Err(Error::OtherProtocol));
}

#[test]
fn a_tcp_header_must_lie_within_the_packet() {
    for words in [0u8, 4, 6, 15] {
        let mut bytes = v6(6, "", TCP);
        bytes[52] = words << 4;
        assert_eq!(
            Packet::parse(&bytes),
            Err(Error::BadHeaderLength),
            "{words}"
        );
    }
}

#[test]
fn source_and_destination_are_of_one_family() {
    let options = Options::empty(Class::Segment);
    let build = Build {
        dst: "[2001:db8::2]:80".parse().unwrap(),
        ..ack(&options)
    };
    assert_eq!(build.emit(0).unwrap_err(), BuildError::AddressFamily);
}
