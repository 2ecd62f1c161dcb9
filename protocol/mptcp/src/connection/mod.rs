//! A Multipath TCP connection: what it holds, and what its application calls.

mod assign;
mod choose;
mod data;
mod failover;
mod give_up;
pub(crate) mod input;
mod inquire;
mod output;
mod steer;
mod timers;
mod unblock;

pub use output::Outgoing;

pub(crate) use choose::Scheduling;

use crate::close::Closing;
use crate::config::{Config, Path, Start, SubflowId};
use crate::coupled::{self, Coupled};
use crate::event::{CloseReason, Event, FallbackReason, SignalError};
use crate::handshake::{Handshake, Role};
use crate::info::{Counters, Info};
use crate::keys::{LocalKey, Version};
use crate::recv::{Reassembly, Update};
use crate::send::{Fin, SendQueue};
use crate::signal::Signals;
use crate::steer::Steer;
use crate::subflow::{self, Phase, Subflow};
use anabranch_tcp::autotune::SendSize;
use anabranch_tcp::packed;
use anabranch_tcp::rest::{Pack, Parcel};
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

impl Pack for Mode {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let mut kind = match self {
            Mode::Opening => 0u8,
            Mode::Multipath => 1,
            Mode::Plain { .. } => 2,
        };
        kind.pack(parcel);
        *self = match (kind, *self) {
            (0, _) => Mode::Opening,
            (1, _) => Mode::Multipath,
            (_, plain @ Mode::Plain { .. }) => plain,
            _ => Mode::Plain {
                subflow: SubflowId::default(),
                reason: FallbackReason::Peer,
                shift: 0,
            },
        };
        if let Mode::Plain {
            subflow,
            reason,
            shift,
        } = self
        {
            subflow.pack(parcel);
            reason.pack(parcel);
            shift.pack(parcel);
        }
    }
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
    pub(crate) scheduling: Scheduling,
    pub(crate) steer: Steer,
    pub(crate) counters: Counters,
    /// The peer's last mapping had a DSN of 64 bits: so have DATA_ACKs.
    pub(crate) long_ack: bool,
    /// Something changed since data was last given to subflows.
    pub(crate) dirty: bool,
    /// Subflows were told that the window holds data back.
    pub(crate) blocked: bool,
}

packed!(Connection { handshake, mode, tx, rx, paths, signals, closing, timers, events, steer, counters, long_ack, dirty, blocked } kept { config, scheduling });

/// The subflows.
#[derive(Debug)]
pub(crate) struct Paths {
    pub(crate) list: Vec<Subflow>,
    next_id: u32,
    /// At once; see [`Config::max_subflows`].
    pub(crate) max: u8,
    /// A join was completed once.
    pub(crate) joined: bool,
    /// Which is asked first for something to send.
    cursor: usize,
    /// Where something last arrived.
    pub(crate) last_active: SubflowId,
    /// How their congestion windows depend on each other.
    pub(crate) coupled: Option<Box<Coupled>>,
}

/// Subflows are made of the settings and become what was written of them.
impl Pack for Paths {
    fn pack(&mut self, parcel: &mut Parcel<'_>) {
        let Paths {
            list,
            next_id,
            joined,
            cursor,
            last_active,
            max,
            coupled: _,
        } = self;
        let mut len = list.len();
        len.pack(parcel);
        list.resize_with(len, || Subflow::fresh(parcel.settings()));
        list.iter_mut().for_each(|subflow| subflow.pack(parcel));
        next_id.pack(parcel);
        joined.pack(parcel);
        cursor.pack(parcel);
        last_active.pack(parcel);
        max.pack(parcel);
    }
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

packed!(Events { readable, writable, peer_fin } empty { queue });

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
    fn new(max: u8, coupling: Option<coupled::Kind>) -> Paths {
        Paths {
            max,
            list: Vec::with_capacity(2),
            next_id: 0,
            joined: false,
            cursor: 0,
            last_active: SubflowId(0),
            coupled: coupling.map(Coupled::new),
        }
    }

    pub(crate) fn add(&mut self, path: Path, tcb: Tcb, phase: Phase) -> &mut Subflow {
        let id = SubflowId(self.next_id);
        self.next_id += 1;
        let at = self.list.len();
        self.list.push(Subflow::new(id, path, tcb, phase));
        &mut self.list[at]
    }

