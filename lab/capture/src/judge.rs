//! Payload that is a pattern, against its mapping.
//!
//! When the two ends of a transfer disagree about its bytes, either the sender put wrong bytes
//! under a mapping, or the receiver put right bytes in the wrong place. (Linux 6.18 does the
//! latter now and then when a mapping overlaps what was delivered before.) Where the data is a
//! [`Pattern`] the capture alone decides, without the word of either end.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::analyser::{Analyser, Observer, Placed};
use crate::file;
use crate::pattern::Pattern;
use crate::ranges::Ranges;
use crate::report::{End, Report};

/// Findings kept for each stream; the first ones tell the story.
const FINDINGS_MAX: usize = 20;

/// Reads packets in the order of the capture and checks every byte under a mapping.
#[derive(Debug)]
pub struct Judge {
    analyser: Analyser,
    streams: Streams,
}

/// The streams of the connections.
#[derive(Debug)]
struct Streams {
    expected: Vec<Pattern>,
    /// Bytes before the pattern of what a client sends.
    plan: u64,
    all: HashMap<(usize, End), Stream>,
    /// In the order of appearance.
    order: Vec<(usize, End)>,
}

/// One direction of one connection.
#[derive(Debug)]
struct Stream {
    plan: u64,
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
    /// A judge of streams that carry one of `expected`; of any pattern if that is empty. What a
    /// client sends has `plan` bytes before its pattern begins.
    pub fn new(expected: Vec<Pattern>, plan: u64) -> Self {
        Self {
            // The pattern tells more than a comparison of what is sent twice.
            analyser: Analyser::keeping(0),
            streams: Streams {
                expected,
                plan,
                all: HashMap::new(),
                order: Vec::new(),
            },
        }
    }

    /// The same, of the packets of a file.
    ///
    /// # Errors
    /// As [`file::read`].
    pub fn read(path: &Path, expected: Vec<Pattern>, plan: u64) -> io::Result<Self> {
        let mut judge = Self::new(expected, plan);
        file::each(path, |time, packet| judge.packet(time, packet))?;
        Ok(judge)
    }

    /// The next packet, beginning with its IP header, captured at `time`.
    pub fn packet(&mut self, time: Duration, packet: &[u8]) {
        self.analyser.observed(time, packet, &mut self.streams);
    }

    /// What each stream turned out to be.
    pub fn reports(&self) -> Vec<StreamReport> {
        let streams = self.streams.order.iter();
        streams.map(|at| self.streams.all[at].report()).collect()
    }

    /// The stream of `pattern`.
    pub fn report(&self, pattern: Pattern) -> Option<StreamReport> {
        let mut reports = self.reports().into_iter();
        reports.find(|r| r.pattern == Some(pattern))
    }

    /// What else the packets show: HMACs, checksums, mappings.
    pub fn analysis(&self) -> Report {
        self.analyser.report()
    }
}

impl Observer for Streams {
    fn placed(&mut self, placed: &Placed<'_>) {
        let at = (placed.connection, placed.from);
        let stream = self.all.entry(at).or_insert_with(|| {
            self.order.push(at);
            Stream::new(placed, self.plan)
        });
        stream.check(&self.expected, placed);
    }

    fn mapping_changed(&mut self, connection: usize, from: End) {
        if let Some(stream) = self.all.get_mut(&(connection, from)) {
            stream.report.changed_mappings += 1;
        }
    }
}

impl Stream {
    fn new(placed: &Placed<'_>, plan: u64) -> Self {
        let (client, server) = placed.ends;
        let (from, to, plan) = match placed.from {
            End::Client => (client, server, plan),
            End::Server => (server, client, 0),
        };
        let report = StreamReport {
            from,
            to,
            pattern: None,
            right: 0,
            missing: Vec::new(),
            wrong: Vec::new(),
            changed_mappings: 0,
        };
        Self {
            plan,
            right: Ranges::default(),
            report,
        }
    }

    fn check(&mut self, expected: &[Pattern], placed: &Placed<'_>) {
        let (mut offset, mut bytes) = (placed.offset, placed.bytes);
        if offset < self.plan {
            let skip = (self.plan - offset).min(bytes.len() as u64) as usize;
            (offset, bytes) = (offset + skip as u64, &bytes[skip..]);
        }
        if bytes.is_empty() {
            return;
        }
        let place = offset - self.plan;
        let Some(pattern) = self.recognise(expected, place, bytes) else {
            return;
        };
        match pattern.first_difference(place, bytes) {
            None => self.right.insert(place, place + bytes.len() as u64),
            // Linux probes a closed window with one byte that was acknowledged before, and does not
            // care which one it puts there.
            Some(_) if placed.mapping.2 == 1 && self.right.contains(place) => {}
            Some(at) => {
                self.right.insert(place, place + at as u64);
                self.wrong(placed, place + at as u64, &bytes[at..]);
            }
        }
    }

    fn recognise(&mut self, expected: &[Pattern], place: u64, bytes: &[u8]) -> Option<Pattern> {
        if self.report.pattern.is_none() {
            self.report.pattern = Pattern::recognise(place, bytes)
                .filter(|found| expected.is_empty() || expected.contains(found));
        }
        self.report.pattern
    }

    fn wrong(&mut self, placed: &Placed<'_>, offset: u64, rest: &[u8]) {
        if self.report.wrong.len() == FINDINGS_MAX {
            return;
        }
        let (ssn, start, len) = placed.mapping;
        let holds = self.report.pattern.and_then(|p| p.locate(rest, 1 << 40));
        self.report.wrong.push(Wrong {
            packet: placed.packet,
            subflow: placed.subflow,
            offset,
            mapping: (ssn, start.wrapping_sub(self.plan), len),
            holds,
        });
    }

    fn report(&self) -> StreamReport {
        StreamReport {
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
