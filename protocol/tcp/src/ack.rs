//! Acknowledgements that arrive: RFC 9293 §3.10.7.4 (fifth), SACK (RFC 2018, RFC 2883), and what
//! they mean for loss recovery and the congestion window.

mod spurious;

use crate::input::stamps_of;
use crate::recovery::frto::Frto;
use crate::recovery::prr::Prr;
use crate::recovery::scoreboard::Run;
use crate::recovery::{DUP_THRESH, Phase, Recovery};
use crate::segment::{Change, Segment};
use crate::stamps::{self, before};
use crate::timers::Timer;
use crate::{Instant, State, Tcb};
use anabranch_wire::tcp::{Flags, Options};
use smallvec::SmallVec;
use std::time::Duration;

/// What an acknowledgement did.
pub(crate) struct Acked {
    /// `snd_una` or the window moved.
    pub(crate) progress: bool,
    pub(crate) change: Change,
}

/// What an acknowledgement said that was new.
#[derive(Debug, Default)]
struct News {
    /// Sequence space it acknowledged cumulatively.
    acked: u64,
    /// Sequence space delivered, in order or not.
    delivered: u64,
    /// When the first and the last part of it was sent, of what was sent once.
    first_sent: Option<Instant>,
    last_sent: Option<Instant>,
    /// The part of it that was sent last.
    newest: Option<Run>,
    /// It acknowledged cumulatively something that was sent more than once.
    again: bool,
    /// It acknowledged cumulatively something that was sent again since the last reduction.
    recovered: bool,
    /// Reported as received twice.
    dsack: Option<Duplicate>,
    /// Something that was sent once, before recovery began, was delivered.
    original: bool,
    /// Where the recovery that lasts ends.
    point: u64,
    /// TSecr.
    ecr: Option<u32>,
    /// It reported packets that the network marked.
    marked: bool,
}

/// A DSACK (RFC 2883).
#[derive(Clone, Copy, Debug)]
struct Duplicate {
    end: u64,
    bytes: u64,
    /// It answers a tail-loss probe: neither reordering nor a needless recovery.
    probe: bool,
}

impl Tcb {
    /// The acknowledgement of an acceptable segment. `None`: it is out of range, and the segment
    /// is to be dropped (RFC 5961 §5).
    pub(crate) fn take_ack(&mut self, now: Instant, segment: &Segment) -> Option<Acked> {
        let una = self.snd.una;
        let ack = self.snd.position(segment.ack);
        if ack > self.snd.nxt as i64 || ack < una as i64 - i64::from(self.snd.wnd.max) {
            self.stats.dropped += 1;
            self.challenge(now);
            return None;
        }
        self.check_app_limited();
        // An echo of 0 is none (RFC 7323 §3.2).
        let stamps = stamps_of(segment).filter(|stamps| self.stamps.on && stamps.ecr != 0);
        let ecr = stamps.map(|stamps| stamps.ecr);
        let mut news = News {
            ecr,
            point: self.recovery.point,
            ..News::default()
        };
        if ack > una as i64 {
            self.advance_una(now, ack as u64, &mut news);
        }
        self.take_sack(now, segment, ack, &mut news);
        let right = self.snd.right();
        if ack >= una as i64 {
            let wnd = self.scaled_window(segment);
            self.snd.wnd.update(una, segment.seq, ack as u64, wnd);
        }
        let moved = self.snd.right() != right;
        if news.acked > 0 || (moved && self.snd.right() > self.snd.nxt) {
            self.restart_user_timeout();
        }
        if self.snd.right() > self.snd.nxt && !self.snd.blocked {
            self.pending.window_backoff = 0;
            self.timers.stop(Timer::Persist);
        }
        if !self.agreed.sack {
            self.count_duplicate(segment, ack == una as i64 && !moved, &mut news);
        }
        news.marked = self.reports_mark(segment, news.acked > 0 || news.delivered > 0);
        if self.snd.nxt > una || news.dsack.is_some() || self.recovery.tail.is_some() {
            self.recover(now, &news);
        }
        let change = if news.acked > 0 {
            self.fin_may_be_acked(now)
        } else {
            Change::None
        };
        Some(Acked {
            progress: moved || news.acked > 0,
            change,
        })
    }

