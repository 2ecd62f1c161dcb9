//! Two drivers back to back in memory.

#[path = "common/poll.rs"]
mod poll;

use anabranch_drivers::pipe::{MeshConfig, MeshEnd, PipeConfig, Steering, mesh};
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

/// A segment of a flow.
fn between(src: &str, dst: &str, seq: u32) -> Transmit {
    Build {
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
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
    .transmit([Bytes::from(vec![7; 100])].into_iter().collect(), 1000)
    .unwrap()
}

fn two_peers(steering: Steering) -> (Vec<MeshEnd>, Vec<MeshEnd>) {
    let peers = ["10.0.0.1", "10.0.0.2"].map(|addr| vec![addr.parse().unwrap()]);
    let config = MeshConfig {
        pipe: PipeConfig::default(),
        queues: 3,
        peers: peers.to_vec(),
        steering,
    };
    mesh(config).unwrap()
}

const US: &str = "10.0.9.9:80";

/// Where the next packet of a flow arrives.
fn arrives(queues: &mut [MeshEnd], peer: &mut MeshEnd, from: &str, seq: u32) -> usize {
    peer.send(&between(from, US, seq)).unwrap();
    let mut frames = Vec::new();
    let at = queues
        .iter_mut()
        .position(|queue| queue.receive(&mut frames, 8).is_ok());
    let [frame] = &frames[..] else {
        panic!("{} frames", frames.len())
    };
    assert_eq!(Packet::from_frame(frame).unwrap().seq.0, seq);
    at.unwrap()
}

#[test]
fn flows_spread_over_queues_and_follow_the_one_that_answers() {
    for steering in [Steering::Learn, Steering::Hash] {
        let (mut queues, mut peers) = two_peers(steering);
        let mut used = [0; 3];
        for port in 4000..4030 {
            let from = format!("10.0.0.2:{port}");
            let first = arrives(&mut queues, &mut peers[1], &from, 1);
            used[first] += 1;
            assert_eq!(arrives(&mut queues, &mut peers[1], &from, 2), first);
            let other = (first + 1) % 3;
            queues[other].send(&between(US, &from, 9)).unwrap();
            let mut frames = Vec::new();
            assert_eq!(peers[1].receive(&mut frames, 8).unwrap(), 1);
            let then = arrives(&mut queues, &mut peers[1], &from, 3);
            assert_eq!(
                then,
                if steering == Steering::Learn {
                    other
                } else {
                    first
                }
            );
        }
        assert!(used.iter().all(|n| *n > 3), "{used:?}");
        // The other peer got nothing of it.
        let error = peers[0].receive(&mut Vec::new(), 8).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
    }
}

#[test]
fn flows_may_begin_at_the_queue_beside_their_peer() {
    let (mut queues, mut peers) = two_peers(Steering::Beside);
    for (number, from) in ["10.0.0.1:4000", "10.0.0.2:4000"].into_iter().enumerate() {
        let peer = &mut peers[number];
        assert_eq!(arrives(&mut queues, peer, from, 1), number);
        queues[2].send(&between(US, from, 9)).unwrap();
        peer.receive(&mut Vec::new(), 8).unwrap();
        assert_eq!(arrives(&mut queues, peer, from, 2), 2);
    }
}

#[test]
fn packets_to_nobody_are_lost_and_a_queue_that_is_gone_refuses() {
    let (mut queues, mut peers) = two_peers(Steering::Learn);
    queues[0].send(&between(US, "10.0.0.77:1", 1)).unwrap();
    let from = "10.0.0.1:4000";
    let at = arrives(&mut queues, &mut peers[0], from, 1);
    queues.remove(at);
    let error = peers[0].send(&between(from, US, 2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotConnected, "others are there");
    let error = peers[0].receive(&mut Vec::new(), 8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    queues.clear();
    let error = peers[0].send(&between(from, US, 2)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
    let error = peers[0].receive(&mut Vec::new(), 8).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn everyone_who_was_refused_hears_of_room() {
    let pipe = PipeConfig {
        capacity: 1,
        ..PipeConfig::default()
    };
    let config = MeshConfig {
        pipe,
        queues: 2,
        peers: vec![vec!["10.0.0.1".parse().unwrap()]],
        steering: Steering::Learn,
    };
    let (mut queues, mut peers) = mesh(config).unwrap();
    let packet = between(US, "10.0.0.1:4000", 1);
    queues[0].send(&packet).unwrap();
    for queue in &mut queues {
        let error = queue.send(&packet).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(!readable(queue, Duration::ZERO));
    }
    peers[0].receive(&mut Vec::new(), 8).unwrap();
    for queue in &mut queues {
        assert!(readable(queue, Duration::ZERO));
    }
}
