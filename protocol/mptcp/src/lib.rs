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
pub mod coupled;
mod event;
mod fail;
mod fallback;
mod fast_close;
mod fast_open;
mod handshake;
mod info;
mod join;
pub mod keys;
mod manage;
mod mapping;
mod options;
mod recv;
mod rest;
mod resume;
pub mod schedule;
mod secret;
mod send;
mod signal;
mod space;
mod steer;
mod subflow;
mod version;

pub use config::{Config, Failover, Path, Start, SubflowId};
pub use connection::{Connection, Outgoing};
pub use event::{CloseReason, Event, FallbackReason, GoneReason, Refusal, RemoteAddr, SignalError};
pub use info::{Counters, Info, SubflowInfo};
pub use rest::Resting;
pub use steer::{GiveUp, Steering, UnknownSteering};
pub use version::{Version, Versions};
