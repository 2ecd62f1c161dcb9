//! What a device may do wrong: a socket plays it.

use super::*;
use std::io::Read;
use std::os::unix::net::{UnixDatagram, UnixStream};

fn tun(file: impl Into<OwnedFd>, offload: Offload) -> Tun {
    let mut buffers = Buffers::new(vnet::LEN + MAX_PACKET + 1);
    Tun {
        file: File::from(file.into()),
        name: "test".into(),
        mtu: 1500,
        offload,
        current: buffers.take(),
        buffers,
        unsent: VecDeque::new(),
        counters: Counters::default(),
        complaints: Complaints::default(),
    }
}

/// A device that gives what is sent to the other end.
fn giving() -> (Tun, UnixDatagram) {
    let (here, there) = UnixDatagram::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    (tun(here, Offload::Segmentation), there)
}

/// A device that takes bytes as fast as the other end reads them.
fn taking(offload: Offload) -> (Tun, UnixStream) {
    let (here, there) = UnixStream::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    (tun(here, offload), there)
}

/// A super-frame of 40 packets, or as many bytes in one.
fn packet(mark: u8, gso_size: u16) -> Transmit {
    let mut header = [0; 40];
    header[0] = 0x45;
    header[9] = 6;
    header[20 + 12] = 5 << 4;
    Transmit {
        header: header.as_slice().into(),
        ip_len: 20,
        payload: [Bytes::from(vec![mark; 40_000])].into_iter().collect(),
        gso_size,
        needs_checksum: true,
    }
}

fn segment(header: [u8; vnet::LEN]) -> Vec<u8> {
    let mut frame = header.to_vec();
    let mut packet = [0; 60];
    packet[..4].copy_from_slice(&[0x45, 0, 0, 60]);
    packet[9] = 6;
    frame.extend(packet);
    frame
}

#[test]
fn malformed_virtio_net_headers_are_counted_and_dropped() {
    let (mut tun, kernel) = giving();
    let good = VnetHdr {
        needs_csum: true,
        csum_start: 20,
        csum_offset: 16,
        ..VnetHdr::default()
    };
    let bad = [
        // Segmentation of UDP, which was not asked for.
        segment([0, 3, 0, 0, 100, 0, 0, 0, 0, 0]),
        // A super-frame without a size, and one of IPv6 that is IPv4.
        segment([1, 1, 0, 0, 0, 0, 20, 0, 16, 0]),
        segment([1, 4, 0, 0, 100, 0, 20, 0, 16, 0]),
        // A checksum beyond the packet, and elsewhere than TCP has it.
        segment([1, 0, 0, 0, 0, 0, 0xff, 0xff, 16, 0]),
        segment([1, 0, 0, 0, 0, 0, 22, 0, 16, 0]),
        // Nothing behind the header, and half a header.
        vec![0; vnet::LEN],
        vec![0; vnet::LEN / 2],
    ];
    for frame in &bad {
        kernel.send(frame).unwrap();
    }
    kernel.send(&segment(good.encode())).unwrap();
    let mut frames = Vec::new();
    assert_eq!(tun.receive(&mut frames, 64).unwrap(), 1);
    assert!(frames[0].checksum_ok);
    let counters = tun.counters();
    assert_eq!(counters.rx_errors, bad.len() as u64);
    assert_eq!(counters.rx_packets, 1);
}

#[test]
fn a_super_frame_larger_than_any_packet_is_counted_and_dropped() {
    let (mut tun, kernel) = giving();
    let mut large = segment([0; vnet::LEN]);
    large.resize(vnet::LEN + MAX_PACKET + 100, 7);
    kernel.send(&large).unwrap();
    large.truncate(vnet::LEN + MAX_PACKET);
    kernel.send(&large).unwrap();
    let mut frames = Vec::new();
    assert_eq!(tun.receive(&mut frames, 64).unwrap(), 1);
    assert_eq!(frames[0].data.len(), MAX_PACKET, "the largest that is one");
    assert_eq!(tun.counters().rx_errors, 1);
}

#[test]
fn a_write_that_is_cut_short_is_a_lost_packet_and_counted() {
    let (mut tun, mut kernel) = taking(Offload::Segmentation);
    let mut sent = 0;
    let error = loop {
        match tun.send(&packet(1, 1000)) {
            Ok(()) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.kind(), ErrorKind::WriteZero);
    let counters = tun.counters();
    assert_eq!((counters.tx_packets, counters.tx_errors), (sent, 1));
    // Until there is room, nothing is lost any more.
    let full = tun.send(&packet(1, 1000)).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::WouldBlock);
    let mut some = vec![0; 1 << 20];
    assert_ne!(kernel.read(&mut some).unwrap(), 0);
    assert_eq!(tun.counters().tx_errors, 1);
}

/// However often the device is full, each packet is written once, whole and in order: also those of
/// a super-frame that was cut when the device filled up in the middle of it.
#[test]
fn a_device_that_is_full_over_and_over_loses_nothing() {
    let (here, kernel) = UnixDatagram::pair().unwrap();
    here.set_nonblocking(true).unwrap();
    kernel.set_nonblocking(true).unwrap();
    let mut tun = tun(here, Offload::Checksum);
    let (mut batch, mut seen) = (VecDeque::new(), Vec::new());
    let mut frame = vec![0; 2000];
    for mark in 0..50 {
        batch.push_back(packet(mark, 1000));
    }
    while seen.len() < 50 * 40 {
        match tun.send_all(&mut batch) {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        // One packet at a time finds its way out.
        if let Ok(len) = kernel.recv(&mut frame) {
            assert_eq!(len, vnet::LEN + 40 + 1000);
            seen.push(frame[len - 1]);
        }
        let waiting = tun.receive(&mut Vec::new(), 1).unwrap_err();
        assert_eq!(waiting.kind(), ErrorKind::WouldBlock);
    }
    let expected: Vec<u8> = (0..50).flat_map(|mark| [mark; 40]).collect();
    assert_eq!(seen, expected);
    let counters = tun.counters();
    assert!(counters.tx_full > 100, "{counters:?}");
    assert_eq!((counters.tx_packets, counters.tx_errors), (2000, 0));
}
