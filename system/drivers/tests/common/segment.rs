//! A single segment, of no connection.

use super::hosts::ip;
use anabranch_wire::Seq;
use anabranch_wire::frame::Transmit;
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Flags, Options, SegmentOptions};
use bytes::Bytes;
use std::net::SocketAddr;

/// An ACK from port 7000 of one address to port 7001 of another.
pub(crate) fn segment(from: &str, to: &str, ack: Seq, payload: Bytes) -> Transmit {
    let options = Options::Segment(SegmentOptions::default());
    let build = Build {
        src: SocketAddr::new(ip(from), 7000),
        dst: SocketAddr::new(ip(to), 7001),
        ttl: 64,
        traffic_class: 0,
        ident: 0,
        seq: Seq(1),
        ack,
        flags: Flags::ACK,
        window: 100,
        urgent: 0,
        options: &options,
        mptcp: &[],
    };
    let slices = [payload].into_iter().filter(|it| !it.is_empty());
    build.transmit(slices.collect(), 0).expect("a packet")
}
