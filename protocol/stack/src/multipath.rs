//! Multipath TCP as a host sees it: MP_CAPABLE and MP_JOIN that arrive, events of connections, and
//! the calls of a path manager.

use crate::config::Announcement;
use crate::counters::Counter;
use crate::demux::{Target, Tuple};
use crate::destinations::Memory;
use crate::error::{ConnectError, FlowError, JoinError};
use crate::event::{Event, PathEvent};
use crate::flow::{Flow, Stage};
use crate::held::hold;
use crate::id::{FlowId, SubflowId};
use crate::lifecycle::Handle;
use crate::multi::Multi;
use crate::receive::Arrival;
use crate::settings::Settings;
use crate::shard::Origin;
use crate::stack::Stack;
use crate::token;
use anabranch_mptcp::keys::LocalKey;
use anabranch_mptcp::{Connection, FallbackReason, Refusal, SignalError, Start, Version, Versions};
use anabranch_tcp::budget::Charge;
use anabranch_tcp::{Instant, SocketOption};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::{Capable, Join, MptcpOption, ResetReason};
use std::net::SocketAddr;
use std::sync::Arc;

/// Path events that wait to be taken, per connection; beyond, they are lost: a peer may cause
/// many while the application sleeps.
const MAX_PATH_EVENTS: u8 = 64;

const UNKNOWN_TOKEN: Refusal = Refusal {
    reason: ResetReason::MptcpError,
    transient: false,
    unexplained: false,
};
const NO_ROOM: Refusal = Refusal {
    reason: ResetReason::LackOfResources,
    transient: true,
    unexplained: false,
};

/// Bytes charged for a subflow beyond the initial one.
const SUBFLOW_COST: usize = 2048;

