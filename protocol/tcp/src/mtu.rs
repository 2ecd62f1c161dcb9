//! The size of segments that the path carries: by ICMP (RFC 1191, RFC 8201), and by probing with
//! larger segments of real data (RFC 4821, RFC 8899 §4).
//!
//! Sizes are of payload and TCP options, as an MSS counts. A probe is cut from the queue like any
//! other data; if it alone is lost, its data goes again in segments known to pass, and congestion
//! is not blamed.

use crate::config::MtuProbing;
use crate::recovery::Phase;
use crate::segment::{Emit, Grant, Kind};
use crate::{Instant, Tcb};
use std::time::Duration;

/// Times that a size must fail before it is believed not to pass (RFC 8899 §5.1.2, MAX_PROBES).
const TRIES: u8 = 3;
/// The search is over when so few bytes are left to gain.
const STEP: u16 = 8;
/// The size that is tried when not even the base passes (RFC 9293 §3.7.1).
const LAST_RESORT: u16 = 536;

/// What is known about the path.
#[derive(Debug)]
pub(crate) struct PathMtu {
    /// What both ends would take.
    most: u16,
    /// Nothing larger is believed to pass.
    high: u16,
    /// Probes lost at the size that is being tried.
    failed: u8,
    probe: Option<InFlight>,
    /// When larger sizes are tried next.
    due: Option<Instant>,
}

crate::packed!(PathMtu { most, high, failed, due } empty { probe });

/// A probe under way.
#[derive(Clone, Copy, Debug)]
struct InFlight {
    start: u64,
    end: u64,
    size: u16,
}

/// What the search asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Trial {
    /// Nothing.
    No,
    /// No data is to be sent until the congestion window has room for a probe.
    Wait,
    /// A segment with this payload.
    Send(u64, u64),
}

impl PathMtu {
    pub(crate) fn new(most: u16) -> PathMtu {
        PathMtu {
            most,
            high: most,
            failed: 0,
            probe: None,
            due: None,
        }
    }

    /// The size to try, `low` being known to pass; `None`: there is little left to gain. What both
    /// ends would take comes first: it is likely, and found out in one round trip.
    fn candidate(&self, low: u16) -> Option<u16> {
        if self.high < low.saturating_add(STEP) {
            None
        } else if self.high == self.most {
            Some(self.most)
        } else {
            Some(low + (self.high - low).div_ceil(2))
        }
    }

    fn probe_failed(&mut self, size: u16) {
        self.probe = None;
        self.failed += 1;
        if self.failed >= TRIES {
            self.failed = 0;
            self.high = size - 1;
        }
    }
}

impl Tcb {
    /// The handshake agreed on a segment size of at most `most`.
    pub(crate) fn start_path_mtu(&mut self, now: Instant, most: u16) {
        let config = &self.config.path_mtu;
        let (known, retry) = (config.known_mss.unwrap_or(most), config.retry);
        let base = match config.probing {
            MtuProbing::Always => config.base_mss,
            MtuProbing::Off | MtuProbing::OnBlackHole => most,
        };
        let told = u32::from(known.min(most)).min(self.agreed.mss);
        self.mtu = PathMtu::new(most);
        self.agreed.mss = told.min(u32::from(base));
        self.search_from(if self.agreed.mss < told {
            now
        } else {
            now + retry
        });
    }

    /// Largest segment the path takes, as far as is known, bytes of payload and TCP options.
    pub fn path_mss(&self) -> u16 {
        self.agreed.mss as u16
    }

    /// Try larger sizes from `at` on, the largest first.
    fn search_from(&mut self, at: Instant) {
        let mtu = &mut self.mtu;
        (mtu.high, mtu.failed, mtu.probe) = (mtu.most, 0, None);
        mtu.due = Some(at).filter(|_| self.agreed.mss < u32::from(mtu.most));
    }

    /// After the size that is known to pass, or not to, has changed.
    fn search_on(&mut self, now: Instant) {
        if self.mtu.candidate(self.agreed.mss as u16).is_none() {
            // What a router took away may come back (RFC 8201 §4).
            self.search_from(now + self.config.path_mtu.retry);
        }
    }

    /// A router says that segments larger than `size` do not pass. Believed downwards only; what
    /// is outstanding is sent again in smaller segments, without blaming congestion (RFC 1191
    /// §6.5).
    pub(crate) fn path_takes(&mut self, now: Instant, size: u16) {
        if u32::from(size) < self.agreed.mss {
            self.agreed.mss = u32::from(size);
            self.search_from(now + self.config.path_mtu.retry);
            self.recovery.rack.timed_out(now, Duration::ZERO);
            self.resend_in_segments(now, self.snd.una, self.snd.nxt);
        } else if let Some(probe) = self.mtu.probe.filter(|probe| size < probe.size) {
            (self.mtu.probe, self.mtu.failed, self.mtu.high) = (None, 0, size);
            self.search_on(now);
            self.resend_in_segments(now, probe.start.max(self.snd.una), probe.end);
        }
    }

