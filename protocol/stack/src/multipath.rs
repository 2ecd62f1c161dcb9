//! Multipath TCP as a host sees it: MP_CAPABLE and MP_JOIN that arrive, events of connections, and
//! the calls of a path manager.

use crate::config::Announcement;
use crate::counters::Counter;
use crate::demux::{Target, Tuple};
use crate::error::{ConnectError, FlowError, JoinError};
use crate::event::{Event, PathEvent};
use crate::flow::{Flow, Slot};
use crate::id::{FlowId, ListenerId, SubflowId};
use crate::lifecycle::Handle;
use crate::multi::Multi;
use crate::receive::Arrival;
use crate::stack::Stack;
use anabranch_mptcp::keys::Version;
use anabranch_mptcp::{Connection, FallbackReason, Refusal, SignalError, Start};
use anabranch_tcp::budget::Charge;
use anabranch_tcp::{Instant, SocketOption};
use anabranch_wire::Seq;
use anabranch_wire::mptcp::{Capable, Join, MptcpOption, ResetReason};
use std::net::SocketAddr;

/// Path events that wait to be taken, per connection; beyond, they are lost: a peer may cause
/// many while the application sleeps.
const MAX_PATH_EVENTS: u8 = 64;

const UNKNOWN_TOKEN: Refusal = Refusal {
    reason: ResetReason::MptcpError,
    transient: false,
};
const NO_MEMORY: Refusal = Refusal {
    reason: ResetReason::LackOfResources,
    transient: true,
};

/// Bytes charged for a subflow beyond the initial one.
const SUBFLOW_COST: usize = 2048;

