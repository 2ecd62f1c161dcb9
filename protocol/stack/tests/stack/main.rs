//! Two hosts, packet by packet, in virtual time; each file is one topic.

mod determinism;
mod ecn;
mod fast_open;
mod flaps;
mod half_open_joins;
mod hostile;
mod idle;
mod joins;
mod limits;
mod mptcp;
mod multipath_cookies;
mod multipath_fast_open;
mod options;
mod pair;
mod paths;
mod pressure;
mod rest;
mod shards;
mod strangers;
mod syn_cache;
mod syn_cookies;
mod tcp;
mod time_wait;
mod versions;