    fn advance_una(&mut self, now: Instant, ack: u64, news: &mut News) {
        let payload = self.snd.rel(ack) - self.snd.rel(self.snd.una);
        news.acked = ack - self.snd.una;
        self.stats.bytes_acked += payload;
        self.seen.progress = now;
        self.rtt.progress();
        let early = self.echo_precedes(news.ecr);
        let Recovery {
            board, rack, undo, ..
        } = &mut self.recovery;
        let rtt = &self.rtt;
        board.acked(ack, |piece| {
            rack.delivered(now, piece, early(piece.sent_at), rtt);
            news.again |= piece.again;
            news.recovered |= piece.again && undo.since.is_some_and(|at| at <= piece.sent_at);
            news.note(piece);
        });
        self.snd.acked(ack);
    }

    /// The SYN+ACK acknowledges this much: the payload of our SYN perhaps.
    pub(crate) fn syn_payload_acked(&mut self, now: Instant, ack: u64) {
        if ack > self.snd.una {
            self.advance_una(now, ack, &mut News::default());
            self.arm_loss_timer(now);
        }
    }

    fn take_sack(&mut self, now: Instant, segment: &Segment, ack: i64, news: &mut News) {
        let Options::Segment(options) = &segment.options else {
            return;
        };
        if options.sack.is_empty() || !self.agreed.sack {
            return;
        }
        let mut blocks: SmallVec<[(i64, i64); 4]> = options
            .sack
            .iter()
            .map(|(l, r)| (self.snd.position(*l), self.snd.position(*r)))
            .collect();
        if let Some(duplicate) = reported_twice(&blocks, ack, self.snd.wnd.max) {
            self.stats.dsacks += 1;
            blocks.remove(0);
            news.dsack = self.believe(duplicate);
        }
        // In order of position, so that a later block is not taken for reordering.
        blocks.sort_unstable();
        let mss = u64::from(self.mss());
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let Recovery { board, rack, .. } = &mut self.recovery;
        let rtt = &self.rtt;
        // An honest peer acknowledges whole wire segments: there cannot be many more ranges.
        let most = ((nxt - una) / (mss / 2).max(1)) as usize + 64;
        for (left, right) in blocks {
            let valid = left < right && left > una as i64 && right <= nxt as i64;
            let (left, right) = (left as u64, right as u64);
            if valid && (board.sacked().len() < most || board.sacked().touches(left, right)) {
                board.sack(left, right, |piece| {
                    // What comes out of order is not echoed (RFC 7323 §4.3): an old echo says
                    // nothing about which transmission of it arrived.
                    rack.delivered(now, piece, false, rtt);
                    news.note(piece);
                });
            }
        }
    }

    /// A duplicate that we may have caused: no more can arrive twice than was sent again. The rest
    /// was made by the network, or is a lie.
    fn believe(&mut self, (start, end): (i64, i64)) -> Option<Duplicate> {
        let bytes = (end - start) as u64;
        let dsacked = self.recovery.dsacked + bytes;
        if dsacked > self.stats.bytes_retransmitted || end <= 0 {
            return None;
        }
        self.recovery.dsacked = dsacked;
        let end = end as u64;
        let probe = self.recovery.tail.is_some_and(|p| p.again && p.end == end);
        Some(Duplicate { end, bytes, probe })
    }

