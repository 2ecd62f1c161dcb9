//! Two hosts, packet by packet, in virtual time; each file is one topic.

mod determinism;
mod hostile;
mod idle;
mod joins;
mod limits;
mod mptcp;
mod pair;
mod strangers;
mod tcp;
mod time_wait;
