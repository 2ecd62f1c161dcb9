//! Accurate ECN feedback (RFC 9768): counts of what arrived marked, modulo 8 in three bits of the
//! header (ACE) and in bytes in an option.

use crate::segment::Segment;
use anabranch_wire::tcp::{AccEcn, Flags, Options, SegmentOptions};

/// IP ECN fields.
const ECT1: u8 = 0b01;
const ECT0: u8 = 0b10;
const CE: u8 = 0b11;

/// The three bits of ACE.
pub(crate) const ACE: Flags = Flags(Flags::AE.0 | Flags::CWR.0 | Flags::ECE.0);

/// Marked packets without payload are told of when so many came (RFC 9768 §3.2.2.5.1).
const TELL_BARE: u32 = 3;
/// And those with payload.
const TELL_DATA: u32 = 2;

/// Counters of one direction (RFC 9768 §3.2.1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Counters {
    /// Packets marked.
    cep: u32,
    /// Payload bytes by IP ECN field.
    ceb: u32,
    e0b: u32,
    e1b: u32,
}

crate::packed!(Counters { cep, ceb, e0b, e1b });

impl Counters {
    /// None starts from zero, so that a path that clears them is noticed.
    const START: Counters = Counters {
        cep: 5,
        ceb: 0,
        e0b: 1,
        e1b: 1,
    };
}

/// State of a connection with accurate feedback.
#[derive(Debug)]
pub(crate) struct Accurate {
    /// What arrived.
    received: Counters,
    /// What the peer says arrived: packets marked and their bytes.
    cep: u32,
    ceb: u32,
    /// IP ECN field of the SYN+ACK, to be told on the first acknowledgement.
    syn_ack: Option<u8>,
    /// IP ECN field of the SYN, told on the SYN+ACK.
    syn: u8,
    /// Nothing but SYNs came yet.
    first: bool,
    /// Marks since the last acknowledgement sent.
    unreported: u32,
    /// IP ECN field of the last payload.
    last: u8,
    /// Byte counters moved since they were last told.
    changed: bool,
    /// An option came, and the path does not damage it.
    option_seen: bool,
    option_good: bool,
}

crate::packed!(Accurate {
    received,
    cep,
    ceb,
    syn_ack,
    syn,
    first,
    unreported,
    last,
    changed,
    option_seen,
    option_good
});

/// As it is before the peer's SYN: nothing but room for what is known of one at rest.
impl Default for Accurate {
    fn default() -> Accurate {
        Accurate::new(0)
    }
}

/// What a segment tells of our own.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Feedback {
    /// Wire segments that were marked.
    pub(crate) marked: u32,
    /// The path does what no router does: nothing more may be marked (RFC 9768 §3.2.2.3, §3.2.2.4).
    pub(crate) mangled: bool,
}

impl Accurate {
    fn new(first_ecn: u8) -> Accurate {
        let mut received = Counters::START;
        received.cep += u32::from(first_ecn == CE);
        Accurate {
            received,
            cep: Counters::START.cep,
            ceb: Counters::START.ceb,
            syn_ack: None,
            syn: 0,
            first: true,
            unreported: 0,
            last: 0,
            changed: true,
            option_seen: false,
            option_good: true,
        }
    }

    /// Of the side that received a SYN.
    pub(crate) fn passive(syn: &Segment) -> Accurate {
        Accurate {
            syn: syn.ecn,
            ..Accurate::new(syn.ecn)
        }
    }

    /// Of the side that received a SYN+ACK; `None` if that speaks of no accurate feedback
    /// (RFC 9768 table 2). What it says of our SYN comes with it.
    pub(crate) fn active(syn_ack: &Segment) -> Option<(Accurate, Feedback)> {
        let told = told_of_syn(ace(syn_ack.flags))?;
        let mut accurate = Accurate::new(syn_ack.ecn);
        accurate.syn_ack = Some(syn_ack.ecn);
        accurate.cep += u32::from(told == CE);
        Some((accurate, on_our_syn(told)))
    }

    /// What the SYN+ACK says of the SYN.
    pub(crate) fn on_syn_ack(&self) -> Flags {
        of_syn(self.syn)
    }

    /// The SYN+ACK came again: so goes what answers it.
    pub(crate) fn syn_ack_again(&mut self, segment: &Segment) {
        self.syn_ack = Some(segment.ecn);
    }

    /// What a segment says in its header; only a bare acknowledgement answers the SYN+ACK.
    pub(crate) fn report(&mut self, bare: bool) -> Flags {
        self.unreported = 0;
        match self.syn_ack.take().filter(|_| bare) {
            Some(ecn) => of_syn(ecn),
            None => bits(self.received.cep),
        }
    }

    /// Whether ACE says something that segmentation offload would change: CWR stands on the first
    /// segment only.
    pub(crate) fn breaks_offload(&self) -> bool {
        bits(self.received.cep).has(Flags::CWR)
    }

