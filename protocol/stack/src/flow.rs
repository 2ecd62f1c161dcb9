//! A connection in its slot.

use crate::demux::Tuple;
use crate::event::CloseReason;
use crate::held::Held;
use crate::id::{FlowId, ListenerId, SubflowId};
use crate::info::{FlowInfo, Protocol, SubflowInfo};
use crate::multi::Multi;
use crate::rest::{Body, Look};
use crate::stack::Recv;
use anabranch_tcp::budget::Charge;
use anabranch_tcp::{Close, Instant, OutOfRange, SocketOption, State, Stream};
use bytes::Bytes;
use smallvec::SmallVec;

/// Bytes charged for a connection beside its buffers.
pub(crate) const FLOW_COST: usize = 4096;

pub(crate) struct Slot {
    pub(crate) body: Body,
    pub(crate) opened: Instant,
    pub(crate) stage: Stage,
    /// The listener that handed it over by Fast Open, until its handshake is complete.
    pub(crate) early: Option<ListenerId>,
    pub(crate) closed: Option<CloseReason>,
    /// The application sends no more.
    pub(crate) shut_down: bool,
    /// The application may read what is left; the network knows it no more.
    pub(crate) resting: bool,
    /// It waits in [`crate::ready::Ready`].
    pub(crate) ready: bool,
    pub(crate) told: Told,
    /// What the connection takes of the memory budget beside its buffers, then each of its further
    /// subflows.
    pub(crate) charges: SmallVec<[Charge; 1]>,
}

/// Where TCP and Multipath TCP meet, and nowhere else.
pub(crate) enum Flow {
    Tcp(Box<Plain>),
    Mptcp(Held<Multi>),
}

/// A plain TCP connection and where it is.
pub(crate) struct Plain {
    pub(crate) stream: Stream,
    pub(crate) tuple: Tuple,
}

/// Whose a connection is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    /// A peer's handshake with a listener is not complete.
    HalfOpen(ListenerId),
    /// It is complete, but nothing has arrived: kept back until then.
    Deferred(ListenerId, Instant),
    /// It waits in the listener's accept queue.
    Queued(ListenerId),
    /// The application has it.
    Owned,
    /// Nobody has it: it goes when it is closed.
    Released,
}

/// Events that wait to be taken: they need not be queued again.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Told {
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    pub(crate) paths: u8,
}

impl Slot {
    pub(crate) fn is_owned(&self) -> bool {
        self.stage == Stage::Owned
    }

    /// The connection, which wakes if it rested.
    pub(crate) fn flow(&mut self) -> &mut Flow {
        self.body.flow()
    }

    /// The connection as it is.
    pub(crate) fn look(&self) -> Look<'_> {
        self.body.look()
    }

    pub(crate) fn info(&self, id: FlowId) -> FlowInfo {
        self.look().info(id, self.opened)
    }
}

impl Flow {
    pub(crate) fn info(&self, id: FlowId, opened: Instant) -> FlowInfo {
        match self {
            Flow::Tcp(plain) => plain.info(id, opened),
            Flow::Mptcp(multi) => multi.info(id, opened),
        }
    }

    pub(crate) fn state(&self) -> State {
        match self {
            Flow::Tcp(plain) => plain.stream.tcb().state(),
            Flow::Mptcp(multi) => multi.connection.state(),
        }
    }

    pub(crate) fn send(&mut self, data: Bytes, more: bool) -> usize {
        match self {
            Flow::Tcp(plain) => plain.stream.send_with(data, more),
            Flow::Mptcp(multi) => multi.connection.send_with(data, more),
        }
    }

    pub(crate) fn set_option(
        &mut self,
        now: Instant,
        option: &SocketOption,
    ) -> Result<(), OutOfRange> {
        match self {
            Flow::Tcp(plain) => plain.stream.set_option(now, option),
            Flow::Mptcp(multi) => multi.connection.set_option(now, option),
        }
    }

    pub(crate) fn options(&self) -> &anabranch_tcp::Config {
        match self {
            Flow::Tcp(plain) => plain.stream.config(),
            Flow::Mptcp(multi) => multi.connection.tcp_config(),
        }
    }

    /// Nothing arrived of the application's; of Multipath TCP that is not asked.
    pub(crate) fn is_silent(&self) -> bool {
        match self {
            Flow::Tcp(plain) => plain.stream.readable() == 0 && !plain.stream.tcb().peer_fin(),
            Flow::Mptcp(_) => false,
        }
    }

