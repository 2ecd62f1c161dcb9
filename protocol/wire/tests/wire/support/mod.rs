//! What several topics share.

pub(crate) mod any;
pub(crate) mod shared;

use anabranch_wire::tcp::Options;
use anabranch_wire::{Build, Packet};

/// The bytes written in hexadecimal, with any white space between.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] << 4 | pair[1]) as u8)
        .collect()
}

/// What would write a received packet again.
pub(crate) fn build(packet: &Packet) -> Build<'_> {
    Build {
        src: packet.src,
        dst: packet.dst,
        ttl: packet.ttl,
        traffic_class: packet.traffic_class,
        ident: 0,
        seq: packet.seq,
        ack: packet.ack,
        flags: packet.flags,
        window: packet.window,
        urgent: packet.urgent,
        options: &packet.options,
        mptcp: &packet.mptcp,
    }
}

/// A pure ACK from 192.0.2.1:443 to 198.51.100.2:50000 with these options.
pub(crate) fn ack(options: &Options) -> Build<'_> {
    Build {
        src: "192.0.2.1:443".parse().unwrap(),
        dst: "198.51.100.2:50000".parse().unwrap(),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: anabranch_wire::Seq(1000),
        ack: anabranch_wire::Seq(2000),
        flags: anabranch_wire::tcp::Flags::ACK,
        window: 500,
        urgent: 0,
        options,
        mptcp: &[],
    }
}
