//! What an application's call can be answered with instead of success.

use crate::event::CloseReason;
use anabranch_tcp::OutOfRange;
use std::fmt;

/// Why [`crate::Stack::listen`] refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ListenError {
    /// Another listener has this address and port.
    InUse,
    /// Port 0.
    NoPort,
    /// The address is not one of ours.
    NotLocal,
}

/// Why [`crate::Stack::connect`] refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectError {
    /// A connection between these addresses and ports exists.
    InUse,
    /// No ephemeral port is free towards this destination.
    NoPorts,
    /// Local and remote address are of different families, or one of them names no host, or the
    /// local one is not ours, or the remote port is 0.
    Address,
    /// Memory or the number of connections is at its limit.
    Limit,
    /// An option is out of range.
    Option,
}

/// Why a call on a connection had no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FlowError {
    /// The handle's connection is gone, or was released.
    NoSuchFlow,
    /// Sending after [`crate::Stack::shutdown`].
    ShutDown,
    /// The connection has ended.
    Closed(CloseReason),
    /// The connection is plain TCP, fell back to it, or is not fully established yet.
    NotMptcp,
    /// The connection has no such subflow.
    NoSuchSubflow,
    /// Too many addresses are announced or wait to be.
    Limit,
    /// The address ID is 0 or stands for another address.
    AddressId,
    /// The value of an option is out of range.
    OutOfRange,
    /// Sending where the scheduler lets nothing be sent any more, see
    /// [`crate::PathEvent::Stuck`].
    Stuck(&'static str),
}

/// Why [`crate::Stack::join`] refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum JoinError {
    /// The handle's connection is gone.
    NoSuchFlow,
    /// Plain TCP, fallen back, or not fully established yet.
    NotMptcp,
    /// As many subflows as configured exist, or memory is at its limit.
    Limit,
    /// The addresses are unusable, see [`ConnectError::Address`].
    Address,
    /// A connection between these addresses and ports exists, or no ephemeral port is free.
    InUse,
    /// The peer asked for no joins to this address (flag C of MP_CAPABLE).
    Denied,
}

impl From<OutOfRange> for FlowError {
    fn from(_: OutOfRange) -> FlowError {
        FlowError::OutOfRange
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ListenError::InUse => "address already in use",
            ListenError::NoPort => "port 0 cannot be listened on",
            ListenError::NotLocal => "not an address of this host",
        })
    }
}

impl fmt::Display for ConnectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ConnectError::InUse => "addresses and ports already in use",
            ConnectError::NoPorts => "no free port towards this destination",
            ConnectError::Address => "unusable address",
            ConnectError::Limit => "memory or connection limit reached",
            ConnectError::Option => "option out of range",
        })
    }
}

impl fmt::Display for FlowError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FlowError::NoSuchFlow => f.write_str("no such connection"),
            FlowError::ShutDown => f.write_str("sending side is shut down"),
            FlowError::Closed(reason) => write!(f, "connection closed: {reason}"),
            FlowError::NotMptcp => f.write_str("not a Multipath TCP connection"),
            FlowError::NoSuchSubflow => f.write_str("no such subflow"),
            FlowError::Limit => f.write_str("too many announcements"),
            FlowError::AddressId => f.write_str("unusable address ID"),
            FlowError::OutOfRange => f.write_str("option out of range"),
            FlowError::Stuck(why) => write!(f, "no path may be used: {why}"),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JoinError::NoSuchFlow => "no such connection",
            JoinError::NotMptcp => "not an established Multipath TCP connection",
            JoinError::Limit => "subflow or memory limit reached",
            JoinError::Address => "unusable address",
            JoinError::InUse => "addresses and ports already in use",
            JoinError::Denied => "the peer accepts no joins to this address",
        })
    }
}

impl std::error::Error for ListenError {}
impl std::error::Error for ConnectError {}
impl std::error::Error for FlowError {}
impl std::error::Error for JoinError {}
