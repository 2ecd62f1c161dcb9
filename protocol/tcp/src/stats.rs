//! Counters of one connection.

use std::time::Duration;

/// What a [`crate::Tcb`] counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Stats {
    /// Wire segments taken in.
    pub segments_in: u64,
    /// Wire segments handed out.
    pub segments_out: u64,
    /// Of those taken in, with payload.
    pub data_segments_in: u64,
    /// Of those handed out, with payload.
    pub data_segments_out: u64,
    /// Payload bytes received that were new.
    pub bytes_in: u64,
    /// Payload bytes sent, each time they were sent.
    pub bytes_out: u64,
    /// Payload bytes acknowledged.
    pub bytes_acked: u64,
    /// Payload bytes sent again.
    pub bytes_retransmitted: u64,
    /// Wire segments sent again.
    pub retransmits: u64,
    /// Retransmission timeouts.
    pub rtos: u32,
    /// Recoveries from timeouts that are over, and how long they took together, from the first
    /// timeout until what was outstanding then was acknowledged.
    pub rto_recoveries: u32,
    /// See `rto_recoveries`.
    pub rto_time: Duration,
    /// Tail-loss probes sent.
    pub tail_probes: u32,
    /// Probes for a larger path MTU sent.
    pub mtu_probes: u32,
    /// Times that large segments were suspected to vanish.
    pub black_holes: u32,
    /// Times recovery was entered by acknowledgements.
    pub recoveries: u32,
    /// Times a reduction proved spurious and was undone.
    pub undos: u32,
    /// Wire segments received out of order.
    pub out_of_order: u64,
    /// Segments dropped: unacceptable, too old (PAWS), or beyond what is kept out of order.
    pub dropped: u64,
    /// Challenge acknowledgements sent (RFC 5961).
    pub challenge_acks: u32,
    /// Segments received that the network had marked (RFC 3168), where that was agreed.
    pub marked_in: u64,
    /// Segments sent that the peer reported as marked, with accurate feedback (RFC 9768).
    pub marked_out: u64,
    /// Times the window was reduced because the peer reported marks.
    pub ecn_reductions: u32,
    /// Duplicate SACK blocks received (RFC 2883): the peer got something twice.
    pub dsacks: u32,
}

crate::packed!(Stats {
    segments_in,
    segments_out,
    data_segments_in,
    data_segments_out,
    bytes_in,
    bytes_out,
    bytes_acked,
    bytes_retransmitted,
    retransmits,
    rtos,
    rto_recoveries,
    rto_time,
    tail_probes,
    mtu_probes,
    black_holes,
    recoveries,
    undos,
    out_of_order,
    dropped,
    challenge_acks,
    marked_in,
    marked_out,
    ecn_reductions,
    dsacks
});
