//! The transmission control block: what it consists of, and what its owner may call and read.

use crate::acks::AckPolicy;
use crate::config::Config;
use crate::congestion::Init;
use crate::control::Control;
use crate::limited::Limited;
use crate::mtu::PathMtu;
use crate::rcv_rtt::RcvRtt;
use crate::recovery::rtt::Rtt;
use crate::recovery::{Phase, Recovery};
use crate::recv::Recv;
use crate::segment::{Change, Close, Grant};
use crate::send::Send;
use crate::stamps::Stamps;
use crate::timers::{Timer, Timers};
use crate::{Instant, Stats, ecn, fast_open};
use anabranch_wire::Seq;
use anabranch_wire::tcp::Flags;
use std::time::Duration;

/// A segment carries at least this much payload, whatever options and path say.
const LEAST_PAYLOAD: u32 = 16;

/// Connection states (RFC 9293 §3.3.2); LISTEN belongs to the owner.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs)]
pub enum State {
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

crate::packed!(
    enum State {
        SynSent,
        SynReceived,
        Established,
        FinWait1,
        FinWait2,
        CloseWait,
        Closing,
        LastAck,
        TimeWait,
        Closed,
    }
);

/// As `ss` names them.
impl std::fmt::Display for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECV",
            State::Established => "ESTAB",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
            State::Closed => "CLOSED",
        })
    }
}

/// One end of one TCP connection, in sequence numbers only.
///
/// After any call that mutates, drain [`Tcb::poll`] until `None` and read [`Tcb::deadline`] again.
#[derive(Debug)]
pub struct Tcb {
    pub(crate) config: Config,
    pub(crate) state: State,
    pub(crate) snd: Send,
    pub(crate) rcv: Recv,
    pub(crate) recovery: Recovery,
    pub(crate) rtt: Rtt,
    pub(crate) rcv_rtt: RcvRtt,
    pub(crate) control: Control,
    pub(crate) agreed: Agreed,
    pub(crate) mtu: PathMtu,
    pub(crate) ecn: ecn::State,
    pub(crate) fast_open: Option<Box<fast_open::Opening>>,
    pub(crate) acks: AckPolicy,
    pub(crate) stamps: Stamps,
    pub(crate) timers: Timers,
    pub(crate) pending: Pending,
    pub(crate) seen: Seen,
    pub(crate) limited: Limited,
    pub(crate) stats: Stats,
}

crate::packed!(Tcb {
    config,
    state,
    snd,
    rcv,
    recovery,
    rtt,
    rcv_rtt,
    control,
    agreed,
    mtu,
    ecn,
    acks,
    fast_open,
    stamps,
    timers,
    pending,
    seen,
    limited,
    stats
});

/// What was agreed in the handshake, and segment sizes.
#[derive(Debug)]
pub(crate) struct Agreed {
    /// Payload and TCP options of a segment: the least of what we, the peer and the path allow.
    pub(crate) mss: u32,
    /// Option bytes of the owner on a segment with payload.
    pub(crate) owner_options: u32,
    pub(crate) sack: bool,
    pub(crate) scaling: bool,
    /// The SYN was received first, not sent.
    pub(crate) passive: bool,
}

crate::packed!(Agreed {
    mss,
    owner_options,
    sack,
    scaling,
    passive
});

/// What the next polls owe besides payload and acknowledgements.
#[derive(Debug, Default)]
pub(crate) struct Pending {
    /// SYN or SYN+ACK.
    pub(crate) syn: bool,
    /// Our own reset of the connection.
    pub(crate) reset: bool,
    /// Sequence and acknowledgement number and flags of a RST that answers a segment without
    /// touching this connection.
    pub(crate) refusal: Option<(Seq, Seq, Flags)>,
    pub(crate) probe: Option<Probe>,
    /// The next acknowledgement is to have no payload.
    pub(crate) bare: bool,
    /// Nobody reads any more.
    pub(crate) orphan: bool,
    /// Probes since the window last let something through.
    pub(crate) window_backoff: u8,
    /// Probes of window and of life since the peer was last heard.
    pub(crate) window_probes: u8,
    pub(crate) alive_probes: u8,
}

crate::packed!(Pending { syn, reset, bare, orphan, window_backoff, window_probes, alive_probes } empty { refusal, probe });

/// A segment sent to make the peer answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Probe {
    /// Tail-loss probe.
    Tail,
    /// Of a window that lets nothing through.
    Window,
    /// Keepalive.
    Alive,
}

