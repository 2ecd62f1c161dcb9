//! A Multipath TCP connection: what it holds, and what its application calls.

mod assign;
mod data;
pub(crate) mod input;
mod output;
mod timers;

pub use output::Outgoing;

use crate::close::Closing;
use crate::config::{Config, Path, Start, SubflowId};
use crate::event::{CloseReason, Event, FallbackReason, SignalError};
use crate::handshake::{Handshake, Role};
use crate::info::{Counters, Info};
use crate::recv::{Reassembly, Update};
use crate::schedule::Scheduler;
use crate::send::{Fin, SendQueue};
use crate::signal::Signals;
use crate::subflow::{self, Phase, Subflow};
use anabranch_tcp::autotune::SendSize;
use anabranch_tcp::{IcmpError, Instant, Segment, State, Tcb};
use anabranch_wire::mptcp::Capable;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use timers::Timers;

/// Whether data has mappings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// The keys are not known on both sides yet.
    Opening,
    /// They are.
    Multipath,
    /// One subflow with an infinite mapping both ways: plain TCP.
    Plain {
        /// Which.
        subflow: SubflowId,
        reason: FallbackReason,
        /// Data position minus subflow position of what we send.
        shift: u64,
    },
}

/// One end of a Multipath TCP connection.
#[derive(Debug)]
pub struct Connection {
    pub(crate) config: Arc<Config>,
    pub(crate) handshake: Handshake,
    pub(crate) mode: Mode,
    pub(crate) tx: SendQueue,
    pub(crate) rx: Reassembly,
    pub(crate) paths: Paths,
    pub(crate) signals: Signals,
    pub(crate) closing: Closing,
    pub(crate) timers: Timers,
    pub(crate) events: Events,
    pub(crate) scheduler: Box<dyn Scheduler>,
    pub(crate) counters: Counters,
    /// The peer sent a 64-bit DSN: DATA_ACKs have 64 bits from then on.
    pub(crate) long_ack: bool,
    /// Something changed since data was last given to subflows.
    pub(crate) dirty: bool,
    /// Subflows were told that the window holds data back.
    pub(crate) blocked: bool,
}

/// The subflows.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) list: Vec<Subflow>,
    next_id: u32,
    /// A join was completed once.
    pub(crate) joined: bool,
    /// Which is asked first for something to send.
    cursor: usize,
    /// Where something last arrived.
    pub(crate) last_active: SubflowId,
}

/// Events not taken yet; some merge.
#[derive(Debug, Default)]
pub(crate) struct Events {
    queue: VecDeque<Event>,
    readable: bool,
    writable: bool,
    /// `PeerFin` was reported.
    peer_fin: bool,
}

impl Events {
    pub(crate) fn push(&mut self, event: Event) {
        self.queue.push_back(event);
    }

    fn readable(&mut self) {
        if !self.readable {
            self.readable = true;
            self.queue.push_back(Event::Readable);
        }
    }

    fn writable(&mut self) {
        if !self.writable {
            self.writable = true;
            self.queue.push_back(Event::Writable);
        }
    }

    fn peer_fin(&mut self) {
        if !self.peer_fin {
            self.peer_fin = true;
            self.queue.push_back(Event::PeerFin);
        }
    }

    fn take(&mut self) -> Option<Event> {
        let event = self.queue.pop_front()?;
        match event {
            Event::Readable => self.readable = false,
            Event::Writable => self.writable = false,
            _ => {}
        }
        Some(event)
    }
}

impl Paths {
    fn new() -> Paths {
        Paths {
            list: Vec::with_capacity(2),
            next_id: 0,
            joined: false,
            cursor: 0,
            last_active: SubflowId(0),
        }
    }

    pub(crate) fn add(&mut self, path: Path, tcb: Tcb, phase: Phase) -> &mut Subflow {
        let id = SubflowId(self.next_id);
        self.next_id += 1;
        let at = self.list.len();
        self.list.push(Subflow::new(id, path, tcb, phase));
        &mut self.list[at]
    }

    pub(crate) fn index(&self, id: SubflowId) -> Option<usize> {
        self.list.iter().position(|s| s.id == id)
    }

    pub(crate) fn get_mut(&mut self, id: SubflowId) -> Option<&mut Subflow> {
        self.list.iter_mut().find(|s| s.id == id)
    }

    /// Subflows whose handshake is complete and that are not ending.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Subflow> {
        self.list.iter().filter(|s| s.is_active())
    }

    /// Subflows that count against the limit: half-open ones too, those ending not.
    pub(crate) fn alive(&self) -> usize {
        self.list.iter().filter(|s| !s.is_ending()).count()
    }

    /// Where a signal goes best: active, making progress, nearest.
    pub(crate) fn best(&self) -> Option<SubflowId> {
        let key = |s: &&Subflow| {
            (
                s.stale,
                s.backup.any(),
                s.tcb.srtt().unwrap_or(Duration::MAX),
            )
        };
        self.active().min_by_key(key).map(|s| s.id)
    }

    /// The longest round trip of an active subflow, as sender or receiver.
    fn longest_rtt(&self) -> Duration {
        let rtts = self
            .active()
            .filter_map(|s| s.tcb.srtt().max(s.tcb.rcv_rtt()));
        rtts.max().unwrap_or(Duration::from_millis(100))
    }
}

