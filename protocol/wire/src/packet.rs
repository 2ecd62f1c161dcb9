//! A whole TCP packet: from bytes ([`Packet`]) and to bytes ([`Build`]).

mod build;

use crate::frame::Frame;
use crate::ip::{IpPacket, protocol};
use crate::mptcp::MptcpOptions;
use crate::tcp::{self, Flags, Options};
use crate::{Error, Seq};
use std::net::SocketAddr;
use std::ops::Range;

pub use build::{Build, Header};

/// A received IPv4 or IPv6 packet with TCP inside; one super-frame counts as one packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Packet {
    /// Source address and port.
    pub src: SocketAddr,
    /// Destination address and port.
    pub dst: SocketAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// DSCP (upper six bits) and ECN (lower two).
    pub traffic_class: u8,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgement number; meaningful with ACK.
    pub ack: Seq,
    /// Control bits.
    pub flags: Flags,
    /// Window field as on the wire, unscaled.
    pub window: u16,
    /// Urgent pointer; meaningful with URG.
    pub urgent: u16,
    /// TCP's own options.
    pub options: Options,
    /// MPTCP options, in wire order.
    pub mptcp: MptcpOptions,
    /// How many malformed options were left out. An option whose length cannot be ends the list:
    /// what came before it stands.
    pub bad_options: u8,
    /// The payload within the bytes that were parsed.
    pub payload: Range<usize>,
}

impl Packet {
    /// Reads a packet without looking at the TCP checksum.
    pub fn parse(bytes: &[u8]) -> Result<Packet, Error> {
        Packet::parse_in(&IpPacket::parse(bytes)?, bytes)
    }

    /// Reads a packet and verifies the TCP checksum.
    pub fn parse_verified(bytes: &[u8]) -> Result<Packet, Error> {
        let ip = IpPacket::parse(bytes)?;
        let packet = Packet::parse_in(&ip, bytes)?;
        if ip.checksum_ok(bytes) {
            Ok(packet)
        } else {
            Err(Error::BadChecksum)
        }
    }

    /// Reads a frame; verifies the TCP checksum unless the device vouches for it.
    pub fn from_frame(frame: &Frame) -> Result<Packet, Error> {
        if frame.checksum_ok {
            Packet::parse(&frame.data)
        } else {
            Packet::parse_verified(&frame.data)
        }
    }

    /// Reads the TCP segment of a packet whose IP header was read from the same bytes; the checksum
    /// is not looked at.
    pub fn parse_in(ip: &IpPacket, bytes: &[u8]) -> Result<Packet, Error> {
        if ip.protocol != protocol::TCP {
            return Err(Error::OtherProtocol);
        }
        let segment = bytes.get(ip.payload.clone()).ok_or(Error::Truncated)?;
        let header: &[u8; tcp::HEADER_LEN] = segment.first_chunk().ok_or(Error::Truncated)?;
        let header_len = usize::from(header[12] >> 4) * 4;
        if header_len < tcp::HEADER_LEN || header_len > segment.len() {
            return Err(Error::BadHeaderLength);
        }
        let be16 = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let be32 = |at: usize| u32::from(be16(at)) << 16 | u32::from(be16(at + 2));
        let flags = Flags::from_bytes([header[12], header[13]]);
        let parsed = tcp::parse(&segment[tcp::HEADER_LEN..header_len], flags);
        Ok(Packet {
            src: SocketAddr::new(ip.src, be16(0)),
            dst: SocketAddr::new(ip.dst, be16(2)),
            ttl: ip.ttl,
            traffic_class: ip.traffic_class,
            seq: Seq(be32(4)),
            ack: Seq(be32(8)),
            flags,
            window: be16(14),
            urgent: be16(18),
            options: parsed.options,
            mptcp: parsed.mptcp,
            bad_options: parsed.bad,
            payload: ip.payload.start + header_len..ip.payload.end,
        })
    }

    /// The IP ECN field: 0 not capable, 1 ECT(1), 2 ECT(0), 3 congestion experienced (RFC 3168).
    pub fn ecn(&self) -> u8 {
        self.traffic_class & 3
    }

    /// What the segment takes of the sequence space: payload, SYN and FIN.
    pub fn seq_len(&self) -> u32 {
        let control = u32::from(self.flags.has(Flags::SYN)) + u32::from(self.flags.has(Flags::FIN));
        self.payload.len() as u32 + control
    }
}
