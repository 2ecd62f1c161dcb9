//! A TUN device between this program and the kernel's own TCP, at every level of offload.

mod common {
    pub(crate) mod endpoint;
    pub(crate) mod poll;
}

use anabranch_drivers::tun::{MAX_QUEUES, Offload, TunConfig};
use anabranch_drivers::{Driver, Tun};
use anabranch_kernel::{Netlink, Netns};
use anabranch_wire::Seq;
use anabranch_wire::checksum;
use anabranch_wire::frame::{Frame, Transmit};
use anabranch_wire::icmp;
use anabranch_wire::ip::IpPacket;
use anabranch_wire::packet::{Build, Packet};
use anabranch_wire::tcp::{Flags, Options, SynOptions};
use common::endpoint::{Endpoint, receive_where};
use common::poll::PATIENCE;
use smallvec::SmallVec;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

/// A namespace of one's own; `None`, with the reason printed, where there can be none. Under
/// `CI=true` there must.
fn netns() -> Option<Netns> {
    match Netns::new() {
        Ok(netns) => Some(netns),
        Err(error) => {
            assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}");
            eprintln!("skipped: {error}");
            None
        }
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A device whose network is 10.66.0.0/24 and fd66::/64, of which the kernel has the first.
fn open(offload: Offload) -> Tun {
    open_queues(offload, 1).remove(0)
}

fn open_queues(offload: Offload, queues: usize) -> Vec<Tun> {
    let config = TunConfig {
        name: "test%d".into(),
        offload,
        ..TunConfig::default()
    };
    let queues = Tun::open_queues(&config, queues).unwrap();
    let (name, netlink) = (queues[0].name(), Netlink::open().unwrap());
    netlink.add_address(name, ip("10.66.0.1"), 24).unwrap();
    netlink.add_address(name, ip("fd66::1"), 64).unwrap();
    netlink.settle().unwrap();
    queues
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32)
        .map(|at| (at.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect()
}

/// Both directions between the kernel's TCP and a dumb endpoint; returns the largest segment size
/// of the super-frames that came.
fn exchange(offload: Offload, to: &str) -> u16 {
    let mut tun = open(offload);
    assert_eq!(tun.offload(), offload, "the kernel grants what was asked");
    let to = (ip(to), 7000);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut client = TcpStream::connect_timeout(&to.into(), PATIENCE).unwrap();
            client.set_read_timeout(Some(PATIENCE)).unwrap();
            client.set_write_timeout(Some(PATIENCE)).unwrap();
            client.write_all(&pattern(1_000_000)).unwrap();
            let mut answer = vec![0; 700_001];
            client.read_exact(&mut answer).unwrap();
            assert_eq!(answer, pattern(700_001));
        });
        let mut endpoint = Endpoint::accept(&mut tun, 7000);
        assert!(endpoint.receive(1_000_000) == pattern(1_000_000));
        endpoint.send(&pattern(700_001));
        let largest = endpoint.largest_gso;
        let counters = tun.counters();
        assert_eq!(
            (counters.rx_errors, counters.tx_errors, counters.tx_full),
            (0, 0, 0)
        );
        assert!(counters.rx_bytes > 1_000_000 && counters.tx_bytes > 700_001);
        largest
    })
}

#[test]
fn super_frames_pass_both_ways_over_ipv4() {
    let Some(netns) = netns() else { return };
    let largest = netns
        .run(|| exchange(Offload::Segmentation, "10.66.0.2"))
        .unwrap();
    assert!(
        largest > 1000,
        "the kernel left segmentation to us: {largest}"
    );
}

#[test]
fn super_frames_pass_both_ways_over_ipv6() {
    let Some(netns) = netns() else { return };
    let largest = netns
        .run(|| exchange(Offload::Segmentation, "fd66::2"))
        .unwrap();
    assert!(
        largest > 1000,
        "the kernel left segmentation to us: {largest}"
    );
}

#[test]
fn checksum_offload_alone_carries_single_packets() {
    let Some(netns) = netns() else { return };
    for to in ["10.66.0.2", "fd66::2"] {
        assert_eq!(netns.run(|| exchange(Offload::Checksum, to)).unwrap(), 0);
    }
}

#[test]
fn without_offload_packets_are_plain_and_checksums_complete() {
    let Some(netns) = netns() else { return };
    for to in ["10.66.0.2", "fd66::2"] {
        assert_eq!(netns.run(|| exchange(Offload::None, to)).unwrap(), 0);
    }
}

