//! Loss found by counting what was sacked beyond it (RFC 6675), where RACK is not used.

use super::DUP_THRESH;
use super::scoreboard::Scoreboard;
use crate::Tcb;
use crate::recovery::Phase;

/// How far the scoreboard was looked at. What was sent again is not looked at once more: that it
/// was lost again shows when the retransmission timer expires.
#[derive(Debug, Default)]
pub(crate) struct Count {
    /// Everything before it is acknowledged, sacked, or was marked lost.
    judged: u64,
    /// Everything before it is that, or was sent again (HighRxt).
    tried: u64,
    /// The one rescue retransmission of this recovery was sent.
    rescued: bool,
}

crate::packed!(Count {
    judged,
    tried,
    rescued
});

impl Count {
    /// IsLost (RFC 6675 §4) for all that is outstanding: marks what is lost, and gives back how
    /// many bytes that is news for.
    pub(crate) fn detect(&mut self, board: &mut Scoreboard, una: u64, mss: u64) -> u64 {
        let (mut ranges, mut bytes, mut lost_before) = (0, 0, 0);
        for (start, end) in board.sacked().iter().rev() {
            ranges += 1;
            bytes += end - start;
            if ranges >= DUP_THRESH || bytes > (DUP_THRESH - 1) * mss {
                lost_before = start;
                break;
            }
        }
        let from = self.judged.max(una);
        self.judged = lost_before.max(from);
        board.mark_lost_once(from, self.judged)
    }

    /// A recovery begins.
    pub(crate) fn recovery_begins(&mut self) {
        self.rescued = false;
    }

    /// Losses were declared in vain: look at everything again.
    pub(crate) fn rejudge(&mut self, una: u64) {
        (self.judged, self.tried) = (una, una);
    }

    /// NextSeg rule 3: something below what was sacked that is not known to be lost, and was not
    /// sent again.
    fn doubtful(&mut self, board: &Scoreboard, una: u64) -> Option<(u64, u64)> {
        let highest = board.sacked().last()?.0;
        self.tried = self.tried.max(una);
        while self.tried < highest {
            let (start, end) = board.sacked().gap(self.tried, highest)?;
            let run = board.run_from(start)?;
            if !run.again {
                return Some((start, end.min(run.end)));
            }
            self.tried = run.end;
        }
        None
    }
}

impl Tcb {
    /// What to send where nothing is known to be lost and nothing new may leave, so that the
    /// acknowledgements go on (RFC 6675 §4, NextSeg rules 3 and 4).
    pub(crate) fn next_unsure(&mut self) -> Option<(u64, u64)> {
        let by_count = self.agreed.sack && !self.config.retransmit.rack;
        let mss = u64::from(self.mss());
        let room = self.cwnd().saturating_sub(self.recovery.pipe());
        if !by_count || self.recovery.phase != Phase::Recovery || room < mss {
            return None;
        }
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        let recovery = &mut self.recovery;
        if let Some((start, end)) = recovery.count.doubtful(&recovery.board, una) {
            return Some((start, end.min(start + mss).min(self.snd.run_end(start))));
        }
        let highest = recovery.board.sacked().last().map_or(una, |range| range.1);
        if recovery.count.rescued || highest >= nxt {
            return None;
        }
        recovery.count.rescued = true;
        let start = (nxt - mss.min(nxt)).max(highest);
        Some((start.max(self.snd.run_start(nxt)), nxt))
    }
}