/// When things were last seen to happen.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) progress: Instant,
    pub(crate) received: Instant,
    /// Payload sent.
    pub(crate) sent: Instant,
    /// Payload received.
    pub(crate) data: Instant,
    /// When the first SYN or SYN+ACK was sent; `None`: nobody knows any more.
    pub(crate) syn: Option<Instant>,
}

crate::packed!(Seen {
    progress,
    received,
    sent,
    data,
    syn
});

/// Calls of the owner; see also `on_segment`, `on_icmp`, `poll` and `on_deadline`.
impl Tcb {
    /// The owner has `len` more bytes of payload to send. With `boundary` they start a run that no
    /// segment may span into from before, when sent first or again. Nothing may be appended after
    /// [`Tcb::close`].
    pub fn append(&mut self, len: u64, boundary: bool) {
        debug_assert!(!self.snd.fin, "append after close");
        if !self.snd.fin && len > 0 {
            self.check_app_limited();
            self.control.usage.held_back = false;
            self.snd.append(len, boundary);
        }
    }

    /// The owner freed receive room: a window update may be due.
    pub fn window_opened(&mut self, now: Instant, grant: Grant) {
        let _ = now;
        let step = (2 * u64::from(self.agreed.mss)).min(self.half_buffer());
        let room = self.clamped(grant.rcv_room);
        let open = self.rcv.irs.is_some() && !self.peer_fin();
        if open && self.rcv.update_due(room, self.config.shared_window, step) {
            self.acks.now = true;
        }
    }

    /// The owner holds data back because of a window of its own: while this is set and nothing is
    /// in flight, zero-length segments probe on the persist timer, so that a lost window update
    /// is recovered.
    pub fn set_blocked(&mut self, blocked: bool) {
        self.snd.blocked = blocked;
    }

    /// Send an acknowledgement at the next poll, at once and even if there is nothing to
    /// acknowledge.
    pub fn request_ack(&mut self) {
        self.acks.now = true;
    }

    /// [`Tcb::request_ack`], but on a segment without payload, even if there is payload to carry
    /// it: the owner has options to send that belong on no other.
    pub fn request_bare_ack(&mut self) {
        self.acks.now = true;
        self.pending.bare = true;
    }

    /// Send a keepalive at the next poll: a peer that is there answers (RFC 9293 §3.8.4). Gives it
    /// no time limit: see [`Tcb::last_received`].
    pub fn request_probe(&mut self) {
        self.pending.probe.get_or_insert(Probe::Alive);
    }

    /// A round-trip time that the owner measured, by the answer to a probe of a connection on which nothing
    /// else was measured for long: earlier ones count no more. Not to be called while anything is
    /// outstanding.
    pub fn measured(&mut self, now: Instant, rtt: Duration) {
        self.rtt.begin(now, rtt);
    }

    /// No more payload will be appended: FIN after what was. Half a close: the peer may go on
    /// sending. In SYN-SENT with nothing appended the connection is simply gone.
    pub fn close(&mut self) {
        if self.state == State::SynSent && self.snd.end == 1 {
            return self.become_closed();
        }
        self.snd.fin = self.state != State::Closed;
        self.fin_queued();
    }

    /// Nobody will read any more: from now on new payload is answered with RST, and FIN-WAIT-2 is
    /// limited in time (RFC 9293 §3.6.1).
    pub fn orphan(&mut self) {
        self.pending.orphan = true;
    }

    /// Abort: the next poll gives an RST if the state calls for one (RFC 9293 §3.10.5), and the
    /// state is CLOSED.
    pub fn reset(&mut self) {
        self.pending.reset = matches!(
            self.state,
            State::SynReceived
                | State::Established
                | State::FinWait1
                | State::FinWait2
                | State::CloseWait
        );
        self.become_closed();
    }

    /// Set the congestion window, as a scheduler may that penalises a slow path.
    pub fn set_cwnd(&mut self, cwnd: u64) {
        self.control.cc.set_cwnd(cwnd.max(u64::from(self.mss())));
    }
}

/// Changes of state.
impl Tcb {
    /// The FIN that was asked for is the next thing after the payload (RFC 9293 §3.10.4).
    pub(crate) fn fin_queued(&mut self) {
        self.state = match self.state {
            State::Established if self.snd.fin => State::FinWait1,
            State::CloseWait if self.snd.fin => State::LastAck,
            other => other,
        };
    }

