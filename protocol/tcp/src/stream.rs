//! A plain TCP connection: a [`Tcb`] and the bytes both ways.

use crate::budget::Budget;
use crate::queue::{ByteQueue, Slices};
use crate::reassembly::Reassembly;
use crate::segment::{Change, Close, Emit, Grant, Segment};
use crate::{Config, IcmpError, Instant, State, Stats, Tcb};
use anabranch_wire::Seq;
use bytes::Bytes;
use std::time::Duration;

/// Payload of an [`Emit`]: the slices of its range.
pub type Payload = Slices;

/// Parameters of a [`Stream`].
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Of its Tcb. `shared_window` must be off; `recv_buffer` is the receive buffer.
    pub tcp: Config,
    /// Most bytes held for sending, unacknowledged ones included.
    pub send_buffer: usize,
    /// Largest payload of one [`Emit`], bytes: what the device can segment, or 0 for one mss.
    pub gso_max: u32,
    /// Where memory is charged.
    pub budget: Budget,
}

/// What happened to a [`Stream`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// The handshake is complete.
    Established,
    /// There is something to read, or the end (see [`Event::PeerFin`]).
    Readable,
    /// A [`Stream::send`] that was cut short may be tried again.
    Writable,
    /// The peer will send no more.
    PeerFin,
    /// Orderly closed in both directions. Keep the stream until [`Stream::is_closed`]: it may
    /// still have a TIME-WAIT to sit out.
    Closed,
    /// Gone without an orderly close.
    Aborted(Close),
}

/// Figures of a [`Stream`].
#[derive(Clone, Copy, Debug)]
pub struct Info {
    /// State.
    pub state: State,
    /// Smoothed round-trip time.
    pub srtt: Option<Duration>,
    /// Its variation.
    pub rttvar: Option<Duration>,
    /// Least round-trip time.
    pub min_rtt: Option<Duration>,
    /// Retransmission timeout.
    pub rto: Duration,
    /// Congestion window, bytes.
    pub cwnd: u64,
    /// Slow start threshold, bytes.
    pub ssthresh: u64,
    /// Payload bytes of a full-sized segment.
    pub mss: u32,
    /// Bytes in the network.
    pub in_flight: u64,
    /// Bytes accepted from the application and not acknowledged.
    pub unacked: u64,
    /// Bytes received and not read.
    pub unread: u64,
    /// Counters.
    pub stats: Stats,
}

/// One plain TCP connection.
///
/// After any call that mutates, drain [`Stream::poll_transmit`] and [`Stream::poll_event`] until
/// `None`, and read [`Stream::deadline`] again.
#[derive(Debug)]
pub struct Stream {
    tcb: Tcb,
    send: ByteQueue,
    recv: Reassembly,
    config: StreamConfig,
}

impl Stream {
    /// Active open; see [`Tcb::connect`].
    pub fn connect(now: Instant, config: &StreamConfig, iss: Seq, ts_offset: u32) -> Stream {
        Stream::new(Tcb::connect(now, &config.tcp, iss, ts_offset), config)
    }

    /// Passive open; see [`Tcb::accept`].
    pub fn accept(
        now: Instant,
        config: &StreamConfig,
        syn: &Segment,
        iss: Seq,
        ts_offset: u32,
    ) -> Stream {
        Stream::new(Tcb::accept(now, &config.tcp, syn, iss, ts_offset), config)
    }

    fn new(tcb: Tcb, config: &StreamConfig) -> Stream {
        Stream {
            tcb,
            send: ByteQueue::new(0, config.budget.clone()),
            recv: Reassembly::new(),
            config: config.clone(),
        }
    }

    /// A segment arrived, with its payload (`segment.len` bytes).
    pub fn on_segment(&mut self, now: Instant, segment: &Segment, payload: Bytes) {
        let _ = payload;
        self.tcb.on_segment(now, segment, self.grant());
    }

    /// The next segment to send with its payload, or `None`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(Emit, Payload)> {
        let emit = self.tcb.poll(now, self.grant())?;
        let payload = self.send.slices(emit.rel.clone());
        Some((emit, payload))
    }

    /// The next event, or `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        None
    }

    /// When [`Stream::on_deadline`] must be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.tcb.deadline()
    }

    /// Act on expired timers.
    pub fn on_deadline(&mut self, now: Instant) {
        let _: Change = self.tcb.on_deadline(now);
    }

    /// An ICMP error quoting a segment of this connection arrived.
    pub fn on_icmp(&mut self, now: Instant, error: IcmpError) {
        let _: Change = self.tcb.on_icmp(now, error);
    }

    /// Queue bytes for sending. Gives back how many were taken from the front of `bytes`: fewer
    /// than all when the send buffer or the budget is full (then [`Event::Writable`] follows), 0
    /// after [`Stream::shutdown`] or the end of the connection.
    pub fn send(&mut self, bytes: Bytes) -> usize {
        let len = bytes.len();
        if !self.send.push(bytes) {
            return 0;
        }
        self.tcb.append(len as u64, false);
        len
    }

    /// Up to `max` received bytes in order, without copying. `None`: nothing now, or the end
    /// (see [`Stream::at_end`]).
    pub fn recv(&mut self, now: Instant, max: usize) -> Option<Bytes> {
        let bytes = self.recv.read(max)?;
        self.tcb.window_opened(now, self.grant());
        Some(bytes)
    }

    /// Whether everything up to the peer's FIN was read.
    pub fn at_end(&self) -> bool {
        self.tcb.peer_fin() && self.recv.readable() == 0
    }

    /// No more bytes will be sent: FIN after those queued.
    pub fn shutdown(&mut self) {
        self.tcb.close();
    }

    /// The application lets go: [`Stream::shutdown`], and nobody reads any more. Unread bytes make
    /// it an [`Stream::abort`] (RFC 2525 §2.17).
    pub fn close(&mut self) {
        self.tcb.close();
        self.tcb.orphan();
    }

    /// Reset the connection.
    pub fn abort(&mut self) {
        self.tcb.reset();
    }

    /// Whether the connection is over, TIME-WAIT included.
    pub fn is_closed(&self) -> bool {
        self.tcb.is_closed()
    }

    /// Set the largest payload of one [`Emit`].
    pub fn set_gso_max(&mut self, gso_max: u32) {
        self.config.gso_max = gso_max;
    }

    /// The control block.
    pub fn tcb(&self) -> &Tcb {
        &self.tcb
    }

    /// Figures.
    pub fn info(&self) -> Info {
        let tcb = &self.tcb;
        Info {
            state: tcb.state(),
            srtt: tcb.srtt(),
            rttvar: tcb.rttvar(),
            min_rtt: tcb.min_rtt(),
            rto: tcb.rto(),
            cwnd: tcb.cwnd(),
            ssthresh: tcb.ssthresh(),
            mss: tcb.mss(),
            in_flight: tcb.in_flight(),
            unacked: self.send.len(),
            unread: self.recv.readable(),
            stats: *tcb.stats(),
        }
    }

    fn grant(&self) -> Grant {
        // What waits out of order lies within the window already: only what is in order uses it up.
        let held = self.recv.readable();
        Grant {
            rcv_room: u64::from(self.config.tcp.recv_buffer).saturating_sub(held) as u32,
            data_options: 0,
            ack_options: 0,
            gso_max: self.config.gso_max,
        }
    }
}