/// Opening.
impl Connection {
    /// The peer opened it: `syn` carries `capable`. `key` is the local key, whose token must be
    /// unused. An MP_CAPABLE that cannot be followed makes it plain TCP.
    pub fn accept(
        now: Instant,
        config: &Arc<Config>,
        key: u64,
        path: Path,
        syn: &Segment,
        capable: &Capable,
        start: Start,
    ) -> Connection {
        let tcb = subflow::accept(now, &config.tcp, syn, &start);
        let mut connection = Connection::new(now, config, Role::Acceptor, key, path, tcb);
        connection.handshake.on_syn(capable);
        if !Handshake::acceptable(capable) {
            connection.plain_from_start(now, FallbackReason::ThirdAck);
        }
        connection
    }

    /// We open it.
    pub fn connect(
        now: Instant,
        config: &Arc<Config>,
        key: u64,
        path: Path,
        start: Start,
    ) -> Connection {
        let tcb = subflow::connect(now, &config.tcp, &start);
        Connection::new(now, config, Role::Initiator, key, path, tcb)
    }

    fn new(
        now: Instant,
        config: &Arc<Config>,
        role: Role,
        key: u64,
        path: Path,
        tcb: Tcb,
    ) -> Connection {
        let mut paths = Paths::new();
        paths.add(path, tcb, Phase::Initial);
        let budget = &config.budget;
        let size = SendSize::new(config.tcp.buffers.send_initial as usize, config.send_buffer);
        let (initial, max) = (config.initial_window, config.tcp.recv_buffer);
        Connection {
            handshake: Handshake::new(role, key, config.checksum, config.deny_join),
            mode: Mode::Opening,
            tx: SendQueue::new(size, budget.clone()),
            rx: Reassembly::new(now, initial, max, budget.clone()),
            paths,
            signals: Signals::new(path, (config.add_addr_retry, config.add_addr_tries)),
            closing: Closing::default(),
            timers: Timers::default(),
            events: Events::default(),
            scheduler: config.scheduler.build(),
            counters: Counters::default(),
            long_ack: false,
            dirty: false,
            blocked: false,
            config: config.clone(),
        }
    }
}

/// What the application calls.
impl Connection {
    /// Queue bytes for sending. Gives back how many were taken from the front of `bytes`: fewer
    /// than all when the send buffer or the budget is full (then [`Event::Writable`] follows), 0
    /// after [`Connection::shutdown`] or the end of the connection.
    pub fn send(&mut self, bytes: Bytes) -> usize {
        self.send_with(bytes, false)
    }

    /// [`Connection::send`]; with `more` the application says that more follows: a segment that is
    /// not full waits for it, 200 ms at most.
    pub fn send_with(&mut self, bytes: Bytes, more: bool) -> usize {
        if self.tx.fin() != Fin::No || self.closing.is_closed() {
            return 0;
        }
        let wanted = bytes.len();
        let taken = self.tx.push(bytes);
        self.tx.more = more && taken == wanted;
        self.dirty |= taken > 0;
        taken
    }

    /// Up to `max` received bytes in order, without copying. `None`: nothing now, or the end (see
    /// [`Connection::at_end`]).
    pub fn recv(&mut self, now: Instant, max: usize) -> Option<Bytes> {
        let bytes = self.rx.read(max)?;
        self.rx.open_window(now, self.paths.longest_rtt());
        self.announce_window();
        Some(bytes)
    }

    /// Whether everything up to the end of what the peer sends was read.
    pub fn at_end(&self) -> bool {
        self.rx.fin_reached() && self.rx.readable() == 0
    }

    /// No more bytes will be sent: DATA_FIN after those queued. The peer may go on sending.
    pub fn shutdown(&mut self, now: Instant) {
        self.tx.set_fin(Fin::Wanted);
        self.dirty = true;
        self.update(now);
    }

    /// Ask subflows for a window update if one is due.
    fn announce_window(&mut self) {
        let Some(update) = self.rx.update_due(self.window_step()) else {
            return;
        };
        match update {
            // If the only update were lost, the peer would have to probe.
            Update::Reopened => {
                let active = self.paths.list.iter_mut().filter(|s| s.is_active());
                active.for_each(|s| s.tcb.request_ack());
            }
            Update::Grown => {
                let id = self.paths.last_active;
                let known = self.paths.get_mut(id).filter(|s| s.is_active());
                if let Some(subflow) = known {
                    subflow.tcb.request_ack();
                } else if let Some(id) = self.paths.best() {
                    self.request_bare_ack(id);
                }
            }
        }
        // Not asked for again before it has left.
        self.rx.advertised();
    }

    fn window_step(&self) -> u64 {
        self.paths
            .active()
            .map(|s| u64::from(s.tcb.mss()))
            .max()
            .unwrap_or(1460)
    }

