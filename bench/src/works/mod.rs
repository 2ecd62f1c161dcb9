//! What is measured: a file for each, and a line here.

mod bulk;
mod checksum;
mod client;
mod pingpong;
mod plain;
mod rate;
mod relay;
mod scale;
mod shards;
mod wire;

use crate::work::Work;

/// Everything, in the order of the documents.
pub(crate) static ALL: &[&Work] = &[
    &bulk::CUBIC,
    &bulk::DEFAULT,
    &plain::WORK,
    &checksum::WORK,
    &wire::WORK,
    &client::WORK,
    &relay::WORK,
    &rate::WORK,
    &pingpong::WORK,
    &shards::WORK,
    &scale::GOODPUT,
    &scale::COSTS,
    &scale::MEMORY,
];
