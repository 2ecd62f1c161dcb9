//! What middleboxes do to single packets.

mod addresses;
mod drops;
mod options;
mod segments;

use anabranch_sim::Middlebox;
use anabranch_sim::offload::split;
use anabranch_tcp::Instant;
use anabranch_wire::mptcp::{Capable, CapableFlags};
use anabranch_wire::mptcp::{Dsn, Dss, MptcpOption};
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, SynOptions, Timestamps};
use anabranch_wire::{Build, Packet, Seq};
use bytes::Bytes;
use smallvec::smallvec;

/// What packets are made from; each test changes what it is about.
fn build<'a>(options: &'a Options, mptcp: &'a [MptcpOption]) -> Build<'a> {
    Build {
        src: "10.0.0.1:1000".parse().unwrap(),
        dst: "10.0.0.2:443".parse().unwrap(),
        ttl: 64,
        traffic_class: 0,
        ident: 7,
        seq: Seq(1000),
        ack: Seq(50),
        flags: Flags::ACK.with(Flags::PSH),
        window: 100,
        urgent: 0,
        options,
        mptcp,
    }
}

fn wire(build: Build<'_>, payload: &'static [u8]) -> Bytes {
    let payload = smallvec![Bytes::from_static(payload)];
    split(&build.transmit(payload, 0).unwrap()).remove(0)
}

fn dss(data_ack: u32) -> MptcpOption {
    MptcpOption::Dss(Dss {
        data_ack: Some(Dsn::Short(data_ack)),
        ..Dss::default()
    })
}

fn packet(src: &str, dst: &str, payload: &'static [u8]) -> Bytes {
    let options = Options::Segment(SegmentOptions {
        sack: smallvec![(Seq(100), Seq(200)), (Seq(300), Seq(400))],
        ..SegmentOptions::default()
    });
    let mptcp = [dss(9)];
    let ends = (src.parse().unwrap(), dst.parse().unwrap());
    let build = Build {
        src: ends.0,
        dst: ends.1,
        ..build(&options, &mptcp)
    };
    wire(build, payload)
}

/// A segment with timestamps and a DATA_ACK.
fn segment(seq: u32, flags: Flags, data_ack: u32, payload: &'static [u8]) -> Bytes {
    let options = Options::Segment(SegmentOptions {
        timestamps: Some(Timestamps { val: 10, ecr: 20 }),
        ..SegmentOptions::default()
    });
    let mptcp = [dss(data_ack)];
    let build = Build {
        seq: Seq(seq),
        flags,
        ..build(&options, &mptcp)
    };
    wire(build, payload)
}

/// A SYN, or with `key` a SYN+ACK back, that knows every option.
fn syn(key: Option<u64>) -> Bytes {
    let options = Options::Syn(SynOptions {
        mss: Some(1460),
        window_scale: Some(7),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 10, ecr: 0 }),
        ..SynOptions::default()
    });
    let flags = CapableFlags {
        hmac: true,
        ..CapableFlags::default()
    };
    let capable = match key {
        Some(key) => Capable::SynAck {
            version: 1,
            flags,
            key,
        },
        None => Capable::Syn {
            version: 1,
            flags,
            key: None,
        },
    };
    let mptcp = [MptcpOption::Capable(capable)];
    let there = build(&options, &mptcp);
    let build = match key {
        Some(_) => Build {
            src: there.dst,
            dst: there.src,
            flags: Flags::SYN.with(Flags::ACK),
            ..there
        },
        None => Build {
            flags: Flags::SYN,
            ..there
        },
    };
    wire(build, b"")
}

fn v4() -> Bytes {
    packet("10.0.0.1:1000", "10.0.0.2:443", b"hello")
}

fn pass(mut middlebox: impl Middlebox, packet: &Bytes) -> Vec<Packet> {
    feed(&mut middlebox, packet)
}

/// The same for a box that remembers.
fn feed(middlebox: &mut impl Middlebox, packet: &Bytes) -> Vec<Packet> {
    parsed(&middlebox.pass(Instant(0), packet.clone()))
}

fn parsed(packets: &[Bytes]) -> Vec<Packet> {
    packets
        .iter()
        .map(|p| Packet::parse_verified(p).unwrap())
        .collect()
}
