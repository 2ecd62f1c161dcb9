#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod link;
pub mod network;
pub mod pattern;
pub mod rng;
pub mod tap;

pub use link::{Change, Faults, Link, LinkConfig, LinkStats, Loss, Packet, Queue};
pub use network::{BoxId, Hop, LinkId, Middlebox, Network, Node, NodeId, Stuck};
pub use rng::Rng;
pub use tap::Tap;