#[test]
fn without_offload_nobody_vouches_for_a_checksum() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            let mut tun = open(Offload::None);
            let to = "10.66.0.2:7000".parse().unwrap();
            TcpStream::connect_timeout(&to, Duration::from_millis(1)).unwrap_err();
            let frame = receive_where(&mut tun, |frame| frame.data[0] >> 4 == 4);
            assert!(!frame.checksum_ok);
            let packet = Packet::parse_verified(&frame.data).unwrap();
            assert_eq!(
                (packet.dst.to_string().as_str(), packet.src.ip()),
                ("10.66.0.2:7000", ip("10.66.0.1"))
            );
        })
        .unwrap();
}

/// An ICMP echo request from 10.66.0.2 to the kernel.
fn echo_request() -> Transmit {
    let mut bytes = vec![
        0x45, 0, 0, 32, 0, 0, 0, 0, 64, 1, 0, 0, 10, 66, 0, 2, 10, 66, 0, 1,
    ];
    let sum = checksum::sum(&bytes);
    bytes[10..12].copy_from_slice(&(!sum).to_be_bytes());
    let mut message = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1, b'e', b'c', b'h', b'o'];
    let sum = checksum::sum(&message);
    message[2..4].copy_from_slice(&(!sum).to_be_bytes());
    bytes.extend(message);
    Transmit {
        header: SmallVec::from_vec(bytes),
        ip_len: 20,
        payload: SmallVec::new(),
        gso_size: 0,
        needs_checksum: false,
    }
}

#[test]
fn the_kernel_answers_an_echo_request() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            for offload in [Offload::None, Offload::Segmentation] {
                let mut tun = open(offload);
                tun.send(&echo_request()).unwrap();
                let reply = receive_where(&mut tun, |frame| frame.data[0] >> 4 == 4);
                let ip_packet = IpPacket::parse(&reply.data).unwrap();
                assert_eq!(
                    (ip_packet.src, ip_packet.dst),
                    (ip("10.66.0.1"), ip("10.66.0.2"))
                );
                let message = &reply.data[ip_packet.payload.clone()];
                assert_eq!(message[0], 0, "echo reply");
                assert_eq!(&message[4..], &[0x12, 0x34, 0, 1, b'e', b'c', b'h', b'o']);
                assert!(icmp::parse(&ip_packet, &reply.data).is_ok());
            }
        })
        .unwrap();
}

#[test]
fn an_empty_device_would_block() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            let config = TunConfig {
                name: "quiet".into(),
                ..TunConfig::default()
            };
            let mut tun = Tun::open(&config).unwrap();
            let mut frames = Vec::new();
            assert_eq!(tun.receive(&mut frames, 0).unwrap(), 0);
            // IPv6 has things to say on a new link, at any time; take what has come.
            let error = loop {
                if let Err(error) = tun.receive(&mut frames, 16) {
                    break error;
                }
            };
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        })
        .unwrap();
}

#[test]
fn the_interface_is_as_configured_and_goes_with_the_device() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            let config = TunConfig {
                name: "mine".into(),
                mtu: 1400,
                ..TunConfig::default()
            };
            let tun = Tun::open(&config).unwrap();
            assert_eq!((tun.name(), tun.mtu()), ("mine", 1400));
            let link = Netlink::open().unwrap().link("mine").unwrap();
            assert_eq!((link.mtu, link.up), (1400, true));
            let twice = Tun::open(&config).unwrap_err();
            assert_eq!(twice.kind(), ErrorKind::ResourceBusy, "{twice}");
            drop(tun);
            assert!(Netlink::open().unwrap().link("mine").is_err());
        })
        .unwrap();
}

#[test]
fn what_is_no_interface_name_is_refused_in_one_line() {
    for name in ["", "sixteen-letters!", "a/b", "a b"] {
        let config = TunConfig {
            name: name.into(),
            ..TunConfig::default()
        };
        let error = Tun::open(&config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert!(!error.to_string().contains('\n'), "{error}");
    }
}

#[test]
fn a_packet_the_kernel_refuses_is_an_error_and_counted() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            let mut tun = open(Offload::Segmentation);
            let mut garbage = echo_request();
            garbage.header[0] = 0xf5;
            let error = tun.send(&garbage).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
            assert_eq!(tun.counters().tx_errors, 1);
            tun.send(&echo_request()).unwrap();
            assert_eq!(tun.counters().tx_packets, 1);
        })
        .unwrap();
}

