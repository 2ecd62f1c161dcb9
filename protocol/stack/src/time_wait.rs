//! Connections in TIME-WAIT that nobody holds any more: a few words each.

use crate::demux::Tuple;
use crate::random::{KeyedHash, SeededMap};
use anabranch_tcp::{Instant, Segment, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::tcp::Flags;
use std::collections::VecDeque;
use std::time::Duration;

/// What a past connection leaves behind.
#[derive(Clone, Copy, Debug)]
struct Trace {
    snd_nxt: Seq,
    rcv_nxt: Seq,
    /// The peer's last timestamp, if timestamps were agreed.
    ts_recent: Option<u32>,
    expires: Instant,
    /// Tells it from an earlier one of the same tuple.
    number: u64,
    /// Acknowledgements left to send, so that two confused ends do not answer each other for ever.
    acks: u8,
}

/// What to do about a segment to a past connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Nothing.
    Drop,
    /// Acknowledge: the peer may not have heard that we have its FIN.
    Ack {
        seq: Seq,
        ack: Seq,
        ts_ecr: Option<u32>,
    },
    /// A new connection may take over, with an initial sequence number of this or later.
    Reopen { iss: Seq },
}

/// The traces of all past connections.
pub(crate) struct TimeWait {
    map: SeededMap<Tuple, Trace>,
    /// Times to look at a trace, about in order: all last equally long.
    order: VecDeque<(Instant, Tuple, u64)>,
    number: u64,
    duration: Duration,
    limit: usize,
}

/// RFC 5961 §7 in spirit: so many answers to a past connection are plenty.
const ACKS: u8 = 16;

/// Distance of a reopened connection's first sequence number from the last of the old one: beyond
/// any unscaled window.
const REOPEN_DISTANCE: u32 = 65_537;

impl TimeWait {
    pub(crate) fn new(hash: KeyedHash, duration: Duration, limit: usize) -> Self {
        TimeWait {
            map: SeededMap::with_hasher(hash),
            order: VecDeque::new(),
            number: 0,
            duration,
            limit,
        }
    }

    /// Remembers a connection that has just gone through its closing handshake. Returns how many
    /// others had to be forgotten for it.
    pub(crate) fn insert(&mut self, now: Instant, tuple: Tuple, tcb: &Tcb) -> u64 {
        // After the SYN, all payload and the FIN, on either side (RFC 9293 §3.4).
        let past = |isn: Seq, rel: u64| isn + (rel as u32).wrapping_add(2);
        let Some(irs) = tcb.irs() else { return 0 };
        let expires = now + self.duration;
        self.number += 1;
        let trace = Trace {
            snd_nxt: past(tcb.iss(), tcb.snd_nxt()),
            rcv_nxt: past(irs, tcb.rcv_nxt()),
            ts_recent: tcb.ts_recent(),
            expires,
            number: self.number,
            acks: ACKS,
        };
        let mut forgotten = 0;
        while self.order.len() >= self.limit && self.forget_oldest() {
            forgotten += 1;
        }
        if self.limit > 0 {
            self.map.insert(tuple, trace);
            self.order.push_back((expires, tuple, self.number));
        }
        forgotten
    }

    pub(crate) fn contains(&self, tuple: &Tuple) -> bool {
        self.map.contains_key(tuple)
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    /// A segment arrived (RFC 9293 §3.10.7.4, TIME-WAIT). `None`: there was no such connection.
    pub(crate) fn on_segment(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        segment: &Segment,
    ) -> Option<Verdict> {
        let trace = self.map.get_mut(tuple)?;
        // A reset must not cut TIME-WAIT short (RFC 1337 §3).
        if segment.flags.has(Flags::RST) {
            return Some(Verdict::Drop);
        }
        if segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK) && trace.is_news(segment)
        {
            let iss = trace.snd_nxt + REOPEN_DISTANCE;
            self.map.remove(tuple);
            return Some(Verdict::Reopen { iss });
        }
        let takes_space =
            segment.len > 0 || segment.flags.has(Flags::FIN) || segment.flags.has(Flags::SYN);
        if segment.seq == trace.rcv_nxt && !takes_space || trace.acks == 0 {
            return Some(Verdict::Drop);
        }
        trace.acks -= 1;
        if segment.flags.has(Flags::FIN) {
            // The peer sent its FIN again: it has to hear of ours, and so do we wait again.
            trace.expires = now + self.duration;
        }
        Some(Verdict::Ack {
            seq: trace.snd_nxt,
            ack: trace.rcv_nxt,
            ts_ecr: trace.ts_recent,
        })
    }

    /// When [`TimeWait::on_deadline`] has something to do.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.order.front().map(|(at, ..)| *at)
    }

    /// Forgets what has lasted long enough.
    pub(crate) fn on_deadline(&mut self, now: Instant) {
        while let Some((_, tuple, number)) = self.order.pop_front_if(|(at, ..)| *at <= now) {
            match self.map.get(&tuple) {
                Some(trace) if trace.number != number => {}
                Some(trace) if trace.expires > now => {
                    self.order.push_back((trace.expires, tuple, number));
                }
                _ => {
                    self.map.remove(&tuple);
                }
            }
        }
    }

    fn forget_oldest(&mut self) -> bool {
        let Some((_, tuple, number)) = self.order.pop_front() else {
            return false;
        };
        if self
            .map
            .get(&tuple)
            .is_some_and(|trace| trace.number == number)
        {
            self.map.remove(&tuple);
        }
        true
    }
}

impl Trace {
    /// Whether a SYN cannot be an old duplicate: its timestamp is later (RFC 6191 §2), or without
    /// timestamps, its sequence number (RFC 9293 §3.10.7.4; RFC 1122 §4.2.2.13).
    fn is_news(&self, syn: &Segment) -> bool {
        match (self.ts_recent, syn.options.timestamps()) {
            (Some(recent), Some(ts)) if ts.val != recent => Seq(recent).lt(Seq(ts.val)),
            _ => self.rcv_nxt.le(syn.seq),
        }
    }
}
