//! Fast Open (RFC 7413): payload on the SYN, for a cookie that the server gave before. Who may have
//! one, and where cookies are kept, is the owner's business.

use crate::recv::Recv;
use crate::segment::{Emit, Grant, Receipt, Segment};
use crate::{Instant, State, Tcb};
use anabranch_wire::tcp::{FastOpen, Options};

/// State of a connection that has to do with Fast Open: few do.
#[derive(Default, Debug)]
pub(crate) struct Opening {
    /// What our SYN carries, or our SYN+ACK grants.
    option: FastOpen,
    /// Most payload and options of a SYN: what the server announced last time.
    mss: u16,
    /// Payload of the SYN was taken: the application may answer it before the handshake is
    /// complete.
    early: bool,
    /// The SYN goes again without payload or option.
    plain: bool,
    outcome: Outcome,
}

crate::packed!(Opening {
    option,
    mss,
    early,
    plain,
    outcome
});

/// What became of an active open with Fast Open, to be remembered for the next.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Outcome {
    /// What the server granted.
    pub granted: Option<FastOpen>,
    /// The segment size that the server announced, bytes.
    pub mss: u16,
    /// Payload bytes that the SYN carried.
    pub sent: u64,
    /// Payload bytes of it that the SYN+ACK acknowledged.
    pub accepted: u64,
    /// Only a SYN without the option was answered: something on the path may drop those that
    /// have it.
    pub timed_out: bool,
}

crate::packed!(Outcome {
    granted,
    mss,
    sent,
    accepted,
    timed_out
});

/// Room that payload of a SYN leaves for options: all there can be, for what middleboxes add.
const OPTION_SPACE: u16 = 40;

impl Opening {
    /// Payload bytes that a SYN can carry. `mss`: of the path. Without a cookie nothing may be
    /// known of the server.
    fn room(&self, mss: u16) -> u64 {
        let known = if self.mss == 0 { mss } else { self.mss };
        known.min(mss).saturating_sub(OPTION_SPACE).into()
    }
}

impl Tcb {
    /// Fast Open for an active open, before the first poll. With an empty cookie the SYN asks for
    /// one; otherwise it carries payload: what was appended before the first poll, as far as it
    /// fits into `mss`, the segment size that the server announced when it gave the cookie.
    pub fn set_fast_open(&mut self, option: FastOpen, mss: u16) {
        self.fast_open = Some(Box::new(Opening {
            option,
            mss,
            early: false,
            plain: false,
            outcome: Outcome::default(),
        }));
    }

    /// Neither offer timestamps nor agree to them, before the first poll: an option of the owner
    /// needs their room on the SYN or SYN+ACK.
    pub fn forgo_timestamps(&mut self) {
        self.config.timestamps = false;
        self.stamps.on = false;
    }

    /// The SYN+ACK of a passive open gives this cookie.
    pub fn grant_fast_open(&mut self, option: FastOpen) {
        self.set_fast_open(option, 0);
    }

    /// Take the payload of the SYN that made this passive open, which the owner found to have a
    /// valid cookie. From now on payload may be sent before the handshake is complete, as far as
    /// the initial window and the peer's allow (RFC 7413 §4.2).
    pub fn take_syn_payload(&mut self, now: Instant, syn: &Segment, grant: Grant) -> Receipt {
        if self.fast_open.is_none() {
            self.set_fast_open(FastOpen::default(), 0);
        }
        if let Some(opening) = &mut self.fast_open {
            opening.early = true;
        }
        self.rcv.open(grant.rcv_room);
        self.note_grant(&grant);
        self.start_congestion_control();
        let wnd = self.scaled_window(syn);
        self.snd.wnd.force(syn.seq, 0, wnd);
        self.take_payload(now, syn)
    }

    /// What became of Fast Open; `None` without it, or while the handshake is not complete.
    pub fn fast_open_outcome(&self) -> Option<&Outcome> {
        let opening = self.fast_open.as_ref()?;
        let known = !matches!(self.state, State::SynSent | State::SynReceived);
        (known && !self.agreed.passive).then_some(&opening.outcome)
    }