    /// The first subflow is asked first for something to send.
    pub(crate) fn restart(&mut self) {
        self.cursor = 0;
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

    /// Subflows that count against the limit: those that we are opening too, those ending not.
    pub(crate) fn alive(&self) -> usize {
        let list = self.list.iter();
        list.filter(|s| !s.is_ending() && !s.is_half_open()).count()
    }

    /// Joins of the peer whose third ACK has not come.
    pub(crate) fn half_open(&self) -> usize {
        let list = self.list.iter();
        list.filter(|s| !s.is_ending() && s.is_half_open()).count()
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

    /// What still carries signals where no subflow is active: one that we close.
    pub(crate) fn closing(&self) -> Option<SubflowId> {
        let open = |s: &&Subflow| {
            s.tcb.is_synchronized()
                && matches!(s.phase, Phase::Initial | Phase::Joined)
                && s.tcb.state() != State::TimeWait
        };
        self.list.iter().find(open).map(|s| s.id)
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
    /// unused in the version that [`crate::Versions::answer`] tells. An MP_CAPABLE that cannot be
    /// followed makes it plain TCP.
    pub fn accept(
        now: Instant,
        config: &Arc<Config>,
        key: u64,
        path: Path,
        syn: &Segment,
        capable: &Capable,
        start: Start,
    ) -> Connection {
        let version = config.versions.answer(capable).unwrap_or(Version::V1);
        let key = LocalKey::new(version, key);
        Connection::accept_with(now, config, key, path, syn, capable, start)
    }

    /// [`Connection::accept`] with a key whose token is known already.
    pub fn accept_with(
        now: Instant,
        config: &Arc<Config>,
        key: LocalKey,
        path: Path,
        syn: &Segment,
        capable: &Capable,
        start: Start,
    ) -> Connection {
        let tcb = subflow::accept(now, &config.tcp, syn, &start);
        let version = config.versions.answer(capable);
        let spoken = version.unwrap_or(Version::V1);
        let handshake = Handshake::new(Role::Acceptor, spoken, key, config);
        let mut connection = Connection::new(now, config, handshake, path, tcb);
        match version {
            Some(_) => connection.handshake.on_syn(capable),
            None => connection.plain_from_start(now, FallbackReason::ThirdAck),
        }
        connection
    }

    /// We open it, and offer the highest version of [`Config::versions`]. `key` is the local key,
    /// whose token must be unused in that version.
    pub fn connect(
        now: Instant,
        config: &Arc<Config>,
        key: u64,
        path: Path,
        start: Start,
    ) -> Connection {
        let key = LocalKey::new(config.versions.offer(), key);
        Connection::connect_with(now, config, key, path, start)
    }

    /// [`Connection::connect`] with a key whose token is known already.
    pub fn connect_with(
        now: Instant,
        config: &Arc<Config>,
        key: LocalKey,
        path: Path,
        start: Start,
    ) -> Connection {
        let tcb = subflow::connect(now, &config.tcp, &start);
        let version = config.versions.offer();
        let handshake = Handshake::new(Role::Initiator, version, key, config);
        Connection::new(now, config, handshake, path, tcb)
    }

    pub(crate) fn new(
        now: Instant,
        config: &Arc<Config>,
        handshake: Handshake,
        path: Path,
        tcb: Tcb,
    ) -> Connection {
        let mut paths = Paths::new(config.max_subflows, config.coupling);
        paths.add(path, tcb, Phase::Initial);
        let budget = &config.budget;
        let size = SendSize::new(config.tcp.buffers.send_initial as usize, config.send_buffer);
        let (initial, max) = (config.initial_window, config.tcp.recv_buffer);
        Connection {
            handshake,
            mode: Mode::Opening,
            tx: SendQueue::new(size, budget.clone()),
            rx: Reassembly::new(now, initial, max, budget.clone()),
            paths,
            signals: Signals::new(path, config),
            closing: Closing::default(),
            timers: Timers::default(),
            events: Events::default(),
            scheduling: Scheduling::new(config.scheduler.build()),
            steer: Steer::default(),
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
            scheduler: self.scheduling.name(),
            congestion: self.congestion(),
            stuck: self.stuck(),
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

    /// The version that is spoken, or offered while there is no answer.
    pub fn version(&self) -> Version {
        self.handshake.version
    }

    /// The token by which the peer joins: unique among the connections of this host.
    pub fn local_token(&self) -> u32 {
        self.handshake.local.derived.token
    }

    /// Whether both keys are known: joins are possible.
    pub fn is_multipath(&self) -> bool {
        self.mode == Mode::Multipath && !self.closing.is_closed()
    }

    /// Whether the handshake is not so far that both keys are known: a join may be too early.
    pub fn is_opening(&self) -> bool {
        self.mode == Mode::Opening && !self.closing.is_closed()
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

    /// Whether the peer asked for no joins to the initial address and port (flag C, RFC 8684
    /// §3.1).
    pub fn peer_denies_join(&self) -> bool {
        self.handshake.peer_denies_join
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
