//! A link as a station of it sees it: frames in, frames out.

use super::*;

const OURS: Mac = Mac([2, 0, 0, 0, 0, 7]);
const THEIRS: Mac = Mac([2, 0, 0, 0, 0, 1]);
const OTHER: Mac = Mac([2, 0, 0, 0, 0, 9]);

fn link() -> Link {
    let own = ["192.0.2.7/24", "2001:db8::7/64"];
    let own = own.map(|text| text.parse().unwrap());
    let gateways = ["192.0.2.1", "fe80::1"].map(|text| text.parse().unwrap());
    Link::new(OURS, own.to_vec(), gateways.to_vec())
}

fn v4(text: &str) -> Ipv4Addr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn packet(src: &str, dst: &str) -> Transmit {
    let (src, dst): (IpAddr, IpAddr) = (src.parse().unwrap(), dst.parse().unwrap());
    let mut header = match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            [&[0x45; 12][..], &src.octets(), &dst.octets()].concat()
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            [&[0x60; 8][..], &src.octets(), &dst.octets()].concat()
        }
        _ => panic!("one family"),
    };
    let ip_len = header.len() as u8;
    header.extend([0; 20]);
    Transmit {
        header: header.as_slice().into(),
        ip_len,
        payload: Default::default(),
        gso_size: 0,
        needs_checksum: false,
    }
}

/// The only frame that is to be sent.
fn only(link: &mut Link) -> Vec<u8> {
    let mut outbox = link.take_outbox();
    assert_eq!(outbox.len(), 1, "{outbox:02x?}");
    outbox.remove(0)
}

fn arp(operation: Operation, sender: (Mac, &str), target: &str) -> Vec<u8> {
    let arp = Arp {
        operation,
        sender: (sender.0, v4(sender.1)),
        target: (OURS, v4(target)),
    };
    arp.frame(Mac::BROADCAST)
}

#[test]
fn who_asks_for_our_address_gets_it() {
    let (mut link, now) = (link(), Instant::now());
    let request = arp(Operation::Request, (THEIRS, "192.0.2.1"), "192.0.2.7");
    assert!(Link::is_for(&request));
    link.hear(now, &request);
    let reply = only(&mut link);
    assert_eq!(reply[..6], THEIRS.0, "to the one who asked");
    let reply = Arp::parse(&reply).unwrap();
    assert_eq!(reply.operation, Operation::Reply);
    assert_eq!(reply.sender, (OURS, v4("192.0.2.7")));
    // And is known from now on.
    let hop = link.hop(now, &packet("192.0.2.7", "198.51.100.1"));
    let Hop::Header(header) = hop else {
        panic!("{hop:?}")
    };
    assert_eq!(header[..6], THEIRS.0);
    assert_eq!(header[6..12], OURS.0);
    assert_eq!(header[12..], [8, 0]);
}

#[test]
fn questions_for_others_are_not_ours() {
    let (mut link, now) = (link(), Instant::now());
    link.hear(
        now,
        &arp(Operation::Request, (THEIRS, "192.0.2.1"), "192.0.2.8"),
    );
    let own = (THEIRS, v6("2001:db8::1"));
    link.hear(now, &nd::solicitation(own, v6("2001:db8::8"), None));
    assert!(link.take_outbox().is_empty());
}

#[test]
fn a_packet_waits_until_the_gateway_answers() {
    let (mut link, now) = (link(), Instant::now());
    let syn_ack = packet("192.0.2.7", "198.51.100.1");
    let gateway: IpAddr = "192.0.2.1".parse().unwrap();
    assert_eq!(link.hop(now, &syn_ack), Hop::Unknown(gateway));
    assert!(!link.wait(gateway, syn_ack.clone()));
    let request = only(&mut link);
    assert_eq!(request[..6], Mac::BROADCAST.0);
    let request = Arp::parse(&request).unwrap();
    assert_eq!(request.sender, (OURS, v4("192.0.2.7")));
    assert_eq!(request.target.1, v4("192.0.2.1"));
    link.hear(
        now,
        &arp(Operation::Reply, (THEIRS, "192.0.2.1"), "192.0.2.7"),
    );
    let (_, released) = link.take();
    assert_eq!(released, std::slice::from_ref(&syn_ack));
    assert!(matches!(link.hop(now, &syn_ack), Hop::Header(_)));
}

