//! See the crate's README.
#![forbid(unsafe_code)]

pub mod keys;
