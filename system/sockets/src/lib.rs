//! Asynchronous sockets over a [`Stack`], on tokio.
//!
//! A [`Host`] is one stack on one packet device, driven by one task of the runtime it was started
//! on. Its [`Listener`]s and [`Stream`]s work as tokio's TCP ones do, and besides move [`Bytes`]
//! without copying ([`Stream::read_chunk`], [`Stream::write_chunk`]).
//!
//! Calls on sockets change the stack at once and leave sending to the driver task, which runs when
//! the tasks that are ready now have had their turn: many small writes cost few packets. All share
//! one lock; on a `current_thread` runtime it is never contended. [`Shards`] are several hosts that
//! are one, each on a thread of its own.
//!
//! [`Stack`]: anabranch_stack::Stack
//! [`Bytes`]: bytes::Bytes
#![deny(unsafe_code)]

mod conn;
mod driver;
mod error;
mod fine;
mod host;
mod icmp;
mod lanes;
mod listener;
mod manage;
mod paths;
mod port;
mod schedule;
mod shards;
mod shared;
mod split;
mod stream;
mod watch;

pub use host::Host;
pub use listener::Listener;
pub use manage::{Change, News};
pub use paths::Paths;
pub use shards::{Shard, Shards};
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use stream::Stream;
pub use watch::watch;

/// What the sockets take and give of the stack's own types.
pub use anabranch_stack::{
    Algorithm, Announcement, CloseReason, Config as StackConfig, Congestion, ConnectConfig,
    Counter, Counters, Coupling, DecisionLog, FallbackReason, FlowId, FlowInfo, GiveUp, Instant,
    Keepalive, Limits, ListenConfig, LocalAddrs, MptcpInfo, PathConfig, PathEvent, Protocol,
    ResetReason, Rule, Scheduler, SchedulingCounters, SocketOption, State, Steering, SubflowEnd,
    SubflowId, SubflowInfo, SynCookies, TcpConfig, Version, Versions, Which, policy,
};
