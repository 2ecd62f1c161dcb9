//! A host without I/O: it speaks TCP and Multipath TCP to whoever sends it packets.
//!
//! [`Stack`] demultiplexes packets to connections, listens, keeps tokens, timers and budgets. It
//! does no I/O, has no threads and reads no clock: packets, time and one seed are arguments.
//!
//! # Contract
//! Any call that takes `&mut self` may leave something to do. After one, or after a batch:
//! - drain [`Stack::poll_transmit`] until `None` and send what it gave;
//! - drain [`Stack::poll_event`] until `None`;
//! - where a host has several stacks ([`Config::shard`]), drain [`Stack::poll_stray`] until `None`;
//! - read [`Stack::deadline`] again, and call [`Stack::on_deadline`] when it has come.
//!
//! The same configuration, seed and calls give the same packets, byte for byte. Input from the
//! network never panics and never makes the stack grow beyond [`Limits`].
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod config;
mod counters;
mod demux;
mod destinations;
mod error;
mod event;
mod fast_open;
mod flow;
mod half_open;
mod held;
mod icmp;
mod id;
mod info;
mod lifecycle;
mod listener;
mod look;
mod multi;
mod multipath;
mod multipath_cookies;
mod options;
mod path_mtu;
mod paths;
mod ports;
mod random;
mod ready;
mod receive;
mod rest;
mod schedule;
mod settings;
mod shard;
mod slots;
mod stack;
mod syn_cache;
mod syn_cookies;
mod time_wait;
mod token;
mod transmit;
pub mod wheel;

pub use config::{
    Announcement, Config, ConnectConfig, Limits, ListenConfig, LocalAddrs, SynCookies,
};
pub use counters::{Counter, Counters};
pub use error::{ConnectError, FlowError, JoinError, ListenError};
pub use event::{CloseReason, Event, PathEvent, SubflowEnd};
pub use id::{FlowId, ListenerId, NoFlowId, SubflowId};
pub use info::{FlowInfo, MptcpInfo, Protocol, SchedulingCounters, SubflowInfo};
pub use paths::PathConfig;
pub use rest::TcbRef;
pub use schedule::{Rule, Which};
pub use shard::{Shard, Stray};
pub use stack::{Recv, Stack};

/// What may be set for a connection.
pub use anabranch_tcp::Config as TcpConfig;
pub use anabranch_tcp::config::Keepalive;
pub use anabranch_tcp::congestion::Algorithm;
pub use anabranch_tcp::{OutOfRange, SocketOption};

/// Schedulers, and congestion control of Multipath TCP.
pub use anabranch_mptcp::coupled::{Congestion, Kind as Coupling};
pub use anabranch_mptcp::schedule::{Kind as Scheduler, Log as DecisionLog};
pub use anabranch_mptcp::{GiveUp, Steering};

/// States of RFC 9293 §3.3.2.
pub use anabranch_tcp::State;

/// Why a connection goes on as plain TCP, and why a subflow is reset.
pub use anabranch_mptcp::FallbackReason;
pub use anabranch_wire::mptcp::ResetReason;

/// Versions of Multipath TCP, for [`anabranch_mptcp::Config::versions`].
pub use anabranch_mptcp::{Version, Versions};

/// Policies of path management, for [`PathConfig`] and [`Stack::set_plan`].
pub use anabranch_paths as policy;

/// Time as the stack takes it, see [`anabranch_tcp::Instant`].
pub use anabranch_tcp::Instant;
