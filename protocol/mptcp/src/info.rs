//! What can be seen of a connection.

use crate::config::{Path, SubflowId};
use crate::coupled::Congestion;
use crate::event::{CloseReason, FallbackReason};
use crate::schedule::Why;
use anabranch_tcp::State;
use anabranch_tcp::packed;

/// A connection as it is now.
#[derive(Clone, Debug)]
pub struct Info {
    /// State at data level.
    pub state: State,
    /// Why it ended, if it did.
    pub closed: Option<CloseReason>,
    /// Protocol version, 0 or 1.
    pub version: u8,
    /// Whether it went on as plain TCP, and why.
    pub fallback: Option<FallbackReason>,
    /// DSS checksums are in use.
    pub checksum: bool,
    /// Token by which the peer joins.
    pub local_token: u32,
    /// Token by which we join; `None` until the peer's key is known.
    pub remote_token: Option<u32>,
    /// Bytes taken from the application and not acknowledged.
    pub unacked: u64,
    /// Bytes received in order and not read.
    pub unread: u64,
    /// Bytes the send buffer holds at most now.
    pub send_buffer: usize,
    /// Bytes the receive buffer holds at most now.
    pub recv_buffer: u32,
    /// Bytes the application read in the last round trip.
    pub recv_space: u32,
    /// Bytes that wait for earlier ones.
    pub out_of_order: u64,
    /// Bytes that may be received now, counted from the DATA_ACK.
    pub window: u64,
    /// Bytes the peer may be sent now beyond what is in flight.
    pub peer_window: u64,
    /// Name of the scheduler.
    pub scheduler: &'static str,
    /// Its congestion control.
    pub congestion: Congestion,
    /// Why nothing may be sent on any subflow, if that is so.
    pub stuck: Option<Why>,
    /// Counters.
    pub counters: Counters,
    /// Subflows, oldest first; those in TIME-WAIT included.
    pub subflows: Vec<SubflowInfo>,
}

/// A subflow as it is now.
#[derive(Clone, Debug)]
pub struct SubflowInfo {
    /// Which.
    pub id: SubflowId,
    /// Addresses.
    pub path: Path,
    /// Our address ID.
    pub local_id: u8,
    /// The peer's address ID.
    pub remote_id: u8,
    /// Either side asked for it to be used only when no other is usable.
    pub backup: bool,
    /// Retransmission timeouts went by without progress: not used while another is usable.
    pub stale: bool,
    /// Bytes assigned and not acknowledged by the subflow.
    pub queued: u64,
    /// What TCP knows of it.
    pub tcp: anabranch_tcp::Info,
}

/// What a connection counted since it was made.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Counters {
    /// Bytes received in data order.
    pub bytes_in: u64,
    /// Bytes acknowledged at data level.
    pub bytes_acked: u64,
    /// Runs sent again on another subflow.
    pub reinjections: u64,
    /// Bytes of them.
    pub bytes_reinjected: u64,
    /// Copies that the scheduler made of what was under way.
    pub copies: u64,
    /// Bytes of them.
    pub bytes_copied: u64,
    /// Answers of the scheduler that could not be followed.
    pub schedule_refused: u64,
    /// Times a subflow was suspected to be dead before its retransmission timer expired.
    pub suspicions: u64,
    /// Times the peer was told to leave a subflow alone (MP_PRIO).
    pub avoided: u64,
    /// Subflows probed because the peer was silent, or because bytes were missing.
    pub silence_probes: u64,
    /// Subflows that the peer was told to give up (REMOVE_ADDR).
    pub given_up: u64,
    /// Addresses announced again after that.
    pub given_back: u64,
    /// Times the peer's window held everything up because of what a slower subflow still had.
    pub window_blocked: u64,
    /// Runs sent again on a faster subflow because of that, see `window_blocked`.
    pub opportunistic: u64,
    /// Times a subflow's window was halved because of that.
    pub penalties: u64,
    /// Data-level retransmission timeouts.
    pub data_rtos: u64,
    /// Bytes received again at data level.
    pub duplicate_bytes: u64,
    /// Bytes dropped because they were outside the data-level window or over the budget.
    pub dropped_bytes: u64,
    /// Mappings that contradict an earlier one.
    pub mapping_conflicts: u64,
    /// Options that made no sense where they stood.
    pub bad_options: u64,
    /// Checksums that were wrong.
    pub checksum_failures: u64,
    /// Third ACKs of joins with a wrong HMAC, or SYN+ACKs.
    pub join_hmac_failures: u64,
    /// ADD_ADDR received with a right HMAC.
    pub add_addr_in: u64,
    /// ADD_ADDR received with a wrong HMAC, or over the limit.
    pub add_addr_dropped: u64,
    /// ADD_ADDR sent, each time.
    pub add_addr_out: u64,
    /// Echoes received.
    pub echo_in: u64,
    /// Echoes sent.
    pub echo_out: u64,
    /// REMOVE_ADDR received.
    pub remove_addr_in: u64,
    /// REMOVE_ADDR sent.
    pub remove_addr_out: u64,
    /// MP_PRIO received.
    pub prio_in: u64,
    /// MP_PRIO sent.
    pub prio_out: u64,
    /// MP_FAIL received.
    pub fail_in: u64,
    /// MP_FAIL sent.
    pub fail_out: u64,
    /// Infinite mappings received.
    pub infinite_in: u64,
    /// Infinite mappings sent.
    pub infinite_out: u64,
    /// MP_FASTCLOSE received.
    pub fastclose_in: u64,
    /// MP_FASTCLOSE sent.
    pub fastclose_out: u64,
    /// MP_TCPRST received.
    pub tcprst_in: u64,
    /// MP_TCPRST sent.
    pub tcprst_out: u64,
}

packed!(Counters {
    bytes_in,
    bytes_acked,
    reinjections,
    bytes_reinjected,
    copies,
    bytes_copied,
    schedule_refused,
    suspicions,
    avoided,
    silence_probes,
    given_up,
    given_back,
    window_blocked,
    opportunistic,
    penalties,
    data_rtos,
    duplicate_bytes,
    dropped_bytes,
    mapping_conflicts,
    bad_options,
    checksum_failures,
    join_hmac_failures,
    add_addr_in,
    add_addr_dropped,
    add_addr_out,
    echo_in,
    echo_out,
    remove_addr_in,
    remove_addr_out,
    prio_in,
    prio_out,
    fail_in,
    fail_out,
    infinite_in,
    infinite_out,
    fastclose_in,
    fastclose_out,
    tcprst_in,
    tcprst_out
});
