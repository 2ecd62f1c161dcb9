//! What the engine does on the wire, one topic in each file.

mod harness;

mod accurate_ecn;
mod acks;
mod attacks;
mod autotune;
mod close;
mod controllers;
mod cork;
mod ecn;
mod fast_open;
mod goodput;
mod handshake;
mod hostile;
mod icmp;
mod info;
mod keepalive;
mod linger;
mod lossy;
mod max_segment;
mod nagle;
mod not_sent_lowat;
mod owner;
mod pacing;
mod paws;
mod pressure;
mod quick_ack;
mod recovery;
mod stream;
mod timeout;
mod user_timeout;
mod window;
