//! One subflow: a Tcb, its mappings, and its part in the handshake.

use crate::config::{Path, Start, SubflowId};
use crate::event::GoneReason;
use crate::info::SubflowInfo;
use crate::mapping::{RxMappings, TxMappings};
use anabranch_tcp::config::Socket;
use anabranch_tcp::{Change, Instant, Segment, Tcb};
use anabranch_wire::mptcp::{ResetReason, TcpRst};

/// What the handshake of a subflow still lacks.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    /// The initial subflow: see [`crate::handshake`].
    Initial,
    /// We answered a join; the third ACK must carry the peer's HMAC.
    JoinPassive { nonces: Nonces },
    /// We sent a join.
    JoinActive { nonces: Nonces },
    /// Our third ACK is repeated until the fourth packet comes (RFC 8684 §3.2).
    JoinConfirm {
        nonces: Nonces,
        retry: Instant,
        tries: u32,
    },
    /// A join that is complete.
    Joined,
}

/// The nonces of a join.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Nonces {
    pub(crate) local: u32,
    pub(crate) remote: u32,
}

/// Address IDs of both ends.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct AddressIds {
    pub(crate) local: u8,
    pub(crate) remote: u8,
}

/// Who asked for the subflow to be a backup.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Backup {
    pub(crate) ours: bool,
    pub(crate) theirs: bool,
}

impl Backup {
    pub(crate) fn any(self) -> bool {
        self.ours || self.theirs
    }
}

/// Options that must leave on this subflow and no other.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Pending {
    /// MP_PRIO, on the next pure ACK.
    pub(crate) prio: bool,
    /// MP_FAIL, on the next pure ACK or the RST: data sequence number.
    pub(crate) fail: Option<u64>,
    /// MP_FASTCLOSE, on the RST: the peer's key.
    pub(crate) fastclose: Option<u64>,
    /// MP_TCPRST, on the RST.
    pub(crate) rst: Option<TcpRst>,
    /// The infinite mapping, on payload.
    pub(crate) infinite: Option<Infinite>,
}

/// Our infinite mapping; it is repeated until something that had it was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Infinite {
    pub(crate) rel: u64,
    pub(crate) position: u64,
    /// End of the first payload that had it.
    pub(crate) until: Option<u64>,
}

/// One subflow.
#[derive(Debug)]
pub(crate) struct Subflow {
    pub(crate) id: SubflowId,
    pub(crate) path: Path,
    pub(crate) tcb: Tcb,
    pub(crate) phase: Phase,
    pub(crate) ids: AddressIds,
    pub(crate) backup: Backup,
    pub(crate) tx: TxMappings,
    pub(crate) rx: RxMappings,
    pub(crate) pending: Pending,
    /// Retransmission timeouts without progress: what it has is sent elsewhere too.
    pub(crate) stale: bool,
    /// What was given to it was put in doubt because it is ending.
    pub(crate) abandoned: bool,
    /// A checksum was wrong on it.
    pub(crate) failed: bool,
    /// When it must have closed.
    pub(crate) linger: Option<Instant>,
    /// Why it ends, once that is known.
    pub(crate) gone: Option<GoneReason>,
}

impl Subflow {
    pub(crate) fn new(id: SubflowId, path: Path, tcb: Tcb, phase: Phase) -> Subflow {
        Subflow {
            id,
            path,
            tcb,
            phase,
            ids: AddressIds::default(),
            backup: Backup::default(),
            tx: TxMappings::default(),
            rx: RxMappings::default(),
            pending: Pending::default(),
            stale: false,
            abandoned: false,
            failed: false,
            linger: None,
            gone: None,
        }
    }

    /// Whether the handshake is complete and neither side is closing it.
    pub(crate) fn is_active(&self) -> bool {
        matches!(self.phase, Phase::Initial | Phase::Joined)
            && self.tcb.is_synchronized()
            && !self.is_ending()
    }

    /// Whether it is closed, or being closed by us. A peer that only closed its half may still
    /// take data.
    pub(crate) fn is_ending(&self) -> bool {
        self.tcb.is_closed() || self.tcb.is_closing()
    }

    /// Reset it, with MP_TCPRST.
    pub(crate) fn reset(&mut self, reason: ResetReason) {
        self.pending.rst = Some(TcpRst {
            transient: false,
            reserved: 0,
            reason,
        });
        self.gone.get_or_insert(GoneReason::Reset(reason));
        self.tcb.reset();
    }

    /// Remember why it ended, if this change says so.
    pub(crate) fn note(&mut self, change: Change) {
        if let Change::Aborted(close) = change {
            self.gone.get_or_insert(GoneReason::Tcp(close));
        }
    }

    pub(crate) fn info(&self) -> SubflowInfo {
        let tcb = &self.tcb;
        SubflowInfo {
            id: self.id,
            path: self.path,
            local_id: self.ids.local,
            remote_id: self.ids.remote,
            backup: self.backup.any(),
            stale: self.stale,
            queued: tcb.snd_end() - tcb.snd_una(),
            tcp: tcb.info(),
        }
    }
}

/// The Tcb configuration of a subflow on a path.
pub(crate) fn tcb_config(config: &anabranch_tcp::Config, start: &Start) -> anabranch_tcp::Config {
    anabranch_tcp::Config {
        mss: config.socket.max_segment.unwrap_or(u16::MAX).min(start.mss),
        path_mtu: anabranch_tcp::config::PathMtu {
            known_mss: start.known_mss,
            ..config.path_mtu
        },
        shared_window: true,
        nagle: false,
        socket: Socket {
            cork: false,
            ..config.socket
        },
        ..config.clone()
    }
}

/// The Tcb of a subflow the peer opens.
pub(crate) fn accept(
    now: Instant,
    config: &anabranch_tcp::Config,
    syn: &Segment,
    start: &Start,
) -> Tcb {
    Tcb::accept(
        now,
        &tcb_config(config, start),
        syn,
        start.iss,
        start.ts_offset,
    )
}

/// The Tcb of a subflow we open.
pub(crate) fn connect(now: Instant, config: &anabranch_tcp::Config, start: &Start) -> Tcb {
    Tcb::connect(now, &tcb_config(config, start), start.iss, start.ts_offset)
}
