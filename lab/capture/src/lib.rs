#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

mod address;
mod analyser;
mod connection;
mod data;
pub mod file;
mod flow;
mod handshake;
pub mod judge;
mod keys;
mod option;
mod packet;
pub mod pattern;
mod ranges;
pub mod record;
pub mod report;
mod stream;
mod subflow;
mod text;

pub use analyser::{Analyser, Observer, Placed};
pub use judge::{Judge, Opinion, StreamReport, Wrong};
pub use keys::Version;
