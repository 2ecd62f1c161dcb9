//! Two drivers back to back in memory.

#[path = "common/poll.rs"]
mod poll;

use anabranch_drivers::pipe::PipeConfig;
use anabranch_drivers::{Driver, Pipe, pipe};
use anabranch_wire::Seq;
use anabranch_wire::frame::Transmit;
use anabranch_wire::packet::{Build, Packet};
use anabranch_wire::tcp::{Flags, Options, SegmentOptions};
use bytes::Bytes;
use poll::{readable, wait};
use std::io::ErrorKind;
use std::time::Duration;

/// A segment with `len` bytes of payload, cut at 1000 if there are more.
fn segment(seq: u32, len: usize) -> Transmit {
    let payload = Bytes::from((0..len).map(|at| at as u8).collect::<Vec<u8>>());
    Build {
        src: "10.0.0.1:80".parse().unwrap(),
        dst: "10.0.0.2:4000".parse().unwrap(),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(seq),
        ack: Seq(0),
        flags: Flags::ACK,
        window: 0,
        urgent: 0,
        options: &Options::Segment(SegmentOptions::default()),
        mptcp: &[],
    }
    .transmit(
        [payload.slice(..len / 2), payload.slice(len / 2..)]
            .into_iter()
            .collect(),
        1000,
    )
    .unwrap()
}

fn received(pipe: &mut Pipe, max: usize) -> Vec<(u32, usize)> {
    let mut frames = Vec::new();
    pipe.receive(&mut frames, max).unwrap();
    frames
        .iter()
        .map(|frame| Packet::from_frame(frame).unwrap())
        .map(|packet| (packet.seq.0, packet.payload.len()))
        .collect()
}

#[test]
fn with_offload_a_super_frame_passes_whole() {
    let (mut a, mut b) = pipe(PipeConfig::default()).unwrap();
    a.send(&segment(1, 2500)).unwrap();
    let mut frames = Vec::new();
    assert_eq!(b.receive(&mut frames, 10).unwrap(), 1);
    assert_eq!((frames[0].gso_size, frames[0].checksum_ok), (1000, true));
    assert_eq!(Packet::from_frame(&frames[0]).unwrap().payload.len(), 2500);
    assert_eq!((a.counters().tx_packets, b.counters().rx_packets), (1, 1));
    assert_eq!(a.counters().tx_bytes, b.counters().rx_bytes);
}

#[test]
fn without_offload_it_is_cut_and_checksums_are_complete() {
    let config = PipeConfig {
        offload: false,
        ..PipeConfig::default()
    };
    let (mut a, mut b) = pipe(config).unwrap();
    assert_eq!(a.gso_max(), 0);
    a.send(&segment(1, 2500)).unwrap();
    let mut frames = Vec::new();
    assert_eq!(b.receive(&mut frames, 10).unwrap(), 3);
    let packets: Vec<_> = frames
        .iter()
        .map(|frame| Packet::parse_verified(&frame.data).unwrap())
        .collect();
    let cut: Vec<_> = packets
        .iter()
        .map(|it| (it.seq.0, it.payload.len()))
        .collect();
    assert_eq!(cut, [(1, 1000), (1001, 1000), (2001, 500)]);
    assert!(
        frames
            .iter()
            .all(|frame| !frame.checksum_ok && frame.gso_size == 0)
    );
}

#[test]
fn frames_come_in_order_and_no_more_than_asked() {
    let (mut a, mut b) = pipe(PipeConfig::default()).unwrap();
    for seq in 0..5 {
        a.send(&segment(seq, 10)).unwrap();
    }
    assert_eq!(received(&mut b, 3), [(0, 10), (1, 10), (2, 10)]);
    assert_eq!(received(&mut b, 3), [(3, 10), (4, 10)]);
    let error = b.receive(&mut Vec::new(), 3).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
}

#[test]
fn a_full_pipe_refuses_and_tells_when_there_is_room() {
    let config = PipeConfig {
        capacity: 2,
        ..PipeConfig::default()
    };
    let (mut a, mut b) = pipe(config).unwrap();
    a.send(&segment(0, 1)).unwrap();
    a.send(&segment(1, 1)).unwrap();
    let kept = segment(2, 1);
    assert_eq!(a.send(&kept).unwrap_err().kind(), ErrorKind::WouldBlock);
    assert_eq!((a.counters().tx_packets, a.counters().tx_full), (2, 1));
    assert!(!readable(&a, Duration::ZERO));
    assert_eq!(received(&mut b, 1), [(0, 1)]);
    assert!(readable(&a, Duration::ZERO), "room came back");
    a.send(&kept).unwrap();
    assert_eq!(received(&mut b, 9), [(1, 1), (2, 1)]);
}

#[test]
fn it_is_readable_while_frames_wait() {
    let (mut a, mut b) = pipe(PipeConfig::default()).unwrap();
    assert!(!readable(&b, Duration::ZERO));
    a.send(&segment(0, 1)).unwrap();
    a.send(&segment(1, 1)).unwrap();
    assert!(readable(&b, Duration::ZERO));
    received(&mut b, 1);
    assert!(readable(&b, Duration::ZERO));
    received(&mut b, 1);
    b.receive(&mut Vec::new(), 1).unwrap_err();
    assert!(!readable(&b, Duration::ZERO));
}

#[test]
fn a_thread_that_waits_is_woken() {
    let (mut a, mut b) = pipe(PipeConfig::default()).unwrap();
    let waiting = std::thread::spawn(move || {
        wait(&b);
        received(&mut b, 1)
    });
    a.send(&segment(7, 3)).unwrap();
    assert_eq!(waiting.join().unwrap(), [(7, 3)]);
}

#[test]
fn when_one_end_is_gone_what_waits_is_received_and_then_it_is_broken() {
    let (mut a, mut b) = pipe(PipeConfig::default()).unwrap();
    a.send(&segment(0, 1)).unwrap();
    drop(a);
    assert!(readable(&b, Duration::ZERO));
    assert_eq!(
        b.send(&segment(0, 1)).unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
    assert_eq!(received(&mut b, 9), [(0, 1)]);
    assert_eq!(
        b.receive(&mut Vec::new(), 9).unwrap_err().kind(),
        ErrorKind::BrokenPipe
    );
}