/// What a SYN asks for.
pub(crate) enum Wish<'a> {
    Plain,
    Capable(&'a Capable),
    Join(&'a Join),
    /// No answer.
    Silence,
}

impl<'a> Wish<'a> {
    /// Both options on one SYN mean neither; so does an MP_CAPABLE that we cannot follow in any
    /// version (RFC 8684 §3.1).
    pub(crate) fn of(options: &'a [MptcpOption], versions: Versions) -> Self {
        if cfg!(anabranch_tcp_only) {
            return Wish::Plain;
        }
        let capable = options.iter().find_map(|option| match option {
            MptcpOption::Capable(capable) => Some(capable),
            _ => None,
        });
        if capable.is_some_and(|capable| versions.leaves_unanswered(capable)) {
            return Wish::Silence;
        }
        let capable = capable.filter(|capable| versions.answer(capable).is_some());
        let join = options.iter().find_map(|option| match option {
            MptcpOption::Join(join @ Join::Syn { .. }) => Some(join),
            _ => None,
        });
        match (capable, join) {
            (Some(capable), None) => Wish::Capable(capable),
            (None, Some(join)) => Wish::Join(join),
            _ => Wish::Plain,
        }
    }
}

/// A peer's handshake.
impl Stack {
    /// Our key for a SYN with MP_CAPABLE; `None` if none can be had: plain TCP then.
    pub(crate) fn key_for(&mut self, settings: &Settings, capable: &Capable) -> Option<LocalKey> {
        self.counters.inc(Counter::MPTcpExtMPCapableSYNRX);
        self.draw_key(settings.mptcp.versions.answer(capable)?)
    }

    /// A connection that offers MP_CAPABLE; `None` if no key can be had, or the last offer to that
    /// host was not answered: plain TCP then.
    pub(crate) fn connect_capable(
        &mut self,
        now: Instant,
        tuple: Tuple,
        options: &[SocketOption],
        fast_open: bool,
    ) -> Option<Flow> {
        if cfg!(anabranch_tcp_only) {
            return None;
        }
        let mut config = self.settings.with(options).mptcp;
        let (to, versions) = (tuple.remote.ip(), config.versions);
        let memory = self.memory_of_hosts();
        let Some(version) = self.destinations.offer(now, to, versions, memory) else {
            self.counters.inc(Counter::MPTcpExtMPCapableSYNTXDisabled);
            return None;
        };
        if version != versions.offer() {
            Arc::make_mut(&mut config).versions = Versions::only(version);
        }
        let key = self.draw_key(version)?;
        let token = key.derived.token;
        let start = self.start(now, &tuple, None);
        let mut connection = Connection::connect_with(now, &config, key, tuple.into(), start);
        if fast_open && let Some((option, mss)) = self.offer_fast_open(now, &tuple) {
            connection.set_fast_open(option, mss);
        }
        Some(Flow::Mptcp(hold(Multi::new(connection, token, tuple))))
    }

    fn memory_of_hosts(&self) -> Memory {
        Memory {
            avoid: self.config.mptcp_avoid,
            older: self.config.older_version_for,
        }
    }

    fn draw_key(&mut self, version: Version) -> Option<LocalKey> {
        self.counters.inc(Counter::MptcpCalls);
        let drawn = self
            .tokens
            .draw_key(&mut self.random, version, self.config.shard);
        if drawn.is_none() {
            self.counters.inc(Counter::MPTcpExtMPFallbackTokenInit);
        }
        drawn
    }

    /// A SYN with MP_JOIN, on whatever address and port (RFC 8684 §3.2): the token decides.
    pub(crate) fn receive_join(
        &mut self,
        now: Instant,
        arrival: &Arrival,
        join: &Join,
        least_iss: Option<Seq>,
        origin: Origin<'_>,
    ) {
        let Join::Syn { backup, token, .. } = *join else {
            return;
        };
        if self.pass_join(origin, token) {
            return;
        }
        self.counters.inc(Counter::MPTcpExtMPJoinSynRx);
        if backup {
            self.counters.inc(Counter::MPTcpExtMPJoinSynBackupRx);
        }
        let known = self.tokens.get(token);
        if known == Some(token::OPENING) {
            // It overtook the third ACK. Nothing is held of it: the peer sends its SYN again.
            return self.counters.inc(Counter::MPTcpExtMPJoinRejected);
        }
        let Some(handle) = known.and_then(|index| self.flows.handle(index)) else {
            self.counters.inc(Counter::MPTcpExtMPJoinNoTokenFound);
            return self.refuse_because(now, arrival, &UNKNOWN_TOKEN);
        };
        let tuple = arrival.tuple;
        let start = self.start(now, &tuple, least_iss);
        let nonce = self.random.u32();
        let (addr, limit) = (tuple.remote.ip(), self.config.limits.half_open_joins);
        let charge = if self.half_open.of(addr) < limit {
            self.admit_subflow()
        } else {
            None
        };
        let Some(multi) = self.multi(handle) else {
            return;
        };
        let connection = &mut multi.connection;
        if connection.is_opening() {
            // The same with data of its SYN.
            self.counters.inc(Counter::MPTcpExtMPJoinRejected);
            return;
        }
        let accepted = match charge {
            Some(charge) => connection
                .join_passive(now, tuple.into(), &arrival.segment, join, start, nonce)
                .map(|id| (id, charge)),
            None => Err(NO_ROOM),
        };
        match accepted {
            Ok((id, charge)) => {
                let target = Target {
                    index: handle.0,
                    subflow: id.0,
                };
                self.half_open.begin(target, addr);
                self.attach(now, tuple, target, charge);
            }
            Err(refusal) => {
                self.counters.inc(Counter::MPTcpExtMPJoinRejected);
                self.refuse_because(now, arrival, &refusal);
            }
        }
    }

    /// Leave to make one more subflow: the memory it takes.
    fn admit_subflow(&self) -> Option<Charge> {
        if self.short_of_memory() {
            None
        } else {
            self.budget.charge(SUBFLOW_COST)
        }
    }

    /// Makes a new subflow reachable.
    fn attach(&mut self, now: Instant, tuple: Tuple, target: Target, charge: Charge) {
        self.demux.insert(tuple, target);
        let Some(handle) = self.flows.handle(target.index) else {
            return;
        };
        if let Some(slot) = self.flows.get_mut(handle) {
            slot.charges.push(charge);
        }
        self.touched(now, handle);
    }

    pub(crate) fn start(&self, now: Instant, tuple: &Tuple, least_iss: Option<Seq>) -> Start {
        self.start_at(now, tuple, self.iss(now, tuple, least_iss))
    }

    /// The same with a known initial sequence number.
    pub(crate) fn start_at(&self, now: Instant, tuple: &Tuple, iss: Seq) -> Start {
        Start {
            iss,
            ts_offset: self.secrets.timestamp_offset(tuple),
            mss: self.mss(tuple),
            known_mss: self.known_mss(now, tuple),
        }
    }

    /// The Multipath TCP connection in a slot. Every way into its code leads through here or
    /// [`Stack::deliver_multi`], and is counted.
    fn multi(&mut self, handle: Handle) -> Option<&mut Multi> {
        self.counters.inc(Counter::MptcpCalls);
        match self.flows.get_mut(handle)?.flow() {
            Flow::Mptcp(multi) => Some(multi),
            Flow::Tcp(_) => None,
        }
    }
}

/// Segments and events.
impl Stack {
    /// A segment for a subflow.
    pub(crate) fn deliver_multi(
        &mut self,
        now: Instant,
        handle: Handle,
        subflow: u32,
        arrival: Arrival,
    ) {
        let Arrival {
            segment,
            mptcp,
            payload,
            ..
        } = arrival;
        let options = &mptcp[..];
        self.counters.received(options);
        let join = options.iter().find_map(|option| match option {
            MptcpOption::Join(join) => Some(join.clone()),
            _ => None,
        });
        let Some(multi) = self.multi(handle) else {
            return;
        };
        let failures = multi.connection.counters().join_hmac_failures;
        let id = anabranch_mptcp::SubflowId(subflow);
        multi
            .connection
            .on_segment(now, id, segment, options, payload);
        let failures = multi.connection.counters().join_hmac_failures - failures;
        let counter = match join {
            Some(Join::SynAck { .. }) => Counter::MPTcpExtMPJoinSynAckHMacFailure,
            _ => Counter::MPTcpExtMPJoinAckHMacFailure,
        };
        self.counters.add(counter, failures);
    }

    pub(crate) fn on_mptcp_event(
        &mut self,
        now: Instant,
        handle: Handle,
        event: anabranch_mptcp::Event,
    ) {
        use anabranch_mptcp::Event as Mptcp;
        match event {
            Mptcp::Established => {
                self.reached(handle);
                self.manage_accepted(now, handle);
                self.announce_configured(now, handle);
                self.established(now, handle);
            }
            Mptcp::Readable => self.readable(handle),
            Mptcp::Writable => self.writable(handle),
            Mptcp::PeerFin => self.tell(handle, Event::PeerFin(handle.into())),
            Mptcp::Closed(reason) => self.ended(handle, reason.into()),
            Mptcp::Fallback(reason) => {
                match reason {
                    FallbackReason::Syn | FallbackReason::ThirdAck => {
                        self.counters.inc(Counter::MPTcpExtMPCapableFallbackACK);
                    }
                    FallbackReason::SynAck
                    | FallbackReason::OlderVersion
                    | FallbackReason::Unanswered => {
                        self.counters.inc(Counter::MPTcpExtMPCapableFallbackSYNACK);
                    }
                    _ => {}
                }
                if reason == FallbackReason::Unanswered {
                    self.counters.inc(Counter::MPTcpExtMPCapableSYNTXDrop);
                    self.counters.inc(Counter::MPTcpExtBlackhole);
                }
                if let Some(multi) = self.multi(handle) {
                    let to = multi.initial.remote.ip();
                    self.destinations.on_fallback(now, to, reason);
                }
                self.tell_path(handle, PathEvent::Fallback(reason));
            }
            Mptcp::SubflowUp(id) => {
                self.half_open.end(Target {
                    index: handle.0,
                    subflow: id.0,
                });
                self.tell_path(handle, PathEvent::SubflowUp(SubflowId(id.0)));
            }
            Mptcp::SubflowGone(info, reason) => {
                let target = Target {
                    index: handle.0,
                    subflow: info.id.0,
                };
                self.demux.remove(&info.path.into(), target);
                self.half_open.end(target);
                if let Some(slot) = self.flows.get_mut(handle)
                    && slot.charges.len() > 1
                {
                    slot.charges.pop();
                }
                let end = reason.into();
                let Some(multi) = self.multi(handle) else {
                    return;
                };
                multi.remember(&info, end);
                self.tell_path(handle, PathEvent::SubflowGone(SubflowId(info.id.0), end));
            }
            Mptcp::Announced(remote) => {
                let Some(multi) = self.multi(handle) else {
                    return;
                };
                let port = remote.port.unwrap_or(multi.initial.remote.port());
                let addr = SocketAddr::new(remote.addr, port);
                self.tell_path(
                    handle,
                    PathEvent::Announced {
                        id: remote.id,
                        addr,
                    },
                );
            }
            Mptcp::Stuck(why) => self.tell_path(handle, PathEvent::Stuck(why)),
            Mptcp::Withdrawn(id) => self.tell_path(handle, PathEvent::Withdrawn { id }),
            Mptcp::PeerBackup(id, backup) => {
                let subflow = SubflowId(id.0);
                self.tell_path(handle, PathEvent::Priority { subflow, backup });
            }
            Mptcp::Echoed(_) => {}
        }
    }

    /// A connection is established; Multipath TCP works with its peer unless it fell back.
    fn reached(&mut self, handle: Handle) {
        let Some(multi) = self.multi(handle).filter(|m| m.connection.is_multipath()) else {
            return;
        };
        let (peer, version) = (multi.initial.remote.ip(), multi.connection.version());
        self.destinations.on_success(peer, version.number());
    }

    fn tell_path(&mut self, handle: Handle, event: PathEvent) {
        if let Some(slot) = self.flows.get_mut(handle)
            && slot.told.paths < MAX_PATH_EVENTS
            && slot.is_owned()
        {
            slot.told.paths += 1;
            self.events.push_back(Event::Path(handle.into(), event));
        }
    }

    /// Announces this host's further addresses, unless one is where the connection came in.
    fn announce_configured(&mut self, now: Instant, handle: Handle) {
        if self.plan().is_some() {
            return;
        }
        for announcement in self.config.announce.clone() {
            let Some(multi) = self.multi(handle) else {
                return;
            };
            let local = multi.initial.local;
            let same_port = announcement.port.is_none_or(|port| port == local.port());
            if announcement.addr == local.ip() && same_port {
                continue;
            }
            // Refused only where the connection became plain TCP.
            let Announcement { id, addr, port } = announcement;
            if multi.connection.announce(now, id, addr, port).is_err() {
                return;
            }
        }
    }
}

/// What a path manager calls.
impl Stack {
    /// Opens a further subflow of an established Multipath TCP connection. Port 0 of `local` is
    /// replaced by an ephemeral one. [`PathEvent::SubflowUp`] or [`PathEvent::SubflowGone`]
    /// follows.
    ///
    /// # Errors
    /// See [`JoinError`].
    pub fn join(
        &mut self,
        now: Instant,
        id: FlowId,
        local: SocketAddr,
        remote: SocketAddr,
        backup: bool,
    ) -> Result<SubflowId, JoinError> {
        self.owned_multi(id).map_err(|error| match error {
            FlowError::NotMptcp => JoinError::NotMptcp,
            _ => JoinError::NoSuchFlow,
        })?;
        let charge = self.admit_subflow().ok_or(JoinError::Limit)?;
        let tuple = self.free_tuple(local, remote)?;
        let start = self.start(now, &tuple, None);
        let nonce = self.random.u32();
        let multi = self.multi(id.into()).ok_or(JoinError::NotMptcp)?;
        let (path, remote_id) = (tuple.into(), multi.remote_id(tuple.remote));
        let connection = &mut multi.connection;
        let subflow = connection.join_active(now, path, remote_id, start, nonce, backup)?;
        let target = Target {
            index: Handle::from(id).0,
            subflow: subflow.0,
        };
        self.joined(now, id.into(), subflow);
        self.attach(now, tuple, target, charge);
        Ok(SubflowId(subflow.0))
    }

    /// Sets the priority of a subflow and tells the peer (MP_PRIO).
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn set_backup(
        &mut self,
        now: Instant,
        id: FlowId,
        subflow: SubflowId,
        backup: bool,
    ) -> Result<(), FlowError> {
        let subflow = anabranch_mptcp::SubflowId(subflow.0);
        self.owned_multi(id)?
            .connection
            .set_backup(now, subflow, backup)?;
        self.touched(now, id.into());
        Ok(())
    }

    /// Announces an address to the peer of one connection (ADD_ADDR), beside those of
    /// [`crate::Config::announce`].
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn announce(
        &mut self,
        now: Instant,
        id: FlowId,
        announcement: Announcement,
    ) -> Result<(), FlowError> {
        let Announcement {
            id: address_id,
            addr,
            port,
        } = announcement;
        self.owned_multi(id)?
            .connection
            .announce(now, address_id, addr, port)?;
        self.touched(now, id.into());
        Ok(())
    }

    /// Withdraws addresses from the peer of one connection (REMOVE_ADDR).
    ///
    /// # Errors
    /// See [`FlowError`].
    pub fn withdraw(
        &mut self,
        now: Instant,
        id: FlowId,
        address_ids: &[u8],
    ) -> Result<(), FlowError> {
        self.owned_multi(id)?
            .connection
            .withdraw(now, address_ids)?;
        self.touched(now, id.into());
        Ok(())
    }

    /// A Multipath TCP connection that the application has, or will have.
    pub(crate) fn owned_multi(&mut self, id: FlowId) -> Result<&mut Multi, FlowError> {
        let slot = self.flows.get_mut(id.into());
        let slot = slot.filter(|slot| slot.stage != Stage::Released);
        let slot = slot.ok_or(FlowError::NoSuchFlow)?;
        let closed = slot.closed;
        match (slot.flow(), closed) {
            (Flow::Tcp(_), _) => Err(FlowError::NotMptcp),
            (_, Some(reason)) => Err(FlowError::Closed(reason)),
            (_, None) => self.multi(id.into()).ok_or(FlowError::NotMptcp),
        }
    }
}

impl From<SignalError> for FlowError {
    fn from(error: SignalError) -> Self {
        match error {
            SignalError::NotMultipath => FlowError::NotMptcp,
            SignalError::NoSuchSubflow => FlowError::NoSuchSubflow,
            SignalError::Limit => FlowError::Limit,
            SignalError::AddressId | SignalError::Denied => FlowError::AddressId,
        }
    }
}

impl From<SignalError> for JoinError {
    fn from(error: SignalError) -> Self {
        match error {
            SignalError::NotMultipath | SignalError::NoSuchSubflow => JoinError::NotMptcp,
            SignalError::Limit | SignalError::AddressId => JoinError::Limit,
            SignalError::Denied => JoinError::Denied,
        }
    }
}

impl From<ConnectError> for JoinError {
    fn from(error: ConnectError) -> Self {
        match error {
            ConnectError::InUse | ConnectError::NoPorts => JoinError::InUse,
            ConnectError::Address => JoinError::Address,
            ConnectError::Limit | ConnectError::Option => JoinError::Limit,
        }
    }
}
