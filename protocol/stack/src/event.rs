//! What a stack tells its application.

use crate::id::{FlowId, ListenerId, SubflowId};
use anabranch_mptcp::{FallbackReason, GoneReason};
use anabranch_wire::mptcp::ResetReason;
use std::fmt;
use std::net::SocketAddr;

/// Something happened. An event is a hint to look again: repeated ones of a kind merge until
/// they are taken.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    /// A connection waits in the accept queue: call [`crate::Stack::accept`] until `None`.
    Accepted(ListenerId),
    /// Our own [`crate::Stack::connect`] was answered.
    Established(FlowId),
    /// There is something to [`crate::Stack::recv`].
    Readable(FlowId),
    /// [`crate::Stack::send`], having taken less than it was given, takes more now.
    Writable(FlowId),
    /// The peer will send no more; what it sent may still wait to be read.
    PeerFin(FlowId),
    /// The connection ended; the last event of this flow. Received bytes stay readable until
    /// [`crate::Stack::release`].
    Closed(FlowId, CloseReason),
    /// Something about the paths of a Multipath TCP connection.
    Path(FlowId, PathEvent),
}

/// Changes in the paths of a Multipath TCP connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PathEvent {
    /// A further subflow is established.
    SubflowUp(SubflowId),
    /// A subflow ended; [`crate::FlowInfo::gone`] has its last figures.
    SubflowGone(SubflowId, SubflowEnd),
    /// The peer announced an address (ADD_ADDR); port as in the initial subflow if it gave none.
    Announced {
        /// Address ID.
        id: u8,
        /// Address and port.
        addr: SocketAddr,
    },
    /// The peer withdrew an address (REMOVE_ADDR).
    Withdrawn {
        /// Address ID.
        id: u8,
    },
    /// The peer changed the priority of a subflow (MP_PRIO).
    Priority {
        /// Which.
        subflow: SubflowId,
        /// The peer wants it as a backup.
        backup: bool,
    },
    /// The connection goes on as plain TCP, for this reason.
    Fallback(FallbackReason),
    /// The scheduler lets nothing more be sent on any path there is, for this reason: used-up
    /// quotas, weights of zero. What is queued waits until another is set
    /// ([`crate::Stack::set_scheduler`]) or a path comes that it allows.
    Stuck(&'static str),
}

/// Why a subflow ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum SubflowEnd {
    /// Closed in order, by either side.
    Closed,
    /// Ended by TCP: reset without a reason, refused, timed out, unreachable.
    Tcp(CloseReason),
    /// The peer reset it and said why (MP_TCPRST).
    PeerReset(ResetReason),
    /// We reset it, and said so.
    Reset(ResetReason),
    /// It did not finish closing in time.
    TimedOut,
    /// The peer withdrew its address, and nobody answered there any more.
    Withdrawn,
}

/// Why a connection ended.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CloseReason {
    /// Both sides finished, everything was delivered.
    Finished,
    /// The peer reset it.
    Reset,
    /// The peer refused it (reset in answer to our SYN).
    Refused,
    /// Retransmissions went unanswered.
    TimedOut,
    /// The network reported the destination as unreachable while connecting.
    Unreachable,
    /// [`crate::Stack::abort`] here, or the listener closed before it was accepted.
    Aborted,
}

impl From<GoneReason> for SubflowEnd {
    fn from(reason: GoneReason) -> Self {
        match reason {
            GoneReason::Closed => SubflowEnd::Closed,
            GoneReason::Tcp(close) => SubflowEnd::Tcp(close.into()),
            GoneReason::PeerReset(reset) => SubflowEnd::PeerReset(reset.reason),
            GoneReason::Reset(reason) => SubflowEnd::Reset(reason),
            GoneReason::TimedOut => SubflowEnd::TimedOut,
            GoneReason::Withdrawn => SubflowEnd::Withdrawn,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Finished => "finished",
            CloseReason::Reset => "reset by peer",
            CloseReason::Refused => "refused",
            CloseReason::TimedOut => "timed out",
            CloseReason::Unreachable => "unreachable",
            CloseReason::Aborted => "aborted",
        })
    }
}
