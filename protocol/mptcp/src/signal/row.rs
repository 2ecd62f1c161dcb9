//! Acknowledgements that only signal, one behind the other: to who counts duplicate ACKs, the peer
//! or a middlebox, three look like loss (RFC 8684 §3).

use crate::connection::Outgoing;
use anabranch_tcp::Instant;
use anabranch_tcp::packed;
use anabranch_wire::Seq;
use anabranch_wire::mptcp::MptcpOption;
use anabranch_wire::tcp::Flags;
use std::time::Duration;

/// Not more in a row.
const MOST: u8 = 2;

/// Those of one subflow.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Row {
    /// When the last left.
    last: Instant,
    /// What the last segment acknowledged: one that acknowledges more is no duplicate.
    ack: Seq,
    len: u8,
}

packed!(Row { last, ack, len });

impl Default for Row {
    fn default() -> Row {
        Row {
            last: Instant::default(),
            ack: Seq(0),
            len: 0,
        }
    }
}

impl Row {
    /// A segment leaves, on a subflow with this retransmission timeout.
    pub(crate) fn sent(&mut self, now: Instant, rto: Duration, out: &Outgoing) {
        let flags = out.emit.flags;
        if !flags.has(Flags::ACK) || flags.has(Flags::RST) {
            return;
        }
        let duplicate = out.emit.ack == self.ack && out.emit.rel.is_empty();
        self.ack = out.emit.ack;
        if !duplicate || flags.has(Flags::SYN) || now >= self.last + rto {
            self.len = 0;
        }
        if duplicate && out.mptcp.iter().any(only_signals) {
            self.len = self.len.saturating_add(1);
            self.last = now;
        }
    }

    /// When one more may leave, if that is not now: what was under way is acknowledged by then, or
    /// lost and sent again.
    pub(crate) fn full_until(&self, now: Instant, asked: u8, rto: Duration) -> Option<Instant> {
        let until = self.last + rto;
        (self.len + asked >= MOST && until > now).then_some(until)
    }
}

fn only_signals(option: &MptcpOption) -> bool {
    matches!(
        option,
        MptcpOption::AddAddr(_) | MptcpOption::RemoveAddr(_) | MptcpOption::Prio(_)
    )
}
