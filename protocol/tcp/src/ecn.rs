//! Explicit congestion notification (RFC 3168): what is agreed on SYNs, marks that arrive, marks
//! that the peer reports.

use crate::accecn::{ACE, Accurate, Feedback};
use crate::segment::Segment;
use crate::{Config, Instant, Tcb};
use anabranch_wire::tcp::Flags;
use std::fmt;
use std::str::FromStr;

/// What a connection asks for, and what it agrees to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Ecn {
    /// Never.
    Off,
    /// Not asked for, but RFC 3168 is agreed to when the peer asks.
    #[default]
    Passive,
    /// RFC 3168, asked for and agreed to.
    Classic,
    /// Accurate feedback (RFC 9768), asked for and agreed to; RFC 3168 where the peer knows no
    /// better.
    Accurate,
}

crate::packed!(
    enum Ecn {
        Off,
        Passive,
        Classic,
        Accurate,
    }
);

impl Ecn {
    const NAMES: [(&'static str, Ecn); 4] = [
        ("off", Ecn::Off),
        ("passive", Ecn::Passive),
        ("classic", Ecn::Classic),
        ("accurate", Ecn::Accurate),
    ];
}

/// No kind of ECN has this name.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct UnknownEcn(String);

impl fmt::Display for UnknownEcn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = Ecn::NAMES.map(|(name, _)| name).join(", ");
        write!(f, "{:?} is none of {names}", self.0)
    }
}

impl std::error::Error for UnknownEcn {}

impl FromStr for Ecn {
    type Err = UnknownEcn;

    fn from_str(name: &str) -> Result<Ecn, UnknownEcn> {
        let found = Ecn::NAMES.into_iter().find(|(known, _)| *known == name);
        let (_, ecn) = found.ok_or_else(|| UnknownEcn(name.to_owned()))?;
        Ok(ecn)
    }
}

/// IP ECN field of a packet that may be marked rather than dropped: ECT(0).
const ECT: u8 = 0b10;
/// The network marked the packet: congestion experienced.
const CE: u8 = 0b11;

/// State of one connection.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// Agreed.
    on: bool,
    /// With accurate feedback.
    accurate: Option<Box<Accurate>>,
    /// What we send may be marked. Off where one of the SYNs said that it may not be
    /// (RFC 3168 §6.1.1), or the path does strange things.
    ect: bool,
    /// A mark arrived, and that the peer reacted did not: report it on all that is sent.
    echo: bool,
    /// We reacted: the next new data tells.
    cwr: bool,
    /// Next position to be sent when the window was last reduced: until more than that is
    /// acknowledged, reports are of the same congestion.
    point: u64,
}

crate::packed!(State {
    on,
    ect,
    echo,
    cwr,
    point,
    accurate
});

pub(crate) const NONE: Flags = Flags(0);
pub(crate) const SETUP: Flags = Flags(Flags::ECE.0 | Flags::CWR.0);

impl State {
    /// Whether offload would change what the header says.
    pub(crate) fn breaks_offload(&self) -> bool {
        self.accurate.as_ref().is_some_and(|a| a.breaks_offload())
    }
}

/// What is agreed.
impl Tcb {
    /// Whether ECN was agreed.
    pub fn ecn(&self) -> bool {
        self.ecn.on
    }

    /// Whether it was with accurate feedback (RFC 9768).
    pub fn has_accurate_ecn(&self) -> bool {
        self.ecn.accurate.is_some()
    }

    /// What our SYN or SYN+ACK says. What drops those that ask lets others pass: only the first
    /// SYN asks (RFC 3168 §6.1.1.1), for accurate feedback the first two (RFC 9768 §3.1.4).
    pub(crate) fn ecn_on_syn(&mut self) -> Flags {
        let times = self.rtt.streak();
        if self.rcv.irs.is_some() {
            return match &self.ecn.accurate {
                Some(accurate) if times <= 1 => accurate.on_syn_ack(),
                Some(_) => {
                    self.ecn.ect = false;
                    NONE
                }
                None if self.ecn.on => Flags::ECE,
                None => NONE,
            };
        }
        let asks = match self.config.ecn {
            Ecn::Classic if times == 0 => SETUP,
            Ecn::Accurate if times <= 1 => ACE,
            _ => NONE,
        };
        self.ecn.ect = asks != NONE;
        asks
    }

    /// What the peer's SYN or SYN+ACK says.
    pub(crate) fn agree_on_ecn(&mut self, syn: &Segment) {
        if syn.flags.has(Flags::ACK) {
            self.agree_to_answer(syn);
        } else {
            self.agree_to_request(syn);
            self.ecn.ect = self.ecn.on;
        }
    }

