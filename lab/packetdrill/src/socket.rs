//! What a descriptor stands for.

use crate::epoll::Epoll;
use crate::errors::ErrorQueue;
use crate::options::Options;
use anabranch_cabi::{Errno, Result};
use anabranch_stack::{CloseReason, FlowId, ListenerId};
use std::collections::VecDeque;
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, RawFd};

/// A descriptor of ours.
pub(crate) enum Entry {
    Socket(Box<Socket>),
    Epoll(Epoll),
}

/// A real descriptor that does nothing: whoever opened the library may close or inspect it.
pub(crate) struct Descriptor(File);

impl Descriptor {
    pub(crate) fn new() -> Result<Descriptor> {
        let file = File::open("/dev/null");
        file.map(Descriptor)
            .map_err(|error| Errno(error.raw_os_error().unwrap_or(libc::EMFILE)))
    }

    pub(crate) fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

pub(crate) struct Socket {
    pub(crate) descriptor: Descriptor,
    pub(crate) domain: i32,
    pub(crate) mptcp: bool,
    pub(crate) nonblocking: bool,
    /// From bind, or of the connection.
    pub(crate) local: Option<SocketAddr>,
    pub(crate) role: Role,
    /// The next call's error (`SO_ERROR`).
    pub(crate) error: Option<Errno>,
    pub(crate) shut: Shut,
    pub(crate) options: Options,
    pub(crate) errors: ErrorQueue,
    /// Written and not acknowledged when last looked at.
    pub(crate) queued: usize,
    /// Position up to which what was written is pushed.
    pub(crate) pushed: u64,
    /// The largest window that the peer advertised.
    pub(crate) window: usize,
    /// Someone found no room to write and wants to hear of it.
    pub(crate) no_space: bool,
    /// What epoll was not told yet: `EPOLL*`.
    pub(crate) woken: u32,
}

/// Directions that the application shut down.
#[derive(Clone, Copy, Default)]
pub(crate) struct Shut {
    pub(crate) read: bool,
    pub(crate) write: bool,
}

pub(crate) enum Role {
    Fresh,
    /// Connected with the first write.
    Deferred(SocketAddr),
    Listener {
        id: ListenerId,
        backlog: i32,
        queue: VecDeque<FlowId>,
    },
    Connection(Connection),
}

#[derive(Clone, Copy)]
pub(crate) struct Connection {
    pub(crate) flow: FlowId,
    pub(crate) stage: Stage,
    pub(crate) peer_fin: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    Opening,
    Open,
    Ended(CloseReason),
}

impl Socket {
    pub(crate) fn new(domain: i32, options: Options) -> Result<Socket> {
        Ok(Socket {
            descriptor: Descriptor::new()?,
            domain,
            mptcp: false,
            nonblocking: false,
            local: None,
            role: Role::Fresh,
            error: None,
            shut: Shut::default(),
            options,
            errors: ErrorQueue::default(),
            queued: 0,
            pushed: 0,
            window: 0,
            no_space: false,
            woken: 0,
        })
    }

    pub(crate) fn connection(&self) -> Option<&Connection> {
        match &self.role {
            Role::Connection(connection) => Some(connection),
            Role::Fresh | Role::Deferred(_) | Role::Listener { .. } => None,
        }
    }

    pub(crate) fn connection_mut(&mut self) -> Option<&mut Connection> {
        match &mut self.role {
            Role::Connection(connection) => Some(connection),
            Role::Fresh | Role::Deferred(_) | Role::Listener { .. } => None,
        }
    }

    pub(crate) fn flow(&self) -> Option<FlowId> {
        self.connection().map(|connection| connection.flow)
    }

    /// The pending error, which is then told.
    pub(crate) fn take_error(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// A connection as its application has it from the start.
    pub(crate) fn adopt(&mut self, flow: FlowId, stage: Stage) {
        self.role = Role::Connection(Connection {
            flow,
            stage,
            peer_fin: false,
        });
    }
}

/// The error that an ended connection leaves.
pub(crate) fn error_of(reason: CloseReason) -> Option<Errno> {
    let number = match reason {
        CloseReason::Finished | CloseReason::Aborted => return None,
        CloseReason::Reset => libc::ECONNRESET,
        CloseReason::Refused => libc::ECONNREFUSED,
        CloseReason::TimedOut => libc::ETIMEDOUT,
        CloseReason::Unreachable => libc::EHOSTUNREACH,
    };
    Some(Errno(number))
}
