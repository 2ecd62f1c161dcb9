//! The host: what an application calls.

use crate::config::{Config, ConnectConfig, ListenConfig};
use crate::counters::{Counter, Counters};
use crate::demux::{Demux, Tuple};
use crate::destinations::Destinations;
use crate::error::{ConnectError, FlowError, ListenError};
use crate::event::{CloseReason, Event};
use crate::fast_open::Cookies;
use crate::flow::{Flow, Plain, Slot, Stage};
use crate::half_open::HalfOpenJoins;
use crate::id::{FlowId, ListenerId};
use crate::listener::Listeners;
use crate::path_mtu::PathMtus;
use crate::paths::Management;
use crate::ports::Ports;
use crate::random::{Random, Secrets};
use crate::ready::{Limiter, Ready};
use crate::settings::Settings;
use crate::shard::Stray;
use crate::slots::Slots;
use crate::syn_cache::SynCache;
use crate::syn_cookies::Baker;
use crate::time_wait::TimeWait;
use crate::token::Tokens;
use crate::wheel::Wheel;
use anabranch_tcp::SocketOption;
use anabranch_tcp::budget::Budget;
use anabranch_tcp::{Instant, Stream, StreamConfig};
use anabranch_wire::frame::Transmit;
use anabranch_wire::ip::{V4_LEN, V6_LEN};
use anabranch_wire::tcp::HEADER_LEN;
use bytes::Bytes;
use std::collections::VecDeque;
use std::net::SocketAddr;

/// A host: connections, listeners and what they need. See the crate's documentation for the
/// contract that binds its calls.
pub struct Stack {
    pub(crate) config: Config,
    /// Of connections to come.
    pub(crate) settings: Settings,
    pub(crate) budget: Budget,
    pub(crate) listeners: Listeners,
    pub(crate) flows: Slots<Slot>,
    pub(crate) demux: Demux,
    pub(crate) tokens: Tokens,
    pub(crate) half_open: HalfOpenJoins,
    pub(crate) syn_cache: SynCache,
    pub(crate) time_wait: TimeWait,
    pub(crate) path_mtus: PathMtus,
    pub(crate) destinations: Destinations,
    pub(crate) wheel: Wheel,
    pub(crate) ready: Ready,
    pub(crate) events: VecDeque<Event>,
    /// To strangers: resets, ICMP.
    pub(crate) replies: VecDeque<Transmit>,
    /// To other stacks of this host, by their index.
    pub(crate) strays: VecDeque<(usize, Stray)>,
    pub(crate) limiter: Limiter,
    pub(crate) counters: Counters,
    pub(crate) random: Random,
    pub(crate) secrets: Secrets,
    pub(crate) baker: Baker,
    pub(crate) cookies: Cookies,
    pub(crate) ports: Ports,
    pub(crate) management: Management,
    /// The last IPv4 identification.
    pub(crate) ident: u16,
}

/// What [`Stack::recv`] found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Recv {
    /// Bytes, at least one.
    Data(Bytes),
    /// Nothing now; [`Event::Readable`] or another event follows.
    Pending,
    /// The peer finished and everything was read.
    Finished,
    /// The connection ended otherwise, and everything that arrived was read.
    Closed(CloseReason),
}

impl Stack {
    /// A host without listeners and connections. `seed` decides every random choice: keep it
    /// secret outside tests, and never use one twice but for the stacks of one host.
    pub fn new(config: Config, seed: [u8; 32], now: Instant) -> Stack {
        let mut random = Random::new(seed);
        let budget = Budget::new(config.limits.memory);
        let [listeners, demux] = [random.hash(), random.hash()];
        let tokens = Tokens::new(random.hash());
        let past = random.hash();
        let secrets = Secrets::new(&mut random);
        let ports = Ports::new(config.ephemeral.clone(), &mut random);
        let ident = random.u32() as u16;
        let cookies = Cookies::new(&mut random, now);
        // Up to here all is the same on every stack of the host, from here on it is this one's.
        let mut random = random.stream(config.shard.index());
        Stack {
            settings: Settings::new(&config, &budget),
            budget,
            listeners: Listeners::new(listeners),
            flows: Slots::new(),
            half_open: HalfOpenJoins::new(&demux),
            syn_cache: SynCache::new(now),
            demux: Demux::new(demux),
            tokens,
            time_wait: TimeWait::new(past, config.time_wait, config.limits.time_wait),
            path_mtus: PathMtus::default(),
            destinations: Destinations::default(),
            wheel: Wheel::new(now),
            ready: Ready::default(),
            events: VecDeque::new(),
            replies: VecDeque::new(),
            strays: VecDeque::new(),
            limiter: Limiter::new(config.reply_rate, now),
            counters: Counters::default(),
            secrets,
            ports,
            ident,
            management: Management::default(),
            baker: Baker::new(&mut random),
            cookies,
            random,
            config,
        }
    }