/// The first packet with `flags` and from `port`, if one is given, that comes to any of `queues`, and
/// to which. What a slow machine sends twice is passed over.
fn receive_any(queues: &mut [Tun], flags: Flags, port: Option<u16>) -> (usize, Packet) {
    let wanted = |packet: &Packet| {
        packet.flags.has(flags) && port.is_none_or(|port| packet.src.port() == port)
    };
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        for (index, queue) in queues.iter_mut().enumerate() {
            let mut frames = Vec::new();
            match queue.receive(&mut frames, 1) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => panic!("queue {index}: {error}"),
            }
            match Packet::from_frame(&frames[0]) {
                Ok(packet) if wanted(&packet) => return (index, packet),
                _ => {}
            }
        }
        std::thread::yield_now();
    }
    panic!("nothing came to any queue");
}

fn answer(syn: &Packet) -> Transmit {
    let options = Options::Syn(SynOptions::default());
    let build = Build {
        src: syn.dst,
        dst: syn.src,
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(1000),
        ack: Seq(syn.seq.0.wrapping_add(1)),
        flags: Flags::SYN.with(Flags::ACK),
        window: 0x4000,
        urgent: 0,
        options: &options,
        mptcp: &[],
    };
    build.transmit(SmallVec::new(), 0).unwrap()
}

#[test]
fn a_flow_follows_the_queue_that_answers_it() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            let mut queues = open_queues(Offload::Segmentation, 4);
            let names: Vec<&str> = queues.iter().map(Tun::name).collect();
            assert!(names.iter().all(|name| *name == names[0]), "{names:?}");
            for connection in 0..16 {
                let to = "10.66.0.2:7000".parse().unwrap();
                let client = std::thread::scope(|scope| {
                    let client =
                        scope.spawn(move || TcpStream::connect_timeout(&to, PATIENCE).unwrap());
                    let (_, syn) = receive_any(&mut queues, Flags::SYN, None);
                    queues[connection % 4].send(&answer(&syn)).unwrap();
                    client.join().unwrap()
                });
                // To whichever queue: it leaves before the kernel has noted who wrote.
                let port = Some(client.local_addr().unwrap().port());
                receive_any(&mut queues, Flags::ACK, port);
                drop(client);
                let (queue, _) = receive_any(&mut queues, Flags::FIN, port);
                assert_eq!(queue, connection % 4);
            }
        })
        .unwrap();
}

#[test]
fn the_interface_goes_with_the_last_of_its_queues() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            for offload in [Offload::None, Offload::Segmentation] {
                let mut queues = open_queues(offload, 3);
                let name = queues[0].name().to_owned();
                let config = TunConfig {
                    name: name.clone(),
                    ..TunConfig::default()
                };
                let intruder = Tun::open_queues(&config, 2).unwrap_err();
                assert_eq!(intruder.kind(), ErrorKind::ResourceBusy, "{intruder}");
                queues.drain(..2);
                queues[0].send(&echo_request()).unwrap();
                let is_v4 = |frame: &Frame| frame.data[0] >> 4 == 4;
                receive_where(&mut queues[0], is_v4);
                drop(queues);
                assert!(Netlink::open().unwrap().link(&name).is_err());
            }
        })
        .unwrap();
}

#[test]
fn a_number_of_queues_that_no_device_has_is_refused() {
    for queues in [0, MAX_QUEUES + 1] {
        let error = Tun::open_queues(&TunConfig::default(), queues).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput, "{error}");
    }
}

#[test]
fn a_device_that_disappears_says_so() {
    let Some(netns) = netns() else { return };
    netns
        .run(|| {
            let mut tun = open(Offload::Segmentation);
            let name = tun.name().to_owned();
            Netlink::open().unwrap().delete_link(&name).unwrap();
            let mut frames = Vec::new();
            let error = loop {
                match tun.receive(&mut frames, 64) {
                    Ok(_) => {}
                    Err(error) => break error,
                }
            };
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
            let error = tun.send(&echo_request()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}");
            assert!(error.to_string().contains("is gone"), "{error}");
        })
        .unwrap();
}