    /// Whether a transmission at some time was after the segment that is echoed was sent: an
    /// earlier transmission arrived (RFC 8985 §6.2 step 2).
    fn echo_precedes(&self, ecr: Option<u32>) -> impl Fn(Instant) -> bool + use<> {
        let offset = self.stamps.offset();
        move |sent_at| ecr.is_some_and(|ecr| before(ecr, stamps::val(offset, sent_at)))
    }

    /// Without SACK a duplicate acknowledgement says that one segment left the network
    /// (RFC 5681 §2).
    fn count_duplicate(&mut self, segment: &Segment, unmoved: bool, news: &mut News) {
        let mss = u64::from(self.mss());
        let reno = &mut self.recovery.reno;
        if news.acked > 0 {
            let stood_for = reno.sacked.min(news.acked.saturating_sub(mss));
            reno.sacked -= stood_for;
            reno.dup_acks = 0;
            news.delivered = news.acked - stood_for;
            if self.recovery.phase == Phase::Open {
                reno.sacked = 0;
            }
            return;
        }
        let bare = segment.len == 0 && !segment.flags.has(Flags::FIN) && !segment.signal_only;
        let outstanding = self.recovery.board.pipe();
        if unmoved && bare && outstanding > 0 && self.recovery.phase != Phase::Loss {
            reno.dup_acks += 1;
            reno.sacked = (reno.sacked + mss).min(outstanding);
            news.delivered = mss;
        }
    }

    /// Loss recovery and congestion control after an acknowledgement.
    fn recover(&mut self, now: Instant, news: &News) {
        self.measure(now, news);
        self.look_for_undo(news);
        self.judge_timeout(news);
        self.settle_tail_probe(now, news);
        self.settle_trial(now);
        let newly_lost = self.detect_losses(now, news.acked > 0);
        let una = self.snd.una;
        let phase = self.recovery.phase;
        if phase != Phase::Open && una >= self.recovery.point {
            self.recovered();
        }
        self.count_timeout(now);
        let lost = !self.recovery.board.lost().is_empty();
        if lost && self.recovery.phase == Phase::Open && !self.trial_failed(now) {
            self.enter_recovery(now);
            self.recovery.prr.includes(news.delivered);
        }
        if self.recovery.phase == Phase::Recovery {
            let safe = news.acked > 0 && newly_lost == 0;
            let (pipe, mss, ssthresh) =
                (self.recovery.pipe(), self.mss(), self.control.cc.ssthresh());
            let prr = &mut self.recovery.prr;
            prr.on_ack(news.delivered, pipe, ssthresh, mss, safe);
        }
        self.tell(now, news, newly_lost);
        if news.marked {
            // The window does not grow by such an acknowledgement either (RFC 3168 §6.1.2).
            if self.recovery.phase == Phase::Open {
                self.react_to_mark(now);
            }
        } else if phase != Phase::Recovery && self.may_grow(news) {
            let ack = self.ack_of(now, news.delivered, news.last_sent);
            self.control.cc.on_ack(&ack);
        }
        let probing = self.timers.is_set(Timer::Tlp) && !self.may_probe_tail();
        if (news.acked > 0 && !self.impatient(phase)) || probing {
            self.arm_loss_timer(now);
        }
    }

    /// Tell the controller what an acknowledgement delivered and lost.
    fn tell(&mut self, now: Instant, news: &News, newly_lost: u64) {
        if news.delivered == 0 && newly_lost == 0 {
            return;
        }
        let min_rtt = self.rtt.min().unwrap_or_default();
        let sampler = &mut self.control.sampler;
        let sample = sampler.on_delivered(now, news.delivered, news.newest, min_rtt);
        self.tell_losses();
        let ack = self.ack_of(now, news.delivered, news.last_sent);
        self.tell_sample(&ack, sample, newly_lost);
    }

    /// Not during fast recovery. Where the network reorders, what is sacked is progress too.
    fn may_grow(&self, news: &News) -> bool {
        let reorders = self.agreed.sack && self.recovery.rack.reordering_seen();
        let forward = news.acked > 0 || (reorders && news.delivered > 0);
        forward && self.recovery.phase != Phase::Recovery
    }

