//! Multipath TCP options, kind 30 (RFC 8684 §3; RFC 6824 where version 0 differs).

use smallvec::SmallVec;
use std::net::IpAddr;

/// MPTCP options of one segment, in wire order.
pub type MptcpOptions = SmallVec<[MptcpOption; 2]>;

/// One option, by subtype; handshake options also by the segment they may stand on.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum MptcpOption {
    Capable(Capable),
    Join(Join),
    Dss(Dss),
    AddAddr(AddAddr),
    /// Address IDs that went away.
    RemoveAddr(SmallVec<[u8; 8]>),
    Prio(Prio),
    /// MP_FAIL: the data sequence number of the failed mapping.
    Fail(u64),
    /// MP_FASTCLOSE: the receiver's key.
    FastClose(u64),
    TcpRst(TcpRst),
}

/// Flags of MP_CAPABLE (RFC 8684 §3.1).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct CapableFlags {
    /// A: checksums required.
    pub checksum: bool,
    /// B: extensibility; set by a peer, it means "do not use MPTCP unless understood".
    pub extensibility: bool,
    /// C (v1): the sender accepts no joins to this address and port.
    pub deny_join: bool,
    /// H: HMAC-SHA256 (v1) or HMAC-SHA1 (v0).
    pub hmac: bool,
    /// D–G, kept to round-trip.
    pub reserved: u8,
}

/// MP_CAPABLE.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Capable {
    /// On a SYN. v0 carries the sender's key, v1 none.
    Syn {
        version: u8,
        flags: CapableFlags,
        key: Option<u64>,
    },
    /// On a SYN+ACK: the acceptor's key.
    SynAck {
        version: u8,
        flags: CapableFlags,
        key: u64,
    },
    /// On the third ACK (`data` is `None`) or, v1, on the first data.
    Ack {
        version: u8,
        flags: CapableFlags,
        sender_key: u64,
        receiver_key: u64,
        data: Option<CapableData>,
    },
}

/// The implicit first mapping that MP_CAPABLE carries (v1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CapableData {
    /// Data-level length, bytes.
    pub len: u16,
    /// Checksum, where agreed.
    pub checksum: Option<u16>,
}

/// MP_JOIN (RFC 8684 §3.2).
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)]
pub enum Join {
    Syn {
        backup: bool,
        address_id: u8,
        token: u32,
        nonce: u32,
    },
    SynAck {
        backup: bool,
        address_id: u8,
        hmac: u64,
        nonce: u32,
    },
    Ack {
        hmac: [u8; 20],
    },
}

/// A data sequence number or DATA_ACK as it stood on the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Dsn {
    /// Four bytes: the low half, to be expanded against 64-bit state.
    Short(u32),
    /// Eight bytes.
    Long(u64),
}

impl Dsn {
    /// The 64-bit number nearest to `near` that has these bits (across wrap-around too).
    pub fn expand(self, near: u64) -> u64 {
        match self {
            Dsn::Long(n) => n,
            Dsn::Short(n) => near.wrapping_add((n.wrapping_sub(near as u32) as i32) as u64),
        }
    }
}

/// Data sequence signal (RFC 8684 §3.3).
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Dss {
    /// DATA_ACK: the next data sequence number expected.
    pub data_ack: Option<Dsn>,
    /// Mapping.
    pub mapping: Option<DssMapping>,
    /// DATA_FIN: the mapping's length counts it.
    pub data_fin: bool,
}

/// The mapping part of a DSS.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DssMapping {
    /// Data sequence number of the first byte.
    pub dsn: Dsn,
    /// Subflow sequence number relative to the ISN; the first byte after the SYN is 1.
    pub ssn: u32,
    /// Length in bytes, DATA_FIN included; 0 is the infinite mapping.
    pub len: u16,
    /// Checksum, where agreed.
    pub checksum: Option<u16>,
}

/// ADD_ADDR (RFC 8684 §3.4.1).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AddAddr {
    /// Address ID.
    pub address_id: u8,
    /// Address.
    pub addr: IpAddr,
    /// Port, where it differs from the initial subflow's.
    pub port: Option<u16>,
    /// E: this repeats the peer's announcement. Always false in v0.
    pub echo: bool,
    /// Truncated HMAC (v1, not on an echo).
    pub hmac: Option<u64>,
}

/// MP_PRIO (RFC 8684 §3.3.8).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Prio {
    /// B: use this subflow as a backup.
    pub backup: bool,
    /// Address ID meant, v0 only; v1 means the subflow it is on.
    pub address_id: Option<u8>,
}

/// MP_TCPRST (RFC 8684 §3.6).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpRst {
    /// T: the condition is transient.
    pub transient: bool,
    /// U, V, W: reserved, kept to round-trip (three bits).
    pub reserved: u8,
    /// Why.
    pub reason: ResetReason,
}

/// Reasons of MP_TCPRST.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum ResetReason {
    Unspecified,
    MptcpError,
    LackOfResources,
    Prohibited,
    TooMuchOutstanding,
    UnacceptablePerformance,
    Middlebox,
    Other(u8),
}
