#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod link;
pub mod rng;

pub use link::{Change, Faults, Link, LinkConfig, LinkStats, Loss, Packet, Queue};
pub use rng::Rng;
