//! What decides how much is sent and when, but for loss recovery.

use crate::config::Pacing;
use crate::congestion::{Ack, Algorithm, Controller, Init, Lost, RateSample, Steer};
use crate::info::Rates;
use crate::pacer::{Pacer, quantum};
use crate::rate::{Sampler, Stamp, per_second};
use crate::recovery::Phase;
use crate::rest::{Pack, Parcel};
use crate::timers::Timer;
use crate::{Instant, Tcb};
use std::time::Duration;

/// How long a window is kept though less than half of it is used (RFC 7661 §4.3).
const NON_VALIDATED: Duration = Duration::from_secs(300);

/// State of congestion control.
#[derive(Debug)]
pub(crate) struct Control {
    pub(crate) cc: Box<dyn Controller>,
    pub(crate) usage: CwndUse,
    pub(crate) pacer: Pacer,
    pub(crate) sampler: Sampler,
}

/// Whether the congestion window is what limits sending.
#[derive(Debug, Default)]
pub(crate) struct CwndUse {
    /// Most bytes in the network during this round and the last.
    pub(crate) most: [u64; 2],
    /// `snd_nxt` when the round began.
    pub(crate) round: u64,
    /// Sending stopped at the window in this round or the last.
    pub(crate) blocked: [bool; 2],
    /// The owner has more than it could append.
    pub(crate) held_back: bool,
    /// When at least half of the window was last in use.
    validated: Instant,
}

crate::packed!(CwndUse {
    most,
    round,
    blocked,
    held_back,
    validated
});

/// The controller is of the kind that the settings name, which come first.
impl Pack for Control {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let Control {
            cc,
            usage,
            pacer,
            sampler,
        } = self;
        cc.rest(parcel);
        usage.pack(parcel);
        pacer.pack(parcel);
        sampler.pack(parcel);
    }
}

impl Control {
    pub(crate) fn new(algorithm: Algorithm, init: Init, pacing: &Pacing) -> Control {
        Control {
            cc: algorithm.start(init),
            usage: CwndUse::default(),
            pacer: Pacer::new(pacing.max_rate),
            sampler: Sampler::default(),
        }
    }
}

/// What an owner may set and read.
impl Tcb {
    /// Most bytes per second that may leave, whatever the controller says (`SO_MAX_PACING_RATE`);
    /// `None`: no such limit.
    pub fn set_max_pacing_rate(&mut self, rate: Option<u64>) {
        self.control.pacer.set_max_rate(rate);
    }

    /// Weigh the steps of the congestion window from now on.
    pub fn steer(&mut self, steer: Steer) {
        self.control.cc.steer(steer);
        if steer.now < 1.0 {
            let left = self.control.cc.cwnd() as f64 * steer.now;
            let least = 2 * u64::from(self.mss());
            self.control.cc.set_cwnd((left as u64).max(least));
        }
    }

    /// The window as congestion control has it: during loss recovery what will be left of it, while
    /// [`Tcb::cwnd`] is reduced by and by.
    pub fn control_window(&self) -> u64 {
        self.control.cc.cwnd()
    }

    /// Bytes per second at which segments leave now; `None`: as fast as the windows allow.
    pub fn pacing_rate(&self) -> Option<u64> {
        let pacer = &self.control.pacer;
        pacer.bounded(self.control.cc.pacing_rate().or_else(|| self.window_rate()))
    }

    pub(crate) fn rates(&self) -> Rates {
        let sampler = &self.control.sampler;
        let (rate, app_limited) = sampler.last();
        Rates {
            pacing: self.pacing_rate(),
            max_pacing: self.control.pacer.max_rate(),
            delivery: (rate > 0).then_some(rate),
            delivery_app_limited: app_limited,
            delivered: sampler.delivered(),
        }
    }
}

/// A controller in the place of another.
impl Tcb {
    /// Windows stay as they are. Before the handshake is complete, which starts the controller,
    /// there are none.
    pub(crate) fn switch_controller(&mut self, algorithm: Algorithm) {
        if !self.is_synchronized() {
            return;
        }
        let before = &self.control.cc;
        let (cwnd, ssthresh) = (before.cwnd(), before.ssthresh());
        let mut next = algorithm.start(Init {
            mss: self.mss(),
            initial_window: cwnd,
            srtt: self.rtt.srtt(),
            abe: self.config.congestion.abe,
            seed: u64::from(self.snd.iss.0),
        });
        next.take_over(ssthresh);
        self.control.cc = next;
    }
}

