//! Addresses of our own on one end of a veth pair; at the other end, the kernel of another host.

mod common {
    pub(crate) mod endpoint;
    pub(crate) mod hosts;
    pub(crate) mod poll;
    pub(crate) mod segment;
}

use anabranch_drivers::{Driver, Mac, Packet, PacketConfig};
use anabranch_kernel::Netlink;
use anabranch_kernel::ethtool::{self, Offload};
use anabranch_wire::Seq;
use anabranch_wire::icmp;
use anabranch_wire::ip::IpPacket;
use anabranch_wire::packet::Packet as Segment;
use anabranch_wire::tcp::Flags;
use bytes::Bytes;
use common::endpoint::{Endpoint, receive_where};
use common::hosts::{Hosts, config, exchange, ip, pattern};
use common::poll::PATIENCE;
use common::segment::segment;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Instant;

fn open(hosts: &Hosts) -> Packet {
    hosts.ours(|| Packet::open(&config()).unwrap())
}

#[test]
fn super_frames_pass_both_ways_over_ipv4_and_ipv6() {
    let Some(hosts) = Hosts::new() else { return };
    let mut packet = open(&hosts);
    for to in ["10.66.0.2", "fd66::2"] {
        let largest = exchange(&hosts, &mut packet, to);
        assert!(
            largest > 1000,
            "the kernel left segmentation to us: {largest}"
        );
    }
}

#[test]
fn with_an_ethernet_address_of_our_own() {
    let Some(hosts) = Hosts::new() else { return };
    let mac = Mac([2, 0x66, 0, 0, 0, 2]);
    let mut config = config();
    config.mac = Some(mac);
    let mut packet = hosts.ours(|| Packet::open(&config).unwrap());
    for to in ["10.66.0.2", "fd66::2"] {
        exchange(&hosts, &mut packet, to);
    }
}

/// A packet to a station that nobody asked us about waits for its answer.
#[test]
fn the_next_hop_is_asked_for() {
    let Some(hosts) = Hosts::new() else { return };
    let mut packet = open(&hosts);
    for (from, to) in [("10.66.0.2", "10.66.0.1"), ("fd66::2", "fd66::1")] {
        // Nobody listens there: the kernel refuses.
        let hello = segment(from, to, Seq(77), Bytes::from_static(b"hello"));
        packet.send(&hello).unwrap();
        let reset = receive_where(&mut packet, |frame| Segment::from_frame(frame).is_ok());
        let reset = Segment::from_frame(&reset).unwrap();
        assert!(reset.flags.has(Flags::RST));
        assert_eq!(reset.seq, Seq(77));
    }
    assert_eq!(packet.counters().tx_errors, 0);
}

#[test]
fn packets_for_elsewhere_go_to_the_gateway() {
    let Some(hosts) = Hosts::new() else { return };
    hosts.theirs(|| {
        let netlink = Netlink::open().unwrap();
        netlink.add_address("lo", ip("10.99.0.1"), 32).unwrap();
        netlink.add_address("lo", ip("fd99::1"), 128).unwrap();
        netlink.settle().unwrap();
    });
    let mut config = config();
    config.gateways = vec![ip("10.66.0.1"), ip("fd66::1")];
    let mut packet = hosts.ours(|| Packet::open(&config).unwrap());
    for (from, to) in [("10.99.0.1", "10.66.0.2"), ("fd99::1", "fd66::2")] {
        let to = SocketAddr::new(ip(to), 7000);
        std::thread::scope(|scope| {
            let hosts = &hosts;
            scope.spawn(move || {
                let mut client = hosts.theirs(|| {
                    let domain = socket2::Domain::for_address(to);
                    let socket = socket2::Socket::new(domain, socket2::Type::STREAM, None).unwrap();
                    let from = SocketAddr::new(ip(from), 0);
                    socket.bind(&from.into()).unwrap();
                    socket.connect_timeout(&to.into(), PATIENCE).unwrap();
                    TcpStream::from(socket)
                });
                client.set_read_timeout(Some(PATIENCE)).unwrap();
                client.write_all(&pattern(100_000)).unwrap();
            });
            let mut endpoint = Endpoint::accept(&mut packet, 7000);
            assert!(endpoint.receive(100_000) == pattern(100_000));
        });
    }
}

#[test]
fn without_a_gateway_packets_for_elsewhere_are_counted_and_dropped() {
    let Some(hosts) = Hosts::new() else { return };
    let mut packet = open(&hosts);
    let elsewhere = segment("10.66.0.2", "10.99.0.1", Seq(1), Bytes::new());
    packet.send(&elsewhere).unwrap();
    assert_eq!(packet.counters().tx_errors, 1);
}

