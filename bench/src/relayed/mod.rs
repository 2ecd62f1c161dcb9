//! Senders against each other over one path with rate, delay, loss and a queue: a real-time relay
//! between a sending host and a receiving one, both network namespaces.

pub(crate) mod ends;
pub(crate) mod fairness;
pub(crate) mod path;
pub(crate) mod sender;
mod series;