    /// Without SACK only the first partial acknowledgement restarts the timer (RFC 6582 §3.2).
    fn impatient(&mut self, before: Phase) -> bool {
        let partial = !self.agreed.sack
            && before == Phase::Recovery
            && self.recovery.phase == Phase::Recovery;
        partial && std::mem::replace(&mut self.recovery.reno.partial, true)
    }

    /// Take the round-trip time where it is unambiguous (Karn): by when the first of what is
    /// acknowledged was sent, which counts the delay of a delayed acknowledgement in, or by the
    /// timestamp.
    fn measure(&mut self, now: Instant, news: &News) {
        match (news.first_sent, news.last_sent) {
            (Some(first), Some(last)) if !news.again => {
                let from = if news.acked > 0 { first } else { last };
                self.rtt.sample(now, now.since(from));
                self.rtt.sample_min(now, now.since(last));
            }
            _ if news.acked > 0 => {
                if let Some(rtt) = news.ecr.and_then(|ecr| self.stamps.rtt(ecr, now)) {
                    self.rtt.sample(now, rtt);
                }
            }
            _ => {}
        }
    }

    /// The round-trip time by the timestamp echoed in `segment`.
    pub(crate) fn echoed_rtt(&self, now: Instant, segment: &Segment) -> Option<Duration> {
        let stamps = stamps_of(segment).filter(|_| self.stamps.on)?;
        self.stamps.rtt(stamps.ecr, now)
    }

    /// What became of a tail-loss probe (RFC 8985 §7.4.2).
    fn settle_tail_probe(&mut self, now: Instant, news: &News) {
        let una = self.snd.una;
        let Some(probe) = self.recovery.tail.filter(|p| una >= p.end) else {
            return;
        };
        let bare = news.acked == 0 && news.delivered == 0;
        if !probe.again || news.dsack.is_some() || bare {
            self.recovery.tail = None;
        } else if una > probe.end {
            // No duplicate was reported: only the probe arrived, what it repeated had been lost.
            self.recovery.tail = None;
            if self.recovery.phase == Phase::Open {
                self.control
                    .cc
                    .on_loss(now, self.control.cc.cwnd(), self.mss());
            }
        }
    }

    /// Mark what is lost; gives back how many bytes.
    pub(crate) fn detect_losses(&mut self, now: Instant, advanced: bool) -> u64 {
        if !self.agreed.sack {
            return self.detect_losses_reno(advanced);
        }
        let una = self.snd.una;
        let mss = self.mss();
        if !self.config.retransmit.rack {
            let Recovery { board, count, .. } = &mut self.recovery;
            return count.detect(board, una, u64::from(mss));
        }
        let recovery = &mut self.recovery;
        let eager = recovery.phase != Phase::Open || recovery.segments_sacked(mss) >= DUP_THRESH;
        let reo_wnd = recovery.rack.reo_wnd(eager, &self.rtt);
        let (lost, look) = recovery.rack.detect(now, &mut recovery.board, una, reo_wnd);
        match look {
            Some(at) => self.timers.set(Timer::Reorder, at),
            None => self.timers.stop(Timer::Reorder),
        }
        lost
    }

    /// NewReno (RFC 6582): the first outstanding segment is lost after three duplicates, and
    /// again after each partial acknowledgement.
    fn detect_losses_reno(&mut self, advanced: bool) -> u64 {
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let mss = u64::from(self.mss());
        let recovery = &mut self.recovery;
        let lost = match recovery.phase {
            Phase::Open => u64::from(recovery.reno.dup_acks) >= DUP_THRESH && una > recovery.point,
            Phase::Recovery => advanced && una < recovery.point,
            Phase::Loss => false,
        };
        if !lost {
            return 0;
        }
        // RFC 6582 §3.2 step 3: it goes at once.
        recovery.force = true;
        recovery.board.mark_lost(una, nxt.min(una + mss))
    }

