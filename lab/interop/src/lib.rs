#![doc = include_str!("../README.md")]

pub mod backend;
pub mod connector;
pub mod counters;
pub mod eventually;
pub mod exchange;
pub mod fault;
pub mod host;
pub mod path;
pub mod require;
pub mod scene;
pub mod server;
pub mod snapshot;
pub mod socket;
pub mod tool;
pub mod topology;
pub mod watcher;

pub use anabranch_capture::pattern;
