//! Bytes to headers and back: IPv4, IPv6, TCP and its options, Multipath TCP options.
//!
//! Nothing here holds state, reads a clock or does I/O. Parsers never panic: whatever is not a
//! well-formed packet is an [`Error`], and a malformed option is left out and counted.
//!
//! [`Packet`] reads a TCP packet, [`Build`] writes one, [`frame`] carries them between a stack and
//! a packet device, [`icmp`] reads and writes the control messages that a TCP host meets.
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod checksum;
mod error;
pub mod frame;
pub mod icmp;
pub mod ip;
pub mod mptcp;
pub mod packet;
pub mod seq;
pub mod tcp;
pub mod vnet;
mod writer;

pub use error::{BuildError, Error};
pub use packet::{Build, Packet};
pub use seq::Seq;
