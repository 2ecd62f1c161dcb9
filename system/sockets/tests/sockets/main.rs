//! Sockets over two hosts in one process, by topic.

mod bad_device;
mod closing;
mod common;
mod fast_open;
mod flow_control;
mod hosts;
mod options;
mod scheduling;
mod shards;
mod transfer;
