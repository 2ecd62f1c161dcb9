//! What the engine does on the wire, one topic in each file.

mod harness;

mod acks;
mod attacks;
mod close;
mod ecn;
mod fast_open;
mod goodput;
mod handshake;
mod hostile;
mod icmp;
mod info;
mod keepalive;
mod lossy;
mod nagle;
mod owner;
mod pacing;
mod paws;
mod recovery;
mod stream;
mod timeout;
mod window;
