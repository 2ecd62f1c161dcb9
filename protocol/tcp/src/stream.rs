//! A plain TCP connection: a [`Tcb`] and the bytes both ways.

mod buffers;

use crate::autotune::{RecvSize, SendSize};
use crate::budget::Budget;
use crate::queue::{ByteQueue, Slices};
use crate::reassembly::Reassembly;
use crate::rest::Vacant;
use crate::segment::{Change, Close, Emit, Receipt, Segment};
use crate::{Config, IcmpError, Info, Instant, SynAck, Tcb};
use anabranch_wire::Seq;
use anabranch_wire::tcp::FastOpen;
use bytes::Bytes;
use std::time::Duration;

/// Payload of an [`Emit`]: the slices of its range.
pub type Payload = Slices;

/// Parameters of a [`Stream`].
#[derive(Clone, Debug)]
pub struct StreamConfig {
    /// Of its Tcb. `shared_window` must be off; `recv_buffer` is the receive buffer.
    pub tcp: Config,
    /// Most bytes held for sending, unacknowledged ones included, once the congestion window is
    /// large enough to use them.
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

/// One plain TCP connection.
///
/// After any call that mutates, drain [`Stream::poll_transmit`] and [`Stream::poll_event`] until
/// `None`, and read [`Stream::deadline`] again.
#[derive(Debug)]
pub struct Stream {
    tcb: Tcb,
    send: ByteQueue,
    recv: Reassembly,
    send_size: SendSize,
    recv_size: RecvSize,
    gso_max: u32,
    budget: Budget,
    events: Events,
    /// The next bytes start a segment of their own.
    record_ended: bool,
    /// A write was cut short.
    wants_room: bool,
    /// Something in front of this is full.
    starved: bool,
    /// [`Event::Established`] and [`Event::PeerFin`] were told.
    opened: bool,
    finished: bool,
}

crate::packed!(Stream { tcb, send, recv, send_size, recv_size, gso_max, record_ended, wants_room, starved, opened, finished } empty { events } kept { budget });

/// Events not yet polled.
#[derive(Debug, Default)]
struct Events {
    established: bool,
    readable: bool,
    writable: bool,
    peer_fin: bool,
    end: Option<Event>,
}

impl Vacant for Events {
    fn is_vacant(&self) -> bool {
        let Events {
            established,
            readable,
            writable,
            peer_fin,
            end,
        } = self;
        !(*established || *readable || *writable || *peer_fin || end.is_some())
    }
}

impl Events {
    fn next(&mut self) -> Option<Event> {
        let flags = [
            (&mut self.established, Event::Established),
            (&mut self.readable, Event::Readable),
            (&mut self.writable, Event::Writable),
            (&mut self.peer_fin, Event::PeerFin),
        ];
        for (flag, event) in flags {
            if std::mem::take(flag) {
                return Some(event);
            }
        }
        self.end.take()
    }
}

/// At rest.
impl Stream {
    /// A stream that is to become what was written down of another: see [`crate::rest`].
    pub fn fresh(settings: &StreamConfig) -> Stream {
        Stream::connect(Instant::default(), settings, Seq::default(), 0)
    }

    /// Since when nothing came or went; `None`: bytes are held, or something is under way.
    pub fn idle_since(&self) -> Option<Instant> {
        let empty = self.send.is_empty() && self.recv.is_empty();
        self.tcb.idle_since().filter(|_| empty)
    }
}

/// Opening and closing.
impl Stream {
    /// Active open; see [`Tcb::connect`].
    pub fn connect(now: Instant, config: &StreamConfig, iss: Seq, ts_offset: u32) -> Stream {
        Stream::new(now, Tcb::connect(now, &config.tcp, iss, ts_offset), config)
    }

    /// Passive open; see [`Tcb::accept`].
    pub fn accept(
        now: Instant,
        config: &StreamConfig,
        syn: &Segment,
        iss: Seq,
        ts_offset: u32,
    ) -> Stream {
        Stream::new(
            now,
            Tcb::accept(now, &config.tcp, syn, iss, ts_offset),
            config,
        )
    }

