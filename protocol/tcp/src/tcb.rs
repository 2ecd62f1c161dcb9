//! The transmission control block.

use crate::config::Config;
use crate::segment::{Change, Emit, Grant, Receipt, Segment};
use crate::{IcmpError, Instant, Stats};
use anabranch_wire::Seq;
use std::time::Duration;

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

/// One end of one TCP connection, in sequence numbers only.
///
/// After any call that mutates, drain [`Tcb::poll`] until `None` and read [`Tcb::deadline`] again.
#[derive(Debug)]
pub struct Tcb {
    config: Config,
    state: State,
    iss: Seq,
    stats: Stats,
    appended: u64,
    last_progress: Instant,
}

/// Opening.
impl Tcb {
    /// Active open: SYN-SENT. `iss` is the initial sequence number (see
    /// [`crate::isn::initial_seq`]); `ts_offset` is added to the millisecond clock of timestamps
    /// (RFC 7323 §5.4: random for each connection).
    pub fn connect(now: Instant, config: &Config, iss: Seq, ts_offset: u32) -> Tcb {
        let _ = ts_offset;
        Tcb {
            config: config.clone(),
            state: State::SynSent,
            iss,
            stats: Stats::default(),
            appended: 0,
            last_progress: now,
        }
    }

    /// Passive open from a SYN (which must carry SYN, and neither ACK nor RST): SYN-RECEIVED.
    pub fn accept(now: Instant, config: &Config, syn: &Segment, iss: Seq, ts_offset: u32) -> Tcb {
        let _ = syn;
        Tcb {
            state: State::SynReceived,
            ..Tcb::connect(now, config, iss, ts_offset)
        }
    }
}

/// Events in.
impl Tcb {
    /// A segment of this connection arrived (RFC 9293 §3.10.7).
    pub fn on_segment(&mut self, now: Instant, segment: &Segment, grant: Grant) -> Receipt {
        let _ = (now, segment, grant);
        self.stats.segments_in += 1;
        Receipt::default()
    }

    /// The owner has `len` more bytes of payload to send. With `boundary` they start a run that no
    /// segment may span into from before, when sent first or again. Nothing may be appended after
    /// [`Tcb::close`].
    pub fn append(&mut self, len: u64, boundary: bool) {
        let _ = boundary;
        self.appended += len;
    }

    /// The owner freed receive room: a window update may be due.
    pub fn window_opened(&mut self, now: Instant, grant: Grant) {
        let _ = (now, grant);
    }

    /// The owner holds data back because of a window of its own: while this is set and nothing is
    /// in flight, zero-length segments probe on the persist timer, so that a lost window update
    /// is recovered.
    pub fn set_blocked(&mut self, blocked: bool) {
        let _ = blocked;
    }

    /// Send an acknowledgement at the next poll, at once and even if there is nothing to
    /// acknowledge.
    pub fn request_ack(&mut self) {}

    /// No more payload will be appended: FIN after what was. Half a close: the peer may go on
    /// sending. In SYN-SENT with nothing appended the connection is simply gone.
    pub fn close(&mut self) {}

    /// Nobody will read any more: from now on new payload is answered with RST, and FIN-WAIT-2 is
    /// limited in time (RFC 9293 §3.6.1).
    pub fn orphan(&mut self) {}

    /// Abort: the next poll gives an RST if the state calls for one, and the state is CLOSED.
    pub fn reset(&mut self) {
        self.state = State::Closed;
    }

    /// An ICMP error quoting a segment of this connection arrived. Believed only if the quoted
    /// sequence number is in flight (RFC 5927 §4.1).
    pub fn on_icmp(&mut self, now: Instant, error: IcmpError) -> Change {
        let _ = (now, error);
        Change::None
    }
}

/// Output and timers.
impl Tcb {
    /// The next segment to send, or `None` when there is nothing to do until the next event.
    pub fn poll(&mut self, now: Instant, grant: Grant) -> Option<Emit> {
        let _ = (now, grant);
        None
    }

    /// When [`Tcb::on_deadline`] must be called next; `None`: never.
    pub fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Act on every timer that expired. Early calls do no harm.
    pub fn on_deadline(&mut self, now: Instant) -> Change {
        let _ = now;
        Change::None
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
        false
    }

    /// Whether [`Tcb::close`] was called.
    pub fn is_closing(&self) -> bool {
        false
    }

    /// Bytes that could leave immediately if they were appended now: what the congestion window
    /// and the peer's window leave, less what is appended and unsent. 0 unless synchronized.
    pub fn room(&self) -> u64 {
        0
    }

    /// Bytes appended and never sent.
    pub fn unsent(&self) -> u64 {
        self.appended
    }

    /// Bytes believed to be in the network (RFC 6675 pipe).
    pub fn in_flight(&self) -> u64 {
        0
    }

    /// First position not acknowledged.
    pub fn snd_una(&self) -> u64 {
        0
    }

    /// First position never sent.
    pub fn snd_nxt(&self) -> u64 {
        0
    }

    /// Position after all that was appended.
    pub fn snd_end(&self) -> u64 {
        self.appended
    }

    /// Next position expected from the peer in order.
    pub fn rcv_nxt(&self) -> u64 {
        0
    }

    /// The peer's window as last heard, bytes from `snd_una`.
    pub fn peer_wnd(&self) -> u32 {
        0
    }

    /// Our initial sequence number.
    pub fn iss(&self) -> Seq {
        self.iss
    }

    /// The peer's initial sequence number; `None` before its SYN.
    pub fn irs(&self) -> Option<Seq> {
        None
    }

    /// Payload bytes of a full-sized segment, with the options of the last [`Grant`] in it.
    pub fn mss(&self) -> u32 {
        u32::from(self.config.mss)
    }

    /// Smoothed round-trip time; `None` before the first measurement.
    pub fn srtt(&self) -> Option<Duration> {
        None
    }

    /// Round-trip time variation.
    pub fn rttvar(&self) -> Option<Duration> {
        None
    }

    /// Least round-trip time seen in the last minutes.
    pub fn min_rtt(&self) -> Option<Duration> {
        None
    }

    /// Retransmission timeout, backoff included.
    pub fn rto(&self) -> Duration {
        self.config.retransmit.initial_rto
    }

    /// Congestion window, bytes.
    pub fn cwnd(&self) -> u64 {
        0
    }

    /// Slow start threshold, bytes.
    pub fn ssthresh(&self) -> u64 {
        u64::MAX
    }

    /// Retransmission timeouts (of data, SYN or FIN) since the peer last acknowledged anything
    /// new.
    pub fn rto_streak(&self) -> u32 {
        0
    }

    /// When the peer last acknowledged anything new, or when something was sent with nothing
    /// outstanding, whichever is later.
    pub fn last_progress(&self) -> Instant {
        self.last_progress
    }

    /// When the last segment arrived.
    pub fn last_received(&self) -> Instant {
        self.last_progress
    }

    /// Whether timestamps were agreed: they take 12 bytes of every segment's option space.
    pub fn timestamps(&self) -> bool {
        false
    }

    /// Whether selective acknowledgements were agreed.
    pub fn sack(&self) -> bool {
        false
    }

    /// Counters.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }
}

/// The RST that answers a segment for which there is no connection (RFC 9293 §3.10.7.1); `None`
/// if the segment is itself a RST.
pub fn reset_reply(segment: &Segment) -> Option<Emit> {
    let _ = segment;
    None
}
