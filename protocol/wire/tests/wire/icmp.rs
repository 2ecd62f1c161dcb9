//! ICMP and ICMPv6: errors about our segments, and the messages a host must send.

use crate::support::{ack, hex};
use anabranch_wire::frame::{Frame, Transmit};
use anabranch_wire::icmp::{self, Message, Quoted, Unreachable};
use anabranch_wire::ip::{IpPacket, protocol};
use anabranch_wire::tcp::{Class, Options};
use anabranch_wire::{Build, Error, Seq, checksum};
use bytes::Bytes;
use smallvec::smallvec;
use std::net::IpAddr;

/// A segment of ours with payload, as it went out.
fn segment(ipv6: bool, payload: usize) -> Bytes {
    let options = Options::empty(Class::Segment);
    let mut build = Build {
        seq: Seq(0x01020304),
        ..ack(&options)
    };
    if ipv6 {
        build.src = "[2001:db8::1]:443".parse().unwrap();
        build.dst = "[2001:db8::2]:50000".parse().unwrap();
    }
    let transmit = build
        .transmit(smallvec![Bytes::from(vec![5; payload])], 0)
        .unwrap();
    transmit.packets().next().unwrap().to_bytes()
}

fn quoted(ipv6: bool) -> Quoted {
    let (src, dst) = if ipv6 {
        ("[2001:db8::1]:443", "[2001:db8::2]:50000")
    } else {
        ("192.0.2.1:443", "198.51.100.2:50000")
    };
    Quoted {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
        seq: Seq(0x01020304),
    }
}

fn router(ipv6: bool) -> IpAddr {
    if ipv6 { "2001:db8::99" } else { "203.0.113.9" }
        .parse()
        .unwrap()
}

fn read(bytes: &[u8]) -> Result<Message, Error> {
    icmp::parse(&IpPacket::parse(bytes)?, bytes)
}

/// An ICMPv4 packet from a router: type, code and the rest of the header, then a quote.
fn v4(header: &str, quote: &[u8]) -> Vec<u8> {
    let mut message = [hex(header), quote.to_vec()].concat();
    let check = !checksum::sum(&message);
    message[2..4].copy_from_slice(&check.to_be_bytes());
    let mut bytes = hex("4500 0000 0000 4000 40 01 0000 cb007109 c0000201");
    bytes[2..4].copy_from_slice(&(20 + message.len() as u16).to_be_bytes());
    let check = !checksum::sum(&bytes);
    bytes[10..12].copy_from_slice(&check.to_be_bytes());
    [bytes, message].concat()
}

#[test]
fn eight_quoted_bytes_of_tcp_are_enough() {
    let quote = &segment(false, 100)[..28];
    let why = Unreachable::Host;
    assert_eq!(
        read(&v4("0301 0000 00000000", quote)),
        Ok(Message::Unreachable {
            why,
            quoted: quoted(false)
        })
    );
    assert_eq!(
        read(&v4("0304 0000 0000 0578", quote)),
        Ok(Message::PacketTooBig {
            mtu: 1400,
            quoted: quoted(false)
        })
    );
    assert_eq!(
        read(&v4("0b00 0000 00000000", quote)),
        Ok(Message::TimeExceeded {
            quoted: quoted(false)
        })
    );
}

#[test]
fn a_stale_header_checksum_in_the_quote_does_not_matter() {
    let mut quote = segment(false, 0).to_vec();
    quote[8] = 1; // routers count the time to live down and quote what they have
    let why = Unreachable::Port;
    assert_eq!(
        read(&v4("0303 0000 00000000", &quote)),
        Ok(Message::Unreachable {
            why,
            quoted: quoted(false)
        })
    );
}

#[test]
fn quotes_that_tell_nothing_are_none_of_ours() {
    let mut udp = segment(false, 0).to_vec();
    udp[9] = 17;
    let whole = segment(false, 0);
    for quote in [
        &udp[..],
        &whole[..27],
        &whole[..20],
        &[],
        b"nonsense and more of it",
    ] {
        assert_eq!(
            read(&v4("0303 0000 00000000", quote)),
            Ok(Message::Other),
            "{quote:02x?}"
        );
    }
}

#[test]
fn each_code_has_its_meaning() {
    let quote = segment(false, 0);
    let cases = [
        ("0300", Unreachable::Network),
        ("0302", Unreachable::Protocol),
        ("0303", Unreachable::Port),
        ("030d", Unreachable::Prohibited),
        ("0305", Unreachable::Host),
        ("03c8", Unreachable::Other(200)),
    ];
    for (codes, why) in cases {
        let message = read(&v4(&format!("{codes} 0000 00000000"), &quote));
        assert_eq!(
            message,
            Ok(Message::Unreachable {
                why,
                quoted: quoted(false)
            }),
            "{codes}"
        );
    }
}

#[test]
fn a_wrong_checksum_is_refused() {
    for ipv6 in [false, true] {
        let sent = icmp::unreachable(router(ipv6), &segment(ipv6, 9), Unreachable::Port).unwrap();
        let mut bytes = sent.to_bytes().to_vec();
        *bytes.last_mut().unwrap() ^= 1;
        assert_eq!(read(&bytes), Err(Error::BadChecksum));
    }
}