    /// A loss was found (RFC 6675 §5 step 4): one reduction until all that is outstanding now is
    /// acknowledged.
    pub(crate) fn enter_recovery(&mut self, now: Instant) {
        // What was in use lately, for a filled hole may just have ended most of it (RFC 7661 §4.4.1).
        let flight = (self.snd.nxt - self.snd.una).max(self.used_lately());
        let mss = self.mss();
        self.stats.recoveries += 1;
        self.control.cc.on_loss(now, flight, mss);
        self.window_reduced();
        let recovery = &mut self.recovery;
        recovery.phase = Phase::Recovery;
        recovery.point = self.snd.nxt;
        let pipe = recovery.pipe();
        recovery.prr = Prr::start(pipe + recovery.board.lost().bytes(), pipe);
        recovery.force = true;
        recovery.tail = None;
        recovery.arm_undo(now, self.snd.una);
        recovery.count.recovery_begins();
        self.arm_loss_timer(now);
    }

    /// What is outstanding was marked lost though not by congestion: it goes again as after a
    /// timeout, but with the window as it is.
    pub(crate) fn resend_after_path_change(&mut self, now: Instant) {
        let recovery = &mut self.recovery;
        if recovery.phase == Phase::Open {
            recovery.phase = Phase::Loss;
            recovery.point = self.snd.nxt;
            recovery.undo = Default::default();
        }
        recovery.tail = None;
        self.arm_loss_timer(now);
    }

    /// All that was outstanding when recovery began is acknowledged.
    fn recovered(&mut self) {
        let recovery = &mut self.recovery;
        recovery.phase = Phase::Open;
        recovery.frto = Frto::Off;
        recovery.force = false;
        recovery.rack.recovered();
        recovery.reno = Default::default();
        recovery.undo.until = Some(self.snd.nxt);
        self.control.cc.recovered();
    }

    /// A recovery from timeouts that is over.
    fn count_timeout(&mut self, now: Instant) {
        if self.recovery.phase == Phase::Open
            && let Some(since) = self.recovery.loss_since.take()
        {
            self.stats.rto_recoveries += 1;
            self.stats.rto_time += now.since(since);
        }
    }

    fn fin_may_be_acked(&mut self, now: Instant) -> Change {
        if !self.snd.fin_acked() {
            return Change::None;
        }
        match self.state {
            State::FinWait1 => {
                self.state = State::FinWait2;
                Change::None
            }
            State::Closing => self.enter_time_wait(now),
            State::LastAck => {
                self.become_closed();
                Change::Closed
            }
            _ => Change::None,
        }
    }
}

impl News {
    fn note(&mut self, piece: Run) {
        self.delivered += piece.end - piece.start;
        let later = |than: Run| (piece.sent_at, piece.end) > (than.sent_at, than.end);
        if self.newest.is_none_or(later) {
            self.newest = Some(piece);
        }
        if !piece.again {
            self.original |= piece.start < self.point;
            self.first_sent = Some(
                self.first_sent
                    .map_or(piece.sent_at, |t| t.min(piece.sent_at)),
            );
            self.last_sent = Some(
                self.last_sent
                    .map_or(piece.sent_at, |t| t.max(piece.sent_at)),
            );
        }
    }
}

/// The first block if it reports a duplicate (RFC 2883 §4): below the acknowledgement,
/// though not further than can be, or within the second block.
fn reported_twice(blocks: &[(i64, i64)], ack: i64, window: u32) -> Option<(i64, i64)> {
    let (left, right) = *blocks.first()?;
    if left >= right || left < ack - 2 * i64::from(window) {
        return None;
    }
    let within = blocks
        .get(1)
        .is_some_and(|second| second.0 <= left && right <= second.1);
    (right <= ack || within).then_some((left, right))
}
