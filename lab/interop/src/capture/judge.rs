//! Payload against its mapping.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::net::SocketAddr;

use sha2::{Digest as _, Sha256};

use super::flow::{Flow, Mapped, Mapping, nearest};
use super::packet::{Mptcp, Segment, parse};
use crate::exchange::PLAN_LEN;
use crate::pattern::Pattern;

/// Findings kept for each stream; the first ones tell the story.
const FINDINGS_MAX: usize = 20;

/// Reads packets in the order of the capture and checks every byte under a mapping.
#[derive(Debug, Default)]
pub struct Judge {
    expected: Vec<Pattern>,
    packets: u64,
    flows: HashMap<Ends, Flow>,
    /// Which stream a flow carries.
    carries: HashMap<Ends, usize>,
    /// The stream that goes towards the owner of this token: joins name it.
    towards: HashMap<u32, usize>,
    streams: Vec<Stream>,
}

/// Sender and receiver.
type Ends = (SocketAddr, SocketAddr);

/// One direction of one connection.
#[derive(Debug)]
struct Stream {
    ends: Ends,
    reverse: Option<usize>,
    /// Data sequence number of the first byte.
    first: u64,
    highest: u64,
    /// The client's stream begins with a plan, which is no pattern.
    plan: u64,
    pattern: Option<Pattern>,
    right: Ranges,
    report: StreamReport,
}

/// What a capture tells of one direction of one connection.
#[derive(Clone, Debug)]
pub struct StreamReport {
    /// Sender, of the first subflow.
    pub from: SocketAddr,
    /// Receiver, of the first subflow.
    pub to: SocketAddr,
    /// The data, if it was recognised.
    pub pattern: Option<Pattern>,
    /// Bytes seen right, each counted once.
    pub right: u64,
    /// Runs of the stream that were not in the capture.
    pub missing: Vec<(u64, u64)>,
    /// Payload that is not what belongs under its mapping.
    pub wrong: Vec<Wrong>,
    /// Mappings that gave a subflow byte another place than an earlier mapping did.
    pub changed_mappings: u64,
}

/// Wrong payload.
#[derive(Clone, Debug)]
pub struct Wrong {
    /// Number of the packet in the capture, from 1.
    pub packet: u64,
    /// Sender and receiver of the subflow.
    pub subflow: (SocketAddr, SocketAddr),
    /// Offset in the stream of the first wrong byte.
    pub offset: u64,
    /// The mapping: subflow sequence number, offset in the stream, length.
    pub mapping: (u64, u64, u64),
    /// The offset whose bytes stand there instead, if they are bytes of the same stream.
    pub holds: Option<u64>,
}

/// Whose fault it is when the receiver of a stream got other bytes than its sender wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opinion {
    /// Wrong bytes left the sender.
    Sender,
    /// All bytes arrived under right mappings: the receiver put them together wrongly.
    Receiver,
    /// The capture does not show the whole stream.
    Unknown,
}

impl Judge {
    /// A judge of streams that carry one of `expected`; of any pattern if that is empty.
    pub fn new(expected: Vec<Pattern>) -> Self {
        Self {
            expected,
            ..Self::default()
        }
    }

    /// The next packet, beginning with its IP header.
    pub fn packet(&mut self, packet: &[u8]) {
        self.packets += 1;
        let Some(segment) = parse(packet) else { return };
        let ends = (segment.from, segment.to);
        if segment.syn {
            return self.syn(ends, &segment);
        }
        let Some(ssn) = self
            .flows
            .get_mut(&ends)
            .and_then(|f| f.relative(segment.seq))
        else {
            return;
        };
        self.keys(ends, &segment);
        let Some(&stream) = self.carries.get(&ends) else {
            return;
        };
        self.mappings(ends, stream, &segment);
        self.check(ends, stream, ssn, segment.payload);
    }

    /// What each stream turned out to be.
    pub fn reports(&self) -> Vec<StreamReport> {
        self.streams.iter().map(Stream::report).collect()
    }

    /// The stream of `pattern`.
    pub fn report(&self, pattern: Pattern) -> Option<StreamReport> {
        self.streams
            .iter()
            .find(|s| s.pattern == Some(pattern))
            .map(Stream::report)
    }

    fn syn(&mut self, ends: Ends, segment: &Segment<'_>) {
        self.flows.entry(ends).or_default().syn(segment.seq);
        if segment.ack {
            return;
        }
        self.carries.remove(&ends);
        self.carries.remove(&reversed(ends));
        for option in &segment.options {
            if let Mptcp::Join { token } = option
                && let Some(&stream) = self.towards.get(token)
            {
                self.carries.insert(ends, stream);
                if let Some(reverse) = self.streams[stream].reverse {
                    self.carries.insert(reversed(ends), reverse);
                }
            }
        }
    }