/// Pacing.
impl Tcb {
    /// For a controller without a rate of its own: the window over the round-trip time, and more,
    /// so that the window is filled well before the round is over.
    fn window_rate(&self) -> Option<u64> {
        let pacing = &self.config.congestion.pacing;
        let srtt = self.rtt.srtt().filter(|_| pacing.window_based)?;
        let outstanding = self.recovery.board.outstanding();
        let cwnd = self.cwnd().max(outstanding).max(u64::from(self.mss()));
        let cc = &self.control.cc;
        // Not at the end of slow start, where the next doubling may be one too many.
        let percent = if cc.cwnd() < cc.ssthresh() / 2 {
            pacing.slow_start
        } else {
            pacing.avoidance
        };
        Some(per_second(cwnd, srtt).saturating_mul(u64::from(percent)) / 100)
    }

    /// Whether a segment may leave now; if not, a timer is set. The first window leaves at once:
    /// a short transfer would gain nothing from being spread.
    pub(crate) fn may_leave(&mut self, now: Instant) -> bool {
        let Some(at) = self.control.pacer.wait(now) else {
            return true;
        };
        self.timers.set(Timer::Pace, at);
        false
    }

    /// Largest payload of one emit: whole segments, a super-frame at the present rate.
    pub(crate) fn frame(&self, gso_max: u32) -> u64 {
        let mss = u64::from(self.mss());
        if self.ecn.breaks_offload() {
            return mss;
        }
        let frame = (u64::from(gso_max) / mss).max(1) * mss;
        let unpaced = self.starts();
        match self.pacing_rate().filter(|_| !unpaced) {
            Some(rate) => frame.min(quantum(rate, mss)),
            None => frame,
        }
    }

    /// [`Tcb::frame`] for new payload: half the window at most, so that one is acknowledged while
    /// another is under way.
    pub(crate) fn new_frame(&self, gso_max: u32) -> u64 {
        let mss = u64::from(self.mss());
        let half = (self.cwnd() / 2 / mss).max(1) * mss;
        self.frame(gso_max).min(half)
    }

    /// The initial window is still being sent.
    fn starts(&self) -> bool {
        self.stats.bytes_out < self.initial_window() && self.control.pacer.max_rate().is_none()
    }

    /// `bytes` leave: what they remember of now.
    pub(crate) fn note_sent(&mut self, now: Instant, bytes: u64) -> Stamp {
        let pipe = self.recovery.pipe();
        if self.recovery.phase == Phase::Recovery {
            self.recovery.prr.sent(bytes);
        }
        self.note_use(pipe + bytes);
        self.validate_window(now, pipe + bytes);
        if !self.starts()
            && let Some(rate) = self.pacing_rate()
        {
            self.control.pacer.sent(now, bytes, rate);
        }
        let lost = self.recovery.board.lost_ever();
        self.control.sampler.on_sent(now, bytes, pipe, lost)
    }
}

/// Windows and their use.
impl Tcb {
    fn note_use(&mut self, pipe: u64) {
        let usage = &mut self.control.usage;
        if self.snd.una >= usage.round {
            usage.most = [0, usage.most[0]];
            usage.blocked = [false, usage.blocked[0]];
            usage.round = self.snd.nxt;
        }
        usage.most[0] = usage.most[0].max(pipe);
    }

    /// Whether the congestion window, rather than the application or the peer, limits sending: in
    /// slow start it may grow to twice what is used (RFC 7661).
    pub(crate) fn cwnd_limited(&self) -> bool {
        let used = self.used_lately();
        let cc = &self.control.cc;
        self.cwnd_blocked() || (cc.cwnd() < cc.ssthresh() && cc.cwnd() < 2 * used)
    }

    /// Most bytes in the network during this round and the last.
    pub(crate) fn used_lately(&self) -> u64 {
        let usage = &self.control.usage;
        usage.most[0].max(usage.most[1])
    }

