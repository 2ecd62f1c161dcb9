//! TCP in sequence space.
//!
//! [`Tcb`] knows sequence numbers, windows, acknowledgements, loss recovery, congestion control
//! and timers. It does not know bytes, addresses, ports, or who composes it: an owner holds the
//! payload and adds whatever options it wants within the room it declared. [`Stream`] is the
//! trivial owner: one byte queue out, one in.
//!
//! Contract: any call that mutates is followed by draining `poll_transmit` until `None`, and by
//! reading `deadline` again. The same inputs give the same outputs.
#![forbid(unsafe_code)]

pub mod segment;
pub mod time;

pub use segment::{Change, Close, Emit, Grant, Kind, Receipt, Segment};
pub use time::Instant;
