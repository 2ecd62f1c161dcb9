//! What crosses between a [`crate::Tcb`] and its owner.
//!
//! Positions named `rel` count payload bytes of one direction from 0, the first byte after the
//! SYN, in 64 bits: they never wrap.

use anabranch_wire::Seq;
use anabranch_wire::tcp::{Flags, Options};
use smallvec::SmallVec;
use std::ops::Range;

/// A received segment, header fields only.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgement number; meaningful with ACK.
    pub ack: Seq,
    /// Window field as on the wire, unscaled.
    pub wnd: u16,
    /// Control bits.
    pub flags: Flags,
    /// Payload length in bytes; up to 64 KB when receive offload merged segments.
    pub len: u32,
    /// Payload bytes of each wire segment merged into this one; 0 when it is a single packet.
    pub gso_size: u16,
    /// TCP's own options.
    pub options: Options,
    /// IP ECN field, two bits (RFC 3168).
    pub ecn: u8,
    /// The segment carries only a signal for the owner: it counts as no duplicate ACK.
    pub signal_only: bool,
}

/// What the owner allows in this call.
#[derive(Clone, Copy, Debug)]
pub struct Grant {
    /// Bytes the owner can take beyond the next byte in order (of its own space where the window
    /// is shared between several Tcbs).
    pub rcv_room: u32,
    /// Option bytes (padded to four) that the owner will add to a segment with payload.
    pub data_options: u8,
    /// Option bytes (padded to four) that the owner will add to a segment without payload.
    pub ack_options: u8,
    /// Largest payload of one [`Emit`], bytes; the mss when the device does not segment.
    pub gso_max: u32,
}

/// What a received segment meant.
#[derive(Clone, Debug, Default)]
pub struct Receipt {
    /// Payload offsets `[start, end)` not seen before and within the window. The owner must keep
    /// these bytes: they have been acknowledged, selectively or not.
    pub new: SmallVec<[Range<u32>; 2]>,
    /// Position of payload offset 0; negative where the segment starts before the stream.
    pub rel_start: i64,
    /// Next position expected in order.
    pub rcv_nxt: u64,
    /// First position not yet acknowledged by the peer; what is before may be freed.
    pub snd_una: u64,
    /// The window the peer offered moved or snd_una did: more may be sent.
    pub progress: bool,
    /// The peer's window in bytes, scaled, as this segment carried it (if the segment was acceptable).
    pub peer_wnd: Option<u32>,
    /// Change of state, if any.
    pub change: Change,
}

/// State changes an owner must hear of.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Change {
    /// None.
    #[default]
    None,
    /// The handshake is complete.
    Established,
    /// The peer's FIN arrived in order: no more payload will come.
    PeerFin,
    /// Our FIN was acknowledged, the peer's FIN had come: only TIME-WAIT may remain.
    Closed,
    /// Gone without an orderly close.
    Aborted(Close),
}

/// Why a connection ended without an orderly close.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Close {
    /// The peer reset it.
    Reset,
    /// The peer refused it (RST to our SYN).
    Refused,
    /// Retransmissions went unanswered.
    TimedOut,
    /// The network said so (ICMP), during the handshake.
    Unreachable,
    /// We reset it.
    Local,
}

/// Why a segment is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Payload for the first time.
    New,
    /// Payload again.
    Retransmit,
    /// Tail-loss probe, window probe or keepalive.
    Probe,
    /// No payload, no control bit.
    Ack,
    /// SYN, FIN or RST (FIN may carry payload).
    Control,
}

/// A segment to send; the owner adds addresses, payload and its own options.
#[derive(Clone, Debug)]
pub struct Emit {
    /// Payload positions.
    pub rel: Range<u64>,
    /// Sequence number.
    pub seq: Seq,
    /// Acknowledgement number.
    pub ack: Seq,
    /// Window field, scaled.
    pub wnd: u16,
    /// Control bits.
    pub flags: Flags,
    /// TCP's own options.
    pub options: Options,
    /// Why.
    pub kind: Kind,
    /// Payload bytes for each wire segment; `rel` may span many.
    pub mss: u16,
    /// IP ECN field to set.
    pub ecn: u8,
}