    pub(crate) fn become_closed(&mut self) {
        self.state = State::Closed;
        self.timers.stop_all();
    }

    pub(crate) fn abort(&mut self, why: Close) -> Change {
        self.become_closed();
        Change::Aborted(why)
    }

    pub(crate) fn enter_time_wait(&mut self, now: Instant) -> Change {
        self.timers.stop_all();
        self.state = State::TimeWait;
        self.timers.set(Timer::Linger, now + self.config.time_wait);
        Change::Closed
    }

    pub(crate) fn limit_fin_wait_2(&mut self, now: Instant) {
        if self.state == State::FinWait2
            && self.pending.orphan
            && !self.timers.is_set(Timer::Linger)
        {
            self.timers.set(Timer::Linger, now + self.config.fin_wait_2);
        }
    }

    /// The first congestion window (RFC 6928), or one segment when the SYN was lost more than
    /// once (RFC 5681 §3.1).
    pub(crate) fn start_congestion_control(&mut self) {
        let mss = self.mss();
        let lost = self.rtt.streak() > 1;
        let initial_window = if lost {
            u64::from(mss)
        } else {
            self.initial_window()
        };
        self.control.cc = self.config.congestion.algorithm.start(Init {
            mss,
            initial_window,
            srtt: self.rtt.srtt(),
            abe: self.config.congestion.abe,
            seed: u64::from(self.snd.iss.0),
        });
    }

    pub(crate) fn initial_window(&self) -> u64 {
        let segments = u64::from(self.config.congestion.initial_window);
        let mss = u64::from(self.mss());
        (segments * mss).min((segments * 1460).max(2 * mss))
    }

    pub(crate) fn half_buffer(&self) -> u64 {
        u64::from(self.clamped(self.config.recv_buffer) / 2)
    }

    pub(crate) fn note_grant(&mut self, grant: &Grant) {
        self.agreed.owner_options = u32::from(grant.data_options);
    }
}

/// What an owner may read.
impl Tcb {
    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// CLOSED: nothing more to come but the RST of [`Tcb::reset`], if it was not polled yet.
    pub fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    /// Whether the handshake is complete and payload may flow (ESTABLISHED and later).
    pub fn is_synchronized(&self) -> bool {
        !matches!(
            self.state,
            State::SynSent | State::SynReceived | State::Closed
        )
    }

    /// Whether the peer's FIN arrived in order.
    pub fn peer_fin(&self) -> bool {
        self.rcv.fin_received()
    }

    /// Whether [`Tcb::close`] was called.
    pub fn is_closing(&self) -> bool {
        self.snd.fin
    }

    /// Bytes that could leave immediately if they were appended now: what the congestion window
    /// and the peer's window leave, less what is appended and unsent. 0 unless synchronized.
    pub fn room(&self) -> u64 {
        if self.snd.fin || !self.is_synchronized() {
            return 0;
        }
        let pipe = self.recovery.pipe() + self.recovery.board.lost().bytes();
        let window = self.snd.right().saturating_sub(self.snd.nxt);
        self.cwnd()
            .saturating_sub(pipe)
            .min(window)
            .saturating_sub(self.unsent())
    }

    /// The owner has bytes that [`Tcb::room`] keeps it from appending. If that is for the
    /// congestion window, all of it is in use, and it may grow (RFC 7661).
    pub fn note_held_back(&mut self) {
        let used = self.recovery.pipe() + self.unsent();
        let window = self
            .snd
            .right()
            .saturating_sub(self.snd.nxt + self.unsent());
        let left = self.cwnd().saturating_sub(used);
        if left < window && left < 2 * u64::from(self.mss()) {
            self.control.usage.blocked[0] = true;
            self.control.usage.held_back = true;
        }
    }

    /// Bytes appended and never sent.
    pub fn unsent(&self) -> u64 {
        self.snd.end.saturating_sub(self.snd.nxt.max(1))
    }

    /// Bytes selectively acknowledged beyond a hole.
    pub fn sacked(&self) -> u64 {
        self.recovery.board.sacked().bytes()
    }

    /// Bytes believed to be in the network (RFC 6675 pipe).
    pub fn in_flight(&self) -> u64 {
        self.recovery.pipe()
    }

    /// First position not acknowledged.
    pub fn snd_una(&self) -> u64 {
        self.snd.rel(self.snd.una)
    }

    /// First position never sent.
    pub fn snd_nxt(&self) -> u64 {
        self.snd.rel(self.snd.nxt)
    }