    pub(crate) fn send_room(&self) -> usize {
        match self {
            Flow::Tcp(plain) => plain.stream.send_room(),
            Flow::Mptcp(multi) => multi.connection.send_room(),
        }
    }

    /// Why nothing may be sent on any path, if that is so.
    pub(crate) fn stuck(&self) -> Option<&'static str> {
        match self {
            Flow::Tcp(_) => None,
            Flow::Mptcp(multi) => multi.connection.stuck(),
        }
    }

    /// What there is to read; `Pending` also where the connection has ended.
    pub(crate) fn recv(&mut self, now: Instant, max: usize) -> Recv {
        let (data, end) = match self {
            Flow::Tcp(plain) => (plain.stream.recv(now, max), plain.stream.at_end()),
            Flow::Mptcp(multi) => (multi.connection.recv(now, max), multi.connection.at_end()),
        };
        match data {
            Some(data) => Recv::Data(data),
            None if end => Recv::Finished,
            None => Recv::Pending,
        }
    }

    pub(crate) fn shutdown(&mut self, now: Instant) {
        match self {
            Flow::Tcp(plain) => plain.stream.shutdown(),
            Flow::Mptcp(multi) => multi.connection.shutdown(now),
        }
    }

    pub(crate) fn abort(&mut self, now: Instant) {
        match self {
            Flow::Tcp(plain) => plain.stream.abort(),
            Flow::Mptcp(multi) => multi.connection.abort(now),
        }
    }

    /// The application lets go: see [`crate::Stack::release`].
    pub(crate) fn orphan(&mut self, now: Instant) {
        match self {
            Flow::Tcp(plain) => plain.stream.close(),
            Flow::Mptcp(multi) => multi.connection.close(now),
        }
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self {
            Flow::Tcp(plain) => plain.stream.deadline(),
            Flow::Mptcp(multi) => multi.deadline(),
        }
    }

    pub(crate) fn on_deadline(&mut self, now: Instant) {
        match self {
            Flow::Tcp(plain) => plain.stream.on_deadline(now),
            Flow::Mptcp(multi) => multi.connection.on_deadline(now),
        }
    }

    /// Whether all that is left is TIME-WAIT.
    pub(crate) fn can_rest(&self) -> bool {
        match self {
            Flow::Tcp(plain) => plain.stream.tcb().state() == State::TimeWait,
            Flow::Mptcp(multi) => multi.can_rest(),
        }
    }

    /// Nothing will happen any more.
    pub(crate) fn is_over(&self) -> bool {
        match self {
            Flow::Tcp(plain) => plain.stream.is_closed(),
            Flow::Mptcp(multi) => multi.connection.is_finished(),
        }
    }
}

impl Plain {
    fn info(&self, id: FlowId, opened: Instant) -> FlowInfo {
        let subflow = self.subflow();
        FlowInfo {
            id,
            protocol: Protocol::Tcp,
            state: subflow.tcp.state,
            local: self.tuple.local,
            remote: self.tuple.remote,
            opened,
            bytes_sent: subflow.tcp.stats.bytes_acked,
            bytes_received: subflow.tcp.stats.bytes_in,
            send_queue: self.stream.unacked() as usize,
            recv_queue: self.stream.readable() as usize,
            send_buffer: self.stream.send_buffer(),
            recv_buffer: self.stream.recv_buffer() as usize,
            recv_space: self.stream.recv_space() as usize,
            subflows: vec![subflow],
            gone: Vec::new(),
        }
    }

    fn subflow(&self) -> SubflowInfo {
        SubflowInfo {
            id: SubflowId(0),
            local: self.tuple.local,
            remote: self.tuple.remote,
            local_id: 0,
            remote_id: 0,
            backup: false,
            stale: false,
            tcp: self.stream.info(),
        }
    }
}

impl From<Close> for CloseReason {
    fn from(close: Close) -> Self {
        match close {
            Close::Reset => CloseReason::Reset,
            Close::Refused => CloseReason::Refused,
            Close::TimedOut => CloseReason::TimedOut,
            Close::Unreachable => CloseReason::Unreachable,
            Close::Local => CloseReason::Aborted,
        }
    }
}
