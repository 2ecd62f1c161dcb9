//! A Multipath TCP connection in its slot.

use crate::demux::Tuple;
use crate::event::{CloseReason, SubflowEnd};
use crate::id::{FlowId, SubflowId};
use crate::info::{FlowInfo, MptcpInfo, Protocol, SchedulingCounters, SubflowInfo};
use crate::paths::Managed;
use anabranch_mptcp::{Connection, Path, Resting};
use anabranch_tcp::{Instant, State};
use std::collections::VecDeque;
use std::net::SocketAddr;

pub(crate) struct Multi {
    pub(crate) connection: Connection,
    /// Token by which the peer joins.
    pub(crate) token: u32,
    /// The ends of the initial subflow, which may be gone.
    pub(crate) initial: Tuple,
    /// The last subflows that ended.
    gone: VecDeque<(SubflowInfo, SubflowEnd)>,
    /// Which subflows it should have, if that is for us to decide.
    pub(crate) paths: Option<Box<Managed>>,
}

/// One at rest.
pub(crate) struct RestingMulti {
    pub(crate) connection: Resting,
    token: u32,
    initial: Tuple,
    gone: VecDeque<(SubflowInfo, SubflowEnd)>,
    pub(crate) paths: Option<Box<Managed>>,
    /// Everything up to the peer's end was read.
    pub(crate) at_end: bool,
}

impl RestingMulti {
    /// As it was; to be dropped after this.
    pub(crate) fn wake(&mut self) -> Multi {
        Multi {
            connection: self.connection.wake(),
            token: self.token,
            initial: self.initial,
            gone: std::mem::take(&mut self.gone),
            paths: self.paths.take(),
        }
    }

    /// A copy to look at, without what decides of its paths.
    pub(crate) fn look(&self) -> Multi {
        Multi {
            connection: self.connection.look(),
            token: self.token,
            initial: self.initial,
            gone: self.gone.clone(),
            paths: None,
        }
    }
}

/// Subflows remembered after their end.
const MAX_GONE: usize = 8;

impl Multi {
    pub(crate) fn new(connection: Connection, token: u32, initial: Tuple) -> Self {
        Multi {
            connection,
            token,
            initial,
            gone: VecDeque::new(),
            paths: None,
        }
    }

    /// To be dropped after this, if it can rest.
    pub(crate) fn rest(&mut self) -> Option<RestingMulti> {
        let at_end = self.connection.at_end();
        let connection = self.connection.rest()?;
        self.gone.shrink_to_fit();
        Some(RestingMulti {
            connection,
            token: self.token,
            initial: self.initial,
            gone: std::mem::take(&mut self.gone),
            paths: self.paths.take(),
            at_end,
        })
    }

    pub(crate) fn remember(&mut self, subflow: &anabranch_mptcp::SubflowInfo, end: SubflowEnd) {
        if self.gone.len() >= MAX_GONE {
            self.gone.pop_front();
        }
        self.gone.push_back((subflow.into(), end));
    }

    /// The ends of all subflows there are.
    pub(crate) fn tuples(&self) -> impl Iterator<Item = (u32, Tuple)> + '_ {
        let connection = &self.connection;
        connection
            .subflows()
            .filter_map(|id| Some((id.0, connection.path(id)?.into())))
    }

    /// The peer's ID of an address: what it announced, or 0 for that of the initial subflow.
    pub(crate) fn remote_id(&self, remote: SocketAddr) -> u8 {
        let initial = self.initial.remote;
        let announced = self
            .connection
            .remote_addrs()
            .iter()
            .filter(|a| a.addr == remote.ip());
        let with_port = |port: Option<u16>| port.unwrap_or(initial.port()) == remote.port();
        let best = announced.max_by_key(|a| with_port(a.port));
        best.filter(|_| remote != initial).map_or(0, |a| a.id)
    }

    /// Whether it is over but for TIME-WAIT of its subflows.
    pub(crate) fn can_rest(&self) -> bool {
        self.connection.closed().is_some()
            && self.connection.subflows().all(|id| {
                let state = self.connection.tcb(id).map(|tcb| tcb.state());
                matches!(state, None | Some(State::TimeWait | State::Closed))
            })
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let paths = self.paths.as_ref().and_then(|paths| paths.deadline());
        self.connection.deadline().into_iter().chain(paths).min()
    }

    pub(crate) fn info(&self, id: FlowId, opened: Instant) -> FlowInfo {
        let info = self.connection.info();
        FlowInfo {
            id,
            protocol: Protocol::Mptcp(MptcpInfo {
                version: info.version,
                local_token: info.local_token,
                remote_token: info.remote_token,
                checksum: info.checksum,
                fallback: info.fallback.is_some(),
                scheduler: info.scheduler,
                congestion: info.congestion.name(),
                stuck: info.stuck,
                scheduling: (&info.counters).into(),
            }),
            state: info.state,
            local: self.initial.local,
            remote: self.initial.remote,
            opened,
            bytes_sent: info.counters.bytes_acked,
            bytes_received: info.counters.bytes_in,
            send_queue: info.unacked as usize,
            recv_queue: info.unread as usize,
            send_buffer: info.send_buffer,
            recv_buffer: info.recv_buffer as usize,
            recv_space: info.recv_space as usize,
            subflows: info.subflows.iter().map(SubflowInfo::from).collect(),
            gone: self.gone.iter().cloned().collect(),
        }
    }
}

impl From<&anabranch_mptcp::Counters> for SchedulingCounters {
    fn from(counters: &anabranch_mptcp::Counters) -> Self {
        SchedulingCounters {
            bytes_reinjected: counters.bytes_reinjected,
            bytes_copied: counters.bytes_copied,
            refused: counters.schedule_refused,
            suspicions: counters.suspicions,
            avoided: counters.avoided,
            silence_probes: counters.silence_probes,
            given_up: counters.given_up,
            given_back: counters.given_back,
            window_blocked: counters.window_blocked,
            opportunistic: counters.opportunistic,
            penalties: counters.penalties,
        }
    }
}

impl From<&anabranch_mptcp::SubflowInfo> for SubflowInfo {
    fn from(info: &anabranch_mptcp::SubflowInfo) -> Self {
        SubflowInfo {
            id: SubflowId(info.id.0),
            local: info.path.local,
            remote: info.path.remote,
            local_id: info.local_id,
            remote_id: info.remote_id,
            backup: info.backup,
            stale: info.stale,
            tcp: info.tcp.clone(),
        }
    }
}

impl From<Path> for Tuple {
    fn from(path: Path) -> Tuple {
        Tuple::new(path.local, path.remote)
    }
}

impl From<Tuple> for Path {
    fn from(tuple: Tuple) -> Path {
        Path {
            local: tuple.local,
            remote: tuple.remote,
        }
    }
}

impl From<anabranch_mptcp::CloseReason> for CloseReason {
    fn from(reason: anabranch_mptcp::CloseReason) -> Self {
        use anabranch_mptcp::CloseReason as Mptcp;
        match reason {
            Mptcp::Finished => CloseReason::Finished,
            Mptcp::Tcp(close) => close.into(),
            Mptcp::FastClose => CloseReason::Reset,
            Mptcp::Aborted | Mptcp::Protocol => CloseReason::Aborted,
            Mptcp::NoSubflow | Mptcp::CloseTimeout => CloseReason::TimedOut,
        }
    }
}