#[test]
fn errors_we_send_can_be_read() {
    for ipv6 in [false, true] {
        let original = segment(ipv6, 3_000);
        let quoted = quoted(ipv6);
        for why in [
            Unreachable::Network,
            Unreachable::Host,
            Unreachable::Port,
            Unreachable::Prohibited,
        ] {
            let sent = icmp::unreachable(router(ipv6), &original, why).unwrap();
            assert_eq!(
                read(&sent.to_bytes()),
                Ok(Message::Unreachable { why, quoted })
            );
        }
        let sent = icmp::packet_too_big(router(ipv6), &original, 1_280).unwrap();
        assert_eq!(
            read(&sent.to_bytes()),
            Ok(Message::PacketTooBig { mtu: 1_280, quoted })
        );
        assert_eq!(
            sent.total_len(),
            if ipv6 { 1_280 } else { 576 },
            "the quote is bounded"
        );
        assert!(!sent.needs_checksum);
    }
}

#[test]
fn an_error_goes_back_to_the_sender() {
    let sent = icmp::unreachable(router(false), &segment(false, 0), Unreachable::Port).unwrap();
    let ip = IpPacket::parse(&sent.to_bytes()).unwrap();
    assert_eq!((ip.src, ip.dst), (router(false), quoted(false).src.ip()));
    assert_eq!(ip.protocol, protocol::ICMP);
}

#[test]
fn no_error_about_an_error_or_to_many_hosts() {
    for ipv6 in [false, true] {
        let error = icmp::unreachable(router(ipv6), &segment(ipv6, 0), Unreachable::Port).unwrap();
        let about = icmp::unreachable(quoted(ipv6).src.ip(), &error.to_bytes(), Unreachable::Port);
        assert_eq!(about, None);
    }
    let options = Options::empty(Class::Segment);
    let senders = ["255.255.255.255:1", "224.0.0.1:1", "0.0.0.0:1"];
    let packets = senders.map(|src| Build {
        src: src.parse().unwrap(),
        ..ack(&options)
    });
    let to_group = Build {
        dst: "224.0.0.1:1".parse().unwrap(),
        ..ack(&options)
    };
    for build in packets.into_iter().chain([to_group]) {
        let packet = build.transmit(smallvec![], 0).unwrap().to_bytes();
        assert_eq!(
            icmp::unreachable(router(false), &packet, Unreachable::Port),
            None
        );
    }
    assert_eq!(
        icmp::unreachable(router(true), &segment(false, 0), Unreachable::Port),
        None
    );
}

/// The answer to an echo request that came as these bytes.
fn answer(bytes: Vec<u8>) -> Option<Transmit> {
    let frame = Frame::packet(Bytes::from(bytes));
    let ip = IpPacket::parse(&frame.data).unwrap();
    match icmp::parse(&ip, &frame.data) {
        Ok(Message::EchoRequest { body }) => icmp::echo_reply(&frame, &ip, body),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_echo_request_is_answered_with_its_data() {
    let reply = answer(v4("0800 0000 1234 0001", b"odd length bytes!"))
        .unwrap()
        .to_bytes();
    let ip = IpPacket::parse(&reply).unwrap();
    assert_eq!(
        (ip.src.to_string(), ip.dst.to_string()),
        ("192.0.2.1".into(), "203.0.113.9".into())
    );
    assert_eq!(reply[20..22], [0, 0]);
    assert_eq!(
        reply[24..],
        [&hex("1234 0001")[..], b"odd length bytes!"].concat()
    );
    assert_eq!(checksum::sum(&reply[20..]), 0xffff);
}

#[test]
fn an_echo_request_over_ipv6() {
    let mut bytes = hex("6000 0000 000c 3a 40");
    bytes.extend(hex(
        "20010db8 00000000 00000000 00000001 20010db8 00000000 00000000 00000002",
    ));
    bytes.extend(hex("8000 0000 1234 0001 61626364"));
    let ip = IpPacket::parse(&bytes).unwrap();
    let pseudo = checksum::pseudo_header(ip.src, ip.dst, protocol::ICMPV6, 12);
    let check = !checksum::add(pseudo, checksum::sum(&bytes[40..]));
    bytes[42..44].copy_from_slice(&check.to_be_bytes());

    let reply = answer(bytes).unwrap().to_bytes();
    let ip = IpPacket::parse(&reply).unwrap();
    assert_eq!(
        (ip.src.to_string(), ip.dst.to_string()),
        ("2001:db8::2".into(), "2001:db8::1".into())
    );
    assert!(ip.checksum_ok(&reply));
    assert_eq!(reply[40..42], [129, 0]);
    assert_eq!(reply[44..], hex("1234 0001 61626364"));
}

#[test]
fn an_echo_request_to_a_group_is_not_answered() {
    let mut bytes = v4("0800 0000 1234 0001", b"ping");
    bytes[16..20].copy_from_slice(&[224, 0, 0, 1]);
    bytes[10..12].fill(0);
    let check = !checksum::sum(&bytes[..20]);
    bytes[10..12].copy_from_slice(&check.to_be_bytes());
    assert_eq!(answer(bytes), None);
}
