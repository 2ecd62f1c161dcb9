//! What is outstanding: runs of sequence space with the time each was last sent, and which parts
//! were selectively acknowledged or lost (RFC 6675).
//!
//! A 64 KB super-frame is one run. What a SACK says is kept beside the runs as ranges, so a run is
//! divided only when a part of it is sent again, and every position is visited once when it is
//! sent, once when it is delivered, and once each time it is lost.

use crate::Instant;
use crate::ranges::RangeSet;
use crate::rate::Stamp;
use std::collections::VecDeque;
use std::time::Duration;

/// A part of sequence space sent at one time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Run {
    pub(crate) start: u64,
    pub(crate) end: u64,
    /// When it was last sent.
    pub(crate) sent_at: Instant,
    /// It was sent more than once.
    pub(crate) again: bool,
    /// What had been delivered when it was last sent.
    pub(crate) stamp: Stamp,
}

/// Outstanding sequence space.
#[derive(Debug, Default)]
pub(crate) struct Scoreboard {
    /// Contiguous, from `snd_una` to `snd_nxt`.
    runs: VecDeque<Run>,
    sacked: RangeSet,
    /// Lost and not sent again since; disjoint from `sacked`.
    lost: RangeSet,
    /// Bytes ever marked lost.
    lost_ever: u64,
    /// What was marked lost since somebody asked.
    fresh: Vec<Run>,
}

crate::packed!(Scoreboard { sacked, lost, lost_ever } empty { runs, fresh });

impl Scoreboard {
    pub(crate) fn sacked(&self) -> &RangeSet {
        &self.sacked
    }

    pub(crate) fn lost(&self) -> &RangeSet {
        &self.lost
    }

    /// Runs and ranges kept.
    pub(crate) fn entries(&self) -> usize {
        self.runs.len() + self.sacked.len() + self.lost.len()
    }

    pub(crate) fn outstanding(&self) -> u64 {
        match (self.runs.front(), self.runs.back()) {
            (Some(first), Some(last)) => last.end - first.start,
            _ => 0,
        }
    }

    /// Bytes believed to be in the network (RFC 6675 §4 SetPipe: what is lost and was sent again
    /// counts once).
    pub(crate) fn pipe(&self) -> u64 {
        self.outstanding() - self.sacked.bytes() - self.lost.bytes()
    }

    /// Bytes sent again and not acknowledged, selectively or not, nor taken for lost once more.
    pub(crate) fn sent_again_bytes(&self) -> u64 {
        let again = self.runs.iter().filter(|run| run.again);
        again.map(|run| self.in_network(run.start, run.end)).sum()
    }

    /// Bytes of `[start, end)` that are neither sacked nor lost.
    fn in_network(&self, start: u64, end: u64) -> u64 {
        let gaps = self.sacked.gaps(start, end);
        let pieces = gaps.flat_map(|(start, end)| self.lost.gaps(start, end));
        pieces.map(|(start, end)| end - start).sum()
    }

    /// Bytes ever marked lost.
    pub(crate) fn lost_ever(&self) -> u64 {
        self.lost_ever
    }

    /// What was marked lost since the last call, in the order it was found.
    pub(crate) fn take_fresh_losses(&mut self) -> Vec<Run> {
        std::mem::take(&mut self.fresh)
    }

    /// `[start, end)` was sent for the first time.
    pub(crate) fn sent(&mut self, start: u64, end: u64, now: Instant, stamp: Stamp) {
        match self.runs.back_mut() {
            Some(last) if last.sent_at == now && !last.again => {
                last.end = end;
                last.stamp.in_flight = stamp.in_flight;
            }
            _ => self.runs.push_back(Run {
                start,
                end,
                sent_at: now,
                again: false,
                stamp,
            }),
        }
    }

    /// `[start, end)`, which is outstanding, was sent again.
    pub(crate) fn sent_again(&mut self, start: u64, end: u64, now: Instant, stamp: Stamp) {
        self.lost.remove(start, end);
        let first = self.index(start);
        let last = self.index(end - 1);
        let (before, after) = (self.runs[first], self.runs[last]);
        let run = Run {
            start,
            end,
            sent_at: now,
            again: true,
            stamp,
        };
        if first < last {
            self.runs.drain(first + 1..=last);
        }
        self.runs[first] = run;
        if end < after.end {
            self.runs.insert(
                first + 1,
                Run {
                    start: end,
                    ..after
                },
            );
        }
        if before.start < start {
            self.runs.insert(
                first,
                Run {
                    end: start,
                    ..before
                },
            );
        }
    }

    /// Everything before `una` is acknowledged; tells the pieces that were not sacked before.
    pub(crate) fn acked(&mut self, una: u64, mut delivered: impl FnMut(Run)) {
        let Some(first) = self.runs.front() else {
            return;
        };
        let mut at = first.start;
        while let Some((start, end)) = self.sacked.gap(at, una) {
            self.pieces(start, end, &mut delivered);
            at = end;
        }
        while self.runs.front().is_some_and(|r| r.end <= una) {
            self.runs.pop_front();
        }
        if let Some(first) = self.runs.front_mut() {
            first.start = first.start.max(una);
        }
        self.sacked.remove_before(una);
        self.lost.remove_before(una);
    }

    /// `[start, end)`, which is outstanding, is selectively acknowledged; tells the new pieces.
    pub(crate) fn sack(&mut self, start: u64, end: u64, mut delivered: impl FnMut(Run)) {
        let mut at = start;
        while let Some((start, end)) = self.sacked.gap(at, end) {
            self.pieces(start, end, &mut delivered);
            self.lost.remove(start, end);
            at = end;
        }
        self.sacked.insert(start, end);
    }

