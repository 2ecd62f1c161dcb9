//! Recoveries and timeouts that prove spurious, and what is undone then: Eifel (RFC 3522), DSACK
//! (RFC 3708), F-RTO (RFC 5682).

use super::News;
use crate::Tcb;
use crate::recovery::Phase;
use crate::recovery::frto::Frto;
use crate::stamps::before;

impl Tcb {
    /// Whether the last reduction proves spurious: the first retransmission was not what is being
    /// acknowledged (Eifel, RFC 3522), or all retransmissions arrived twice (RFC 3708).
    pub(super) fn look_for_undo(&mut self, news: &News) {
        let undo = &mut self.recovery.undo;
        if undo.until.is_some_and(|until| self.snd.una > until) {
            undo.armed = false;
        }
        let dsack = news.dsack.filter(|d| !d.probe);
        if dsack.is_some() {
            self.recovery.rack.on_dsack(self.snd.una, self.snd.nxt);
        }
        if !undo.armed {
            return;
        }
        let mut spurious = false;
        if let Some(dsack) = dsack.filter(|d| undo.unreported > 0 && d.end > undo.marker) {
            undo.unreported = undo.unreported.saturating_sub(dsack.bytes);
            spurious = undo.unreported == 0;
        }
        let echo = undo.first_tsval.zip(news.ecr);
        let late = news.recovered && echo.is_some_and(|(first, ecr)| before(ecr, first));
        if spurious || (late && self.was_late()) {
            self.undo();
        }
    }

    /// What was sent again arrived as it had been sent first (Eifel, RFC 3522 §3.2). A timeout is
    /// spurious then; a recovery if nothing else of it was lost.
    fn was_late(&mut self) -> bool {
        let recovery = &mut self.recovery;
        if recovery.phase == Phase::Recovery {
            // Others may be late too: they are given the time that reordering takes.
            recovery.rack.reordering();
            recovery.board.forget_first_losses();
            recovery.rack.rejudge(self.snd.una);
        }
        match recovery.phase {
            Phase::Open => false,
            Phase::Recovery => {
                recovery.board.lost().is_empty() && recovery.board.sent_again_bytes() == 0
            }
            Phase::Loss => true,
        }
    }

    fn undo(&mut self) {
        self.stats.undos += 1;
        self.control.cc.undo();
        self.rtt.reset_backoff();
        let recovery = &mut self.recovery;
        if recovery.phase == Phase::Loss {
            recovery.rack.forget_newest();
        } else {
            recovery.rack.reordering();
        }
        recovery.undo.armed = false;
        recovery.board.forget_losses();
        recovery.rack.rejudge(self.snd.una);
        recovery.count.rejudge(self.snd.una);
        recovery.phase = Phase::Open;
        recovery.frto = Frto::Off;
        recovery.force = false;
    }

    /// Whether the last timeout was needed (RFC 5682 §3.1).
    pub(super) fn judge_timeout(&mut self, news: &News) {
        if self.recovery.phase != Phase::Loss || self.recovery.frto == Frto::Off {
            return;
        }
        // Without SACK an acknowledgement of what was sent again may cover what waited behind it.
        let original = news.original && (self.agreed.sack || !news.again);
        let unsent = self.snd.nxt < self.snd.limit() && self.snd.right() > self.snd.nxt;
        let partial = news.acked > 0 && self.snd.una < self.recovery.point;
        match self.recovery.frto {
            _ if original => self.undo(),
            Frto::Waiting if partial && unsent => {
                self.recovery.frto = Frto::Probing;
                self.recovery.point = self.snd.nxt;
            }
            Frto::Waiting if !partial => {}
            _ => self.recovery.frto = Frto::Off,
        }
    }
}
