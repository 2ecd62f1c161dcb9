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
        /// error (network or host unreachable) is only remembered.
        hard: bool,
    },
}

/// The path is believed to carry at least this, whatever a message says: less would multiply the
/// number of packets (RFC 5927 §7).
const LEAST_PATH_MSS: u16 = 512;

impl Tcb {
    /// An ICMP error quoting a segment of this connection arrived. Believed only if the quoted
    /// sequence number is in flight (RFC 5927 §4.1).
    pub fn on_icmp(&mut self, now: Instant, error: IcmpError) -> Change {
        let quoted = self.snd.position(error.seq);
        if quoted < self.snd.una as i64 || quoted >= self.snd.nxt as i64 {
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
                if hard && opening {
                    return self.abort(Close::Unreachable);
                }
            }
        }
        Change::None
    }
}
