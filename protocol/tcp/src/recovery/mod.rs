//! Loss recovery: what is outstanding, what of it is lost, and how much may be sent meanwhile.

pub(crate) mod count;
pub(crate) mod frto;
pub(crate) mod prr;
pub(crate) mod rack;
pub(crate) mod rtt;
pub(crate) mod scoreboard;

use crate::Instant;
use count::Count;
use frto::Frto;
use prr::Prr;
use rack::Rack;
use scoreboard::Scoreboard;

/// Duplicate acknowledgements or sacked segments that mean loss (RFC 5681 §3.2).
pub(crate) const DUP_THRESH: u64 = 3;

/// Where a sender stands.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) enum Phase {
    /// Nothing known to be lost.
    #[default]
    Open,
    /// Fast recovery: a loss was found by acknowledgements.
    Recovery,
    /// The retransmission timer expired.
    Loss,
}

crate::packed!(
    enum Phase {
        Open,
        Recovery,
        Loss,
    }
);

/// State of loss recovery.
#[derive(Debug, Default)]
pub(crate) struct Recovery {
    pub(crate) board: Scoreboard,
    pub(crate) rack: Rack,
    pub(crate) count: Count,
    pub(crate) prr: Prr,
    pub(crate) frto: Frto,
    pub(crate) phase: Phase,
    /// The first timeout of the recovery that goes on.
    pub(crate) loss_since: Option<Instant>,
    /// `snd_nxt` when recovery began: it ends when this is acknowledged.
    pub(crate) point: u64,
    /// The first retransmission of a recovery leaves whatever the window says.
    pub(crate) force: bool,
    pub(crate) undo: Undo,
    /// A tail-loss probe whose fate is open.
    pub(crate) tail: Option<TailProbe>,
    pub(crate) reno: Reno,
    /// Bytes that the peer reported as received twice, ever.
    pub(crate) dsacked: u64,
}

crate::packed!(Recovery {
    board,
    rack,
    count,
    prr,
    phase,
    loss_since,
    point,
    force,
    undo,
    reno,
    dsacked,
    frto,
    tail
});

/// What tells that a reduction was spurious.
#[derive(Debug, Default)]
pub(crate) struct Undo {
    /// Something may be undone.
    pub(crate) armed: bool,
    /// Timestamp of the first retransmission (Eifel, RFC 3522).
    pub(crate) first_tsval: Option<u32>,
    /// When the reduction was, and `snd_una` then: what was sent again before tells nothing of it.
    pub(crate) since: Option<Instant>,
    pub(crate) marker: u64,
    /// Bytes sent again that the peer did not report as duplicates (RFC 2883).
    pub(crate) unreported: u64,
    /// After the recovery ended: position whose acknowledgement ends the chance.
    pub(crate) until: Option<u64>,
}

crate::packed!(Undo {
    armed,
    first_tsval,
    since,
    marker,
    unreported,
    until
});

/// A tail-loss probe (RFC 8985 §7).
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct TailProbe {
    /// `snd_nxt` when it was sent.
    pub(crate) end: u64,
    /// It repeated data.
    pub(crate) again: bool,
}

crate::packed!(TailProbe { end, again });

/// Duplicate acknowledgements standing in for SACK (RFC 6582, RFC 6937 §3).
#[derive(Debug, Default)]
pub(crate) struct Reno {
    pub(crate) dup_acks: u32,
    /// Bytes that duplicate acknowledgements showed to have left the network.
    pub(crate) sacked: u64,
    /// A partial acknowledgement came: the retransmission timer is restarted no more, so that
    /// many losses in one window end in a timeout rather than last a round trip each (RFC 6582
    /// §4, the impatient variant).
    pub(crate) partial: bool,
}

crate::packed!(Reno {
    dup_acks,
    sacked,
    partial
});

impl Recovery {
    /// Bytes in the network.
    pub(crate) fn pipe(&self) -> u64 {
        self.board.pipe().saturating_sub(self.reno.sacked)
    }

    /// Nothing hints at a loss: where something does, what the window allows goes out at once, for
    /// the acknowledgements it brings (limited transmit, RFC 3042).
    pub(crate) fn is_quiet(&self) -> bool {
        self.phase == Phase::Open && self.board.sacked().is_empty() && self.reno.dup_acks == 0
    }

    /// Segments sacked: where they are smaller than the mss, at least the number of ranges.
    pub(crate) fn segments_sacked(&self, mss: u32) -> u64 {
        let sacked = self.board.sacked();
        sacked
            .bytes()
            .div_ceil(u64::from(mss))
            .max(sacked.len() as u64)
    }

    /// A reduction took place: remember what would show it to be spurious.
    pub(crate) fn arm_undo(&mut self, now: Instant, una: u64) {
        self.undo = Undo {
            armed: true,
            since: Some(now),
            marker: una,
            ..Undo::default()
        };
    }
}