#[test]
fn an_address_that_another_station_has_is_refused() {
    let Some(hosts) = Hosts::new() else { return };
    for taken in ["10.66.0.1/24", "fd66::1/64"] {
        let config = PacketConfig::new("eth", [taken.parse().unwrap()]);
        let error = hosts.ours(|| Packet::open(&config).unwrap_err());
        assert_eq!(error.kind(), ErrorKind::AddrInUse, "{error}");
        assert!(error.to_string().contains("another station"), "{error}");
    }
    let mut free = config();
    free.probe = PacketConfig::new("eth", []).probe;
    hosts.ours(|| Packet::open(&free).unwrap());
}

#[test]
fn all_packets_of_a_flow_come_to_one_queue() {
    let Some(hosts) = Hosts::new() else { return };
    let mut queues = hosts.ours(|| Packet::open_queues(&config(), 4).unwrap());
    let mut used = [0; 4];
    for _ in 0..32 {
        let to = SocketAddr::new(ip("10.66.0.2"), 7000);
        std::thread::scope(|scope| {
            let hosts = &hosts;
            scope.spawn(move || {
                let mut client = hosts.connect(to);
                client.write_all(&pattern(200_000)).unwrap();
                let mut answer = vec![0; 1000];
                client.read_exact(&mut answer).unwrap();
            });
            // Whichever has the SYN serves the connection: it would hang if others got any of it.
            let (queue, syn) = receive_syn(&mut queues);
            used[queue] += 1;
            let mut endpoint = Endpoint::answer(&mut queues[queue], &syn);
            assert!(endpoint.receive(200_000) == pattern(200_000));
            endpoint.send(&pattern(1000));
        });
    }
    let idle = used.iter().filter(|&&count| count == 0).count();
    assert!(idle <= 1, "flows are spread: {used:?}");
}

/// The next SYN, and the queue to which it has come. What is left of other connections is passed
/// over.
fn receive_syn(queues: &mut [Packet]) -> (usize, Segment) {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        for (index, queue) in queues.iter_mut().enumerate() {
            let mut frames = Vec::new();
            match queue.receive(&mut frames, 1) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("queue {index}: {error}"),
            }
            match Segment::from_frame(&frames[0]) {
                Ok(syn) if syn.flags == Flags::SYN => return (index, syn),
                _ => {}
            }
        }
        std::thread::yield_now();
    }
    panic!("no SYN came");
}

#[test]
fn an_interface_that_disappears_says_so() {
    let Some(hosts) = Hosts::new() else { return };
    let mut packet = open(&hosts);
    hosts.ours(|| Netlink::open().unwrap().delete_link("eth").unwrap());
    let mut frames = Vec::new();
    let mut batch = std::collections::VecDeque::new();
    let error = loop {
        match packet.receive(&mut frames, 64) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => break error,
            _ => {}
        }
        // The link is asked for the neighbour, and later for the packet's way.
        batch.push_back(segment("10.66.0.2", "10.66.0.1", Seq(1), Bytes::new()));
        match packet.send_all(&mut batch) {
            Err(error) if error.kind() != ErrorKind::WouldBlock => break error,
            _ => {}
        }
    };
    assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
    assert_eq!(error.to_string(), "the interface eth is gone");
}

/// Super-frames that the kernel has to cut, or that are not merged any more: the bytes are the same.
#[test]
fn offloads_may_change_under_traffic() {
    let Some(hosts) = Hosts::new() else { return };
    let mut packet = open(&hosts);
    let offloads = [Offload::Receive, Offload::Tcp, Offload::Generic];
    for on in [false, true] {
        for side in [true, false] {
            let set = || {
                for offload in offloads {
                    ethtool::set_offload("eth", offload, on).unwrap();
                }
            };
            match side {
                true => hosts.ours(set),
                false => hosts.theirs(set),
            }
            exchange(&hosts, &mut packet, "10.66.0.2");
        }
    }
}

/// The interface takes smaller packets from now on: the stack hears of it as from a router.
#[test]
fn a_packet_larger_than_the_interface_takes_is_told() {
    let Some(hosts) = Hosts::new() else { return };
    let mut packet = open(&hosts);
    exchange(&hosts, &mut packet, "10.66.0.2");
    hosts.ours(|| Netlink::open().unwrap().set_mtu("eth", 1300).unwrap());
    let payload = Bytes::from(vec![7; 1400]);
    let started = Instant::now();
    let told = loop {
        assert!(started.elapsed() < PATIENCE);
        let large = segment("10.66.0.2", "10.66.0.1", Seq(1), payload.clone());
        packet.send(&large).unwrap();
        let mut frames = Vec::new();
        if packet.is_waiting() {
            packet.receive(&mut frames, 1).unwrap();
            break frames.remove(0);
        }
    };
    let ip_packet = IpPacket::parse(&told.data).unwrap();
    let message = icmp::parse(&ip_packet, &told.data).unwrap();
    let icmp::Message::PacketTooBig { mtu, quoted } = message else {
        panic!("{message:?}")
    };
    assert_eq!((mtu, quoted.dst.port()), (1300, 7001));
}
