//! Telling the peer on which subflows to send: what a scheduler cannot do, for it decides only what
//! *we* send.
//!
//! A peer with little to say, such as a client with a request now and then, may put it on a path
//! several times slower than the best, or on one that is dead, and Linux's does. Three things can be
//! done about that from here, all of them pure functions of what was seen ([`crate::Steering`] has the
//! settings; `connection/steer.rs` and `connection/give_up.rs` carry them out):
//!
//! * [`prefer`]: a subflow much slower than the best one is called a backup by MP_PRIO (RFC 8684
//!   §3.3.8) for as long as the peer does not send in bulk ([`Volume`]).
//! * [`Rhythm`]: who speaks regularly and falls silent may have spoken on a path that died. A
//!   keepalive (RFC 9293 §3.8.4) on the subflow where it spoke last tells; so it does where bytes are
//!   missing that should have come by another.
//! * [`GiveUp`]: of a subflow that does not answer while another does the peer is told by REMOVE_ADDR
//!   (RFC 8684 §3.4.2), upon which Linux's sends what was under way there on another at once.

mod give_up;
mod prefer;
mod rhythm;
mod settings;
mod volume;

pub use settings::{GiveUp, Steering, UnknownSteering};

pub(crate) use give_up::{Bound, may_give_up, pause};
pub(crate) use prefer::{Way, prefer};

use crate::config::SubflowId;
use anabranch_tcp::{Instant, packed};
use rhythm::Rhythm;
use std::net::IpAddr;
use volume::Volume;

/// What is remembered for it.
#[derive(Debug, Default)]
pub(crate) struct Steer {
    /// Set for this connection alone.
    pub(crate) own: Option<Steering>,
    pub(crate) volume: Volume,
    pub(crate) rhythm: Rhythm,
    /// Where payload last came.
    pub(crate) spoke: SubflowId,
    /// Since when bytes are missing, and whether that was looked into.
    pub(crate) hole: Option<(Instant, bool)>,
    /// Until then a subflow that did not answer may yet.
    pub(crate) confirm: Option<Instant>,
    /// Subflows given up so far, and when the next may be.
    pub(crate) given_up: u8,
    pub(crate) not_before: Instant,
    /// The address that was withdrawn with a subflow.
    pub(crate) away: Option<Away>,
}

packed!(Steer { own, volume, rhythm, spoke, given_up, not_before } empty { hole, confirm, away });

/// An address that was withdrawn because nothing came by it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Away {
    pub(crate) subflow: SubflowId,
    pub(crate) id: u8,
    pub(crate) addr: IpAddr,
    pub(crate) port: Option<u16>,
    pub(crate) since: Instant,
    /// Not announced again before, whatever is heard.
    pub(crate) from: Instant,
    /// When it is announced again, as far as is known. (Not chosen from two when it is asked for:
    /// rustc 1.95 loads what is chosen before it knows that there is an `Away` at all, and faults.)
    pub(crate) due: Instant,
}

impl Away {
    /// Something came from there.
    pub(crate) fn hear(&mut self) {
        self.due = self.due.min(self.from);
    }
}
