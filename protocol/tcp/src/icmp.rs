//! ICMP errors about a connection (RFC 5461, RFC 5927).

use anabranch_wire::Seq;

/// An ICMP error that quotes one of our segments.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct IcmpError {
    /// Sequence number of the quoted segment: errors about nothing in flight are not believed.
    pub seq: Seq,
    /// What it says.
    pub kind: IcmpKind,
}

/// What an ICMP error says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum IcmpKind {
    /// The packet did not fit: fragmentation needed, or packet too big.
    TooBig {
        /// Room for payload and TCP options on the path: next-hop MTU − IP header − 20.
        mss: u16,
    },
    /// The destination is unreachable.
    Unreachable {
        /// Port or protocol unreachable, administratively prohibited: aborts a handshake. A soft
        /// error (network or host unreachable) is only remembered.
        hard: bool,
    },
}
