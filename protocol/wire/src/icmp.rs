//! The control messages a TCP host meets: ICMP (RFC 792) and ICMPv6 (RFC 4443).
//!
//! Errors are read as far as they quote a TCP segment; what they say is a hint that anyone could
//! have forged, so the quoted sequence number must be checked (RFC 5927 §4.1).

mod build;
mod parse;

use crate::Seq;
use std::net::SocketAddr;
use std::ops::Range;

pub use build::{echo_reply, packet_too_big, unreachable};
pub use parse::parse;

/// A received message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Message {
    /// An echo request; [`echo_reply`] answers it.
    EchoRequest {
        /// Identifier, sequence number and data, within the bytes that were parsed.
        body: Range<usize>,
    },
    /// The quoted segment was not delivered.
    Unreachable {
        /// Why not.
        why: Unreachable,
        /// The segment meant.
        quoted: Quoted,
    },
    /// The quoted packet is larger than the next link takes: "fragmentation needed" of IPv4.
    PacketTooBig {
        /// Largest IP packet that link takes, bytes; 0 where an old router does not say.
        mtu: u32,
        /// The segment meant.
        quoted: Quoted,
    },
    /// The quoted segment's time to live ran out.
    TimeExceeded {
        /// The segment meant.
        quoted: Quoted,
    },
    /// Well-formed, and nothing that concerns TCP: another type, or about another protocol.
    Other,
}

/// Why a packet was not delivered.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum Unreachable {
    Network,
    Host,
    /// Nobody speaks that protocol: a hard error for TCP (RFC 1122 §4.2.3.9).
    Protocol,
    /// Nobody listens: a hard error for TCP.
    Port,
    /// Forbidden by policy.
    Prohibited,
    /// Another code.
    Other(u8),
}

/// The TCP segment that an error quotes: one that this host once sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quoted {
    /// Its source, this host.
    pub src: SocketAddr,
    /// Its destination.
    pub dst: SocketAddr,
    /// Its sequence number.
    pub seq: Seq,
}

// Types and codes.
const V4_ECHO_REPLY: u8 = 0;
const V4_UNREACHABLE: u8 = 3;
const V4_ECHO_REQUEST: u8 = 8;
const V4_TIME_EXCEEDED: u8 = 11;
const V4_FRAGMENTATION_NEEDED: u8 = 4;
const V6_UNREACHABLE: u8 = 1;
const V6_PACKET_TOO_BIG: u8 = 2;
const V6_TIME_EXCEEDED: u8 = 3;
const V6_ECHO_REQUEST: u8 = 128;
const V6_ECHO_REPLY: u8 = 129;

/// Type, code, checksum and four bytes whose meaning the type tells.
const HEADER_LEN: usize = 8;

impl Unreachable {
    fn from_v4(code: u8) -> Unreachable {
        match code {
            0 | 6 | 11 => Unreachable::Network,
            1 | 5 | 7 | 8 | 12 => Unreachable::Host,
            2 => Unreachable::Protocol,
            3 => Unreachable::Port,
            9 | 10 | 13 => Unreachable::Prohibited,
            code => Unreachable::Other(code),
        }
    }

    fn from_v6(code: u8) -> Unreachable {
        match code {
            0 => Unreachable::Network,
            1 | 5 | 6 => Unreachable::Prohibited,
            3 => Unreachable::Host,
            4 => Unreachable::Port,
            code => Unreachable::Other(code),
        }
    }

    fn v4_code(self) -> u8 {
        match self {
            Unreachable::Network => 0,
            Unreachable::Host => 1,
            Unreachable::Protocol => 2,
            Unreachable::Port => 3,
            Unreachable::Prohibited => 13,
            Unreachable::Other(code) => code,
        }
    }

    fn v6_code(self) -> u8 {
        match self {
            Unreachable::Network => 0,
            Unreachable::Prohibited => 1,
            Unreachable::Host => 3,
            // RFC 4443 leaves an unknown protocol to "parameter problem"; port is the nearest.
            Unreachable::Protocol | Unreachable::Port => 4,
            Unreachable::Other(code) => code,
        }
    }
}
