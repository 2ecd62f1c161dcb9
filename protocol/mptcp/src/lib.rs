#![doc = include_str!("../README.md")]
//!
//! # How it works
//!
//! [`Connection`] holds the bytes and the data sequence space: a send queue, a reassembly queue,
//! and subflows. Each subflow is an [`anabranch_tcp::Tcb`] plus the mappings between its bytes and
//! the data sequence space. The Tcb knows nothing of this.
//!
//! Contract: after any call that takes `&mut self`, or a batch of them, drain
//! [`Connection::poll_transmit`] and [`Connection::poll_event`] until `None`, then read
//! [`Connection::deadline`] again. The same inputs give the same outputs.
#![forbid(unsafe_code)]

mod close;
mod config;
mod connection;
mod event;
mod fallback;
mod handshake;
mod info;
mod join;
pub mod keys;
mod mapping;
mod options;
mod recv;
pub mod schedule;
mod send;
mod signal;
mod space;
mod subflow;

pub use config::{Config, Path, Start, SubflowId};
pub use connection::{Connection, Outgoing};
pub use event::{CloseReason, Event, FallbackReason, GoneReason, Refusal, RemoteAddr, SignalError};
pub use info::{Counters, Info, SubflowInfo};
