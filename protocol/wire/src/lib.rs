//! Bytes to headers and back: IPv4, IPv6, TCP and its options, Multipath TCP options.
//!
//! Nothing here holds state, reads a clock or does I/O. Parsers never panic: whatever is not a
//! well-formed packet is an [`Error`].
#![forbid(unsafe_code)]

pub mod checksum;
pub mod frame;
pub mod mptcp;
pub mod seq;
pub mod tcp;

pub use seq::Seq;
