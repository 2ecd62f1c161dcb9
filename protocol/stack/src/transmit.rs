//! From what a connection wants to say to packets for the device.

use crate::counters::Counter;
use crate::demux::Tuple;
use crate::flow::Flow;
use crate::receive::Arrival;
use crate::stack::Stack;
use anabranch_mptcp::Refusal;
use anabranch_tcp::{Emit, Instant, Kind, reset_reply};
use anabranch_wire::Seq;
use anabranch_wire::frame::Transmit;
use anabranch_wire::mptcp::MptcpOption;
use anabranch_wire::packet::Build;
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, Timestamps};
use bytes::Bytes;
use smallvec::SmallVec;

/// Replies to strangers waiting to be sent; more are dropped.
pub(crate) const MAX_REPLIES: usize = 1024;

/// RFC 1122 §3.2.1.7's suggestion, today's usual value.
const TTL: u8 = 64;

impl Stack {
    /// The next packet for the device; `None` when there is nothing more to send now.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<Transmit> {
        if let Some(reply) = self.replies.pop_front() {
            return Some(reply);
        }
        while let Some(handle) = self.ready.front() {
            if let Some(transmit) = self.poll_flow(now, handle) {
                let bytes = transmit.total_len() as u32;
                self.ready.sent(bytes);
                return Some(transmit);
            }
            self.ready.pop();
            self.drained(now, handle);
        }
        // Closing a connection may have left a reply.
        self.replies.pop_front()
    }

    fn poll_flow(&mut self, now: Instant, handle: (u32, u32)) -> Option<Transmit> {
        self.counters.inc(Counter::FlowsVisited);
        loop {
            let transmit = match self.flows.get_mut(handle)?.flow() {
                Flow::Tcp(plain) => {
                    let (emit, payload) = plain.stream.poll_transmit(now)?;
                    let tuple = plain.tuple;
                    self.assemble(&tuple, &emit, &[], payload)
                }
                Flow::Mptcp(multi) => {
                    let mut outgoing = multi.connection.poll_transmit(now)?;
                    // Every mapping is the end of what its subflow has. PSH on super-frames that
                    // others follow would have them delivered out of order by receive offload.
                    if multi.connection.unassigned() > 0 {
                        outgoing.emit.flags = outgoing.emit.flags.without(Flags::PSH);
                    }
                    // A subflow goes only in a later poll than that of its last segment.
                    let tuple = multi.connection.path(outgoing.subflow)?.into();
                    self.assemble(&tuple, &outgoing.emit, &outgoing.mptcp, outgoing.payload)
                }
            };
            if transmit.is_some() {
                return transmit;
            }
        }
    }

    /// Headers for a segment.
    pub(crate) fn assemble(
        &mut self,
        tuple: &Tuple,
        emit: &Emit,
        mptcp: &[MptcpOption],
        payload: SmallVec<[Bytes; 4]>,
    ) -> Option<Transmit> {
        let len: usize = payload.iter().map(Bytes::len).sum();
        let on_wire = len.div_ceil(usize::from(emit.mss).max(1)).max(1) as u16;
        self.ident = self.ident.wrapping_add(on_wire);
        let build = Build {
            src: tuple.local,
            dst: tuple.remote,
            ttl: TTL,
            traffic_class: emit.ecn & 3,
            ident: self.ident,
            seq: emit.seq,
            ack: emit.ack,
            flags: emit.flags,
            window: emit.wnd,
            urgent: 0,
            options: &emit.options,
            mptcp,
        };
        let gso_size = if self.config.gso_max > 0 { emit.mss } else { 0 };
        let Ok(mut transmit) = build.transmit(payload, gso_size) else {
            // Whoever made this segment overran the option space it was granted.
            debug_assert!(false, "no such segment: {build:?}");
            self.counters.inc(Counter::TransmitErrors);
            return None;
        };
        self.label(tuple, &mut transmit);
        self.count_sent(emit, u64::from(on_wire));
        self.counters.sent(mptcp);
        Some(transmit)
    }

    /// Sets the IPv6 flow label.
    fn label(&self, tuple: &Tuple, transmit: &mut Transmit) {
        if let [first, a, b, c, ..] = &mut transmit.header[..]
            && *first >> 4 == 6
        {
            let [_, high, middle, low] = self.secrets.flow_label(tuple).to_be_bytes();
            *a = *a & 0xf0 | high;
            (*b, *c) = (middle, low);
        }
    }

    fn count_sent(&mut self, emit: &Emit, on_wire: u64) {
        self.counters.add(Counter::TcpOutSegs, on_wire);
        if emit.kind == Kind::Retransmit {
            self.counters.add(Counter::TcpRetransSegs, on_wire);
        }
        if emit.flags.has(Flags::RST) {
            self.counters.inc(Counter::TcpOutRsts);
        }
    }

    /// Leave to answer a stranger.
    pub(crate) fn may_reply(&mut self, now: Instant) -> bool {
        let may = self.replies.len() < MAX_REPLIES && self.limiter.take(now);
        if !may {
            self.counters.inc(Counter::RepliesSuppressed);
        }
        may
    }

    /// Resets whoever sent a segment that belongs nowhere (RFC 9293 §3.10.7.1).
    pub(crate) fn refuse(&mut self, now: Instant, arrival: &Arrival) {
        self.refuse_with(now, arrival, &[]);
    }

    /// The same, telling why (RFC 8684 §3.6).
    pub(crate) fn refuse_because(&mut self, now: Instant, arrival: &Arrival, why: &Refusal) {
        let option = why.option();
        self.refuse_with(now, arrival, option.as_slice());
    }

    fn refuse_with(&mut self, now: Instant, arrival: &Arrival, options: &[MptcpOption]) {
        let Some(emit) = reset_reply(&arrival.segment) else {
            return;
        };
        if self.may_reply(now) {
            let reset = self.assemble(&arrival.tuple, &emit, options, SmallVec::new());
            self.replies.extend(reset);
        }
    }

    /// Acknowledges for a connection in TIME-WAIT.
    pub(crate) fn acknowledge_past(
        &mut self,
        now: Instant,
        tuple: &Tuple,
        seq: Seq,
        ack: Seq,
        ts_ecr: Option<u32>,
    ) {
        if !self.may_reply(now) {
            return;
        }
        // The clock of a Tcb's timestamps: milliseconds and its offset.
        let clock = ((now.0 / 1_000_000) as u32).wrapping_add(self.secrets.timestamp_offset(tuple));
        let timestamps = ts_ecr.map(|ecr| Timestamps { val: clock, ecr });
        let emit = Emit {
            rel: 0..0,
            seq,
            ack,
            wnd: 0,
            flags: Flags::ACK,
            options: Options::Segment(SegmentOptions {
                timestamps,
                ..Default::default()
            }),
            kind: Kind::Ack,
            mss: 0,
            ecn: 0,
        };
        let transmit = self.assemble(tuple, &emit, &[], SmallVec::new());
        self.replies.extend(transmit);
    }
}
