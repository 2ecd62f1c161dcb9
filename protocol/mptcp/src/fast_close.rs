//! MP_FASTCLOSE on an ACK of one subflow, while the others are reset: it is repeated until the peer
//! answers with a RST. RFC 8684 §3.5 has this beside MP_FASTCLOSE on a RST of each, which leaves
//! nothing to wait for; RFC 6824 §3.5 has no other.

use crate::config::SubflowId;
use crate::connection::Connection;
use crate::connection::input::Incoming;
use anabranch_tcp::{Instant, Segment};
use anabranch_wire::mptcp::MptcpOption;
use anabranch_wire::tcp::Flags;

/// How often it is sent again before a RST with MP_FASTCLOSE ends the subflow (RFC 8684 §3.5).
const REPEATS: u8 = 3;

/// Our MP_FASTCLOSE on an ACK, until it is answered: the connection is over, one subflow is left.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unheard {
    subflow: SubflowId,
    /// The ACK is to leave now.
    asked: bool,
    /// Times it was sent again.
    tries: u8,
    /// When it is sent again, or given up.
    pub(crate) due: Instant,
}

impl Connection {
    /// The subflow whose ACK carries our MP_FASTCLOSE, if one does.
    pub(crate) fn fast_closer(&self) -> Option<SubflowId> {
        let on_ack = self.config.fastclose_on_ack || !self.handshake.version.fast_closes_on_reset();
        self.paths.best().filter(|_| on_ack)
    }

    /// MP_FASTCLOSE leaves on an ACK of this subflow.
    pub(crate) fn fast_close_on(&mut self, now: Instant, subflow: SubflowId) {
        let rto = self.tcb(subflow).map(|tcb| tcb.rto());
        self.timers.fastclose = Some(Box::new(Unheard {
            subflow,
            asked: true,
            tries: 0,
            due: now + rto.unwrap_or_default(),
        }));
        self.request_bare_ack(subflow);
    }

    /// Whether a subflow has nothing to do any more but to carry MP_FASTCLOSE.
    pub(crate) fn closes_fast(&self, id: SubflowId) -> bool {
        let unheard = self.timers.fastclose.as_ref();
        unheard.is_some_and(|unheard| unheard.subflow == id)
    }

    /// Whether it does so now.
    pub(crate) fn fastclose_asked(&self, id: SubflowId) -> bool {
        self.closes_fast(id) && self.timers.fastclose.as_ref().is_some_and(|u| u.asked)
    }

    /// MP_FASTCLOSE for the ACK of a subflow.
    pub(crate) fn take_fastclose(&mut self) -> MptcpOption {
        if let Some(unheard) = &mut self.timers.fastclose {
            unheard.asked = false;
        }
        self.counters.fastclose_out += 1;
        MptcpOption::FastClose(self.handshake.keys.remote())
    }

    /// What comes on the subflow whose reset we wait for, after its Tcb saw it: only a reset
    /// matters, or that the peer closes fast itself.
    pub(crate) fn await_reset(
        &mut self,
        now: Instant,
        i: usize,
        segment: &Segment,
        incoming: &Incoming<'_>,
    ) {
        if segment.flags.has(Flags::RST) {
            self.on_reset(now, i, incoming);
            let open = !self.paths.list[i].tcb.is_closed();
            // Something before it is missing, so that TCP asks back.
            return self.repeat_fastclose(open);
        }
        let ours = |o: &MptcpOption| match o {
            MptcpOption::FastClose(key) => self.handshake.keys.is_local(*key),
            _ => false,
        };
        if incoming.all.iter().any(ours) {
            self.counters.fastclose_in += 1;
            self.timers.fastclose = None;
            self.paths.list[i].tcb.reset();
        }
    }

    fn repeat_fastclose(&mut self, wanted: bool) {
        let Some(unheard) = self.timers.fastclose.as_mut().filter(|_| wanted) else {
            return;
        };
        if unheard.tries < REPEATS {
            unheard.tries += 1;
            unheard.asked = true;
            let id = unheard.subflow;
            self.request_bare_ack(id);
        }
    }

    /// No RST came in time: once more, or the last word.
    pub(crate) fn fastclose_timer(&mut self, now: Instant) {
        let Some(unheard) = self.timers.fastclose.as_mut().filter(|u| u.due <= now) else {
            return;
        };
        let (id, tries) = (unheard.subflow, unheard.tries);
        if tries >= REPEATS {
            return self.reset_fast();
        }
        let rto = self.tcb(id).map(|tcb| tcb.rto()).unwrap_or_default();
        if let Some(unheard) = &mut self.timers.fastclose {
            unheard.due = now + rto * (2 << tries);
        }
        self.repeat_fastclose(true);
    }

    /// A RST with MP_FASTCLOSE, whoever hears it: the state of middleboxes goes too.
    pub(crate) fn reset_fast(&mut self) {
        let Some(unheard) = self.timers.fastclose.take() else {
            return;
        };
        if let Some(subflow) = self.paths.get_mut(unheard.subflow) {
            subflow.pending.fastclose = true;
            subflow.tcb.reset();
        }
    }
}