    /// Position after all that was appended.
    pub fn snd_end(&self) -> u64 {
        self.snd.end - 1
    }

    /// Next position expected from the peer in order.
    pub fn rcv_nxt(&self) -> u64 {
        self.rcv.rel_nxt()
    }

    /// Since when no segment came and no payload went; `None`: something is under way, or has yet
    /// to leave.
    pub fn idle_since(&self) -> Option<Instant> {
        let done = self.is_synchronized() && self.snd.una >= self.snd.limit();
        let owes = self.acks.now || self.timers.is_set(Timer::DelayedAck);
        let Seen { received, sent, .. } = self.seen;
        (done && !owes && !self.rcv.has_holes()).then(|| received.max(sent))
    }

    /// The peer's window as last heard, bytes from `snd_una`.
    pub fn peer_wnd(&self) -> u32 {
        self.snd.wnd.size
    }

    /// Our initial sequence number.
    pub fn iss(&self) -> Seq {
        self.snd.iss
    }

    /// The peer's initial sequence number; `None` before its SYN.
    pub fn irs(&self) -> Option<Seq> {
        self.rcv.irs
    }

    /// Payload bytes of a full-sized segment, with the options of the last [`Grant`] in it.
    pub fn mss(&self) -> u32 {
        let options = self.agreed.owner_options + self.stamps.option_len();
        self.agreed.mss.saturating_sub(options).max(LEAST_PAYLOAD)
    }

    /// Smoothed round-trip time; `None` before the first measurement.
    pub fn srtt(&self) -> Option<Duration> {
        self.rtt.srtt()
    }

    /// Round-trip time variation.
    pub fn rttvar(&self) -> Option<Duration> {
        self.rtt.rttvar()
    }

    /// Least round-trip time seen in the last minutes.
    pub fn min_rtt(&self) -> Option<Duration> {
        self.rtt.min()
    }

    /// Round-trip time as the receiver of data knows it; `None` before there was any.
    pub fn rcv_rtt(&self) -> Option<Duration> {
        self.rcv_rtt.get()
    }

    /// Retransmission timeout, backoff included.
    pub fn rto(&self) -> Duration {
        self.rtt.rto(&self.config.retransmit)
    }

    /// Congestion window, bytes.
    pub fn cwnd(&self) -> u64 {
        match self.recovery.phase {
            Phase::Recovery if self.control.cc.reduces_proportionally() => self.recovery.prr.cwnd(),
            _ => self.control.cc.cwnd(),
        }
    }

    /// Slow start threshold, bytes.
    pub fn ssthresh(&self) -> u64 {
        self.control.cc.ssthresh()
    }

    /// Retransmission timeouts (of data, SYN or FIN) since the peer last acknowledged anything
    /// new.
    pub fn rto_streak(&self) -> u32 {
        self.rtt.streak()
    }

    /// When the peer last acknowledged anything new, or when something was sent with nothing
    /// outstanding, whichever is later.
    pub fn last_progress(&self) -> Instant {
        self.seen.progress
    }

    /// When the network last delivered anything of ours, in order or not, as far as the peer told,
    /// or when something was sent with nothing outstanding, whichever is later.
    pub fn last_delivery(&self) -> Instant {
        self.seen.progress.max(self.control.sampler.delivered_at())
    }

    /// Whether a tail-loss probe is about to leave (RFC 8985 §7).
    pub fn probes_tail(&self) -> bool {
        self.pending.probe == Some(Probe::Tail)
    }

    /// When the last segment arrived.
    pub fn last_received(&self) -> Instant {
        self.seen.received
    }

    /// Whether timestamps were agreed: they take 12 bytes of every segment's option space.
    pub fn timestamps(&self) -> bool {
        self.stamps.on
    }

    /// The peer's timestamp to be echoed (TS.Recent, RFC 7323 §4.3), if timestamps were agreed.
    pub fn ts_recent(&self) -> Option<u32> {
        self.stamps.on.then_some(self.stamps.recent)
    }

    /// Whether selective acknowledgements were agreed.
    pub fn sack(&self) -> bool {
        self.agreed.sack
    }

    /// Entries kept about what is outstanding and what came out of order, some 30 bytes each. A
    /// segment takes no more work than there are entries, whatever it says.
    pub fn entries(&self) -> usize {
        self.recovery.board.entries() + self.recovery.rack.waiting() + self.rcv.holes()
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}
