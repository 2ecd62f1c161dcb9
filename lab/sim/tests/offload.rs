//! Super-frames cut to wire packets and merged again.

use anabranch_sim::offload::{Coalescer, split};
use anabranch_tcp::Instant;
use anabranch_wire::frame::{Frame, Transmit};
use anabranch_wire::mptcp::{Dsn, Dss, DssMapping, MptcpOption};
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, Timestamps};
use anabranch_wire::{Build, Packet, Seq};
use bytes::Bytes;
use smallvec::smallvec;
use std::net::SocketAddr;
use std::time::Duration;

/// `len` bytes from sequence number `seq` on, all in one mapping at `dsn`, cut at 1,400.
fn super_frame(v6: bool, port: u16, seq: u32, dsn: u64, len: usize) -> Transmit {
    let (src, dst) = if v6 {
        ("[fd00::1]:1", "[fd00::2]:2")
    } else {
        ("10.0.0.1:1", "10.0.0.2:2")
    };
    let mut src: SocketAddr = src.parse().unwrap();
    src.set_port(port);
    let mapping = DssMapping {
        dsn: Dsn::Long(dsn),
        ssn: 1,
        len: len as u16,
        checksum: None,
    };
    let dss = Dss {
        data_ack: Some(Dsn::Short(9)),
        mapping: Some(mapping),
        data_fin: false,
    };
    let options = SegmentOptions {
        timestamps: Some(Timestamps { val: 1, ecr: 2 }),
        ..SegmentOptions::default()
    };
    Build {
        src,
        dst: dst.parse().unwrap(),
        ttl: 64,
        traffic_class: 0,
        ident: 7,
        seq: Seq(seq),
        ack: Seq(5),
        flags: Flags::ACK.with(Flags::PSH),
        window: 100,
        urgent: 0,
        options: &Options::Segment(options),
        mptcp: &[MptcpOption::Dss(dss)],
    }
    .transmit(smallvec![payload(len)], 1400)
    .unwrap()
}

fn payload(len: usize) -> Bytes {
    (0..len).map(|n| (n % 251) as u8).collect()
}

fn merge(packets: impl IntoIterator<Item = Bytes>) -> Vec<Frame> {
    let mut coalescer = Coalescer::new(Duration::from_micros(20));
    packets
        .into_iter()
        .for_each(|p| coalescer.push(Instant(0), p));
    assert_eq!(coalescer.deadline(), Some(Instant(20_000)));
    let frames = coalescer.take();
    assert_eq!(coalescer.deadline(), None);
    frames
}

#[test]
fn what_was_cut_is_merged_to_what_it_was() {
    for v6 in [false, true] {
        for len in [1400, 1401, 10_000, 14_000, 60_000] {
            let sent = super_frame(v6, 1, 1000, 77, len);
            let packets = split(&sent);
            assert_eq!(packets.len(), len.div_ceil(1400));
            assert!(packets.iter().all(|p| Packet::parse_verified(p).is_ok()));
            let [frame] = &merge(packets)[..] else {
                panic!("not one frame");
            };
            assert!(frame.checksum_ok);
            assert_eq!(frame.gso_size, if len > 1400 { 1400 } else { 0 });
            let packet = Packet::from_frame(frame).unwrap();
            assert_eq!(frame.data[packet.payload.clone()], payload(len));
            let expected = Packet::parse(&sent.to_bytes()).unwrap();
            assert_eq!(packet, expected);
        }
    }
}

#[test]
fn different_mappings_stay_apart() {
    let first = split(&super_frame(false, 1, 1000, 77, 2800));
    let second = split(&super_frame(false, 1, 3800, 500, 2800));
    let frames = merge(first.into_iter().chain(second));
    assert_eq!(frames.len(), 2);
    assert!(frames.iter().all(|f| f.gso_size == 1400));
}

#[test]
fn flows_are_merged_each_for_itself() {
    let first = split(&super_frame(false, 1, 1000, 77, 2800));
    let second = split(&super_frame(false, 9, 1000, 77, 2800));
    let mixed = [&first[0], &second[0], &first[1], &second[1]].map(Clone::clone);
    assert_eq!(merge(mixed).len(), 2);
}

#[test]
fn a_gap_is_not_closed() {
    let mut packets = split(&super_frame(false, 1, 1000, 77, 5600));
    packets.remove(1);
    let sizes: Vec<_> = merge(packets)
        .iter()
        .map(|f| Packet::from_frame(f).unwrap().payload.len())
        .collect();
    assert_eq!(sizes, [1400, 2800]);
}

#[test]
fn a_corrupt_packet_is_passed_on_as_it_is() {
    let mut packets = split(&super_frame(false, 1, 1000, 77, 4200));
    let mut bytes = packets[1].to_vec();
    *bytes.last_mut().unwrap() ^= 1;
    packets[1] = bytes.into();
    let frames = merge(packets);
    assert_eq!(frames.len(), 3);
    let ok: Vec<_> = frames.iter().map(|f| f.checksum_ok).collect();
    assert_eq!(ok, [true, false, true]);
    assert!(Packet::from_frame(&frames[1]).is_err());
}
