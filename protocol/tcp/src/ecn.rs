//! Explicit congestion notification (RFC 3168): what is agreed on SYNs, marks that arrive, marks
//! that the peer reports.

use crate::segment::Segment;
use crate::{Config, Instant, Tcb};
use anabranch_wire::tcp::Flags;

/// What a connection asks for, and what it agrees to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ecn {
    /// Never.
    Off,
    /// Not asked for, but agreed to when the peer asks.
    #[default]
    Passive,
    /// Asked for and agreed to (RFC 3168).
    Classic,
}

/// IP ECN field of a packet that may be marked rather than dropped: ECT(0).
pub(crate) const ECT: u8 = 0b10;
/// The network marked the packet: congestion experienced.
const CE: u8 = 0b11;

/// State of one connection.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Agreed.
    pub(crate) on: bool,
    /// What we send may be marked. Off where one of the SYNs said that it may not be
    /// (RFC 3168 §6.1.1).
    ect: bool,
    /// A mark arrived, and that the peer reacted did not: report it on all that is sent.
    echo: bool,
    /// We reacted: the next new data tells.
    cwr: bool,
    /// Next position to be sent when the window was last reduced: until more than that is
    /// acknowledged, reports are of the same congestion.
    point: u64,
}

const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

impl Tcb {
    /// Whether ECN was agreed.
    pub fn ecn(&self) -> bool {
        self.ecn.on
    }

    /// What our SYN or SYN+ACK says. Only the first SYN asks: what drops those that do lets the
    /// next one pass (RFC 3168 §6.1.1.1).
    pub(crate) fn ecn_on_syn(&mut self) -> Flags {
        if self.rcv.irs.is_some() {
            return if self.ecn.on {
                Flags::ECE
            } else {
                Flags::default()
            };
        }
        self.ecn.ect = asks(&self.config) && self.rtt.streak() == 0;
        if self.ecn.ect {
            SETUP
        } else {
            Flags::default()
        }
    }

    /// What the peer's SYN or SYN+ACK says.
    pub(crate) fn agree_on_ecn(&mut self, syn: &Segment) {
        let setup = Flags(syn.flags.0 & SETUP.0);
        if syn.flags.has(Flags::ACK) {
            // Both bits come back where something on the path only reflects them.
            self.ecn.on = asks(&self.config) && setup == Flags::ECE;
            self.ecn.ect &= self.ecn.on;
        } else {
            self.ecn.on = self.config.ecn != Ecn::Off && setup == SETUP;
            self.ecn.ect = self.ecn.on;
        }
    }

    /// The peer's SYN came again. One that no longer asks means that marks may not pass.
    pub(crate) fn agree_on_ecn_again(&mut self, syn: &Segment) {
        self.ecn.ect &= syn.flags.has(SETUP);
    }

    /// The IP ECN field and CWR of an acceptable segment (RFC 3168 §6.1.3). A segment merged by
    /// receive offload has the field of all its parts.
    pub(crate) fn take_mark(&mut self, segment: &Segment) {
        if !self.ecn.on || segment.len == 0 {
            return;
        }
        if segment.flags.has(Flags::CWR) {
            self.ecn.echo = false;
        }
        if segment.ecn == CE {
            self.stats.marked_in += 1;
            // The first is told at once.
            self.acks.now |= !self.ecn.echo;
            self.ecn.echo = true;
        }
    }

    /// Whether an acknowledgement reports a mark.
    pub(crate) fn reports_mark(&self, segment: &Segment) -> bool {
        self.ecn.on && segment.flags.has(Flags::ECE)
    }

    /// A mark was reported: less from now on, once for each window (RFC 3168 §6.1.2).
    pub(crate) fn react_to_mark(&mut self, now: Instant) {
        if self.snd.una <= self.ecn.point {
            return;
        }
        let flight = self.snd.nxt - self.snd.una;
        self.control.cc.on_ecn(now, flight, self.mss());
        self.stats.ecn_reductions += 1;
        // What is undone after a spurious retransmission is not this.
        self.recovery.undo = Default::default();
        self.window_reduced();
    }

    /// The congestion window was reduced, for whatever reason: the peer hears of it, and reports
    /// about what was sent before are answered by it (RFC 3168 §6.1.2).
    pub(crate) fn window_reduced(&mut self) {
        self.ecn.cwr = self.ecn.on;
        self.ecn.point = self.snd.nxt;
    }

    /// What an acknowledgement reports.
    pub(crate) fn ecn_report(&self) -> Flags {
        if self.ecn.echo {
            Flags::ECE
        } else {
            Flags::default()
        }
    }

    /// IP ECN field and further control bits of new payload.
    pub(crate) fn ecn_on_data(&mut self) -> (u8, Flags) {
        let cwr = std::mem::take(&mut self.ecn.cwr);
        let flags = if cwr { Flags::CWR } else { Flags::default() };
        (if self.ecn.ect { ECT } else { 0 }, flags)
    }
}

fn asks(config: &Config) -> bool {
    config.ecn == Ecn::Classic
}
