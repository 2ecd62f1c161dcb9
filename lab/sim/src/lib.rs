#![forbid(unsafe_code)]
#![doc = include_str!("../README.md")]

pub mod app;
pub mod host;
pub mod link;
pub mod middlebox;
pub mod network;
pub mod offload;
pub mod pattern;
pub mod relay;
pub mod rng;
pub mod scene;
pub mod seeds;
pub mod segment;
pub mod tap;

pub use app::{End, Pace, Plan, Progress, Reading, Step};
pub use host::Host;
pub use link::{Change, Faults, Link, LinkConfig, LinkStats, Loss, Packet, Queue};
pub use network::{BoxId, Hop, LinkId, Middlebox, Network, Node, NodeId, Stuck};
pub use rng::Rng;
pub use scene::{Path, Placed, Report, Scene, Way};
pub use tap::Tap;
