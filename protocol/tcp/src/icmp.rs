//! ICMP errors about a connection (RFC 5461, RFC 5927).

use crate::segment::{Change, Close};
use crate::{Instant, State, Tcb};
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
        /// error (network or host unreachable) does so only with
        /// [`crate::Config::soft_errors_abort`].
        hard: bool,
    },
}

/// The path is believed to carry at least this, whatever a message says: less would multiply the
/// number of packets (RFC 5927 §7).
const LEAST_PATH_MSS: u16 = 512;

impl Tcb {
    /// Whether a segment with this sequence number was sent and is not acknowledged.
    pub fn is_in_flight(&self, seq: Seq) -> bool {
        let position = self.snd.position(seq);
        position >= self.snd.una as i64 && position < self.snd.nxt as i64
    }

    /// An ICMP error quoting a segment of this connection arrived. Believed only if the quoted
    /// sequence number is in flight (RFC 5927 §4.1).
    pub fn on_icmp(&mut self, now: Instant, error: IcmpError) -> Change {
        if !self.is_in_flight(error.seq) {
            self.stats.dropped += 1;
            return Change::None;
        }
        match error.kind {
            IcmpKind::TooBig { mss } => {
                self.path_takes(now, mss.max(LEAST_PATH_MSS));
                self.open_without_payload();
            }
            IcmpKind::Unreachable { hard } => {
                let opening = matches!(self.state, State::SynSent | State::SynReceived);
                if (hard || self.config.soft_errors_abort) && opening {
                    return self.abort(Close::Unreachable);
                }
            }
        }
        Change::None
    }
}