#[test]
fn the_gateway_of_ipv6_answers_too() {
    let (mut link, now) = (link(), Instant::now());
    let syn_ack = packet("2001:db8::7", "2001:db8:1::1");
    let gateway: IpAddr = "fe80::1".parse().unwrap();
    assert_eq!(link.hop(now, &syn_ack), Hop::Unknown(gateway));
    link.wait(gateway, syn_ack.clone());
    let asked = only(&mut link);
    assert_eq!(asked[..6], [0x33, 0x33, 0xff, 0, 0, 1]);
    let message = nd::Message::parse(&asked).unwrap();
    assert_eq!(
        message,
        nd::Message::Solicitation {
            from: v6("2001:db8::7"),
            target: v6("fe80::1"),
            source: Some(OURS),
        }
    );
    let asker = (OURS, v6("2001:db8::7"));
    let answer = nd::advertisement((THEIRS, v6("fe80::1")), Some(asker));
    assert!(Link::is_for(&answer));
    link.hear(now, &answer);
    assert_eq!(link.take().1, std::slice::from_ref(&syn_ack));
    let hop = link.hop(now, &syn_ack);
    let Hop::Header(header) = hop else {
        panic!("{hop:?}")
    };
    assert_eq!(header[..6], THEIRS.0);
    assert_eq!(header[12..], [0x86, 0xdd]);
}

#[test]
fn who_solicits_our_address_gets_an_advertisement() {
    let (mut link, now) = (link(), Instant::now());
    let asker = (THEIRS, v6("2001:db8::1"));
    link.hear(now, &nd::solicitation(asker, v6("2001:db8::7"), None));
    let answer = only(&mut link);
    assert_eq!(answer[..6], THEIRS.0);
    assert_eq!(
        nd::Message::parse(&answer).unwrap(),
        nd::Message::Advertisement {
            target: v6("2001:db8::7"),
            at: Some(OURS),
            solicited: true,
            overrides: true,
        }
    );
    // Somebody who has no address yet asks whether ours is free: everyone hears that it is not.
    let nobody = (THEIRS, Ipv6Addr::UNSPECIFIED);
    link.hear(now, &nd::solicitation(nobody, v6("2001:db8::7"), None));
    let answer = only(&mut link);
    assert_eq!(answer[..6], [0x33, 0x33, 0, 0, 0, 1]);
}

#[test]
fn forged_neighbour_discovery_is_dropped() {
    let (mut link, now) = (link(), Instant::now());
    let asker = (THEIRS, v6("2001:db8::1"));
    let good = nd::solicitation(asker, v6("2001:db8::7"), None);
    let changed = |at: usize, to: u8| {
        let mut frame = good.clone();
        frame[at] = to;
        frame
    };
    let forwarded = changed(ETHER_LEN + 7, 254);
    let wrong_checksum = changed(ETHER_LEN + 42, 0x55);
    let no_length = changed(ETHER_LEN + 40 + 25, 0);
    for frame in [forwarded, wrong_checksum, no_length] {
        link.hear(now, &frame);
        assert!(link.take_outbox().is_empty());
    }
    for cut in 0..good.len() {
        link.hear(now, &good[..cut]);
        assert!(link.take_outbox().is_empty());
    }
    let request = arp(Operation::Request, (THEIRS, "192.0.2.1"), "192.0.2.7");
    for cut in 0..request.len() {
        link.hear(now, &request[..cut]);
        assert!(link.take_outbox().is_empty());
    }
}