    /// The keys of an MP_CAPABLE make two streams.
    fn keys(&mut self, ends: Ends, segment: &Segment<'_>) {
        let keys = segment.options.iter().find_map(|option| match *option {
            Mptcp::Keys {
                version: 1,
                sender,
                receiver,
                len,
            } => Some((sender, receiver, len)),
            _ => None,
        });
        let Some((sender, receiver, len)) = keys else {
            return;
        };
        if !self.carries.contains_key(&ends) {
            let up = self.streams.len();
            let (ours, theirs) = (hash(sender), hash(receiver));
            self.streams.push(Stream::new(
                ends,
                up + 1,
                ours.1.wrapping_add(1),
                PLAN_LEN as u64,
            ));
            self.streams
                .push(Stream::new(reversed(ends), up, theirs.1.wrapping_add(1), 0));
            self.carries.insert(ends, up);
            self.carries.insert(reversed(ends), up + 1);
            self.towards.insert(theirs.0, up);
            self.towards.insert(ours.0, up + 1);
        }
        if let (Some(len), Some(&stream)) = (len, self.carries.get(&ends)) {
            // RFC 8684 §3.1: the first mapping is implicit.
            let dsn = self.streams[stream].first;
            self.map(
                ends,
                stream,
                Mapping {
                    ssn: 1,
                    dsn,
                    len: len.into(),
                },
            );
        }
    }

    fn mappings(&mut self, ends: Ends, stream: usize, segment: &Segment<'_>) {
        for option in &segment.options {
            let Mptcp::Map {
                dsn,
                wide,
                ssn,
                len,
                fin,
            } = *option
            else {
                continue;
            };
            let len = u64::from(len) - u64::from(fin && len > 0);
            if ssn == 0 || len == 0 {
                continue;
            }
            let near = self.streams[stream].highest;
            let dsn = if wide { dsn } else { nearest(near, dsn as u32) };
            let Some(flow) = self.flows.get_mut(&ends) else {
                return;
            };
            let ssn = flow.widen(ssn);
            self.map(ends, stream, Mapping { ssn, dsn, len });
        }
    }

    fn map(&mut self, ends: Ends, stream: usize, mapping: Mapping) {
        let Some(flow) = self.flows.get_mut(&ends) else {
            return;
        };
        let state = &mut self.streams[stream];
        if mapping.dsn.wrapping_sub(state.highest).cast_signed() > 0 {
            state.highest = mapping.dsn;
        }
        if flow.map(mapping).is_err() {
            state.report.changed_mappings += 1;
        }
        for (ssn, bytes) in flow.take_waiting() {
            self.check(ends, stream, ssn, &bytes);
        }
    }

    fn check(&mut self, ends: Ends, stream: usize, ssn: u64, payload: &[u8]) {
        let Some(flow) = self.flows.get_mut(&ends) else {
            return;
        };
        let (stream, packet, expected) = (&mut self.streams[stream], self.packets, &self.expected);
        flow.payload(ssn, payload, |mapped| {
            stream.check(expected, packet, ends, &mapped)
        });
    }
}

impl Stream {
    fn new(ends: Ends, reverse: usize, first: u64, plan: u64) -> Self {
        let report = StreamReport {
            from: ends.0,
            to: ends.1,
            pattern: None,
            right: 0,
            missing: Vec::new(),
            wrong: Vec::new(),
            changed_mappings: 0,
        };
        Self {
            ends,
            reverse: Some(reverse),
            first,
            highest: first,
            plan,
            pattern: None,
            right: Ranges::default(),
            report,
        }
    }

    fn check(&mut self, expected: &[Pattern], packet: u64, subflow: Ends, mapped: &Mapped<'_>) {
        let (mut offset, mut bytes) = (mapped.dsn.wrapping_sub(self.first), mapped.bytes);
        if offset < self.plan {
            let skip = (self.plan - offset).min(bytes.len() as u64) as usize;
            (offset, bytes) = (offset + skip as u64, &bytes[skip..]);
        }
        if bytes.is_empty() {
            return;
        }
        let Some(pattern) = self.recognise(expected, offset, bytes) else {
            return;
        };
        let place = offset - self.plan;
        match pattern.first_difference(place, bytes) {
            None => self.right.insert(place, place + bytes.len() as u64),
            // Linux probes a closed window with one byte that was acknowledged before, and does not
            // care which one it puts there.
            Some(_) if mapped.mapping.len == 1 && self.right.contains(place) => {}
            Some(at) => {
                self.right.insert(place, place + at as u64);
                self.wrong(packet, subflow, mapped, place + at as u64, &bytes[at..]);
            }
        }
    }

