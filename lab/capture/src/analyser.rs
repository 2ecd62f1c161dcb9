//! Packets in, a report out: which packet belongs to which subflow of which connection.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::time::Duration;

use crate::connection::{At, Connection};
use crate::option::{Class, Mptcp};
use crate::packet::{Segment, parse};
use crate::report::{End, Finding, Kind, Report};

/// Bytes of each stream kept for comparison, unless told otherwise.
const KEPT: usize = 64 << 20;
/// Packets among which one that passed several interfaces is looked for.
const RECENT: usize = 256;
/// How far apart it may be captured.
const TWICE_WITHIN: Duration = Duration::from_millis(5);
/// Findings outside of connections.
const FINDINGS_MAX: usize = 100;

/// Bytes of a stream in a packet.
#[derive(Debug)]
pub struct Placed<'a> {
    /// Number of the connection, from 0.
    pub connection: usize,
    /// Who sent them.
    pub from: End,
    /// Client and server of the initial subflow.
    pub ends: (SocketAddr, SocketAddr),
    /// Number of the packet in the capture, from 1.
    pub packet: u64,
    /// Sender and receiver.
    pub subflow: (SocketAddr, SocketAddr),
    /// Offset of the first byte in the stream.
    pub offset: u64,
    /// The mapping: subflow sequence number, offset in the stream, length.
    pub mapping: (u64, u64, u64),
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Who wants to see the bytes of the streams.
pub trait Observer {
    /// Bytes with their place, in the order of the capture, however often they are sent.
    fn placed(&mut self, placed: &Placed<'_>);

    /// `from` sent a mapping that contradicts an earlier one.
    fn mapping_changed(&mut self, connection: usize, from: End) {
        let _ = (connection, from);
    }
}

/// Nobody.
impl Observer for () {
    fn placed(&mut self, _: &Placed<'_>) {}
}

/// Which subflow packets of these ends belong to.
#[derive(Clone, Copy, Debug)]
enum Entry {
    /// None; the number of the SYN.
    Plain(u32),
    Subflow {
        connection: usize,
        subflow: usize,
        from: End,
    },
}

/// Sender and receiver.
type Ends = (SocketAddr, SocketAddr);

/// Reads packets in the order of the capture.
#[derive(Debug, Default)]
pub struct Analyser {
    kept: usize,
    packets: u64,
    plain: u64,
    start: Option<Duration>,
    recent: VecDeque<(Duration, u64)>,
    entries: HashMap<Ends, Entry>,
    tokens: HashMap<u32, (usize, End)>,
    connections: Vec<Connection>,
    findings: Vec<Finding>,
}

impl Analyser {
    /// An analyser that compares what is sent twice, up to 64 MiB back.
    pub fn new() -> Self {
        Self::keeping(KEPT)
    }

    /// An analyser that keeps so many bytes of each stream to compare with what is sent again.
    pub fn keeping(bytes: usize) -> Self {
        Self {
            kept: bytes,
            ..Self::default()
        }
    }

    /// The next packet, beginning with its IP header, captured at `time` (since whatever epoch).
    pub fn packet(&mut self, time: Duration, packet: &[u8]) {
        self.observed(time, packet, &mut ());
    }

    /// The same, for an observer.
    pub fn observed(&mut self, time: Duration, packet: &[u8], observer: &mut dyn Observer) {
        self.packets += 1;
        let since = time.saturating_sub(*self.start.get_or_insert(time));
        let Some(segment) = parse(packet) else { return };
        if self.is_twice(time, segment.fingerprint) {
            return;
        }
        let seconds = since.as_secs_f64();
        let ends = (segment.from, segment.to);
        match segment.class() {
            Class::Syn => self.syn(ends, &segment, seconds),
            Class::SynAck => {}
            Class::Other => self.promote(ends, &segment, seconds),
        }
        if let Some(&Entry::Subflow {
            connection,
            subflow,
            from,
        }) = self.entries.get(&ends)
        {
            let at = At {
                packet: self.packets,
                time: seconds,
                subflow,
                from,
            };
            self.connections[connection].segment(at, &segment, observer);
            self.note_tokens(connection);
        }
    }

    /// What the packets so far show.
    pub fn report(&self) -> Report {
        Report {
            packets: self.packets,
            plain: self.plain,
            connections: self.connections.iter().map(Connection::report).collect(),
            findings: self.findings.clone(),
        }
    }

