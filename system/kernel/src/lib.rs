//! The control plane of the Linux kernel: what decides which packets reach a device, and the means
//! to build small networks for tests.
//!
//! Everything acts upon the network namespace of the calling thread; [`Netns::run`] takes a closure
//! into another. All calls block, none for longer than the kernel takes to answer.

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

pub mod attach;
pub mod capability;
pub mod counters;
mod error;
pub mod ethtool;
mod generic;
pub mod link;
mod monitor;
pub mod mptcp;
mod netlink;
pub mod netns;
pub mod process;
mod qdisc;
pub mod route;
pub mod rps;
pub mod rule;
pub mod sched;
pub mod sysctl;

pub use attach::{Attach, AttachConfig, Bound};
pub use error::{Error, Result};
pub use link::{Address, Link};
pub use monitor::Monitor;
pub use netlink::Netlink;
pub use netns::Netns;
pub use qdisc::TokenBucket;
pub use route::Route;
pub use rule::Rule;