    /// Whether the payload of the SYN was taken.
    pub fn is_fast_open(&self) -> bool {
        self.fast_open.as_ref().is_some_and(|o| o.early)
    }

    /// Payload bytes that the SYN can carry, if they are appended before the first poll; 0 without
    /// a cookie, where one is needed.
    pub fn fast_open_room(&self) -> u64 {
        match &self.fast_open {
            Some(opening) if self.may_carry(opening) => opening.room(self.config.mss),
            _ => 0,
        }
    }

    /// Whether our SYN may carry payload.
    fn may_carry(&self, opening: &Opening) -> bool {
        !opening.option.cookie.is_empty() || self.config.fast_open_without_cookie
    }

    /// The option for our SYN or SYN+ACK. What times out is sent again without, as an ordinary
    /// SYN (RFC 7413 §4.1.3).
    pub(crate) fn fast_open_option(&self) -> Option<FastOpen> {
        let opening = self.fast_open.as_ref()?;
        let answer = self.rcv.irs.is_some();
        let empty = opening.option.cookie.is_empty();
        let wanted = if answer {
            self.agreed.passive && !empty
        } else {
            let asks = !empty || !self.config.fast_open_without_cookie;
            asks && self.rtt.streak() == 0 && !opening.plain
        };
        wanted.then(|| opening.option.clone())
    }

    /// A SYN with payload is too big for the path: it goes again at once as an ordinary one.
    pub(crate) fn open_without_payload(&mut self) {
        let sent = self.state == State::SynSent && self.snd.nxt > 1;
        if let Some(opening) = self.fast_open.as_mut().filter(|o| sent && !o.plain) {
            opening.plain = true;
            self.pending.syn = true;
        }
    }

    /// Payload for our SYN.
    pub(crate) fn fast_open_payload(&mut self, now: Instant, syn: Emit) -> Emit {
        let first = self.state == State::SynSent && self.snd.nxt == 1 && self.rtt.streak() == 0;
        let opening = self.fast_open.as_ref();
        let carries = first && opening.is_some_and(|o| !o.plain && self.may_carry(o));
        let Some(opening) = self.fast_open.as_mut().filter(|_| carries) else {
            return syn;
        };
        let room = opening.room(self.config.mss);
        let len = room.min(self.snd.run_end(1).min(self.snd.end) - 1);
        if len == 0 {
            return syn;
        }
        opening.outcome.sent = len;
        let stamp = self.note_sent(now, len);
        self.recovery.board.sent(1, 1 + len, now, stamp);
        self.snd.nxt = 1 + len;
        Emit {
            rel: 0..len,
            mss: len as u16,
            ..syn
        }
    }

    /// The SYN+ACK of an active open came: before the handshake is called complete.
    pub(crate) fn fast_open_answered(&mut self, segment: &Segment) {
        let accepted = (self.snd.position(segment.ack) - 1).max(0) as u64;
        let timed_out = self.rtt.streak() > 0;
        let without = self.config.fast_open_without_cookie;
        let (Some(opening), Options::Syn(options)) = (&mut self.fast_open, &segment.options) else {
            return;
        };
        // One that nobody asked for may come from anybody on the way.
        let asked = !(without && opening.option.cookie.is_empty());
        let granted = options.fast_open.clone().filter(|_| asked);
        opening.outcome = Outcome {
            granted: granted.filter(|o| !o.cookie.is_empty()),
            mss: options.mss.unwrap_or(crate::handshake::DEFAULT_MSS),
            sent: opening.outcome.sent,
            accepted,
            timed_out,
        };
    }

    /// What of the SYN's payload the SYN+ACK did not acknowledge was not taken: it goes again at
    /// once (RFC 7413 §4.2.2), and no congestion is to blame.
    pub(crate) fn resend_syn_payload(&mut self, now: Instant) {
        let (una, nxt) = (self.snd.una, self.snd.nxt);
        if una < nxt {
            self.recovery.board.mark_lost(una, nxt);
            self.resend_after_path_change(now);
        }
    }
}

impl Recv {
    /// So much payload of the SYN may be taken.
    fn open(&mut self, room: u32) {
        self.adv = self.adv.max(self.nxt + u64::from(room.min(65_535)));
    }
}
