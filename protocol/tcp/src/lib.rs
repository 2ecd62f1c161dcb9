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

pub mod budget;
pub mod config;
pub mod congestion;
pub mod icmp;
pub mod isn;
pub mod queue;
pub mod reassembly;
pub mod segment;
pub mod stats;
mod stream;
mod tcb;
pub mod time;

pub use config::Config;
pub use icmp::IcmpError;
pub use segment::{Change, Close, Emit, Grant, Kind, Receipt, Segment};
pub use stats::Stats;
pub use stream::{Event, Info, Payload, Stream, StreamConfig};
pub use tcb::{State, Tcb, reset_reply};
pub use time::Instant;