    /// Changes the settings of connections to come; those there are keep theirs. What was made at
    /// the start stays: [`crate::Limits::memory`], `ephemeral`, `reply_rate`, and TIME-WAIT.
    pub fn reconfigure(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        self.settings = Settings::new(&self.config, &self.budget);
        self.listeners.reconfigure(&self.settings);
    }

    /// Accepts connections from now on.
    ///
    /// # Errors
    /// See [`ListenError`].
    pub fn listen(&mut self, config: ListenConfig) -> Result<ListenerId, ListenError> {
        if config.port == 0 {
            return Err(ListenError::NoPort);
        }
        if config
            .addr
            .is_some_and(|addr| !self.config.local.contains(addr))
        {
            return Err(ListenError::NotLocal);
        }
        self.listeners.insert(config)
    }

    /// Stops accepting. Connections not yet accepted are reset; accepted ones go on, and so do
    /// joins to them. Without effect on an unknown listener.
    pub fn close_listener(&mut self, now: Instant, id: ListenerId) {
        let Some(listener) = self.listeners.remove(id) else {
            return;
        };
        for flow in listener.queue {
            self.abort(now, flow);
            self.release(now, flow);
        }
    }

    /// The next connection that a listener's peers opened, if any waits. Look at once whether it
    /// has something to [`Stack::recv`].
    pub fn accept(&mut self, id: ListenerId) -> Option<FlowId> {
        self.hand_over(id)
    }

    /// Opens a connection. Port 0 of `local` is replaced by an ephemeral one.
    /// [`Event::Established`] or [`Event::Closed`] follows.
    ///
    /// # Errors
    /// See [`ConnectError`].
    pub fn connect(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
    ) -> Result<FlowId, ConnectError> {
        self.open(now, local, remote, config, &[])
    }

    pub(crate) fn open(
        &mut self,
        now: Instant,
        local: SocketAddr,
        remote: SocketAddr,
        config: ConnectConfig,
        options: &[SocketOption],
    ) -> Result<FlowId, ConnectError> {
        let tuple = self.free_tuple(local, remote)?;
        let charge = self.admit().ok_or(ConnectError::Limit)?;
        let multipath = if config.mptcp {
            self.connect_capable(now, tuple, options, config.fast_open)
        } else {
            None
        };
        let flow =
            multipath.unwrap_or_else(|| self.connect_plain(now, tuple, options, config.fast_open));
        self.counters.inc(Counter::TcpActiveOpens);
        let handle = self.adopt(now, tuple, flow, Stage::Owned, charge);
        self.apply_rules(now, handle, 0);
        Ok(handle.into())
    }

    /// The next event; `None` when the application knows everything.
    pub fn poll_event(&mut self) -> Option<Event> {
        while let Some(event) = self.events.pop_front() {
            if self.still_matters(&event) {
                return Some(event);
            }
        }
        None
    }

    /// When [`Stack::on_deadline`] wants to be called at the latest; `None` when nothing waits for
    /// time to pass.
    pub fn deadline(&self) -> Option<Instant> {
        let flows = self.wheel.deadline();
        let past = self.time_wait.deadline();
        let opening = self.syn_cache.deadline();
        [flows, past, opening].into_iter().flatten().min()
    }

