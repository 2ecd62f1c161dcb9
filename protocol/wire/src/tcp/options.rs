//! TCP options on the wire (RFC 9293 §3.2), in the order and padding of Linux.

use super::{
    AccEcn, Class, FastOpen, Flags, MAX_OPTIONS, Options, SegmentOptions, SynOptions, Timestamps,
};
use crate::mptcp::{self, MptcpOption, MptcpOptions};
use crate::writer::Writer;
use crate::{BuildError, Seq};
use smallvec::SmallVec;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;
const FAST_OPEN: u8 = 34;
const ACC_ECN0: u8 = 172;
const ACC_ECN1: u8 = 174;
const EXPERIMENT: u8 = 254;
/// What tells Fast Open from other experiments (RFC 6994).
const FAST_OPEN_EXID: [u8; 2] = [0xf9, 0x89];

/// Larger shifts are read as this (RFC 7323 §2.3).
const MAX_WINDOW_SCALE: u8 = 14;

/// What an options area held.
pub(crate) struct Parsed {
    pub(crate) options: Options,
    pub(crate) mptcp: MptcpOptions,
    /// Malformed options left out.
    pub(crate) bad: u8,
}

/// Reads the options of a segment with `flags`. Options that its class cannot carry and options
/// of unknown kind are skipped. An impossible length ends the list: what came before it stands.
pub(crate) fn parse(area: &[u8], flags: Flags) -> Parsed {
    let class = Class::of(flags);
    let mut parsed = Parsed {
        options: Options::empty(class),
        mptcp: MptcpOptions::new(),
        bad: 0,
    };
    let mut rest = area;
    while let Some(&kind) = rest.first() {
        if kind == END {
            break;
        }
        let len = match rest.get(1) {
            _ if kind == NOP => 1,
            Some(&len) if len >= 2 && usize::from(len) <= rest.len() => usize::from(len),
            _ => {
                parsed.bad += 1;
                break;
            }
        };
        let (option, behind) = rest.split_at(len);
        rest = behind;
        match kind {
            NOP => {}
            mptcp::KIND => match MptcpOption::parse(option, class) {
                Ok(Some(option)) => parsed.mptcp.push(option),
                Ok(None) => {}
                Err(_) => parsed.bad += 1,
            },
            _ if parsed.options.read(kind, &option[2..]) => {}
            _ => parsed.bad += 1,
        }
    }
    parsed
}

impl Options {
    /// No options, for a segment of this class.
    pub fn empty(class: Class) -> Options {
        match class {
            Class::Syn | Class::SynAck => Options::Syn(SynOptions::default()),
            Class::Segment => Options::Segment(SegmentOptions::default()),
        }
    }

    /// Timestamps, whichever the class.
    pub fn timestamps(&self) -> Option<Timestamps> {
        match self {
            Options::Syn(syn) => syn.timestamps,
            Options::Segment(segment) => segment.timestamps,
        }
    }

    /// Bytes on the wire, padding included: always a multiple of four.
    pub fn padded_len(&self) -> usize {
        match self {
            Options::Syn(syn) => syn.padded_len(),
            Options::Segment(segment) => segment.padded_len(),
        }
    }

    /// Takes one option; false if it is malformed.
    fn read(&mut self, kind: u8, body: &[u8]) -> bool {
        match self {
            Options::Syn(syn) => syn.read(kind, body),
            Options::Segment(segment) => segment.read(kind, body),
        }
    }

    pub(crate) fn emit(&self, out: &mut Writer) {
        match self {
            Options::Syn(syn) => syn.emit(out),
            Options::Segment(segment) => segment.emit(out),
        }
    }
}

impl Timestamps {
    /// Bytes on the wire with two bytes of padding, or of another option beside it.
    pub const PADDED_LEN: usize = 12;

    fn read(body: &[u8]) -> Option<Timestamps> {
        let &[a, b, c, d, e, f, g, h] = body else {
            return None;
        };
        Some(Timestamps {
            val: u32::from_be_bytes([a, b, c, d]),
            ecr: u32::from_be_bytes([e, f, g, h]),
        })
    }

    fn emit(self, out: &mut Writer) {
        out.put(&[TIMESTAMPS, 10]);
        out.u32(self.val);
        out.u32(self.ecr);
    }
}