    fn is_twice(&mut self, time: Duration, fingerprint: u64) -> bool {
        while let Some((then, _)) = self.recent.front()
            && (self.recent.len() > RECENT || *then + TWICE_WITHIN < time)
        {
            self.recent.pop_front();
        }
        let twice = self.recent.iter().any(|(_, other)| *other == fingerprint);
        self.recent.push_back((time, fingerprint));
        twice
    }

    fn syn(&mut self, ends: Ends, segment: &Segment<'_>, time: f64) {
        if self.is_repeated(ends, segment.seq) {
            return;
        }
        let token = segment.mptcp.iter().find_map(|option| match *option {
            Mptcp::JoinSyn { token, .. } => Some(token),
            _ => None,
        });
        let capable = |o: &Mptcp| matches!(o, Mptcp::Capable { .. });
        if let Some(token) = token {
            let Some(&(connection, owner)) = self.tokens.get(&token) else {
                self.unknown_token(token, time);
                return self.forget(ends, segment.seq);
            };
            let subflow = self.connections[connection].join(owner, ends, segment, time);
            self.enter(ends, connection, subflow, owner.other());
        } else if segment.mptcp.iter().any(capable) {
            self.open(ends, Some(segment.seq), time);
        } else {
            self.plain += 1;
            self.forget(ends, segment.seq);
        }
    }

    /// Whether it is the same SYN again. Sent again without MP_CAPABLE it opens the same
    /// connection.
    fn is_repeated(&self, ends: Ends, seq: u32) -> bool {
        match self.entries.get(&ends) {
            Some(Entry::Plain(isn)) => *isn == seq,
            Some(Entry::Subflow {
                connection,
                subflow,
                from,
            }) => {
                let subflow = &self.connections[*connection].subflows[*subflow];
                subflow.opener == *from && subflow.flows[*from as usize].isn() == Some(seq)
            }
            None => false,
        }
    }

    /// Keys on a connection whose SYN had no MP_CAPABLE, or is not in the capture.
    fn promote(&mut self, ends: Ends, segment: &Segment<'_>, time: f64) {
        let keys = |o: &Mptcp| {
            matches!(
                o,
                Mptcp::Capable {
                    sender: Some(_),
                    receiver: Some(_),
                    ..
                }
            )
        };
        if !segment.mptcp.iter().any(keys) {
            return;
        }
        match self.entries.get(&ends).copied() {
            Some(Entry::Subflow { .. }) => {}
            Some(Entry::Plain(isn)) => {
                self.plain = self.plain.saturating_sub(1);
                self.open(ends, Some(isn), time);
            }
            None => self.open(ends, None, time),
        }
    }

    fn open(&mut self, ends: Ends, isn: Option<u32>, time: f64) {
        let number = self.connections.len();
        let mut connection = Connection::new(number, ends, isn, self.kept);
        connection.subflows[0].times.opened = time;
        self.connections.push(connection);
        self.enter(ends, number, 0, End::Client);
    }

    fn enter(&mut self, ends: Ends, connection: usize, subflow: usize, opener: End) {
        for (ends, from) in [(ends, opener), ((ends.1, ends.0), opener.other())] {
            let entry = Entry::Subflow {
                connection,
                subflow,
                from,
            };
            self.entries.insert(ends, entry);
        }
    }

    /// The ends belong to no connection of Multipath TCP any more.
    fn forget(&mut self, ends: Ends, isn: u32) {
        self.entries.insert(ends, Entry::Plain(isn));
        self.entries.remove(&(ends.1, ends.0));
    }

    fn unknown_token(&mut self, token: u32, time: f64) {
        if self.findings.len() < FINDINGS_MAX {
            self.findings.push(Finding {
                packet: self.packets,
                time,
                subflow: None,
                from: None,
                error: false,
                kind: Kind::UnknownToken,
                text: format!("MP_JOIN with token {token:#010x} of no connection in the capture"),
            });
        }
    }

    fn note_tokens(&mut self, connection: usize) {
        for end in [End::Client, End::Server] {
            let host = self.connections[connection].hosts[end as usize];
            if let Some((token, _)) = host.derived {
                self.tokens.insert(token, (connection, end));
            }
        }
    }
}