    /// Lets time pass. Calling it early or late is harmless.
    pub fn on_deadline(&mut self, now: Instant) {
        self.time_wait.on_deadline(now);
        self.answer_again(now);
        while let Some(index) = self.wheel.expire(now) {
            let Some(handle) = self.flows.handle(index) else {
                continue;
            };
            let Some(slot) = self.flows.get_mut(handle) else {
                continue;
            };
            self.counters.inc(Counter::FlowsVisited);
            slot.flow().on_deadline(now);
            self.deferred(now, handle);
            self.touched(now, handle);
        }
    }

    /// Hands bytes over for sending; returns how many were taken from the front. When fewer than
    /// all, [`Event::Writable`] follows once there is room again. The bytes are kept, not copied.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn send(&mut self, now: Instant, id: FlowId, data: Bytes) -> Result<usize, FlowError> {
        self.send_with(now, id, data, false)
    }

    /// [`Stack::send`]; with `more` the application says that more follows: a segment that
    /// is not full waits for it, 200 ms at most.
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn send_with(
        &mut self,
        now: Instant,
        id: FlowId,
        data: Bytes,
        more: bool,
    ) -> Result<usize, FlowError> {
        let slot = self.owned(id).ok_or(FlowError::NoSuchFlow)?;
        if let Some(reason) = slot.closed {
            return Err(FlowError::Closed(reason));
        }
        if slot.shut_down {
            return Err(FlowError::ShutDown);
        }
        if let Some(why) = slot.look().stuck() {
            return Err(FlowError::Stuck(why));
        }
        let taken = slot.flow().send(data, more);
        self.touched(now, id.into());
        Ok(taken)
    }

    /// Bytes that [`Stack::send`] would take now; 0 for an unknown or ended connection.
    pub fn send_room(&self, id: FlowId) -> usize {
        match self.flows.get(id.into()) {
            Some(slot) if slot.closed.is_none() && !slot.shut_down => slot.look().send_room(),
            _ => 0,
        }
    }

    /// The next bytes received, at most `max`, which is not 0.
    ///
    /// # Errors
    /// [`FlowError::NoSuchFlow`] only.
    pub fn recv(&mut self, now: Instant, id: FlowId, max: usize) -> Result<Recv, FlowError> {
        let slot = self.owned(id).ok_or(FlowError::NoSuchFlow)?;
        let found = match slot.body.resting() {
            // Nothing is there to be read.
            Some(true) => Recv::Finished,
            Some(false) => Recv::Pending,
            None => slot.flow().recv(now, max),
        };
        match (found, slot.closed) {
            (Recv::Pending, Some(CloseReason::Finished)) => Ok(Recv::Finished),
            (Recv::Pending, Some(reason)) => Ok(Recv::Closed(reason)),
            (Recv::Data(data), _) => {
                self.touched(now, id.into());
                Ok(Recv::Data(data))
            }
            (found, _) => Ok(found),
        }
    }

    /// Finishes sending: the peer reads the end after what was sent. Receiving goes on.
    pub fn shutdown(&mut self, now: Instant, id: FlowId) {
        if let Some(slot) = self.owned(id) {
            slot.shut_down = true;
            slot.flow().shutdown(now);
            self.touched(now, id.into());
        }
    }

    /// Resets the connection (RST, MP_FASTCLOSE): unsent and unread bytes are lost.
    pub fn abort(&mut self, now: Instant, id: FlowId) {
        if let Some(slot) = self.flows.get_mut(id.into()) {
            slot.flow().abort(now);
            self.touched(now, id.into());
            self.ended(id.into(), CloseReason::Aborted);
        }
    }

    /// [`Stack::abort`] for every connection whose peer is owed something; says how many there were.
    pub fn abort_all(&mut self, now: Instant) -> usize {
        let open = self.flows.iter().filter(|(_, slot)| slot.is_open());
        let ids: Vec<FlowId> = open.map(|(handle, _)| handle.into()).collect();
        ids.iter().for_each(|id| self.abort(now, *id));
        ids.len()
    }

    /// The application drops its handle. What was sent is still delivered and the connection
    /// closed in the background; it is reset if received bytes are left unread (RFC 9293 §3.6.1)
    /// or more arrive.
    pub fn release(&mut self, now: Instant, id: FlowId) {
        self.let_go(now, id.into());
    }

    /// Connections that are remembered in TIME-WAIT only.
    pub fn time_waits(&self) -> usize {
        self.time_wait.len()
    }

    /// Counters since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Bytes charged now, of [`crate::Limits::memory`].
    pub fn memory(&self) -> usize {
        self.budget.used()
    }

    /// The slot of a connection that the application has.
    pub(crate) fn owned(&mut self, id: FlowId) -> Option<&mut Slot> {
        self.flows
            .get_mut(id.into())
            .filter(|slot| slot.stage == Stage::Owned)
    }

    /// Marks an event as taken; false if whom it is about has gone.
    fn still_matters(&mut self, event: &Event) -> bool {
        let id = match *event {
            Event::Accepted(id) => {
                let listener = self.listeners.get_mut(id);
                return listener.is_some_and(|listener| {
                    listener.told = false;
                    !listener.queue.is_empty()
                });
            }
            Event::Established(id)
            | Event::Readable(id)
            | Event::Writable(id)
            | Event::PeerFin(id)
            | Event::Closed(id, _)
            | Event::Path(id, _) => id,
        };
        let Some(slot) = self.owned(id) else {
            return false;
        };
        match event {
            Event::Readable(_) => slot.told.readable = false,
            Event::Writable(_) => slot.told.writable = false,
            Event::Path(..) => slot.told.paths -= 1,
            _ => {}
        }
        true
    }

    fn connect_plain(
        &self,
        now: Instant,
        tuple: Tuple,
        options: &[SocketOption],
        fast_open: bool,
    ) -> Flow {
        let iss = self.secrets.iss(now, &tuple);
        let ts_offset = self.secrets.timestamp_offset(&tuple);
        let config = self.stream_config(now, &tuple, &self.settings.with(options));
        let mut stream = Stream::connect(now, &config, iss, ts_offset);
        if fast_open && let Some((option, mss)) = self.offer_fast_open(now, &tuple) {
            stream.set_fast_open(option, mss);
        }
        Flow::Tcp(Box::new(Plain { stream, tuple }))
    }

    /// Both ends of a connection to be opened, with a port chosen if none is given.
    pub(crate) fn free_tuple(
        &mut self,
        local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<Tuple, ConnectError> {
        let tuple = Tuple::new(local, remote);
        if !tuple.is_usable() || !self.config.local.contains(local.ip()) {
            return Err(ConnectError::Address);
        }
        let with_port = |port| Tuple {
            local: (tuple.local.ip(), port).into(),
            ..tuple
        };
        let (demux, time_wait, shard) = (&self.demux, &self.time_wait, self.config.shard);
        let taken = |tuple: &Tuple| demux.contains(tuple) || time_wait.contains(tuple);
        if tuple.local.port() == 0 {
            let port = self.ports.pick(tuple.local.ip(), tuple.remote, |port| {
                !shard.has_port(port) || taken(&with_port(port))
            });
            return port.map(with_port).ok_or(ConnectError::NoPorts);
        }
        if taken(&tuple) {
            Err(ConnectError::InUse)
        } else {
            Ok(tuple)
        }
    }

    /// Parameters of a plain connection.
    pub(crate) fn stream_config(
        &self,
        now: Instant,
        tuple: &Tuple,
        settings: &Settings,
    ) -> StreamConfig {
        settings.stream(self.mss(tuple), self.known_mss(now, tuple))
    }

    /// What a router said of the path not long ago.
    pub(crate) fn known_mss(&self, now: Instant, tuple: &Tuple) -> Option<u16> {
        let keep = self.config.tcp.path_mtu.retry;
        self.path_mtus.get(now, tuple.remote.ip(), keep)
    }

    /// Room for payload and TCP options in a packet between these ends.
    pub(crate) fn mss(&self, tuple: &Tuple) -> u16 {
        let ip_len = if tuple.remote.is_ipv6() {
            V6_LEN
        } else {
            V4_LEN
        };
        let path = self.config.mtu.max(1280) - (ip_len + HEADER_LEN) as u16;
        path.min(self.config.max_segment.unwrap_or(u16::MAX).max(88))
    }
}
