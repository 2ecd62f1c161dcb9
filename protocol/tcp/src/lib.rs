//! TCP in sequence space.
//!
//! [`Tcb`] knows sequence numbers, windows, acknowledgements, loss recovery, congestion control
//! and timers. It does not know bytes, addresses, ports, or who composes it: an owner holds the
//! payload and adds whatever options it wants within the room it declared. [`Stream`] is the
//! trivial owner: one byte queue out, one in.
//!
//! Contract: any call that mutates is followed by draining [`Tcb::poll`] until `None`, and by
//! reading [`Tcb::deadline`] again. The same inputs give the same outputs.
#![forbid(unsafe_code)]

/// The example of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod accecn;
mod ack;
mod acks;
pub mod autotune;
pub mod budget;
pub mod config;
pub mod congestion;
mod control;
pub mod ecn;
mod expiry;
pub mod fast_open;
mod handshake;
pub mod icmp;
pub mod info;
mod input;
pub mod isn;
mod limited;
mod mtu;
pub mod options;
mod output;
mod pacer;
pub mod queue;
mod ranges;
mod rate;
mod rcv_rtt;
pub mod reassembly;
mod recovery;
mod recv;
pub mod rest;
pub mod segment;
mod send;
mod small;
mod stamps;
pub mod stats;
mod stream;
mod syn_ack;
mod tcb;
pub mod time;
mod timers;
mod user_timeout;

pub use config::Config;
pub use ecn::Ecn;
pub use icmp::IcmpError;
pub use info::Info;
pub use input::reset_reply;
pub use options::{OutOfRange, SocketOption};
pub use segment::{Change, Close, Emit, Grant, Kind, Receipt, Segment};
pub use stats::Stats;
pub use stream::{Event, Payload, Stream, StreamConfig};
pub use syn_ack::SynAck;
pub use tcb::{State, Tcb};
pub use time::Instant;