impl SynOptions {
    fn read(&mut self, kind: u8, body: &[u8]) -> bool {
        match (kind, body) {
            (MSS, &[0, 0]) => {}
            (MSS, &[a, b]) => self.mss = Some(u16::from_be_bytes([a, b])),
            (WINDOW_SCALE, &[shift]) => self.window_scale = Some(shift.min(MAX_WINDOW_SCALE)),
            (SACK_PERMITTED, &[]) => self.sack_permitted = true,
            (TIMESTAMPS, _) => match Timestamps::read(body) {
                Some(ts) => self.timestamps = Some(ts),
                None => return false,
            },
            (FAST_OPEN, cookie) if is_cookie(cookie) => {
                self.fast_open = Some(FastOpen::of(cookie, false));
            }
            (EXPERIMENT, &[a, b, ref cookie @ ..])
                if [a, b] == FAST_OPEN_EXID && is_cookie(cookie) =>
            {
                self.fast_open = Some(FastOpen::of(cookie, true));
            }
            (MSS | WINDOW_SCALE | SACK_PERMITTED | FAST_OPEN, _) => return false,
            _ => {}
        }
        true
    }

    fn padded_len(&self) -> usize {
        let mut len = 0;
        if self.mss.is_some() {
            len += 4;
        }
        if self.timestamps.is_some() {
            len += Timestamps::PADDED_LEN; // "SACK permitted" stands in the padding
        } else if self.sack_permitted {
            len += 4;
        }
        if self.window_scale.is_some() {
            len += 4;
        }
        if let Some(fast_open) = &self.fast_open {
            len += fast_open.len().next_multiple_of(4);
        }
        len
    }

    fn emit(&self, out: &mut Writer) {
        if let Some(mss) = self.mss {
            let [a, b] = mss.to_be_bytes();
            out.put(&[MSS, 4, a, b]);
        }
        match (self.sack_permitted, self.timestamps.is_some()) {
            (true, true) => out.put(&[SACK_PERMITTED, 2]),
            (true, false) => out.put(&[NOP, NOP, SACK_PERMITTED, 2]),
            (false, true) => out.put(&[NOP, NOP]),
            (false, false) => {}
        }
        if let Some(ts) = self.timestamps {
            ts.emit(out);
        }
        if let Some(shift) = self.window_scale {
            out.put(&[NOP, WINDOW_SCALE, 3, shift]);
        }
        if let Some(fast_open) = &self.fast_open {
            fast_open.emit(out);
        }
    }

    /// Whether a peer would read back what is written.
    fn is_writable(&self) -> bool {
        self.mss != Some(0)
            && self
                .window_scale
                .is_none_or(|shift| shift <= MAX_WINDOW_SCALE)
            && self
                .fast_open
                .as_ref()
                .is_none_or(|fast_open| is_cookie(&fast_open.cookie))
    }
}

impl FastOpen {
    fn of(cookie: &[u8], experimental: bool) -> FastOpen {
        FastOpen {
            cookie: SmallVec::from_slice(cookie),
            experimental,
        }
    }

    /// Bytes on the wire without padding.
    fn len(&self) -> usize {
        self.cookie.len() + if self.experimental { 4 } else { 2 }
    }

    fn emit(&self, out: &mut Writer) {
        let len = self.len();
        if self.experimental {
            out.put(&[EXPERIMENT, len as u8]);
            out.put(&FAST_OPEN_EXID);
        } else {
            out.put(&[FAST_OPEN, len as u8]);
        }
        out.put(&self.cookie);
        pad(len, out);
    }
}

impl AccEcn {
    /// The fields in the order of the option.
    fn fields(&mut self) -> [&mut Option<u32>; 3] {
        if self.e1b_first {
            [&mut self.e1b, &mut self.ceb, &mut self.e0b]
        } else {
            [&mut self.e0b, &mut self.ceb, &mut self.e1b]
        }
    }

    /// Whole fields count; what is left over is for later versions (RFC 9768 §3.2.3.2.3).
    fn read(kind: u8, body: &[u8]) -> AccEcn {
        let mut option = AccEcn {
            e1b_first: kind == ACC_ECN1,
            ..AccEcn::default()
        };
        for (field, bytes) in option.fields().into_iter().zip(body.as_chunks::<3>().0) {
            let [a, b, c] = *bytes;
            *field = Some(u32::from_be_bytes([0, a, b, c]));
        }
        option
    }