    pub(crate) fn request_bare_ack(&mut self, id: SubflowId) {
        if let Some(subflow) = self.paths.get_mut(id) {
            subflow.tcb.request_bare_ack();
        }
    }

    /// The next event, or `None`.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.take()
    }

    /// An ICMP error quoting a segment of a subflow arrived.
    pub fn on_icmp(&mut self, now: Instant, id: SubflowId, error: IcmpError) {
        let Some(subflow) = self.paths.get_mut(id) else {
            return;
        };
        let change = subflow.tcb.on_icmp(now, error);
        subflow.note(change);
        self.update(now);
    }

    /// Largest segment the path of a subflow takes, as far as is known, bytes of payload and TCP
    /// options.
    pub fn path_mss(&self, id: SubflowId) -> Option<u16> {
        let subflow = self.paths.list.iter().find(|subflow| subflow.id == id)?;
        Some(subflow.tcb.path_mss())
    }

    /// Use another scheduler from now on.
    pub fn set_scheduler(&mut self, scheduler: Box<dyn Scheduler>) {
        self.scheduler = scheduler;
        self.dirty = true;
    }
}

/// What can be seen.
impl Connection {
    /// Figures.
    pub fn info(&self) -> Info {
        let derived = self.handshake.local.derived;
        Info {
            state: self.state(),
            closed: self.closing.reason(),
            version: self.handshake.version.number(),
            fallback: self.fallback(),
            checksum: self.handshake.checksum,
            local_token: derived.token,
            remote_token: self.handshake.remote.map(|r| r.derived.token),
            unacked: self.tx.end() - self.tx.una(),
            unread: self.rx.readable(),
            send_buffer: self.tx.limit(),
            recv_buffer: self.rx.size(),
            recv_space: self.rx.space(),
            out_of_order: self.rx.out_of_order(),
            window: u64::from(self.rx.room()),
            peer_window: self.tx.window(),
            counters: self.counters(),
            subflows: self.paths.list.iter().map(Subflow::info).collect(),
        }
    }

    /// Counters.
    pub fn counters(&self) -> Counters {
        Counters {
            bytes_in: self.rx.next(),
            bytes_acked: self.tx.una(),
            duplicate_bytes: self.rx.duplicate_bytes,
            dropped_bytes: self.rx.dropped_bytes,
            ..self.counters
        }
    }

    /// State at data level, in the names of TCP's.
    pub fn state(&self) -> State {
        if self.closing.is_closed() {
            return State::Closed;
        }
        let initial = self.paths.list.first().map(|s| s.tcb.state());
        if let Some(state @ (State::SynSent | State::SynReceived)) = initial
            && !self.closing.was_established()
        {
            return state;
        }
        match (self.tx.fin(), self.rx.fin_reached()) {
            (Fin::No, false) => State::Established,
            (Fin::No, true) => State::CloseWait,
            (Fin::Acked, false) => State::FinWait2,
            (_, false) => State::FinWait1,
            (_, true) => State::LastAck,
        }
    }

    /// Why the connection went on as plain TCP, if it did.
    pub fn fallback(&self) -> Option<FallbackReason> {
        match self.mode {
            Mode::Plain { reason, .. } => Some(reason),
            Mode::Opening | Mode::Multipath => None,
        }
    }

    /// The token by which the peer joins: unique among the connections of this host.
    pub fn local_token(&self) -> u32 {
        self.handshake.local.derived.token
    }

    /// Whether both keys are known: joins are possible.
    pub fn is_multipath(&self) -> bool {
        self.mode == Mode::Multipath && !self.closing.is_closed()
    }

    /// Bytes that [`Connection::send`] would take now, but for the budget.
    pub fn send_room(&self) -> usize {
        if self.tx.fin() == Fin::No && !self.closing.is_closed() {
            self.tx.room()
        } else {
            0
        }
    }

    /// Bytes taken from the application and not given to a subflow yet: more follows what is sent.
    pub fn unassigned(&self) -> u64 {
        self.tx.unassigned()
    }

    /// Bytes that can be read now.
    pub fn readable(&self) -> u64 {
        self.rx.readable()
    }

    /// The control block of a subflow.
    pub fn tcb(&self, id: SubflowId) -> Option<&Tcb> {
        self.paths.list.iter().find(|s| s.id == id).map(|s| &s.tcb)
    }

    /// Addresses of a subflow.
    pub fn path(&self, id: SubflowId) -> Option<Path> {
        self.paths.list.iter().find(|s| s.id == id).map(|s| s.path)
    }

    /// IDs of all subflows, those in TIME-WAIT included.
    pub fn subflows(&self) -> impl Iterator<Item = SubflowId> + '_ {
        self.paths.list.iter().map(|s| s.id)
    }

    pub(crate) fn multipath(&self) -> Result<(), SignalError> {
        if self.is_multipath() {
            Ok(())
        } else {
            Err(SignalError::NotMultipath)
        }
    }

    /// Why the connection ended, if it did.
    pub fn closed(&self) -> Option<CloseReason> {
        self.closing.reason()
    }
}