    fn resend_in_segments(&mut self, now: Instant, start: u64, end: u64) {
        if self.snd.una > 0 && start < end {
            self.recovery.board.mark_lost(start, end);
            self.resend_after_path_change(now);
        }
    }

    /// Whether a segment larger than all others is to be sent next.
    pub(crate) fn next_trial(&mut self, now: Instant) -> Trial {
        if self.mtu.due.is_none_or(|due| now < due) || self.mtu.probe.is_some() {
            return Trial::No;
        }
        if self.config.path_mtu.probing == MtuProbing::Off {
            // Routers will say if it is too much.
            self.agreed.mss = u32::from(self.mtu.most);
            self.mtu.due = None;
            return Trial::No;
        }
        let Some(size) = self.mtu.candidate(self.agreed.mss as u16) else {
            return Trial::No;
        };
        let recovery = &self.recovery;
        // Not right after a recovery, whose end duplicates could not tell from its beginning.
        let quiet = recovery.phase == Phase::Open
            && self.snd.nxt > recovery.point
            && recovery.board.lost().is_empty()
            && recovery.board.sacked().is_empty();
        let payload = u64::from(size).saturating_sub(u64::from(self.agreed.mss - self.mss()));
        let start = self.snd.nxt;
        // More must follow: that shows soon whether the probe was lost.
        let queued = self.snd.run_end(start) >= start + payload && self.snd.end > start + payload;
        let window = self.snd.right() >= start + payload && self.cwnd() >= 2 * payload;
        if !(quiet && queued && window) {
            return Trial::No;
        }
        if recovery.pipe() + payload > self.cwnd() {
            self.control.usage.blocked[0] = true;
            return Trial::Wait;
        }
        if !self.may_leave(now) {
            return Trial::Wait;
        }
        Trial::Send(start, start + payload)
    }

    /// Send the probe that [`Tcb::next_trial`] asked for.
    pub(crate) fn send_trial(&mut self, now: Instant, grant: &Grant, start: u64, end: u64) -> Emit {
        let options = self.agreed.mss - self.mss();
        let size = (end - start) as u16 + options as u16;
        let emit = self.send_new(now, grant, start, end, Kind::New);
        self.mtu.probe = Some(InFlight { start, end, size });
        self.stats.mtu_probes += 1;
        Emit {
            mss: (end - start) as u16,
            ..emit
        }
    }

    /// A probe that was acknowledged raises the size.
    pub(crate) fn settle_trial(&mut self, now: Instant) {
        let Some(probe) = self.mtu.probe.filter(|probe| self.snd.una >= probe.end) else {
            return;
        };
        self.mtu.probe = None;
        self.mtu.failed = 0;
        self.agreed.mss = self.agreed.mss.max(u32::from(probe.size));
        self.search_on(now);
    }

    /// Whether the probe is all that was lost: then it was too large, and nothing else is wrong.
    /// A probe lost together with other data tells nothing (RFC 4821 §7.6.3).
    pub(crate) fn trial_failed(&mut self, now: Instant) -> bool {
        let Some(probe) = self.mtu.probe else {
            return false;
        };
        let lost = self.recovery.board.lost();
        let bounds = lost.first().zip(lost.last());
        let alone = bounds.is_some_and(|(f, l)| f.0 >= probe.start && l.1 <= probe.end);
        if !alone {
            self.mtu.probe = None;
            return false;
        }
        self.mtu.probe_failed(probe.size);
        self.search_on(now);
        self.recovery.reno.dup_acks = 0;
        self.resend_in_segments(now, probe.start.max(self.snd.una), probe.end);
        true
    }

    /// The retransmission timer expired, `self.rtt.streak()` times in a row: if it is the size of
    /// segments that keeps them from passing, and nobody says so, smaller ones will pass (RFC 2923
    /// §2.1, RFC 8899 §4.4).
    pub(crate) fn suspect_black_hole(&mut self, now: Instant) {
        if let Some(probe) = self.mtu.probe {
            self.mtu.probe_failed(probe.size);
            self.search_on(now);
        }
        let config = &self.config.path_mtu;
        let after = u32::from(config.black_hole_rtos);
        let size = match self.rtt.streak() {
            streak if streak == after => config.base_mss,
            streak if streak == 2 * after => config.base_mss.min(LAST_RESORT),
            _ => return,
        };
        let size = u32::from(size);
        let large = self.snd.nxt - self.snd.una > u64::from(size);
        if config.probing != MtuProbing::Off && large && self.agreed.mss > size {
            self.agreed.mss = size;
            self.stats.black_holes += 1;
            self.search_from(now);
        }
    }
}