    fn recognise(&mut self, expected: &[Pattern], offset: u64, bytes: &[u8]) -> Option<Pattern> {
        if self.pattern.is_none() {
            self.pattern = Pattern::recognise(offset - self.plan, bytes)
                .filter(|found| expected.is_empty() || expected.contains(found));
        }
        self.pattern
    }

    fn wrong(&mut self, packet: u64, subflow: Ends, mapped: &Mapped<'_>, offset: u64, rest: &[u8]) {
        if self.report.wrong.len() == FINDINGS_MAX {
            return;
        }
        let Mapping { ssn, dsn, len } = mapped.mapping;
        let start = dsn.wrapping_sub(self.first).wrapping_sub(self.plan);
        let holds = self.pattern.and_then(|p| p.locate(rest, 1 << 40));
        let mapping = (ssn, start, len);
        self.report.wrong.push(Wrong {
            packet,
            subflow,
            offset,
            mapping,
            holds,
        });
    }

    fn report(&self) -> StreamReport {
        StreamReport {
            from: self.ends.0,
            to: self.ends.1,
            pattern: self.pattern,
            right: self.right.total(),
            missing: self.right.gaps(),
            ..self.report.clone()
        }
    }
}

impl StreamReport {
    /// Whose fault it is that `len` bytes of this stream did not arrive as they were written.
    pub fn opinion(&self, len: u64) -> Opinion {
        if !self.wrong.is_empty() || self.changed_mappings > 0 {
            Opinion::Sender
        } else if self.right == len && self.missing.is_empty() {
            Opinion::Receiver
        } else {
            Opinion::Unknown
        }
    }
}

impl fmt::Display for StreamReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            from,
            to,
            right,
            missing,
            wrong,
            changed_mappings,
            ..
        } = self;
        write!(f, "{from} -> {to}: {right} bytes right")?;
        if self.pattern.is_none() {
            write!(f, ", no pattern recognised")?;
        }
        if *changed_mappings > 0 {
            write!(f, ", {changed_mappings} mappings changed")?;
        }
        if !missing.is_empty() {
            write!(f, ", not in the capture: {missing:?}")?;
        }
        for Wrong {
            packet,
            subflow,
            offset,
            mapping: (ssn, start, len),
            holds,
        } in wrong
        {
            let end = start.wrapping_add(*len);
            write!(f, "\n  packet {packet}, {} -> {}: ", subflow.0, subflow.1)?;
            write!(
                f,
                "wrong from {offset} on, in mapping [{start},{end}) at ssn {ssn}; "
            )?;
            match holds {
                Some(place) => write!(f, "the bytes of {place} stand there")?,
                None => write!(f, "no bytes of this stream")?,
            }
        }
        Ok(())
    }
}

fn reversed((from, to): Ends) -> Ends {
    (to, from)
}

/// Token and IDSN of a key (RFC 8684 §3.2).
fn hash(key: u64) -> (u32, u64) {
    let hash: [u8; 32] = Sha256::digest(key.to_be_bytes()).into();
    let token = u32::from_be_bytes(std::array::from_fn(|i| hash[i]));
    let idsn = u64::from_be_bytes(std::array::from_fn(|i| hash[24 + i]));
    (token, idsn)
}

/// A set of offsets as disjoint runs, start to end.
#[derive(Debug, Default)]
struct Ranges(BTreeMap<u64, u64>);

impl Ranges {
    fn insert(&mut self, mut start: u64, mut end: u64) {
        if start == end {
            return;
        }
        while let Some((&s, &e)) = self.0.range(..=end).next_back() {
            if e < start {
                break;
            }
            self.0.remove(&s);
            (start, end) = (start.min(s), end.max(e));
        }
        self.0.insert(start, end);
    }

    fn contains(&self, at: u64) -> bool {
        self.0
            .range(..=at)
            .next_back()
            .is_some_and(|(_, end)| at < *end)
    }

    fn total(&self) -> u64 {
        self.0.iter().map(|(start, end)| end - start).sum()
    }

    fn gaps(&self) -> Vec<(u64, u64)> {
        let mut from = 0;
        let mut gaps = Vec::new();
        for (&start, &end) in &self.0 {
            if start > from {
                gaps.push((from, start));
            }
            from = end;
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::Ranges;

    #[test]
    fn runs_join() {
        let mut ranges = Ranges::default();
        for (start, end) in [(10, 20), (30, 40), (0, 5), (20, 30), (38, 50), (12, 13)] {
            ranges.insert(start, end);
        }
        assert_eq!((ranges.total(), ranges.gaps()), (45, vec![(5, 10)]));
    }
}