    /// The option, if there is something new to tell and `space` for it.
    pub(crate) fn option(&mut self, space: u32) -> Option<AccEcn> {
        let whole = self.received.e1b != Counters::START.e1b;
        if !self.changed || space < if whole { 12 } else { 8 } {
            return None;
        }
        self.changed = false;
        let field = |n: u32| Some(n & 0xff_ffff);
        Some(AccEcn {
            e0b: field(self.received.e0b),
            ceb: field(self.received.ceb),
            e1b: field(self.received.e1b).filter(|_| whole),
            e1b_first: false,
        })
    }

    /// An acceptable segment came. Tells whether to acknowledge at once (RFC 9768 §3.2.2.5.1).
    pub(crate) fn arrived(&mut self, segment: &Segment) -> bool {
        let received = &mut self.received;
        let bytes = match segment.ecn {
            CE => &mut received.ceb,
            ECT0 => &mut received.e0b,
            ECT1 => &mut received.e1b,
            _ => &mut 0,
        };
        *bytes = bytes.wrapping_add(segment.len);
        self.changed |= segment.len > 0 && segment.ecn != 0;
        let marked = if segment.ecn == CE {
            wire_segments(segment)
        } else {
            0
        };
        self.received.cep = self.received.cep.wrapping_add(marked);
        self.unreported += marked;
        if segment.len == 0 {
            return self.unreported >= TELL_BARE;
        }
        let first = (self.last == CE) != (segment.ecn == CE);
        self.last = segment.ecn;
        first || self.unreported >= TELL_DATA
    }

    /// The first segment after the SYNs: whether the bits get through. On a passive side a bare
    /// acknowledgement tells of the SYN+ACK (RFC 9768 table 4). `None`: it is not the first.
    pub(crate) fn first(&mut self, segment: &Segment, passive: bool) -> Option<Feedback> {
        if !std::mem::take(&mut self.first) {
            return None;
        }
        let ace = ace(segment.flags);
        let has_sack = matches!(&segment.options, Options::Segment(o) if !o.sack.is_empty());
        let answers = passive && segment.len == 0 && !has_sack;
        let mut feedback = Feedback {
            mangled: ace == 0,
            marked: 0,
        };
        if answers {
            let told = told_of_syn(ace).unwrap_or(0);
            feedback.mangled |= told != 0;
            self.cep += u32::from(told == CE);
            return Some(feedback);
        }
        // Counters may have moved already.
        feedback.mangled.then_some(feedback)
    }

    /// A segment that acknowledged something new: how many of ours were marked. Where more than
    /// seven may have been, the option tells.
    pub(crate) fn told(&mut self, segment: &Segment, mss: u32) -> Feedback {
        let fewest = ace(segment.flags).wrapping_sub(self.cep) & 7;
        let mut marked = fewest;
        if let Some(ceb) = self.option_of(segment).and_then(|option| option.ceb) {
            let more = ceb.wrapping_sub(self.ceb) & 0xff_ffff;
            // The higher half is an older option that was overtaken.
            if more < 1 << 23 {
                self.ceb = ceb;
                let likely = more.div_ceil(mss.max(1));
                marked += likely.saturating_sub(fewest).next_multiple_of(8);
            }
        }
        self.cep = self.cep.wrapping_add(marked);
        Feedback {
            marked,
            mangled: false,
        }
    }

    /// The option of a segment. A counter that never is zero but is in the first one says that the
    /// path clears them: they are ignored from then on (RFC 9768 §3.2.3.2.4).
    fn option_of(&mut self, segment: &Segment) -> Option<AccEcn> {
        let Options::Segment(SegmentOptions {
            acc_ecn: Some(option),
            ..
        }) = &segment.options
        else {
            return None;
        };
        if !std::mem::replace(&mut self.option_seen, true) {
            self.option_good = option.e0b != Some(0) && option.e1b != Some(0);
        }
        self.option_good.then_some(*option)
    }
}

/// What the header of a SYN+ACK or of the acknowledgement of one says of the IP ECN field that came
/// with the other; `None` for what means something else.
fn told_of_syn(ace: u32) -> Option<u8> {
    match ace {
        0b010 => Some(0),
        0b011 => Some(ECT1),
        0b100 => Some(ECT0),
        0b110 => Some(CE),
        _ => None,
    }
}

/// Our SYNs are sent as not capable: they arrive so.
fn on_our_syn(told: u8) -> Feedback {
    Feedback {
        marked: u32::from(told == CE),
        mangled: told != 0,
    }
}

fn of_syn(ecn: u8) -> Flags {
    bits(match ecn {
        ECT1 => 0b011,
        ECT0 => 0b100,
        CE => 0b110,
        _ => 0b010,
    })
}

fn ace(flags: Flags) -> u32 {
    u32::from(flags.has(Flags::AE)) << 2
        | u32::from(flags.has(Flags::CWR)) << 1
        | u32::from(flags.has(Flags::ECE))
}

fn bits(ace: u32) -> Flags {
    [(4, Flags::AE), (2, Flags::CWR), (1, Flags::ECE)]
        .into_iter()
        .filter(|(bit, _)| ace & bit != 0)
        .fold(Flags::default(), |all, (_, flag)| all.with(flag))
}

/// Packets that it was on the wire.
fn wire_segments(segment: &Segment) -> u32 {
    match segment.gso_size {
        0 => 1,
        size => segment.len.div_ceil(u32::from(size)).max(1),
    }
}