    /// Bytes on the wire without padding.
    fn len(mut self) -> usize {
        2 + 3 * self.fields().into_iter().flatten().count()
    }

    fn emit(mut self, out: &mut Writer) {
        let len = self.len();
        let kind = if self.e1b_first { ACC_ECN1 } else { ACC_ECN0 };
        out.put(&[kind, len as u8]);
        for field in self.fields().into_iter().flatten() {
            out.put(&field.to_be_bytes()[1..]);
        }
        pad(len, out);
    }

    fn is_writable(mut self) -> bool {
        let present = self.fields().map(|field| field.is_some());
        let fits = self.fields().into_iter().flatten().all(|n| *n < 1 << 24);
        fits && present.is_sorted_by(|a, b| a >= b)
    }
}

/// RFC 7413 §4.1.1: none (a request), or 4 to 16 bytes, an even number.
fn is_cookie(cookie: &[u8]) -> bool {
    cookie.len().is_multiple_of(2) && matches!(cookie.len(), 0 | 4..=16)
}

impl SegmentOptions {
    fn read(&mut self, kind: u8, body: &[u8]) -> bool {
        match kind {
            TIMESTAMPS => match Timestamps::read(body) {
                Some(ts) => self.timestamps = Some(ts),
                None => return false,
            },
            SACK => {
                let (blocks, []) = body.as_chunks::<8>() else {
                    return false;
                };
                if blocks.is_empty() {
                    return false;
                }
                self.sack = blocks.iter().map(read_block).collect();
            }
            ACC_ECN0 | ACC_ECN1 => self.acc_ecn = Some(AccEcn::read(kind, body)),
            _ => {}
        }
        true
    }

    fn padded_len(&self) -> usize {
        let timestamps = if self.timestamps.is_some() {
            Timestamps::PADDED_LEN
        } else {
            0
        };
        let sack = if self.sack.is_empty() {
            0
        } else {
            4 + 8 * self.sack.len()
        };
        let acc_ecn = self
            .acc_ecn
            .map_or(0, |option| option.len().next_multiple_of(4));
        timestamps + sack + acc_ecn
    }

    fn emit(&self, out: &mut Writer) {
        if let Some(ts) = self.timestamps {
            out.put(&[NOP, NOP]);
            ts.emit(out);
        }
        if !self.sack.is_empty() {
            out.put(&[NOP, NOP, SACK, 2 + 8 * self.sack.len() as u8]);
            for (left, right) in &self.sack {
                out.u32(left.0);
                out.u32(right.0);
            }
        }
        if let Some(option) = &self.acc_ecn {
            option.emit(out);
        }
    }

    /// Whether a peer would read back what is written.
    fn is_writable(&self) -> bool {
        self.acc_ecn.is_none_or(|option| option.is_writable())
    }
}

fn read_block(block: &[u8; 8]) -> (Seq, Seq) {
    let [a, b, c, d, e, f, g, h] = *block;
    (
        Seq(u32::from_be_bytes([a, b, c, d])),
        Seq(u32::from_be_bytes([e, f, g, h])),
    )
}

/// Fills up to the next multiple of four behind an option of `len` bytes.
fn pad(len: usize, out: &mut Writer) {
    out.put(&[NOP; 3][..len.next_multiple_of(4) - len]);
}

/// Appends all options of a segment: TCP's own, then MPTCP's, each padded to four bytes.
pub(crate) fn emit(
    flags: Flags,
    options: &Options,
    mptcp: &[MptcpOption],
    out: &mut Writer,
) -> Result<(), BuildError> {
    if options.padded_len() + mptcp::padded_len(mptcp) > MAX_OPTIONS {
        return Err(BuildError::OptionSpace);
    }
    let class = Class::of(flags);
    let own = match options {
        Options::Syn(syn) => class != Class::Segment && syn.is_writable(),
        Options::Segment(segment) => class == Class::Segment && segment.is_writable(),
    };
    if !own || !mptcp.iter().all(|option| option.fits(class)) {
        return Err(BuildError::OptionClass);
    }
    options.emit(out);
    for option in mptcp {
        option.emit(out);
        pad(option.len(), out);
    }
    Ok(())
}
