//! The stack as a shared library that packetdrill loads: `packetdrill --so_filename=…`.
//!
//! One [`Host`] is one [`anabranch_stack::Stack`] under socket calls as Linux has them, in virtual
//! time: nothing waits for a clock, so a script that spans an hour runs in moments and always takes
//! the same course. What is Linux's own (option values, buffer sizes, defaults that scripts read
//! from sysctl) is configured here; the engine is used as it is.

// The C interface, all of it unsafe, is in `anabranch-cabi`; only its exported name is made here.
#![deny(unsafe_code)]

mod calls;
mod epoll;
mod errors;
mod fast_open;
mod host;
mod info;
mod io;
mod open;
mod options;
mod output;
mod paths;
mod ready;
mod sndbuf;
mod socket;
mod sysctl;
mod world;

pub use host::Host;

anabranch_cabi::export!(Host::start);
