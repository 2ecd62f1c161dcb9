//! One subflow: a Tcb, its mappings, and its part in the handshake.

use crate::config::{Path, Start, SubflowId};
use crate::event::GoneReason;
use crate::fast_open::SynData;
use crate::info::SubflowInfo;
use crate::mapping::{RxMappings, TxMappings};
use crate::signal::{Priority, Row};
use anabranch_tcp::config::Socket;
use anabranch_tcp::packed;
use anabranch_tcp::rest::{Pack, Parcel};
use anabranch_tcp::{Change, Instant, Segment, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::{ResetReason, TcpRst};
use std::time::Duration;

/// Shorter than this, a third ACK does not wait for its answer.
const MIN_THIRD_ACK_WAIT: Duration = Duration::from_millis(200);

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

/// What still has nonces has something to do.
impl Pack for Phase {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut joined = *self != Phase::Initial;
        joined.pack(parcel);
        if !matches!(self, Phase::Initial | Phase::Joined) {
            return parcel.refuse();
        }
        *self = if joined {
            Phase::Joined
        } else {
            Phase::Initial
        };
    }
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

packed!(AddressIds { local, remote });

/// Who asked for the subflow to be a backup.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Backup {
    pub(crate) ours: bool,
    pub(crate) theirs: bool,
    /// It is one for what the peer sends, and not for us: see [`crate::steer`].
    pub(crate) steered: bool,
}

packed!(Backup {
    ours,
    theirs,
    steered
});

impl Backup {
    pub(crate) fn any(self) -> bool {
        self.ours || self.theirs
    }

    /// What the peer is told.
    pub(crate) fn told(self) -> bool {
        self.ours || self.steered
    }
}

/// What was said of wrong checksums on the only subflow (RFC 8684 §3.7).
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Failure {
    /// We found one, and sent MP_FAIL first.
    pub(crate) ours: bool,
    /// MP_FAILs we answered.
    pub(crate) answers: u8,
}

packed!(Failure { ours, answers });

/// What was heard on a subflow of the peer's data level: whether it is there at all.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Heard {
    /// Segments without any MPTCP option since the last that had one.
    pub(crate) silence: u8,
    /// The peer's FIN had none.
    pub(crate) bare_fin: bool,
}

packed!(Heard { silence, bare_fin });

/// What was suspected of a subflow, and done to it.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Watch {
    /// When it was suspected last.
    pub(crate) since: Instant,
    /// While it is stale: when it is probed next.
    pub(crate) probe_at: Instant,
    /// When its window was last halved for what it held up.
    pub(crate) penalised: Instant,
    /// When the little that it had went to another as well, up to this subflow position.
    pub(crate) doubled: Instant,
    pub(crate) doubled_to: u64,
    /// Probes sent since it was suspected.
    pub(crate) probes: u8,
    /// The last of them is not answered.
    pub(crate) probing: bool,
    /// Doublings of the silence that makes it suspect, because it was wrongly suspected.
    pub(crate) patience: u8,
    /// When it was asked for a sign of life and gave none since.
    pub(crate) asked: Option<Instant>,
    /// When it was last asked for one.
    pub(crate) probed: Instant,
    /// When its round-trip time was last asked for, and whether the answer has not come.
    pub(crate) inquired: Instant,
    pub(crate) inquires: bool,
    /// When the peer was last told to leave it alone or not, and how often in a row.
    pub(crate) told: Instant,
    pub(crate) tellings: u8,
}

packed!(Watch {
    since,
    probe_at,
    penalised,
    doubled,
    doubled_to,
    probes,
    probing,
    patience,
    asked,
    probed,
    inquired,
    inquires,
    told,
    tellings
});

/// Options that must leave on this subflow and no other.
#[derive(Clone, Default, Debug)]
pub(crate) struct Pending {
    /// MP_PRIO, on a pure ACK.
    pub(crate) prio: Option<Priority>,
    /// MP_FAIL, on the next pure ACK or the RST: data sequence number.
    pub(crate) fail: Option<u64>,
    /// MP_FASTCLOSE, on the RST.
    pub(crate) fastclose: bool,
    /// MP_TCPRST, on the RST.
    pub(crate) rst: Option<TcpRst>,
    /// The infinite mapping, on payload.
    pub(crate) infinite: Option<Box<Infinite>>,
    /// ACKs without any news for TCP that carried such.
    pub(crate) row: Row,
}

packed!(Pending { fastclose, row } empty { prio, fail, rst, infinite });

/// Our infinite mapping; it is repeated until new payload that had it was acknowledged.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Infinite {
    pub(crate) rel: u64,
    pub(crate) position: u64,
    /// What had left before it: its acknowledgement proves nothing.
    pub(crate) fresh: u64,
    /// End of the first new payload that had it.
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
    pub(crate) syn_data: SynData,
    pub(crate) tx: TxMappings,
    pub(crate) rx: RxMappings,
    pub(crate) pending: Pending,
    /// It may be dead: what it has is sent elsewhere too.
    pub(crate) stale: bool,
    pub(crate) watch: Watch,
    /// What was given to it was put in doubt because it is ending.
    pub(crate) abandoned: bool,
    pub(crate) failure: Failure,
    pub(crate) heard: Heard,
    /// When it must have closed.
    pub(crate) linger: Option<Instant>,
    /// Why it ends, once that is known.
    pub(crate) gone: Option<GoneReason>,
}

packed!(Subflow { id, path, phase, ids, backup, syn_data, tcb, tx, rx, stale, watch, abandoned, failure, heard, linger, pending } empty { gone });

impl Subflow {
    pub(crate) fn new(id: SubflowId, path: Path, tcb: Tcb, phase: Phase) -> Subflow {
        Subflow {
            id,
            path,
            tcb,
            phase,
            ids: AddressIds::default(),
            backup: Backup::default(),
            syn_data: SynData::default(),
            tx: TxMappings::default(),
            rx: RxMappings::default(),
            pending: Pending::default(),
            stale: false,
            watch: Watch::default(),
            abandoned: false,
            failure: Failure::default(),
            heard: Heard::default(),
            linger: None,
            gone: None,
        }
    }

    /// One that becomes what was written of another.
    pub(crate) fn fresh(config: &anabranch_tcp::Config) -> Subflow {
        let tcb = Tcb::connect(Instant::default(), config, Seq::default(), 0);
        Subflow::new(SubflowId::default(), Path::nowhere(), tcb, Phase::Joined)
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

    /// How long a third ACK waits for the fourth packet, which comes at once: two round trips.
    pub(crate) fn third_ack_wait(&self) -> Duration {
        let rto = self.tcb.rto();
        let srtt = self.tcb.srtt();
        srtt.map_or(rto, |srtt| rto.min((2 * srtt).max(MIN_THIRD_ACK_WAIT)))
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

    /// The same; the peer may try again later.
    pub(crate) fn reset_for_now(&mut self, reason: ResetReason) {
        self.reset(reason);
        if let Some(rst) = &mut self.pending.rst {
            rst.transient = true;
        }
    }

    /// Whether it is a join of the peer that has not shown that it knows the keys.
    pub(crate) fn is_half_open(&self) -> bool {
        matches!(self.phase, Phase::JoinPassive { .. })
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