    /// `[start, end)` is lost, but for what is sacked. Gives back how many bytes that is news for.
    pub(crate) fn mark_lost(&mut self, start: u64, end: u64) -> u64 {
        let before = self.lost.bytes();
        let mut at = start;
        while let Some((start, end)) = self.sacked.gap(at, end) {
            self.lose(start, end);
            at = end;
        }
        let news = self.lost.bytes() - before;
        self.lost_ever += news;
        news
    }

    fn lose(&mut self, start: u64, end: u64) {
        let before = self.lost.bytes();
        self.lost.insert(start, end);
        if self.lost.bytes() > before {
            let mut fresh = std::mem::take(&mut self.fresh);
            self.pieces(start, end, &mut |piece| fresh.push(piece));
            self.fresh = fresh;
        }
    }

    /// What of `[start, end)` was sent only once is lost, but for what is sacked. Gives back how
    /// many bytes that is news for.
    pub(crate) fn mark_lost_once(&mut self, start: u64, end: u64) -> u64 {
        let mut lost = 0;
        for i in self.index(start)..self.runs.len() {
            let run = self.runs[i];
            if run.start >= end {
                break;
            }
            if !run.again {
                lost += self.mark_lost(run.start.max(start), run.end.min(end));
            }
        }
        lost
    }

    /// The first run is lost, and every other that was sent `late` or longer ago.
    pub(crate) fn mark_late(&mut self, una: u64, now: Instant, late: Duration) {
        for i in 0..self.runs.len() {
            let run = self.runs[i];
            if run.start <= una || now.since(run.sent_at) >= late {
                self.mark_lost(run.start, run.end);
            }
        }
    }

    /// What was marked lost is believed to be in the network after all.
    pub(crate) fn forget_losses(&mut self) {
        self.lost.clear();
        self.fresh.clear();
    }

    /// The same for what was sent only once.
    pub(crate) fn forget_first_losses(&mut self) {
        let (Some(first), Some(last)) = (self.lost.first(), self.lost.last()) else {
            return;
        };
        for i in self.index(first.0)..self.runs.len() {
            let run = self.runs[i];
            if run.start >= last.1 {
                break;
            }
            if !run.again {
                self.lost.remove(run.start, run.end);
            }
        }
    }

    /// The peer dropped what it had sacked, as it may (RFC 2018 §8).
    pub(crate) fn forget_sacks(&mut self) {
        self.sacked.clear();
    }

    /// The runs that end after `position`, in order.
    pub(crate) fn runs_from(&self, position: u64) -> impl Iterator<Item = &Run> {
        self.runs.range(self.index(position)..)
    }

    /// The first run that ends after `position`.
    pub(crate) fn run_from(&self, position: u64) -> Option<Run> {
        self.runs.get(self.index(position)).copied()
    }

    fn index(&self, position: u64) -> usize {
        self.runs.partition_point(|r| r.end <= position)
    }

    fn pieces(&self, start: u64, end: u64, delivered: &mut impl FnMut(Run)) {
        for run in self.runs_from(start).take_while(|r| r.start < end) {
            delivered(Run {
                start: run.start.max(start),
                end: run.end.min(end),
                ..*run
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Instant = Instant(1);
    const LATER: Instant = Instant(2);

    fn sent(runs: &[(u64, u64)]) -> Scoreboard {
        let mut board = Scoreboard::default();
        for (i, (start, end)) in runs.iter().enumerate() {
            board.sent(*start, *end, Instant(i as u64), Stamp::default());
        }
        board
    }

    #[test]
    fn a_burst_sent_at_one_time_is_one_run() {
        let mut board = Scoreboard::default();
        board.sent(0, 10, NOW, Stamp::default());
        board.sent(10, 20, NOW, Stamp::default());
        board.sent(20, 30, LATER, Stamp::default());
        assert_eq!(board.runs.len(), 2);
        assert_eq!(board.pipe(), 30);
    }

    #[test]
    fn each_position_is_delivered_once() {
        let mut board = sent(&[(0, 40), (40, 80)]);
        let mut pieces = vec![];
        board.sack(10, 20, |p| pieces.push((p.start, p.end)));
        board.sack(5, 50, |p| pieces.push((p.start, p.end)));
        board.acked(60, |p| pieces.push((p.start, p.end)));
        assert_eq!(
            pieces,
            [(10, 20), (5, 10), (20, 40), (40, 50), (0, 5), (50, 60)]
        );
        assert_eq!(board.pipe(), 20);
    }

    #[test]
    fn a_part_sent_again_is_a_run_of_its_own() {
        let mut board = sent(&[(0, 40), (40, 80)]);
        board.sack(20, 80, |_| ());
        assert_eq!(board.mark_lost(0, 80), 20);
        assert_eq!(board.pipe(), 0);
        board.sent_again(10, 20, LATER, Stamp::default());
        assert_eq!(board.pipe(), 10);
        assert_eq!(board.lost().first(), Some((0, 10)));
        let run = |start, end, at, again| Run {
            start,
            end,
            sent_at: Instant(at),
            again,
            stamp: Stamp::default(),
        };
        let expected = [
            run(0, 10, 0, false),
            run(10, 20, 2, true),
            run(20, 40, 0, false),
            run(40, 80, 1, false),
        ];
        assert!(board.runs.iter().eq(expected.iter()));
        board.sent_again(0, 50, LATER, Stamp::default());
        let expected = [run(0, 50, 2, true), run(50, 80, 1, false)];
        assert!(board.runs.iter().eq(expected.iter()));
    }
}