    /// What answers a SYN, as [`Stream::accept`] and its first segment would, but with segments of
    /// `mss` bytes at most.
    pub fn answer<'a>(
        config: &'a StreamConfig,
        mss: u16,
        syn: &'a Segment,
        iss: Seq,
        ts_offset: u32,
    ) -> SynAck<'a> {
        let most = config.tcp.socket.max_segment.unwrap_or(u16::MAX);
        SynAck {
            config: &config.tcp,
            mss: most.min(mss),
            syn,
            iss,
            ts_offset,
            rcv_room: config.tcp.buffers.recv_initial.min(config.tcp.recv_buffer),
        }
    }

    /// After [`Stream::accept`]: [`Stream::answer`] has left; see [`Tcb::answered`].
    pub fn answered(&mut self, now: Instant) {
        let grant = self.grant();
        self.tcb.answered(now, grant);
    }

    /// Passive open of a handshake that nothing was kept of; see [`Tcb::resume`].
    pub fn resume(
        now: Instant,
        config: &StreamConfig,
        syn: &Segment,
        iss: Seq,
        ts_offset: u32,
    ) -> Stream {
        let mut stream = Stream::accept(now, config, syn, iss, ts_offset);
        stream.tcb = Tcb::resume(now, &config.tcp, syn, iss, ts_offset, stream.grant());
        stream
    }

    /// Fast Open for an active open; see [`Tcb::set_fast_open`]. Bytes that are to go with the SYN
    /// are sent before the first [`Stream::poll_transmit`].
    pub fn set_fast_open(&mut self, option: FastOpen, mss: u16) {
        self.tcb.set_fast_open(option, mss);
    }

    /// The SYN+ACK gives this cookie; see [`Tcb::grant_fast_open`].
    pub fn grant_fast_open(&mut self, option: FastOpen) {
        self.tcb.grant_fast_open(option);
    }

    /// Take the payload of the SYN that made this stream; see [`Tcb::take_syn_payload`].
    pub fn take_syn_payload(&mut self, now: Instant, syn: &Segment, payload: Bytes) {
        let receipt = self.tcb.take_syn_payload(now, syn, self.grant());
        self.take(&receipt, payload);
    }

    fn new(now: Instant, tcb: Tcb, config: &StreamConfig) -> Stream {
        let buffers = &config.tcp.buffers;
        Stream {
            tcb,
            send: ByteQueue::new(0, config.budget.clone()),
            recv: Reassembly::new(&config.budget),
            send_size: SendSize::new(buffers.send_initial as usize, config.send_buffer),
            recv_size: RecvSize::new(now, buffers.recv_initial, config.tcp.recv_buffer),
            gso_max: config.gso_max,
            budget: config.budget.clone(),
            events: Events::default(),
            record_ended: false,
            wants_room: false,
            starved: false,
            opened: false,
            finished: false,
        }
    }

    /// No more bytes will be sent: FIN after those queued.
    pub fn shutdown(&mut self) {
        let over = self.tcb.is_closed();
        self.tcb.close();
        if self.tcb.is_closed() && !over {
            self.end(Event::Closed);
        }
    }

    /// The application lets go: [`Stream::shutdown`], and nobody reads any more. Unread bytes make
    /// it an [`Stream::abort`], so that the peer learns of their loss (RFC 2525 §2.17), and so does
    /// [`crate::SocketOption::Linger`] of zero.
    pub fn close(&mut self) {
        let linger = self.tcb.config().socket.linger;
        if self.recv.readable() > 0 || linger == Some(Duration::ZERO) {
            return self.abort();
        }
        self.shutdown();
        self.tcb.orphan();
    }

    /// Reset the connection.
    pub fn abort(&mut self) {
        if !self.tcb.is_closed() {
            self.tcb.reset();
            self.end(Event::Aborted(Close::Local));
        }
    }

    /// No bytes go either way any more.
    fn end(&mut self, event: Event) {
        self.events.end = Some(event);
        self.send.advance(self.send.end());
        if event == Event::Aborted(Close::Local) {
            self.recv.clear();
        }
        self.events.readable = true;
        self.events.writable = std::mem::take(&mut self.wants_room);
    }
}

/// Segments, timers and events.
impl Stream {
    /// A segment arrived, with its payload (`segment.len` bytes).
    pub fn on_segment(&mut self, now: Instant, segment: &Segment, payload: Bytes) {
        let receipt = self.tcb.on_segment(now, segment, self.grant());
        self.take(&receipt, payload);
    }

    fn take(&mut self, receipt: &Receipt, payload: Bytes) {
        for range in &receipt.new {
            let position = (receipt.rel_start + i64::from(range.start)) as u64;
            self.recv.insert(
                position,
                payload.slice(range.start as usize..range.end as usize),
            );
        }
        self.after(receipt);
    }

    fn after(&mut self, receipt: &Receipt) {
        if !receipt.new.is_empty() && self.recv.readable() > 0 {
            self.events.readable = true;
        }
        self.send.advance(receipt.snd_una);
        self.note_room();
        self.note(receipt.change);
    }

    /// Whoever waits to write may.
    fn note_room(&mut self) {
        if self.wants_room && self.is_writable() {
            self.wants_room = false;
            self.events.writable = true;
        }
    }

