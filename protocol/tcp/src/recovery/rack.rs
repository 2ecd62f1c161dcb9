//! RACK: loss found by time (RFC 8985 §6).
//!
//! A segment is lost when one sent later was delivered and a reordering window has passed. First
//! transmissions are sent in order of position, so one position (`judged`) remembers how far they
//! have been looked at; retransmissions wait in a queue in the order they were sent. Nothing is
//! looked at twice.

use super::scoreboard::{Run, Scoreboard};
use crate::Instant;
use crate::recovery::rtt::Rtt;
use std::collections::VecDeque;
use std::time::Duration;

/// Recoveries without a DSACK after which the reordering window shrinks again (RFC 8985 §6.2).
const PERSIST: u8 = 16;

#[derive(Debug, Default)]
pub(crate) struct Rack {
    /// When the most recently sent segment among those delivered was sent, and its end.
    newest: Option<(Instant, u64)>,
    /// The round-trip time of what was delivered latest.
    rtt: Duration,
    /// Highest position delivered.
    fack: u64,
    reordering_seen: bool,
    /// The farthest that something never sent again was overtaken, bytes.
    pub(crate) reordering: u64,
    /// How often something came that had been overtaken.
    pub(crate) reorderings: u32,
    reo_wnd_mult: u8,
    reo_wnd_persist: u8,
    /// End of the round in which a DSACK widened the window.
    dsack_round: Option<u64>,
    /// First transmissions before this are delivered or were marked lost.
    judged: u64,
    /// Retransmissions in the order they were sent.
    resent: VecDeque<(u64, u64, Instant)>,
}

crate::packed!(Rack {
    newest,
    rtt,
    fack,
    reordering_seen,
    reordering,
    reorderings,
    reo_wnd_mult,
    reo_wnd_persist,
    dsack_round,
    judged,
    resent
});

impl Rack {
    /// Step 2 and 3: a piece was delivered. `early`: it was echoed with a timestamp from before it
    /// was last sent, so an earlier transmission of it arrived.
    pub(crate) fn delivered(&mut self, now: Instant, piece: Run, early: bool, rtt: &Rtt) {
        if piece.end > self.fack {
            self.fack = piece.end;
        } else if piece.end < self.fack && !piece.again {
            self.reordering_seen = true;
            self.reordering = self.reordering.max(self.fack - piece.start);
            self.reorderings = self.reorderings.saturating_add(1);
        }
        let passed = now.since(piece.sent_at);
        if piece.again && (early || rtt.min().is_some_and(|min| passed < min)) {
            return;
        }
        // Also of what was not sent last: when an original arrives together with a later
        // retransmission, others sent with it may be as late.
        self.rtt = passed;
        if self
            .newest
            .is_none_or(|newest| newest <= (piece.sent_at, piece.end))
        {
            self.newest = Some((piece.sent_at, piece.end));
        }
    }

    /// The retransmission timer expired: what was sent `late` or longer ago is lost, and is not
    /// waited for.
    pub(crate) fn timed_out(&mut self, now: Instant, late: Duration) {
        let lost = self.resent.partition_point(|r| now.since(r.2) >= late);
        self.resent.drain(..lost);
    }

    /// Retransmissions waited for.
    pub(crate) fn waiting(&self) -> usize {
        self.resent.len()
    }

    /// `[start, end)` was sent again.
    pub(crate) fn sent_again(&mut self, start: u64, end: u64, now: Instant) {
        self.resent.push_back((start, end, now));
    }

    /// A timeout proved spurious: what seemed to acknowledge its retransmission did not.
    pub(crate) fn forget_newest(&mut self) {
        self.newest = None;
    }

    /// A recovery proved spurious: what was believed to be lost was late.
    pub(crate) fn reordering(&mut self) {
        self.reordering_seen = true;
    }

    /// Whether the network was seen to reorder.
    pub(crate) fn reordering_seen(&self) -> bool {
        self.reordering_seen
    }

