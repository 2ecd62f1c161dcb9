//! The stack, its sockets and its time.

use crate::output::{self, Output};
use crate::paths::Paths;
use crate::socket::{Entry, Role, Socket, Stage, error_of};
use crate::sysctl::{FastOpen, Sysctl};
use anabranch_cabi::{Errno, Result};
use anabranch_mptcp::Versions;
use anabranch_mptcp::keys::Version;
use anabranch_stack::{CloseReason, Config, Event, FlowId, ListenerId, Stack};
use anabranch_tcp::Instant;
use anabranch_wire::Packet;
use anabranch_wire::frame::{Frame, Transmit};
use anabranch_wire::tcp::{Flags, Options};
use bytes::Bytes;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::IpAddr;
use std::os::fd::RawFd;
use std::path::PathBuf;
use std::time::Duration;

/// Time does not go by further than this without anything to happen.
const LONGEST_WAIT: Duration = Duration::from_secs(4000);

pub(crate) struct World {
    pub(crate) now: Instant,
    /// When a blocked call gives up.
    pub(crate) alarm: Option<Instant>,
    pub(crate) stack: Stack,
    pub(crate) entries: BTreeMap<RawFd, Entry>,
    pub(crate) flows: HashMap<FlowId, RawFd>,
    /// What was heard of connections that nobody has accepted yet.
    pub(crate) early: HashMap<FlowId, CloseReason>,
    pub(crate) listeners: HashMap<ListenerId, RawFd>,
    pub(crate) output: Output,
    /// Packets that left, and when.
    pub(crate) sent: VecDeque<(Instant, Vec<u8>)>,
    /// Our addresses, for connections that name none.
    pub(crate) addresses: Vec<IpAddr>,
    pub(crate) sysctl: Sysctl,
    /// Endpoints of the namespace.
    pub(crate) paths: Paths,
    /// Addresses of peers for which a subflow was opened.
    pub(crate) accepted: HashMap<FlowId, u32>,
    /// As the fork of Linux for version 0: every TCP socket is one of Multipath TCP.
    pub(crate) is_fork: bool,
    /// Largest IP packet of the device.
    pub(crate) mtu: u16,
    /// Where to write what the stack counts, if anybody wants to know.
    counters: Option<PathBuf>,
}

