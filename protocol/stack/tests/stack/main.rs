//! Two hosts, packet by packet, in virtual time; each file is one topic.

mod determinism;
mod ecn;
mod fast_open;
mod hostile;
mod idle;
mod joins;
mod limits;
mod mptcp;
mod options;
mod pair;
mod pressure;
mod strangers;
mod syn_cookies;
mod tcp;
mod time_wait;
