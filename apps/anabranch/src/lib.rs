//! The `anabranch` command: Multipath TCP for any TCP service, outside the kernel.
//!
//! Each command is a module: [`serve`], [`ss`] and [`try`](mod@try). [`control`] is what the two say to each other;
//! [`cli`] reads the command line.
#![forbid(unsafe_code)]

pub mod cli;
pub mod control;
pub mod log;
pub mod serve;
pub mod ss;
pub mod r#try;
