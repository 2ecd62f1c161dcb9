//! Asynchronous sockets over a [`Stack`], on tokio.
//!
//! A [`Host`] is one stack on one packet device, driven by one task of the runtime it was started
//! on. Its [`Listener`]s and [`Stream`]s work as tokio's TCP ones do, and besides move [`Bytes`]
//! without copying ([`Stream::read_chunk`], [`Stream::write_chunk`]).
//!
//! Calls on sockets change the stack at once and leave sending to the driver task, which runs when
//! the tasks that are ready now have had their turn: many small writes cost few packets. All share
//! one lock; on a `current_thread` runtime it is never contended.
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
mod listener;
mod shared;
mod split;
mod stream;
mod watch;

pub use host::Host;
pub use listener::Listener;
pub use split::{OwnedReadHalf, OwnedWriteHalf, ReadHalf, WriteHalf};
pub use stream::Stream;
pub use watch::watch;

/// What the sockets take and give of the stack's own types.
pub use anabranch_stack::{
    Algorithm, Announcement, Config as StackConfig, ConnectConfig, Counter, Counters, FlowInfo,
    Instant, Keepalive, Limits, ListenConfig, LocalAddrs, Protocol, SocketOption, State,
    SubflowInfo, SynCookies, TcpConfig,
};