/// What a SYN asks for.
pub(crate) enum Wish<'a> {
    Plain,
    Capable(&'a Capable),
    Join(&'a Join),
}

impl<'a> Wish<'a> {
    /// Both options on one SYN mean neither; so does an MP_CAPABLE that asks for something
    /// unknown: another version, flags that we do not understand (RFC 8684 §3.1).
    pub(crate) fn of(options: &'a [MptcpOption]) -> Self {
        let capable = options.iter().find_map(|option| match option {
            MptcpOption::Capable(
                capable @ Capable::Syn {
                    version: 1, flags, ..
                },
            ) if flags.hmac && !flags.extensibility => Some(capable),
            _ => None,
        });
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
    /// A connection for a SYN with MP_CAPABLE; `None` if no key can be had: plain TCP then.
    pub(crate) fn accept_capable(
        &mut self,
        now: Instant,
        id: ListenerId,
        arrival: &Arrival,
        capable: &Capable,
        least_iss: Option<Seq>,
    ) -> Option<Flow> {
        self.counters.inc(Counter::MPTcpExtMPCapableSYNRX);
        let (key, token) = self.draw_key()?;
        let tuple = arrival.tuple;
        let start = self.start(now, &tuple, least_iss);
        let config = self.mptcp_config(self.listener_options(id));
        let syn = &arrival.segment;
        let connection = Connection::accept(now, &config, key, tuple.into(), syn, capable, start);
        Some(Flow::Mptcp(Box::new(Multi::new(connection, token, tuple))))
    }

    /// A connection that offers MP_CAPABLE.
    pub(crate) fn connect_capable(
        &mut self,
        now: Instant,
        tuple: Tuple,
        options: &[SocketOption],
    ) -> Option<Flow> {
        let (key, token) = self.draw_key()?;
        let start = self.start(now, &tuple, None);
        let config = self.mptcp_config(options);
        let connection = Connection::connect(now, &config, key, tuple.into(), start);
        Some(Flow::Mptcp(Box::new(Multi::new(connection, token, tuple))))
    }

    fn draw_key(&mut self) -> Option<(u64, u32)> {
        self.counters.inc(Counter::MptcpCalls);
        let drawn = self.tokens.draw_key(&mut self.random, Version::V1);
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
    ) {
        let Join::Syn { backup, token, .. } = *join else {
            return;
        };
        self.counters.inc(Counter::MPTcpExtMPJoinSynRx);
        if backup {
            self.counters.inc(Counter::MPTcpExtMPJoinSynBackupRx);
        }
        let Some(handle) = self
            .tokens
            .get(token)
            .and_then(|index| self.flows.handle(index))
        else {
            self.counters.inc(Counter::MPTcpExtMPJoinNoTokenFound);
            return self.refuse_because(now, arrival, &UNKNOWN_TOKEN);
        };
        let tuple = arrival.tuple;
        let start = self.start(now, &tuple, least_iss);
        let nonce = self.random.u32();
        let charge = self.admit_subflow();
        let Some(multi) = self.multi(handle) else {
            return;
        };
        let connection = &mut multi.connection;
        let accepted = match charge {
            Some(charge) => connection
                .join_passive(now, tuple.into(), &arrival.segment, join, start, nonce)
                .map(|id| (id, charge)),
            None => Err(NO_MEMORY),
        };
        match accepted {
            Ok((id, charge)) => self.attach(now, handle, tuple, id, charge),
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
    fn attach(
        &mut self,
        now: Instant,
        handle: Handle,
        tuple: Tuple,
        id: anabranch_mptcp::SubflowId,
        charge: Charge,
    ) {
        self.demux.insert(
            tuple,
            Target {
                index: handle.0,
                subflow: id.0,
            },
        );
        if let Some(slot) = self.flows.get_mut(handle) {
            slot.charges.push(charge);
        }
        self.touched(now, handle);
    }

    fn start(&self, now: Instant, tuple: &Tuple, least_iss: Option<Seq>) -> Start {
        Start {
            iss: self.iss(now, tuple, least_iss),
            ts_offset: self.secrets.timestamp_offset(tuple),
            mss: self.mss(tuple),
            known_mss: self.known_mss(now, tuple),
        }
    }

    /// The Multipath TCP connection in a slot. Every way into its code leads through here or
    /// [`Stack::deliver_multi`], and is counted.
    fn multi(&mut self, handle: Handle) -> Option<&mut Multi> {
        self.counters.inc(Counter::MptcpCalls);
        match &mut self.flows.get_mut(handle)?.flow {
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
                self.announce_configured(now, handle);
                self.established(now, handle);
            }
            Mptcp::Readable => self.readable(handle),
            Mptcp::Writable => self.writable(handle),
            Mptcp::PeerFin => self.tell(handle, Event::PeerFin(handle.into())),
            Mptcp::Closed(reason) => self.ended(handle, reason.into()),
            Mptcp::Fallback(reason) => {
                match reason {
                    FallbackReason::ThirdAck => {
                        self.counters.inc(Counter::MPTcpExtMPCapableFallbackACK);
                    }
                    FallbackReason::SynAck => {
                        self.counters.inc(Counter::MPTcpExtMPCapableFallbackSYNACK);
                    }
                    _ => {}
                }
                self.tell_path(handle, PathEvent::Fallback(reason));
            }
            Mptcp::SubflowUp(id) => self.tell_path(handle, PathEvent::SubflowUp(SubflowId(id.0))),
            Mptcp::SubflowGone(info, reason) => {
                let target = Target {
                    index: handle.0,
                    subflow: info.id.0,
                };
                self.demux.remove(&info.path.into(), target);
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
            Mptcp::Withdrawn(id) => self.tell_path(handle, PathEvent::Withdrawn { id }),
            Mptcp::PeerBackup(..) | Mptcp::Echoed(_) => {}
        }
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
        self.attach(now, id.into(), tuple, subflow, charge);
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

    /// A Multipath TCP connection that the application has.
    fn owned_multi(&mut self, id: FlowId) -> Result<&mut Multi, FlowError> {
        match self.owned(id).ok_or(FlowError::NoSuchFlow)? {
            Slot {
                flow: Flow::Tcp(_), ..
            } => Err(FlowError::NotMptcp),
            Slot {
                closed: Some(reason),
                ..
            } => Err(FlowError::Closed(*reason)),
            Slot { .. } => self.multi(id.into()).ok_or(FlowError::NotMptcp),
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
