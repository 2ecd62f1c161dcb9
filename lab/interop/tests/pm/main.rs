//! `anabranch pm` in the place of mptcpd: Linux's own Multipath TCP connections with a policy.

mod connections;
mod control;
mod endpoints;
mod health;
mod overflow;
mod refusals;
mod selection;
mod world;
