//! The `anabranch` command: Multipath TCP for any TCP service, outside the kernel.
//!
//! Each command is a module: [`serve`], [`mod@connect`], [`mod@pm`], [`ss`] and [`try`](mod@try). [`control`] is what the two say to each other;
//! [`cli`] reads the command line.
#![forbid(unsafe_code)]

pub mod cli;
pub mod connect;
pub mod control;
mod device;
pub mod explain;
pub mod log;
pub mod manual;
pub mod own;
pub mod paths;
pub mod pm;
mod ports;
pub mod rps;
pub mod serve;
pub mod set;
mod signals;
pub mod ss;
pub mod r#try;
