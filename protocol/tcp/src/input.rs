//! Segments that arrive (RFC 9293 §3.10.7), up to the acknowledgement, which is `ack`'s business.

use crate::segment::{Change, Close, Receipt, Segment};
use crate::stamps::before;
use crate::timers::Timer;
use crate::{Emit, Grant, Instant, Kind, State, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::tcp::{Flags, Options, SegmentOptions, Timestamps};

/// A timestamp this much older than the last one, in ticks of the peer's clock (1 ms to 1 s each,
/// RFC 7323 §5.4), may be of a segment that was overtaken.
const OVERTAKEN_TICKS: u32 = 1000;

/// A timestamp this much older, in ticks of 1 ms, may be of a segment that fills a hole.
const LATE_TICKS: u32 = 100;

impl Tcb {
    /// A segment of this connection arrived (RFC 9293 §3.10.7).
    pub fn on_segment(&mut self, now: Instant, segment: &Segment, grant: Grant) -> Receipt {
        self.count(now, segment);
        self.note_grant(&grant);
        match self.state {
            State::Closed => {
                self.pending.refusal = refusal(segment);
                self.receipt()
            }
            State::SynSent => self.in_syn_sent(now, segment),
            _ => self.in_synchronized(now, segment),
        }
    }

    /// A segment was taken in.
    pub(crate) fn count(&mut self, now: Instant, segment: &Segment) {
        let segments = match u32::from(segment.gso_size) {
            0 => 1,
            size => segment.len.div_ceil(size).max(1),
        };
        self.stats.segments_in += u64::from(segments);
        if segment.len > 0 {
            self.stats.data_segments_in += u64::from(segments);
            self.seen.data = now;
        }
    }

    /// SYN-RECEIVED and later (RFC 9293 §3.10.7.4).
    fn in_synchronized(&mut self, now: Instant, segment: &Segment) -> Receipt {
        let start = self.rcv.position(segment.seq);
        if self.state == State::SynReceived && segment.flags.has(Flags::SYN) && start == 0 {
            return self.syn_again(now, segment);
        }
        if !self.acceptable(now, start, segment) {
            return self.receipt();
        }
        if segment.flags.has(Flags::RST) {
            return self.reset_by_peer(now, start);
        }
        if segment.flags.has(Flags::SYN) {
            if start == 0 && segment.flags.has(Flags::ACK) {
                self.agree_on_ecn_again(segment);
            }
            // RFC 5961 §4: whoever sent it answers with a RST if it is no longer connected.
            self.challenge(now);
            return self.receipt();
        }
        if !segment.flags.has(Flags::ACK) {
            self.stats.dropped += 1;
            return self.receipt();
        }
        self.alive(now);
        self.after_acceptance(now, start, segment)
    }

    /// From the check of the ACK bit on.
    fn after_acceptance(&mut self, now: Instant, start: i64, segment: &Segment) -> Receipt {
        let mut change = Change::None;
        if self.state == State::SynReceived {
            let ack = self.snd.position(segment.ack);
            if ack < 1 || ack > self.snd.nxt as i64 {
                self.pending.refusal = refusal(segment);
                return self.receipt();
            }
            change = self.established(now, segment);
        }
        if let Some(stamps) = stamps_of(segment).filter(|_| self.stamps.on) {
            self.stamps.update(stamps.val, start, now);
        }
        let Some(acked) = self.take_ack(now, segment) else {
            return Receipt {
                change,
                ..self.receipt()
            };
        };
        if change == Change::None {
            change = acked.change;
        }
        self.take_mark(segment);
        let mut receipt = self.take_payload(now, segment);
        receipt.progress = acked.progress || change == Change::Established;
        receipt.peer_wnd = Some(self.scaled_window(segment));
        receipt.change = further(change, receipt.change);
        receipt
    }

    /// PAWS (RFC 7323 §5.3), then the sequence check. Answers what is not acceptable.
    fn acceptable(&mut self, now: Instant, start: i64, segment: &Segment) -> bool {
        let reset = segment.flags.has(Flags::RST);
        // A segment without the option is let through, although it was agreed: some middleboxes
        // strip options after the handshake, and the sequence check still holds.
        let old = stamps_of(segment)
            .is_some_and(|stamps| self.stamps.on && self.stamps.too_old(stamps.val, now))
            && !self.overtaken(start, segment)
            && !self.fills_hole(start, segment);
        let end = start + i64::from(segment.len) + i64::from(control_len(segment));
        let overlaps = end >= self.rcv.nxt as i64 && start <= self.rcv.adv as i64;
        if overlaps && (!old || reset) {
            return true;
        }
        self.stats.dropped += 1;
        if reset {
            return false;
        }
        if segment.len > 0 && end <= self.rcv.nxt as i64 {
            // A copy of what came before. Segments with payload make no loop of acknowledgements.
            self.rcv.duplicate(start, end);
            self.acks.irregular();
        } else if segment.len > 0 {
            self.acks.irregular();
        } else {
            self.challenge(now);
        }
        false
    }

    /// A bare acknowledgement of nothing new with a timestamp just older than the last one: the
    /// network reordered it. It may still tell something by SACK, and needs no answer.
    fn overtaken(&self, start: i64, segment: &Segment) -> bool {
        let bare = segment.len == 0 && segment.flags == Flags::ACK;
        let recent = stamps_of(segment)
            .is_some_and(|stamps| self.stamps.recent.wrapping_sub(stamps.val) <= OVERTAKEN_TICKS);
        let known = self.snd.position(segment.ack) <= self.snd.una as i64;
        bare && recent && known && start == self.rcv.nxt as i64
    }

    /// Payload before what came out of order, with a timestamp just older than the last one: it was
    /// late, and meanwhile an earlier segment was sent again with a newer timestamp. To drop it, as
    /// RFC 7323 §5.3 has it, makes a loss of each late segment. It is none of a sequence space ago,
    /// which PAWS is about: that takes 4 GiB in [`LATE_TICKS`], or 340 Gbit/s.
    fn fills_hole(&self, start: i64, segment: &Segment) -> bool {
        let late = stamps_of(segment)
            .is_some_and(|stamps| self.stamps.recent.wrapping_sub(stamps.val) <= LATE_TICKS);
        segment.len > 0 && late && self.rcv.is_hole(start)
    }

    /// The SYN again, or a SYN+ACK that crosses ours, in SYN-RECEIVED.
    fn syn_again(&mut self, now: Instant, segment: &Segment) -> Receipt {
        if segment.flags.has(Flags::RST) {
            return self.receipt();
        }
        self.alive(now);
        if segment.flags.has(Flags::ACK) {
            // It repeats the SYN, and the peer may wait for what answers its own answer
            // (RFC 9293 §3.10.7.4, first).
            self.acks.now = true;
            self.rcv.duplicate(0, 1);
            return self.after_acceptance(now, 0, segment);
        }
        self.agree_on_ecn_again(segment);
        if self.acks.challenge(now, self.config.challenge_acks) {
            self.pending.syn = true;
        }
        self.receipt()
    }

    /// A RST within the window: only at exactly `rcv_nxt` it resets (RFC 5961 §3.2).
    fn reset_by_peer(&mut self, now: Instant, start: i64) -> Receipt {
        if start != self.rcv.nxt as i64 {
            if start > self.rcv.nxt as i64 {
                self.challenge(now);
            }
            return self.receipt();
        }
        let change = match self.state {
            State::SynReceived if !self.agreed.passive => self.abort(Close::Refused),
            State::TimeWait => {
                self.become_closed();
                Change::None
            }
            _ => self.abort(Close::Reset),
        };
        Receipt {
            change,
            ..self.receipt()
        }
    }

    /// Answer something unacceptable with an acknowledgement, within the rate (RFC 5961 §7).
    pub(crate) fn challenge(&mut self, now: Instant) {
        if self.acks.challenge(now, self.config.challenge_acks) {
            self.acks.now = true;
            self.stats.challenge_acks += 1;
        }
    }

    /// Whether this SYN may start a new connection in place of this one in TIME-WAIT (RFC 6191,
    /// RFC 9293 §3.6.1): the owner then drops this Tcb and treats the SYN as new.
    pub fn may_reuse(&self, segment: &Segment) -> bool {
        let fresh_syn = segment.flags.has(Flags::SYN)
            && !segment.flags.has(Flags::ACK)
            && !segment.flags.has(Flags::RST);
        if self.state != State::TimeWait || !fresh_syn {
            return false;
        }
        match stamps_of(segment).filter(|_| self.stamps.on) {
            Some(stamps) if stamps.val != self.stamps.recent => {
                before(self.stamps.recent, stamps.val)
            }
            _ => self.rcv.position(segment.seq) > self.rcv.nxt as i64,
        }
    }

    /// The peer is alive.
    fn alive(&mut self, now: Instant) {
        self.seen.received = now;
        self.pending.alive_probes = 0;
        self.pending.window_probes = 0;
    }

    /// Payload and FIN.
    pub(crate) fn take_payload(&mut self, now: Instant, segment: &Segment) -> Receipt {
        let syn = i64::from(segment.flags.has(Flags::SYN));
        let start = self.rcv.position(segment.seq) + syn;
        let fin = segment.flags.has(Flags::FIN);
        if self.state == State::Closed || (segment.len == 0 && !fin) {
            return Receipt {
                rel_start: start - 1,
                ..self.receipt()
            };
        }
        let had_fin = self.rcv.fin_received();
        if self.state == State::TimeWait && fin {
            // The peer's FIN again: our last ACK was lost (RFC 9293 §3.10.7.4, eighth).
            self.timers.set(Timer::Linger, now + self.config.time_wait);
        }
        let arrival = self.rcv.arrive(start, segment);
        let bytes: u32 = arrival.new.iter().map(|r| r.end - r.start).sum();
        if bytes > 0 && self.pending.orphan {
            // Nobody will read this: say so rather than let it vanish (RFC 2525 §2.17).
            self.become_closed();
            self.pending.refusal = refusal(segment);
            return Receipt {
                change: Change::Aborted(Close::Local),
                ..self.receipt()
            };
        }
        self.stats.bytes_in += u64::from(bytes);
        if arrival.irregular {
            self.stats.out_of_order += 1;
        }
        self.stats.dropped += u64::from(arrival.dropped);
        if bytes > 0 {
            self.time_round(now, segment);
        }
        // What did not fit the window is answered at once: it may be a probe of it.
        let at_once = arrival.irregular || fin || bytes < segment.len;
        self.schedule_ack(now, segment, bytes, at_once);
        let mut receipt = Receipt {
            rel_start: start - 1,
            new: arrival.new,
            ..self.receipt()
        };
        if arrival.fin && !had_fin {
            receipt.change = self.peer_fin_arrived(now);
        }
        receipt
    }

    /// Data came: how long since what let it go was sent.
    fn time_round(&mut self, now: Instant, segment: &Segment) {
        match stamps_of(segment).filter(|_| self.stamps.on) {
            Some(stamps) => {
                if let Some(rtt) = self.stamps.rtt(stamps.ecr, now) {
                    self.rcv_rtt.echoed(stamps.ecr, rtt);
                }
            }
            None => self.rcv_rtt.arrived(now, self.rcv.nxt, self.rcv.adv),
        }
    }

    fn schedule_ack(&mut self, now: Instant, segment: &Segment, bytes: u32, at_once: bool) {
        let wire = match segment.gso_size {
            0 => segment.len.min(u32::from(self.config.mss)),
            size => u32::from(size),
        };
        if at_once {
            self.acks.irregular();
        } else if self.acks.received(bytes, wire) && !self.timers.is_set(Timer::DelayedAck) {
            self.timers
                .set(Timer::DelayedAck, now + self.config.delayed_ack);
        }
    }

    /// The peer's FIN is in order (RFC 9293 §3.10.7.4, eighth).
    fn peer_fin_arrived(&mut self, now: Instant) -> Change {
        self.acks.now = true;
        match self.state {
            State::SynReceived | State::Established => {
                self.state = State::CloseWait;
                self.fin_queued();
            }
            State::FinWait1 => self.state = State::Closing,
            State::FinWait2 => return self.enter_time_wait(now),
            _ => {}
        }
        Change::PeerFin
    }

    /// A receipt for a segment that meant nothing.
    pub(crate) fn receipt(&self) -> Receipt {
        Receipt {
            rcv_nxt: self.rcv_nxt(),
            snd_una: self.snd_una(),
            ..Receipt::default()
        }
    }
}

/// The timestamps of a segment, if it carries any.
pub(crate) fn stamps_of(segment: &Segment) -> Option<Timestamps> {
    match &segment.options {
        Options::Syn(options) => options.timestamps,
        Options::Segment(options) => options.timestamps,
    }
}

/// Of two changes by one segment, the one that reaches further.
fn further(a: Change, b: Change) -> Change {
    let rank = |change: &Change| match change {
        Change::None => 0,
        Change::Established => 1,
        Change::PeerFin => 2,
        Change::Closed => 3,
        Change::Aborted(_) => 4,
    };
    if rank(&a) >= rank(&b) { a } else { b }
}

/// The RST that answers a segment for which there is no connection (RFC 9293 §3.10.7.1); `None`
/// if the segment is itself a RST.
pub fn reset_reply(segment: &Segment) -> Option<Emit> {
    let (seq, ack, flags) = refusal(segment)?;
    Some(Emit {
        rel: 0..0,
        seq,
        ack,
        wnd: 0,
        flags,
        options: Options::Segment(SegmentOptions::default()),
        kind: Kind::Control,
        mss: 0,
        ecn: 0,
    })
}

/// Sequence and acknowledgement number and flags of the RST that answers a segment.
pub(crate) fn refusal(segment: &Segment) -> Option<(Seq, Seq, Flags)> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    if segment.flags.has(Flags::ACK) {
        return Some((segment.ack, Seq(0), Flags::RST));
    }
    let ack = segment.seq + segment.len + control_len(segment);
    Some((Seq(0), ack, Flags::RST.with(Flags::ACK)))
}

/// Sequence numbers that SYN and FIN take.
fn control_len(segment: &Segment) -> u32 {
    u32::from(segment.flags.has(Flags::SYN)) + u32::from(segment.flags.has(Flags::FIN))
}