    /// RFC 3168 §6.1.1, RFC 9768 table 2.
    fn agree_to_answer(&mut self, syn_ack: &Segment) {
        let agreed = Accurate::active(syn_ack).filter(|_| self.config.ecn == Ecn::Accurate);
        if let Some((accurate, feedback)) = agreed {
            self.ecn.accurate = Some(Box::new(accurate));
            self.ecn.on = true;
            self.ecn.ect &= !feedback.mangled;
            return;
        }
        // Both bits come back where something on the path only reflects them.
        let setup = Flags(syn_ack.flags.0 & SETUP.0);
        self.ecn.on = asks(&self.config) && setup == Flags::ECE;
        self.ecn.ect &= self.ecn.on;
    }

    /// RFC 3168 §6.1.1; what asks for neither that nor nothing asks for accurate feedback, or
    /// something later than it (RFC 9768 §3.1.2, §3.1.3).
    fn agree_to_request(&mut self, syn: &Segment) {
        let asks = Flags(syn.flags.0 & ACE.0);
        match self.config.ecn {
            Ecn::Off => {}
            Ecn::Accurate if asks != NONE && asks != SETUP => {
                self.ecn.accurate = Some(Box::new(Accurate::passive(syn)));
                self.ecn.on = true;
            }
            _ => self.ecn.on = asks.has(SETUP),
        }
    }

    /// A SYN or SYN+ACK came again. A SYN that no longer asks means that marks may not pass.
    pub(crate) fn agree_on_ecn_again(&mut self, syn: &Segment) {
        if !syn.flags.has(Flags::ACK) {
            self.ecn.ect &= Flags(syn.flags.0 & ACE.0) != NONE;
        } else if let Some(accurate) = &mut self.ecn.accurate {
            accurate.syn_ack_again(syn);
        }
    }
}

/// Marks that arrive.
impl Tcb {
    /// The IP ECN field and CWR of an acceptable segment (RFC 3168 §6.1.3). A segment merged by
    /// receive offload has the field of all its parts.
    pub(crate) fn take_mark(&mut self, segment: &Segment) {
        if !self.ecn.on || segment.flags.has(Flags::SYN) {
            return;
        }
        let marked = segment.ecn == CE;
        if let Some(accurate) = &mut self.ecn.accurate {
            self.acks.now |= accurate.arrived(segment);
            self.stats.marked_in += u64::from(marked);
            return;
        }
        if segment.len == 0 {
            return;
        }
        if segment.flags.has(Flags::CWR) {
            self.ecn.echo = false;
        }
        if marked {
            self.stats.marked_in += 1;
            // The first is told at once.
            self.acks.now |= !self.ecn.echo;
            self.ecn.echo = true;
        }
    }

    /// What a segment with an acknowledgement reports; `bare` is one without payload.
    pub(crate) fn ecn_report(&mut self, bare: bool) -> Flags {
        match &mut self.ecn.accurate {
            Some(accurate) => accurate.report(bare),
            None if self.ecn.echo => Flags::ECE,
            None => NONE,
        }
    }
}

/// Marks that the peer reports.
impl Tcb {
    /// Whether an acknowledgement reports marks; `news`: it acknowledged something new.
    pub(crate) fn reports_mark(&mut self, segment: &Segment, news: bool) -> bool {
        let mss = self.mss();
        let Some(accurate) = &mut self.ecn.accurate else {
            return self.ecn.on && segment.flags.has(Flags::ECE);
        };
        if segment.flags.has(Flags::SYN) {
            return false;
        }
        let feedback = match accurate.first(segment, self.agreed.passive) {
            Some(feedback) => feedback,
            // What brings nothing new may have been overtaken.
            None if news => accurate.told(segment, mss),
            None => Feedback::default(),
        };
        self.ecn.ect &= !feedback.mangled;
        self.stats.marked_out += u64::from(feedback.marked);
        feedback.marked > 0
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
    /// about what was sent before are answered by it (RFC 3168 §6.1.2). With accurate feedback
    /// nobody waits to hear.
    pub(crate) fn window_reduced(&mut self) {
        self.ecn.cwr = self.ecn.on && self.ecn.accurate.is_none();
        self.ecn.point = self.snd.nxt;
    }

    /// IP ECN field and further control bits of new payload.
    pub(crate) fn ecn_on_data(&mut self) -> (u8, Flags) {
        let cwr = std::mem::take(&mut self.ecn.cwr);
        let flags = if cwr { Flags::CWR } else { NONE };
        (if self.ecn.ect { ECT } else { 0 }, flags)
    }

    /// The option of accurate feedback, if it is due and `space` bytes are left.
    pub(crate) fn ecn_option(&mut self, space: u32) -> Option<anabranch_wire::tcp::AccEcn> {
        self.ecn.accurate.as_mut()?.option(space)
    }
}

fn asks(config: &Config) -> bool {
    matches!(config.ecn, Ecn::Classic | Ecn::Accurate)
}
