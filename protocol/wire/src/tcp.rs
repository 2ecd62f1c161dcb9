//! TCP headers, and options typed by the class of the segment they may stand on (RFC 9293 §3.1).

mod options;

use crate::Seq;
use smallvec::SmallVec;

pub(crate) use options::{emit, parse};

/// Length of a TCP header without options.
pub const HEADER_LEN: usize = 20;
/// Most bytes that options can take.
pub const MAX_OPTIONS: usize = 40;
/// Where the checksum stands in a TCP header.
pub const CHECKSUM_AT: usize = 16;

/// Control bits of the TCP header (RFC 9293 §3.1), and AE above them (RFC 9768 §3).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Flags(pub u16);

#[allow(missing_docs)]
impl Flags {
    pub const FIN: Flags = Flags(0x001);
    pub const SYN: Flags = Flags(0x002);
    pub const RST: Flags = Flags(0x004);
    pub const PSH: Flags = Flags(0x008);
    pub const ACK: Flags = Flags(0x010);
    pub const URG: Flags = Flags(0x020);
    pub const ECE: Flags = Flags(0x040);
    pub const CWR: Flags = Flags(0x080);
    pub const AE: Flags = Flags(0x100);
}

impl Flags {
    /// From bytes 12 and 13 of a TCP header.
    pub fn from_bytes(bytes: [u8; 2]) -> Flags {
        Flags(u16::from_be_bytes(bytes) & 0x1ff)
    }

    /// Whether every bit of `other` is set.
    pub fn has(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Both sets of bits.
    #[must_use]
    pub fn with(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }

    /// The bits that are not in `other`.
    #[must_use]
    pub fn without(self, other: Flags) -> Flags {
        Flags(self.0 & !other.0)
    }
}

/// What a segment is for the options that may stand on it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Class {
    /// SYN without ACK.
    Syn,
    /// SYN and ACK.
    SynAck,
    /// Any other segment.
    Segment,
}

impl Class {
    /// The class of a segment with these control bits.
    pub fn of(flags: Flags) -> Class {
        match (flags.has(Flags::SYN), flags.has(Flags::ACK)) {
            (true, false) => Class::Syn,
            (true, true) => Class::SynAck,
            (false, _) => Class::Segment,
        }
    }
}

/// Timestamps option (RFC 7323 §3).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Timestamps {
    /// TSval.
    pub val: u32,
    /// TSecr.
    pub ecr: u32,
}

/// SACK blocks, `[left, right)`; at most four fit (RFC 2018).
pub type SackBlocks = SmallVec<[(Seq, Seq); 4]>;

/// Options that may stand on a SYN or SYN+ACK.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SynOptions {
    /// Maximum segment size, bytes. A received zero is read as absent.
    pub mss: Option<u16>,
    /// Window scale shift, 0–14 (larger values are read as 14, RFC 7323 §2.3).
    pub window_scale: Option<u8>,
    /// SACK permitted.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// Fast Open (RFC 7413).
    pub fast_open: Option<FastOpen>,
}

/// Fast Open option (RFC 7413 §4.1.1).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct FastOpen {
    /// Empty is a request, otherwise 4 to 16 bytes, an even number.
    pub cookie: SmallVec<[u8; 16]>,
    /// In the experimental option 254 that came before option 34 (RFC 6994).
    pub experimental: bool,
}

/// Options that may stand on any other segment.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct SegmentOptions {
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK blocks.
    pub sack: SackBlocks,
    /// Accurate ECN.
    pub acc_ecn: Option<AccEcn>,
}

/// Accurate ECN option (RFC 9768 §3.2.3): payload bytes that arrived with each IP ECN field,
/// modulo 2²⁴. Fields are left out from the end of the option's order only.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct AccEcn {
    /// With ECT(0).
    pub e0b: Option<u32>,
    /// With CE.
    pub ceb: Option<u32>,
    /// With ECT(1).
    pub e1b: Option<u32>,
    /// The order is that of AccECN1, ECT(1) first, instead of that of AccECN0, ECT(0) first.
    pub e1b_first: bool,
}

/// TCP's own options, typed by segment class: a window scale on data cannot be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Options {
    /// Of a segment with SYN.
    Syn(SynOptions),
    /// Of any other segment.
    Segment(SegmentOptions),
}