    /// The peer reported that it got something twice.
    pub(crate) fn on_dsack(&mut self, una: u64, nxt: u64) {
        if self.dsack_round.is_none_or(|round| una >= round) {
            self.dsack_round = Some(nxt);
            self.reo_wnd_mult = self.reo_wnd_mult.saturating_add(1);
            self.reo_wnd_persist = PERSIST;
        }
    }

    /// A recovery ended.
    pub(crate) fn recovered(&mut self) {
        self.reo_wnd_persist = self.reo_wnd_persist.saturating_sub(1);
        if self.reo_wnd_persist == 0 {
            self.reo_wnd_mult = 0;
        }
    }

    /// Losses were declared in vain: look at everything again.
    pub(crate) fn rejudge(&mut self, una: u64) {
        self.judged = una;
    }

    /// Step 4. `eager`: in recovery, or three segments are sacked.
    pub(crate) fn reo_wnd(&self, eager: bool, rtt: &Rtt) -> Duration {
        if !self.reordering_seen && eager {
            return Duration::ZERO;
        }
        let quarter = rtt.min().unwrap_or_default() / 4;
        let mult = u32::from(self.reo_wnd_mult) + 1;
        (quarter * mult).min(rtt.srtt().unwrap_or_default())
    }

    /// How long after being sent a segment is late.
    pub(crate) fn rtt(&self) -> Duration {
        self.rtt
    }

    /// Step 5: marks what is lost. Gives back how many bytes, and when to look again.
    pub(crate) fn detect(
        &mut self,
        now: Instant,
        board: &mut Scoreboard,
        una: u64,
        reo_wnd: Duration,
    ) -> (u64, Option<Instant>) {
        let Some(newest) = self.newest else {
            return (0, None);
        };
        let wait = self.rtt + reo_wnd;
        let (lost_first, look_first) = self.judge_first(now, board, una, newest, wait);
        let (lost_again, look_again) = self.judge_resent(now, board, una, newest, wait);
        let look = match (look_first, look_again) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        (lost_first + lost_again, look)
    }

    fn judge_first(
        &mut self,
        now: Instant,
        board: &mut Scoreboard,
        una: u64,
        newest: (Instant, u64),
        wait: Duration,
    ) -> (u64, Option<Instant>) {
        let mut lost = 0;
        self.judged = self.judged.max(una);
        while let Some(run) = board.run_from(self.judged) {
            let late_end = match run.sent_at.cmp(&newest.0) {
                _ if run.again => run.end,
                std::cmp::Ordering::Less => run.end,
                std::cmp::Ordering::Equal => run.end.min(newest.1),
                std::cmp::Ordering::Greater => break,
            };
            if late_end <= self.judged {
                break;
            }
            if !run.again && !board.sacked().covers(self.judged, late_end) {
                let deadline = run.sent_at + wait;
                if now < deadline {
                    return (lost, Some(deadline));
                }
                lost += board.mark_lost(self.judged, late_end);
            }
            self.judged = late_end;
            if late_end < run.end {
                break;
            }
        }
        (lost, None)
    }

    fn judge_resent(
        &mut self,
        now: Instant,
        board: &mut Scoreboard,
        una: u64,
        newest: (Instant, u64),
        wait: Duration,
    ) -> (u64, Option<Instant>) {
        let mut lost = 0;
        while let Some(&(start, end, sent_at)) = self.resent.front() {
            let start = start.max(una);
            if start < end && !board.sacked().covers(start, end) {
                if (sent_at, end) > newest {
                    break;
                }
                let deadline = sent_at + wait;
                if now < deadline {
                    return (lost, Some(deadline));
                }
                // Parts of it may have been sent again since: those have a later time.
                let parts: smallvec::SmallVec<[Run; 4]> = board
                    .runs_from(start)
                    .take_while(|r| r.start < end)
                    .filter(|r| r.again && r.sent_at == sent_at)
                    .copied()
                    .collect();
                for part in parts {
                    lost += board.mark_lost(part.start.max(start), part.end.min(end));
                }
            }
            self.resent.pop_front();
        }
        (lost, None)
    }
}
