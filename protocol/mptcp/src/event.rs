//! What a connection tells its owner.

use crate::config::SubflowId;
use crate::info::SubflowInfo;
use crate::schedule::Why;
use anabranch_tcp::Close;
use anabranch_tcp::packed;
use anabranch_wire::mptcp::{ResetReason, TcpRst};
use std::net::{IpAddr, Ipv4Addr};

/// Something happened.
#[derive(Clone, Debug)]
pub enum Event {
    /// The handshake of the initial subflow is complete; bytes flow both ways.
    Established,
    /// There is something to read that was not there before.
    Readable,
    /// A [`crate::Connection::send`] that was cut short may be tried again.
    Writable,
    /// The peer will send no more; what it sent may still wait to be read.
    PeerFin,
    /// The connection ended; nothing can be sent, what was received can be read. Subflows may
    /// linger: keep the connection until [`crate::Connection::is_finished`].
    Closed(CloseReason),
    /// The connection goes on as plain TCP.
    Fallback(FallbackReason),
    /// A further subflow is established.
    SubflowUp(SubflowId),
    /// A subflow is gone (its last segment has left), with its last figures.
    SubflowGone(Box<SubflowInfo>, GoneReason),
    /// The peer changed the priority of a subflow (MP_PRIO): `true` is backup.
    PeerBackup(SubflowId, bool),
    /// The peer announced an address (ADD_ADDR).
    Announced(RemoteAddr),
    /// The peer withdrew an address ID (REMOVE_ADDR).
    Withdrawn(u8),
    /// The peer echoed the ADD_ADDR of this ID.
    Echoed(u8),
    /// There are usable subflows, but the scheduler allows none of them any more, for this reason:
    /// what is queued waits until another scheduler is set, or a subflow comes that it allows.
    Stuck(Why),
}

/// An address the peer announced.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RemoteAddr {
    /// Address ID.
    pub id: u8,
    /// Address.
    pub addr: IpAddr,
    /// Port; `None`: that of the initial subflow.
    pub port: Option<u16>,
}

packed!(RemoteAddr { id, addr, port });

impl Default for RemoteAddr {
    fn default() -> RemoteAddr {
        RemoteAddr {
            id: 0,
            addr: Ipv4Addr::UNSPECIFIED.into(),
            port: None,
        }
    }
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CloseReason {
    /// Both sides finished; everything was delivered and acknowledged.
    Finished,
    /// The handshake failed, or the only subflow of a plain connection ended so.
    Tcp(Close),
    /// The peer sent MP_FASTCLOSE.
    FastClose,
    /// [`crate::Connection::abort`], or closing with unread bytes.
    Aborted,
    /// No subflow was left and none came in time.
    NoSubflow,
    /// After [`crate::Connection::close`] the peer did not finish in time.
    CloseTimeout,
    /// The peer broke the protocol so that the bytes cannot be known.
    Protocol,
}

/// Why a subflow is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum GoneReason {
    /// Closed in order, by either side.
    Closed,
    /// Ended by TCP.
    Tcp(Close),
    /// The peer reset it and said why.
    PeerReset(TcpRst),
    /// We reset it, with this reason.
    Reset(ResetReason),
    /// It did not finish closing in time.
    TimedOut,
    /// The peer withdrew its address (REMOVE_ADDR), and nobody answered there any more.
    Withdrawn,
}

/// Why a connection went on as plain TCP (RFC 8684 §3.7).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FallbackReason {
    /// The SYN came again without MP_CAPABLE.
    Syn,
    /// The SYN+ACK had no usable MP_CAPABLE.
    SynAck,
    /// SYNs with MP_CAPABLE were not answered; one without was (RFC 8684 §3.9).
    Unanswered,
    /// The SYN+ACK was of an older version than we had offered (RFC 8684 §3.1).
    OlderVersion,
    /// Neither third ACK nor first data had MP_CAPABLE with the right keys.
    ThirdAck,
    /// The first data came without a mapping, or all of it did from some time on.
    NoMapping,
    /// Our first data was acknowledged without a DATA_ACK, or all of it was from some time on.
    NoDataAck,
    /// The peer sent MP_FAIL or an infinite mapping.
    Peer,
    /// A checksum was wrong on the only subflow.
    Checksum,
}

packed!(
    enum FallbackReason {
        Syn,
        SynAck,
        Unanswered,
        OlderVersion,
        ThirdAck,
        NoMapping,
        NoDataAck,
        Peer,
        Checksum,
    }
);

/// A join that was not accepted: answer the SYN with RST and, in version 1, MP_TCPRST.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// Why.
    pub reason: ResetReason,
    /// Whether a later attempt may succeed.
    pub transient: bool,
    /// The connection's version has no MP_TCPRST.
    pub unexplained: bool,
}

/// Why an application's or path manager's call had no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignalError {
    /// The connection is not fully established, fell back, or has ended.
    NotMultipath,
    /// No subflow has this ID.
    NoSuchSubflow,
    /// As many as allowed exist, or wait to be sent.
    Limit,
    /// The peer asked for no joins to this address (flag C).
    Denied,
    /// The address ID is 0 or stands for another address, or the address has another ID.
    AddressId,
}
