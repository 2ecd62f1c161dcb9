//! Segments that leave (RFC 9293 §3.7, §3.8).

use crate::mtu::Trial;
use crate::recovery::TailProbe;
use crate::recovery::frto::Frto;
use crate::segment::{Emit, Grant, Kind};
use crate::tcb::Probe;
use crate::timers::Timer;
use crate::{Instant, State, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::tcp::{Flags, Options, SackBlocks, SegmentOptions};
use std::time::Duration;

/// Option space of a TCP header.
const OPTION_SPACE: u32 = 40;
/// Data is saved up for a larger super-frame for about this time.
const BURST_TIME: Duration = Duration::from_millis(1);

impl Tcb {
    /// The next segment to send, or `None` when there is nothing to do until the next event.
    pub fn poll(&mut self, now: Instant, grant: Grant) -> Option<Emit> {
        self.note_grant(&grant);
        let emit = self.next_emit(now, &grant);
        match &emit {
            Some(emit) => {
                let payload = emit.rel.end - emit.rel.start;
                let segments = payload.div_ceil(u64::from(emit.mss)).max(1);
                self.stats.segments_out += segments;
                self.stats.bytes_out += payload;
                if payload > 0 {
                    self.stats.data_segments_out += segments;
                    self.seen.sent = now;
                }
            }
            None => {
                self.arm_persist_timer(now);
                self.arm_user_timeout(now);
                self.account(now);
                self.limit_fin_wait_2(now);
            }
        }
        emit
    }

    fn next_emit(&mut self, now: Instant, grant: &Grant) -> Option<Emit> {
        let refusal = self.pending.refusal.take();
        if std::mem::take(&mut self.pending.reset) {
            // It answers what came since too; the peer believes no RST but at what it expects.
            let ack = self.rcv.seq(self.rcv.nxt);
            let flags = Flags::RST.with(Flags::ACK);
            let reset = self.reset_segment(self.snd.seq(self.snd.nxt), ack, flags);
            // RFC 7323 §3.2: a RST of the connection itself should have timestamps.
            let options = self.options(now, 0);
            return Some(Emit { options, ..reset });
        }
        if let Some((seq, ack, flags)) = refusal {
            return Some(self.reset_segment(seq, ack, flags));
        }
        match self.state {
            State::Closed => None,
            State::SynSent | State::SynReceived => self.poll_syn(now, grant),
            State::TimeWait => self.poll_ack(now, grant),
            _ => self.poll_synchronized(now, grant),
        }
    }

    fn poll_synchronized(&mut self, now: Instant, grant: &Grant) -> Option<Emit> {
        // What SACK has to say goes on a bare ACK, where there is room for it.
        let bare = std::mem::take(&mut self.pending.bare);
        if self.acks.now && (bare || self.rcv.has_sack()) {
            return self.poll_ack(now, grant);
        }
        if let Some(probe) = self.pending.probe.take()
            && let Some(emit) = self.probe(now, grant, probe)
        {
            return Some(emit);
        }
        if self.recovery.frto == Frto::Probing
            && let Some((start, end)) = self.next_new(now, grant)
        {
            return Some(self.send_new(now, grant, start, end, Kind::New));
        }
        if let Some((start, end)) = self.next_lost(now, grant) {
            return Some(self.send_again(now, grant, start, end, Kind::Retransmit));
        }
        match self.next_trial(now) {
            Trial::Send(start, end) => return Some(self.send_trial(now, grant, start, end)),
            Trial::Wait => return self.poll_ack(now, grant),
            Trial::No => {}
        }
        if let Some((start, end)) = self.next_new(now, grant) {
            return Some(self.send_new(now, grant, start, end, Kind::New));
        }
        if let Some((start, end)) = self.next_unsure() {
            return Some(self.send_again(now, grant, start, end, Kind::Retransmit));
        }
        self.poll_ack(now, grant)
    }

    fn poll_syn(&mut self, now: Instant, grant: &Grant) -> Option<Emit> {
        if !std::mem::take(&mut self.pending.syn) {
            return match self.rcv.irs {
                Some(_) if self.is_fast_open() => self.poll_synchronized(now, grant),
                Some(_) => self.poll_ack(now, grant),
                None => None,
            };
        }
        if self.snd.nxt == 0 {
            self.snd.nxt = 1;
            self.seen.syn = Some(now);
        }
        self.timers.set(Timer::Rto, now + self.rto());
        let answer = self.rcv.irs.is_some();
        let flags = if answer {
            Flags::SYN.with(Flags::ACK)
        } else {
            Flags::SYN
        };
        let flags = flags.with(self.ecn_on_syn());
        let options = self.syn_options(now);
        // The window of a SYN is never scaled (RFC 7323 §2.2).
        let room = self.clamped(grant.rcv_room);
        let wnd = self.rcv.window(room, self.config.shared_window, 1, 0);
        let syn = Emit {
            wnd,
            ..self.segment(0, flags, options, Kind::Control)
        };
        let syn = self.fast_open_payload(now, syn);
        Some(self.finish(syn))
    }

    fn poll_ack(&mut self, now: Instant, grant: &Grant) -> Option<Emit> {
        if !self.acks.now {
            return None;
        }
        // A peer that shrank its window does not accept what lies far beyond it, not even the
        // acknowledgements that stand there.
        let right = self.snd.right() + (1 << self.snd.wnd.scale);
        let beyond = self.snd.nxt > right && self.is_synchronized();
        let position = if beyond {
            self.snd.right()
        } else {
            self.snd.nxt
        };
        Some(self.bare(now, grant, position, Kind::Ack))
    }

    /// A segment without payload.
    fn bare(&mut self, now: Instant, grant: &Grant, position: u64, kind: Kind) -> Emit {
        let space =
            OPTION_SPACE.saturating_sub(u32::from(grant.ack_options) + self.stamps.option_len());
        let options = self.options(now, space);
        let wnd = self.window(grant);
        let flags = Flags::ACK.with(self.ecn_report(true));
        let emit = self.segment(position, flags, options, kind);
        self.finish(Emit { wnd, ..emit })
    }

    fn probe(&mut self, now: Instant, grant: &Grant, probe: Probe) -> Option<Emit> {
        match probe {
            Probe::Tail => self.tail_probe(now, grant),
            // Before the window: the peer answers with an acknowledgement and its window
            // (RFC 9293 §3.8.4, §3.8.6.1).
            Probe::Alive => Some(self.bare(now, grant, self.snd.una.max(1) - 1, Kind::Probe)),
            Probe::Window => {
                let usable = self.snd.right().min(self.snd.limit());
                if usable > self.snd.nxt && self.snd.una == self.snd.nxt {
                    // A window too small to be worth a segment, for too long: use it
                    // (RFC 9293 §3.8.6.2.1).
                    let start = self.snd.nxt;
                    let end = usable
                        .min(start + u64::from(self.mss()))
                        .min(self.snd.run_end(start));
                    return Some(self.send_new(now, grant, start, end, Kind::Probe));
                }
                Some(self.bare(now, grant, self.snd.una.max(1) - 1, Kind::Probe))
            }
        }
    }

    /// RFC 8985 §7.3: new data if the peer's window has room, else the last segment again.
    fn tail_probe(&mut self, now: Instant, grant: &Grant) -> Option<Emit> {
        if self.snd.nxt == self.snd.una {
            return None;
        }
        self.stats.tail_probes += 1;
        let mss = u64::from(self.mss());
        let start = self.snd.nxt;
        let end = self
            .snd
            .run_end(start)
            .min(start + mss)
            .min(self.snd.right().max(start));
        let again = end <= start;
        let emit = if again {
            let end = self.snd.nxt;
            let mss_before = end - mss.min(end);
            // Of what was sent last: a FIN that left alone is probed alone.
            let sent = self.recovery.board.run_from(end - 1);
            let sent = sent.map_or(0, |run| run.start);
            let start = mss_before.max(self.snd.run_start(end)).max(self.snd.una);
            let start = start.max(sent);
            self.send_again(now, grant, start, end, Kind::Probe)
        } else {
            self.send_new(now, grant, start, end, Kind::Probe)
        };
        let end = self.snd.nxt;
        self.recovery.tail = Some(TailProbe { end, again });
        // Only one probe: what follows is the retransmission timer's business.
        self.timers.stop(Timer::Tlp);
        self.timers.set(Timer::Rto, now + self.rto());
        Some(emit)
    }

    /// The next lost range to send again, as far as the window allows.
    fn next_lost(&mut self, now: Instant, grant: &Grant) -> Option<(u64, u64)> {
        let (start, end) = self.recovery.board.lost().first()?;
        let mss = u64::from(self.mss());
        let wanted = end.min(self.snd.run_end(start)) - start;
        let pipe = self.recovery.pipe();
        let room = self.cwnd().saturating_sub(pipe);
        let size = if room >= wanted.min(mss) {
            whole_segments(wanted.min(self.frame(grant.gso_max)), room, mss)
        } else if self.recovery.force || pipe == 0 {
            wanted.min(mss)
        } else {
            self.control.usage.blocked[0] = true;
            return None;
        };
        if !self.recovery.force && !self.may_leave(now) {
            return None;
        }
        self.recovery.force = false;
        Some((start, start + size))
    }

    /// The next range to send for the first time.
    fn next_new(&mut self, now: Instant, grant: &Grant) -> Option<(u64, u64)> {
        let start = self.snd.nxt;
        let run_end = self.snd.run_end(start);
        if start >= run_end {
            return None;
        }
        // Not while the peer's window is closed: the pause lasts until something can leave.
        if self.snd.una == start && self.snd.right() > start {
            self.restart(now);
        }
        let mss = u64::from(self.mss());
        let mut window = self.snd.right().saturating_sub(start);
        if self.snd.fin && self.snd.right() == self.snd.end && run_end == self.snd.limit() {
            // A FIN takes no room at the receiver, so it may stand just outside the window.
            window += 1;
        }
        let pipe = self.recovery.pipe();
        let mut room = self.cwnd().saturating_sub(pipe);
        if pipe == 0 {
            room = room.max(mss);
        }
        let wanted = run_end - start;
        let least = wanted.min(mss);
        if start == self.snd.end {
            // A FIN alone is no payload, which is what the window counts (RFC 5681 §2).
            room = room.max(1);
        }
        if room < least {
            self.control.usage.blocked[0] = true;
            return None;
        }
        if window < least && (window == 0 || window < u64::from(self.snd.wnd.max) / 2) {
            return None;
        }
        let frame = self.new_frame(grant.gso_max);
        let allowed = wanted.min(frame).min(window).min(room);
        if allowed < wanted.min(frame) && self.worth_waiting(now, allowed, frame) {
            self.control.usage.blocked[0] |= room < window;
            return None;
        }
        let size = if allowed == wanted {
            wanted
        } else {
            whole_segments(allowed, allowed, mss)
        };
        let size = self.hold_back(now, start, size, mss)?;
        self.may_leave(now).then_some((start, start + size))
    }

    /// Whether a larger super-frame can be had by waiting for the acknowledgements that most of
    /// the window has under way: each emit costs about the same, whatever its size. What is saved
    /// up leaves in one burst, which a slow link has to queue: no more than [`BURST_TIME`] of it.
    fn worth_waiting(&self, now: Instant, allowed: u64, frame: u64) -> bool {
        let mss = u64::from(self.mss());
        let limit = self.cwnd().min(u64::from(self.snd.wnd.size));
        let rtt = self.rtt.srtt().unwrap_or_default().as_nanos().max(1);
        let burst = BURST_TIME.as_nanos() * u128::from(limit) / rtt;
        let burst = u64::try_from(burst).unwrap_or(u64::MAX).max(2 * mss);
        let steady = self.recovery.is_quiet() && self.recovery.pipe() > 0;
        // An acknowledgement is to be expected soon: not if all was sent just now.
        let oldest = self.recovery.board.run_from(self.snd.una);
        let half = self.rtt.srtt().unwrap_or_default() / 2;
        let due = oldest.is_some_and(|run| now.since(run.sent_at) >= half);
        steady && due && frame > mss && allowed < frame.min(limit / 4).min(burst)
    }

    pub(crate) fn send_new(
        &mut self,
        now: Instant,
        grant: &Grant,
        start: u64,
        end: u64,
        kind: Kind,
    ) -> Emit {
        let idle = self.snd.una == self.snd.nxt;
        let probes_window = kind == Kind::Probe && idle;
        if idle {
            self.seen.progress = now;
        }
        let stamp = self.note_sent(now, end - start);
        self.recovery.board.sent(start, end, now, stamp);
        self.snd.nxt = end;
        // A segment cut short by a boundary within the queue is not a small write.
        if end == self.snd.end && !(end - start).is_multiple_of(u64::from(self.mss())) {
            self.snd.small = end;
        }
        let mut emit = self.data(now, grant, start, end, kind);
        // What probes a window may not be marked, nor what has no payload (RFC 3168 §6.1.6).
        if !emit.rel.is_empty() && !probes_window {
            let (ecn, flags) = self.ecn_on_data();
            emit.ecn = ecn;
            emit.flags = emit.flags.with(flags);
        }
        // A running retransmission timer is not put off by what is sent (RFC 6298 §5.1).
        if idle || !self.timers.is_set(Timer::Rto) {
            self.arm_loss_timer(now);
        }
        emit
    }

    fn send_again(
        &mut self,
        now: Instant,
        grant: &Grant,
        start: u64,
        end: u64,
        kind: Kind,
    ) -> Emit {
        let payload = self.snd.rel(end) - self.snd.rel(start);
        self.stats.bytes_retransmitted += payload;
        self.stats.retransmits += (end - start).div_ceil(u64::from(self.mss()));
        let stamp = self.note_sent(now, end - start);
        self.recovery.board.sent_again(start, end, now, stamp);
        if self.agreed.sack && self.config.retransmit.rack {
            self.recovery.rack.sent_again(start, end, now);
        }
        if kind == Kind::Retransmit {
            let tsval = self.stamps.on.then(|| self.stamps.val(now));
            let undo = &mut self.recovery.undo;
            if undo.unreported == 0 {
                undo.first_tsval = tsval;
            }
            undo.unreported += end - start;
        }
        let emit = self.data(now, grant, start, end, kind);
        let first = start == self.snd.una && !self.recovery.reno.partial;
        if first || !self.timers.is_set(Timer::Rto) {
            self.arm_loss_timer(now);
        }
        emit
    }

    /// A segment with payload, or FIN, or both.
    fn data(&mut self, now: Instant, grant: &Grant, start: u64, end: u64, kind: Kind) -> Emit {
        let fin = end > self.snd.end;
        let payload = (end - start - u64::from(fin)) as u32;
        let mut flags = Flags::ACK.with(self.ecn_report(false));
        if end >= self.snd.end && payload > 0 {
            flags = flags.with(Flags::PSH);
        }
        if fin {
            flags = flags.with(Flags::FIN);
        }
        // SACK only where it takes nothing from the payload.
        let spare = self
            .agreed
            .mss
            .saturating_sub(payload + self.stamps.option_len() + u32::from(grant.data_options));
        let space = OPTION_SPACE
            .saturating_sub(u32::from(grant.data_options) + self.stamps.option_len())
            .min(spare);
        let options = self.options(now, space);
        let wnd = self.window(grant);
        let kind = if fin { Kind::Control } else { kind };
        let rel = self.snd.rel(start)..self.snd.rel(end);
        let emit = self.segment(start, flags, options, kind);
        self.acks.rides_on_data(payload > 0);
        self.finish(Emit { rel, wnd, ..emit })
    }

    fn segment(&self, position: u64, flags: Flags, options: Options, kind: Kind) -> Emit {
        Emit {
            rel: 0..0,
            seq: self.snd.seq(position),
            ack: if flags.has(Flags::ACK) {
                self.rcv.seq(self.rcv.nxt)
            } else {
                Seq(0)
            },
            wnd: 0,
            flags,
            options,
            kind,
            mss: self.mss() as u16,
            ecn: 0,
        }
    }

    fn reset_segment(&self, seq: Seq, ack: Seq, flags: Flags) -> Emit {
        let options = Options::Segment(SegmentOptions::default());
        Emit {
            seq,
            ack,
            ..self.segment(0, flags, options, Kind::Control)
        }
    }

    /// What every segment with an ACK does.
    fn finish(&mut self, emit: Emit) -> Emit {
        if emit.flags.has(Flags::ACK) {
            self.acks.sent();
            self.timers.stop(Timer::DelayedAck);
            self.stamps.last_ack_sent = self.rcv.nxt;
        }
        emit
    }

    /// Timestamps, and SACK blocks if `space` bytes allow: 4 for the option with padding, 8 each;
    /// accurate ECN if there is still space.
    fn options(&mut self, now: Instant, space: u32) -> Options {
        let most = (space.saturating_sub(4) / 8) as usize;
        let sack = if self.agreed.sack && self.rcv.has_sack() {
            self.rcv.sack_blocks(most.min(4))
        } else {
            SackBlocks::new()
        };
        let timestamps = self.stamps.on.then(|| self.stamps.make(now));
        let taken = if sack.is_empty() {
            0
        } else {
            4 + 8 * sack.len() as u32
        };
        let acc_ecn = self.ecn_option(space.saturating_sub(taken));
        Options::Segment(SegmentOptions {
            timestamps,
            sack,
            acc_ecn,
        })
    }

    /// Receive room as far as it may be advertised.
    pub(crate) fn clamped(&self, room: u32) -> u32 {
        self.config
            .socket
            .window_clamp
            .map_or(room, |clamp| room.min(clamp))
    }

    fn window(&mut self, grant: &Grant) -> u16 {
        let step = u64::from(self.agreed.mss).min(self.half_buffer()).max(1);
        let scale = self.rcv.scale;
        let room = self.clamped(grant.rcv_room);
        self.rcv
            .window(room, self.config.shared_window, step, scale)
    }
}

/// As much of `wanted` as `room` allows, in whole segments unless it is all.
fn whole_segments(wanted: u64, room: u64, mss: u64) -> u64 {
    if wanted <= room && (wanted.is_multiple_of(mss) || wanted < mss) {
        return wanted;
    }
    let size = wanted.min(room);
    if size < mss { size } else { size / mss * mss }
}