#[test]
fn a_gateway_that_moves_is_followed() {
    let (mut link, now) = (link(), Instant::now());
    let out = packet("192.0.2.7", "198.51.100.1");
    link.hop(now, &out);
    link.hear(
        now,
        &arp(Operation::Reply, (THEIRS, "192.0.2.1"), "192.0.2.7"),
    );
    link.hear(
        now,
        &arp(Operation::Request, (OTHER, "192.0.2.1"), "192.0.2.1"),
    );
    let Hop::Header(header) = link.hop(now, &out) else {
        panic!("it is known")
    };
    assert_eq!(header[..6], OTHER.0);
}

#[test]
fn an_advertisement_that_does_not_override_changes_nothing() {
    let (mut link, now) = (link(), Instant::now());
    let out = packet("2001:db8::7", "2001:db8::1");
    let (peer, us) = (v6("2001:db8::1"), (OURS, v6("2001:db8::7")));
    link.hop(now, &out);
    link.hear(now, &nd::advertisement((THEIRS, peer), Some(us)));
    let mut proxy = nd::advertisement((OTHER, peer), Some(us));
    // Without the flag, and the checksum adjusted by as much.
    proxy[ETHER_LEN + 44] = 0x40;
    let sum = u16::from_be_bytes([proxy[ETHER_LEN + 42], proxy[ETHER_LEN + 43]]);
    let sum = anabranch_wire::checksum::update(sum, 0x6000, 0x4000);
    proxy[ETHER_LEN + 42..ETHER_LEN + 44].copy_from_slice(&sum.to_be_bytes());
    assert!(nd::Message::parse(&proxy).is_some());
    link.hear(now, &proxy);
    let Hop::Header(header) = link.hop(now, &out) else {
        panic!("it is known")
    };
    assert_eq!(header[..6], THEIRS.0);
}

#[test]
fn a_claim_to_our_address_is_told_and_answered_once() {
    let (mut link, now) = (link(), Instant::now());
    let claim = arp(Operation::Request, (OTHER, "192.0.2.7"), "192.0.2.7");
    for _ in 0..100 {
        let heard = link.hear(now, &claim);
        assert_eq!(heard.conflict, Some(("192.0.2.7".parse().unwrap(), OTHER)));
    }
    let defence = Arp::parse(&only(&mut link)).unwrap();
    assert_eq!(defence.sender, (OURS, v4("192.0.2.7")));
    let claim = nd::advertisement((OTHER, v6("2001:db8::7")), None);
    assert!(link.hear(now, &claim).conflict.is_some());
    assert!(link.take_outbox().is_empty(), "not both at once");
}

#[test]
fn announcements_name_every_address() {
    let mut link = link();
    link.announce();
    let frames = link.take_outbox();
    assert_eq!(frames.len(), 2);
    let arp = Arp::parse(&frames[0]).unwrap();
    assert_eq!(
        (arp.sender.1, arp.target.1),
        (v4("192.0.2.7"), v4("192.0.2.7"))
    );
    assert!(matches!(
        nd::Message::parse(&frames[1]),
        Some(nd::Message::Advertisement {
            solicited: false,
            ..
        })
    ));
}

#[test]
fn without_a_gateway_only_the_link_is_reachable() {
    let own = "192.0.2.7/24".parse().unwrap();
    let (mut link, now) = (Link::new(OURS, vec![own], vec![]), Instant::now());
    let far = packet("192.0.2.7", "198.51.100.1");
    assert_eq!(link.hop(now, &far), Hop::Unreachable);
    let near = packet("192.0.2.7", "192.0.2.200");
    assert!(matches!(link.hop(now, &near), Hop::Unknown(_)));
}

#[test]
fn an_address_needs_a_prefix_it_can_have() {
    assert_eq!(
        "192.0.2.7/24".parse(),
        Ok(Own {
            address: "192.0.2.7".parse().unwrap(),
            prefix: 24
        })
    );
    for wrong in [
        "192.0.2.7",
        "192.0.2.7/33",
        "fd00::1/129",
        "x/24",
        "192.0.2.7/",
    ] {
        assert!(wrong.parse::<Own>().is_err(), "{wrong}");
    }
}
