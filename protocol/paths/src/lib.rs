//! Path management as a policy: which addresses a peer is told of, which subflows a connection
//! has, and which of them are backups. Events in, commands out; no packet, no clock, no I/O.
//!
//! The policy speaks of addresses, interfaces and identifiers only, so the same one steers any
//! engine: our own stack, and Linux's kernel over its `mptcp_pm` interface.
//!
//! - [`Plan`]: what is wanted, as it is configured: a [`Policy`] for each kind of connection, and
//!   [`Rule`]s for interfaces.
//! - [`Host`]: interfaces, addresses and routes as they come and go; with the rules of a plan it
//!   tells the [`Source`]s that a connection may use.
//! - [`Connection`]: the policy of one connection. [`Connection::on_event`] tells it what
//!   happened, [`Connection::next`] is asked for what to do until there is nothing,
//!   [`Connection::deadline`] says when to ask again.
//! - [`Manager`]: many connections by token, for an engine that has no place of its own to keep
//!   each.
//!
//! The same calls give the same commands. Whatever a peer announces, a connection remembers at most
//! [`MAX_ADDRESSES`] addresses of either side and tries at most so many in a row that it has not
//! reached before.
#![forbid(unsafe_code)]

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod connection;
mod derived;
mod endpoint;
mod event;
mod host;
mod manager;
mod pattern;
mod plan;
mod policy;

pub use connection::{Connection, State, SubflowState};
pub use derived::NotExpressible;
pub use endpoint::{Endpoint, EndpointError, Flags};
pub use event::{Command, Ends, Event, Loss, Quality};
pub use host::{Address, Host, HostEvent, Link, Route, Source};
pub use manager::{Manager, Token};
pub use pattern::{Pattern, Prefix, PrefixError};
pub use plan::{
    Delay, Facts, Handover, Health, Kind, Limits, Metered, Plan, Policy, Retry, Rule, Selection,
    Side, Thresholds, When,
};

/// Time since whatever moment the owner chose.
pub type Time = std::time::Duration;

/// Addresses of either side that a connection remembers, and subflows that it may have.
pub const MAX_ADDRESSES: usize = 32;