    fn cwnd_blocked(&self) -> bool {
        let usage = &self.control.usage;
        usage.blocked[0] || usage.blocked[1]
    }

    /// All there was to send is sent though the window has room: what is measured from now on
    /// says what the application does (draft-ietf-ccwg-bbr §4.1.2.4).
    pub(crate) fn check_app_limited(&mut self) {
        let pipe = self.recovery.pipe();
        let idle = self.unsent() == 0
            && !self.control.usage.held_back
            && pipe < self.cwnd()
            && self.recovery.board.lost().is_empty();
        if idle {
            self.control.sampler.mark_app_limited(pipe);
        }
    }

    /// About to send with nothing outstanding. The longer the pause, the less is known of the path:
    /// the window is halved for each timeout that would have passed, down to the initial one
    /// (RFC 5681 §4.1, RFC 2861 §3.1). Pacing spreads what it lets through.
    pub(crate) fn restart(&mut self, now: Instant) {
        let (rto, idle) = (self.rto(), now.since(self.seen.sent));
        if idle > rto && self.snd.nxt > 1 && self.config.congestion.idle_restart {
            let times = idle.as_nanos() / rto.as_nanos().max(1);
            let left = self.control.cc.cwnd() >> times.min(63);
            self.control.cc.on_idle(left.max(self.initial_window()));
            // The pause is taken account of.
            self.seen.sent = now;
        }
        if self.control.sampler.is_app_limited() {
            self.control.cc.on_restart(now);
        }
    }

    /// What was not used for minutes is not known to be there any more (RFC 7661 §4.4.3).
    fn validate_window(&mut self, now: Instant, pipe: u64) {
        let cwnd = self.control.cc.cwnd();
        let used = 2 * pipe >= cwnd;
        let since = self.control.usage.validated;
        let unknown = since == Instant(0);
        if used || unknown || now.since(since) > NON_VALIDATED {
            self.control.usage.validated = now;
        }
        if !(used || unknown) && now.since(since) > NON_VALIDATED {
            let left = (cwnd / 2).max(self.initial_window());
            self.control.cc.on_idle(left);
        }
    }

    /// What was found to be lost since the last call.
    pub(crate) fn tell_losses(&mut self) {
        let board = &mut self.recovery.board;
        let lost_ever = board.lost_ever();
        for run in board.take_fresh_losses() {
            self.control.cc.on_lost(&Lost {
                start: run.start,
                end: run.end,
                lost: lost_ever - run.stamp.lost,
                tx_in_flight: run.stamp.in_flight,
                app_limited: run.stamp.app_limited,
                total_delivered: self.control.sampler.delivered(),
            });
        }
    }

    fn slow_start_limit(&self) -> u64 {
        let pacing = &self.config.congestion.pacing;
        match pacing.unpaced_limit.filter(|_| !pacing.window_based) {
            Some(segments) => u64::from(segments) * u64::from(self.mss()),
            None => u64::MAX,
        }
    }

    /// An acknowledgement as the controller sees it.
    pub(crate) fn tell_sample(&mut self, ack: &Ack, sample: RateSample, newly_lost: u64) {
        let lost = self.recovery.board.lost_ever() - sample.prior_lost;
        let sample = RateSample {
            lost: if sample.prior_delivered.is_some() {
                lost
            } else {
                0
            },
            newly_lost,
            ..sample
        };
        self.control.cc.on_sample(ack, &sample);
        if self.control.cc.is_probing_rtt() {
            self.control.sampler.mark_app_limited(ack.pipe);
        }
    }

    /// What an acknowledgement that delivered `acked` bytes means for windows.
    pub(crate) fn ack_of(&self, now: Instant, acked: u64, last_sent: Option<Instant>) -> Ack {
        Ack {
            now,
            acked,
            pipe: self.recovery.pipe(),
            mss: self.mss(),
            rtt: last_sent.map(|sent| now.since(sent)),
            srtt: self.rtt.srtt().unwrap_or_default(),
            limited: self.cwnd_limited(),
            snd_una: self.snd.una,
            snd_nxt: self.snd.nxt,
            cwnd_limited: self.cwnd_blocked(),
            sack: self.agreed.sack,
            limit: self.slow_start_limit(),
        }
    }
}