    fn note(&mut self, change: Change) {
        // One segment may complete the handshake and bring the peer's FIN.
        if !self.opened && (self.tcb.is_synchronized() || change == Change::Closed) {
            self.opened = true;
            self.events.established = true;
        }
        if !self.finished && self.tcb.peer_fin() {
            self.finished = true;
            self.events.peer_fin = true;
            self.events.readable = true;
        }
        match change {
            Change::None | Change::Established | Change::PeerFin => {}
            Change::Closed => self.end(Event::Closed),
            Change::Aborted(why) => self.end(Event::Aborted(why)),
        }
    }

    /// The next segment to send with its payload, or `None`.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(Emit, Payload)> {
        self.tcb.set_starved(self.wants_room || self.starved);
        let emit = self.tcb.poll(now, self.grant())?;
        let payload = if emit.rel.is_empty() {
            Payload::new()
        } else {
            self.send.slices(emit.rel.clone())
        };
        self.note_room();
        Some((emit, payload))
    }

    /// The next event, or `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.next()
    }

    /// When [`Stream::on_deadline`] must be called next.
    pub fn deadline(&self) -> Option<Instant> {
        self.tcb.deadline()
    }

    /// Act on expired timers.
    pub fn on_deadline(&mut self, now: Instant) {
        let change = self.tcb.on_deadline(now);
        self.note(change);
    }

    /// See [`Tcb::set_max_pacing_rate`].
    pub fn set_max_pacing_rate(&mut self, rate: Option<u64>) {
        self.tcb.set_max_pacing_rate(rate);
    }

    /// An ICMP error quoting a segment of this connection arrived.
    pub fn on_icmp(&mut self, now: Instant, error: IcmpError) {
        let change = self.tcb.on_icmp(now, error);
        self.note(change);
    }
}

/// Bytes.
impl Stream {
    /// Queue bytes for sending. Gives back how many were taken from the front of `bytes`: fewer
    /// than all when the send buffer or the budget is full (then [`Event::Writable`] follows), 0
    /// after [`Stream::shutdown`] or the end of the connection.
    pub fn send(&mut self, bytes: Bytes) -> usize {
        self.send_with(bytes, false)
    }

    /// [`Stream::send`]; with `more` the application says that more follows: a segment that is not
    /// full waits for it, 200 ms at most.
    pub fn send_with(&mut self, mut bytes: Bytes, more: bool) -> usize {
        if self.tcb.is_closing() || self.tcb.is_closed() {
            return 0;
        }
        let wanted = bytes.len();
        bytes.truncate(self.send_room());
        let len = bytes.len();
        let taken = if self.send.push(bytes) { len } else { 0 };
        let starts = taken > 0 && std::mem::take(&mut self.record_ended);
        self.tcb.append(taken as u64, starts);
        self.tcb.set_more(more && taken == wanted);
        self.wants_room |= taken < wanted;
        taken
    }

    /// A send buffer that the application has in front of this is full: see [`Tcb::set_starved`].
    pub fn set_starved(&mut self, starved: bool) {
        self.starved = starved;
    }

    /// What was sent so far ends a record: no segment holds bytes of it and of what is sent next.
    pub fn end_record(&mut self) {
        self.record_ended = self.send.end() > 0;
    }

    /// Up to `max` received bytes in order, without copying. `None`: nothing now, or the end
    /// (see [`Stream::at_end`]).
    pub fn recv(&mut self, now: Instant, max: usize) -> Option<Bytes> {
        let bytes = self.recv.read(max)?;
        self.note_read(now);
        self.tcb.window_opened(now, self.grant());
        Some(bytes)
    }

    /// Bytes that can be read now.
    pub fn readable(&self) -> u64 {
        self.recv.readable()
    }

    /// Whether everything up to the peer's FIN was read.
    pub fn at_end(&self) -> bool {
        self.tcb.peer_fin() && self.recv.readable() == 0
    }
}

/// What may be read of it.
impl Stream {
    /// Whether the connection is over, TIME-WAIT included. A RST may still have to be polled.
    pub fn is_closed(&self) -> bool {
        self.tcb.is_closed()
    }

    /// Set the largest payload of one [`Emit`].
    pub fn set_gso_max(&mut self, gso_max: u32) {
        self.gso_max = gso_max;
    }

    /// The control block.
    pub fn tcb(&self) -> &Tcb {
        &self.tcb
    }

    /// Figures.
    pub fn info(&self) -> Info {
        self.tcb.info()
    }

    /// Bytes accepted from the application and not acknowledged.
    pub fn unacked(&self) -> u64 {
        self.send.len()
    }
}