impl World {
    /// `version` is the only one of Multipath TCP, where that matters.
    pub(crate) fn new(
        now: Instant,
        addresses: Vec<IpAddr>,
        mtu: u16,
        version: Option<Version>,
    ) -> World {
        let sysctl = Sysctl::read();
        let mut config = Config {
            mtu,
            gso_max: output::GSO_MAX,
            reply_rate: u32::MAX,
            ..Config::default()
        };
        sysctl.apply(&mut config);
        if let Some(version) = version {
            config.mptcp.versions = Versions::only(version);
            config.mptcp.short_dsn = version == Version::V0;
        }
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&now.0.to_le_bytes());
        World {
            now,
            alarm: None,
            stack: Stack::new(config, seed, now),
            entries: BTreeMap::new(),
            flows: HashMap::new(),
            early: HashMap::new(),
            listeners: HashMap::new(),
            output: Output::default(),
            sent: VecDeque::new(),
            addresses,
            sysctl,
            paths: Paths::default(),
            accepted: HashMap::new(),
            is_fork: version == Some(Version::V0),
            mtu,
            counters: std::env::var_os("ANABRANCH_COUNTERS").map(PathBuf::from),
        }
    }

    /// Carries the namespace's settings over, as they are now.
    pub(crate) fn read_sysctl(&mut self) {
        self.sysctl = Sysctl::read();
        // The runner's stand-in for `ip` asks for it.
        let forget = self
            .counters
            .as_ref()
            .map(|f| f.with_extension("counters.forget"));
        if forget.is_some_and(|file| std::fs::remove_file(file).is_ok()) {
            self.stack.forget_fast_open_servers();
        }
        // The fork has checksums on, unless a script turns them off.
        let set = self.counters.as_ref();
        let set = set.and_then(|f| std::fs::read_to_string(f.with_extension("counters.fork")).ok());
        let off = set.is_some_and(|text| text.contains("mptcp_checksum=0"));
        let (sysctl, checksum) = (&self.sysctl, self.is_fork && !off);
        self.stack.reconfigure(|config| {
            sysctl.apply(config);
            config.mptcp.checksum |= checksum;
        });
    }

    /// Fast Open as the namespace has it now.
    pub(crate) fn sysctl_now(&mut self) -> FastOpen {
        self.read_sysctl();
        self.sysctl.fast_open
    }

    pub(crate) fn socket(&mut self, fd: RawFd) -> Result<&mut Socket> {
        match self.entries.get_mut(&fd) {
            Some(Entry::Socket(socket)) => Ok(socket),
            Some(Entry::Epoll(_)) => Err(Errno(libc::ENOTSOCK)),
            None => Err(Errno(libc::EBADF)),
        }
    }

    pub(crate) fn insert(&mut self, socket: Socket) -> RawFd {
        let fd = socket.descriptor.raw();
        match &socket.role {
            Role::Connection(connection) => {
                self.flows.insert(connection.flow, fd);
            }
            Role::Listener { id, .. } => {
                self.listeners.insert(*id, fd);
            }
            Role::Fresh | Role::Deferred(_) => {}
        }
        self.entries.insert(fd, Entry::Socket(Box::new(socket)));
        fd
    }

    pub(crate) fn receive(&mut self, packet: &[u8]) {
        let frame = Frame::packet(Bytes::copy_from_slice(packet));
        self.size_frames(&frame);
        self.stack.receive(self.now, frame);
        self.settle();
        self.tell_counters();
    }

    /// For the runner's stand-in for `nstat`, which scripts ask.
    fn tell_counters(&self) {
        let Some(file) = &self.counters else {
            return;
        };
        let lines = self.stack.counters().iter();
        let text: String = lines.map(|(name, n)| format!("{name} {n}\n")).collect();
        // Whoever asks finds nothing, and the script fails.
        let _ = std::fs::write(file, text);
    }

    /// Linux sends so many segments at once where it knows no better.
    fn size_frames(&mut self, frame: &Frame) {
        let Ok(packet) = Packet::parse(&frame.data) else {
            return;
        };
        let Options::Syn(options) = &packet.options else {
            return;
        };
        let stamps = if options.timestamps.is_some() && self.sysctl.timestamps {
            12
        } else {
            0
        };
        let mss = options.mss.unwrap_or(536).min(1460).saturating_sub(stamps);
        // Before a round trip is known, as with Fast Open, as many as there may be.
        let cookie = options.fast_open.as_ref();
        let early = cookie.is_some_and(|o| !o.cookie.is_empty()) && !packet.flags.has(Flags::ACK);
        let segments = if early { 64 } else { self.sysctl.min_tso_segs };
        let frame = segments * u32::from(mss);
        self.stack
            .reconfigure(|config| config.gso_max = frame.min(output::GSO_MAX));
    }

    /// When something will happen by itself.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.stack.deadline().into_iter().chain(self.alarm).min()
    }

    /// Moves time on to `to`, or to what happens before it; whether `to` was reached.
    pub(crate) fn step(&mut self, to: Instant) -> bool {
        match self.deadline() {
            Some(next) if next <= to => {
                self.now = self.now.max(next);
                self.stack.on_deadline(self.now);
                self.settle();
                false
            }
            _ => {
                self.now = self.now.max(to);
                true
            }
        }
    }

    /// Moves time on to what happens next, or to `limit`; false if nothing will happen.
    pub(crate) fn skip(&mut self, limit: Option<Instant>) -> bool {
        let farthest = self.now + LONGEST_WAIT;
        match self.deadline().into_iter().chain(limit).min() {
            Some(next) if next <= farthest => {
                self.step(next);
                true
            }
            _ => false,
        }
    }

    /// To be called after anything that happened to the stack: takes what it has to send and to
    /// tell.
    pub(crate) fn settle(&mut self) {
        loop {
            while let Some(transmit) = self.stack.poll_transmit(self.now) {
                let tos = self.type_of_service(&transmit);
                let packet = self.output.packet(transmit, tos);
                self.sent.push_back((self.now, packet));
            }
            let Some(event) = self.stack.poll_event() else {
                break;
            };
            self.hear(event);
        }
        self.note_acked();
        self.note_space();
        self.wake_epolls();
    }

    /// What the socket of this packet asks for.
    fn type_of_service(&self, transmit: &Transmit) -> Option<u8> {
        let asks = |(_, socket): &(RawFd, &Socket)| socket.options.tos != 0;
        let ports = output::ports(transmit)?;
        let of = |(_, socket): &(RawFd, &Socket)| {
            let info = socket.flow().and_then(|flow| self.stack.info(flow));
            info.is_some_and(|info| {
                let mut subflows = info.subflows.iter();
                subflows.any(|s| (s.local.port(), s.remote.port()) == ports)
            })
        };
        let found = self.sockets().filter(asks).find(of);
        found.map(|(_, socket)| socket.options.tos)
    }

    fn hear(&mut self, event: Event) {
        match event {
            Event::Accepted(listener) => self.hear_accepted(listener),
            Event::Established(flow) => {
                self.with_flow(flow, |socket, _| {
                    if let Some(connection) = socket.connection_mut() {
                        connection.stage = Stage::Open;
                    }
                });
                self.wake(flow, libc::EPOLLOUT);
                self.open_paths(flow);
            }
            Event::Readable(flow) => self.wake(flow, libc::EPOLLIN | libc::EPOLLRDNORM),
            Event::Writable(flow) => self.wake(flow, libc::EPOLLOUT),
            Event::PeerFin(flow) => {
                self.with_flow(flow, |socket, _| {
                    if let Some(connection) = socket.connection_mut() {
                        connection.peer_fin = true;
                    }
                });
                self.wake(flow, libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLHUP);
            }
            Event::Closed(flow, reason) => self.hear_closed(flow, reason),
            Event::Path(flow, event) => self.on_path_event(flow, event),
        }
    }

    fn hear_accepted(&mut self, listener: ListenerId) {
        let mut flows = Vec::new();
        while let Some(flow) = self.stack.accept(listener) {
            flows.push(flow);
        }
        let fd = self.listeners.get(&listener).copied();
        if let Some(Ok(socket)) = fd.map(|fd| self.socket(fd)) {
            if let Role::Listener { queue, .. } = &mut socket.role {
                queue.extend(flows);
            }
            socket.woken |= libc::EPOLLIN as u32;
        }
    }

    fn hear_closed(&mut self, flow: FlowId, reason: CloseReason) {
        if !self.flows.contains_key(&flow) {
            self.early.insert(flow, reason);
        }
        self.with_flow(flow, |socket, _| {
            if let Some(connection) = socket.connection_mut() {
                connection.stage = Stage::Ended(reason);
                connection.peer_fin |= reason == CloseReason::Finished;
            }
            socket.error = error_of(reason).or(socket.error);
            socket.no_space = false;
        });
        let all = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLERR | libc::EPOLLHUP;
        self.wake(flow, all | libc::EPOLLRDHUP);
    }

    fn with_flow(&mut self, flow: FlowId, act: impl FnOnce(&mut Socket, Instant)) {
        let now = self.now;
        let fd = self.flows.get(&flow).copied();
        if let Some(Ok(socket)) = fd.map(|fd| self.socket(fd)) {
            act(socket, now);
        }
    }

    fn wake(&mut self, flow: FlowId, events: i32) {
        self.with_flow(flow, |socket, _| socket.woken |= events as u32);
    }

    /// Tells who waits for room to write once there is some.
    fn note_space(&mut self) {
        let waiting: Vec<RawFd> = self
            .sockets()
            .filter_map(|(fd, socket)| socket.no_space.then_some(fd))
            .collect();
        let most = self.sysctl.wmem[2] as usize;
        for fd in waiting {
            let sending = match self.entries.get(&fd) {
                Some(Entry::Socket(socket)) => self.sending(socket),
                _ => None,
            };
            if let (Some(sending), Ok(socket)) = (sending, self.socket(fd)) {
                let acked = sending.queued < socket.queued;
                socket.queued = sending.queued;
                socket.window = socket.window.max(sending.window);
                if acked {
                    socket.options.send_buffer.grow(&sending, most);
                }
            }
            if self.is_writable(fd)
                && let Ok(socket) = self.socket(fd)
            {
                socket.no_space = false;
                socket.woken |= libc::EPOLLOUT as u32;
                if let Some(flow) = socket.flow() {
                    self.stack.set_starved(self.now, flow, false);
                }
            }
        }
    }

    /// Tells the error queues what was acknowledged.
    fn note_acked(&mut self) {
        let now = self.now;
        let waiting: Vec<(RawFd, FlowId)> = self
            .sockets()
            .filter(|(_, socket)| socket.errors.is_waiting())
            .filter_map(|(fd, socket)| Some((fd, socket.flow()?)))
            .collect();
        for (fd, flow) in waiting {
            let progress = self.progress(flow);
            if let Ok(socket) = self.socket(fd)
                && socket.errors.on_progress(now, progress)
            {
                socket.woken |= libc::EPOLLERR as u32;
            }
        }
    }

    pub(crate) fn sockets(&self) -> impl Iterator<Item = (RawFd, &Socket)> {
        self.entries.iter().filter_map(|(fd, entry)| match entry {
            Entry::Socket(socket) => Some((*fd, &**socket)),
            Entry::Epoll(_) => None,
        })
    }
}
