//! Multipath TCP, scenario in, packets and bytes out; each topic a file.

mod bad_input;
mod closing;
mod fallback;
mod handshake;
mod joins;
mod known_answers;
mod mappings;
mod memory;
mod reinjection;
mod script;
mod seeds;
mod signals;
mod transfer;
mod window;
mod world;
