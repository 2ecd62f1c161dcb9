//! Mappings between a subflow's bytes and the data sequence space (RFC 8684 §3.3.1).

mod rx;
mod tx;

pub(crate) use rx::{Check, Delivery, RxMapping, RxMappings, Trouble};
pub(crate) use tx::{TxMapping, TxMappings};
