//! The stack's answers as [`io::Error`].

use anabranch_stack::{CloseReason, ConnectError, FlowError, JoinError, ListenError};
use std::io::{self, ErrorKind};

pub(crate) fn listen(error: ListenError) -> io::Error {
    let kind = match error {
        ListenError::InUse => ErrorKind::AddrInUse,
        ListenError::NoPort => ErrorKind::InvalidInput,
        ListenError::NotLocal => ErrorKind::AddrNotAvailable,
    };
    io::Error::new(kind, error)
}

pub(crate) fn connect(error: ConnectError) -> io::Error {
    let kind = match error {
        ConnectError::InUse | ConnectError::NoPorts => ErrorKind::AddrInUse,
        ConnectError::Address => ErrorKind::AddrNotAvailable,
        ConnectError::Limit => ErrorKind::OutOfMemory,
        ConnectError::Option => ErrorKind::InvalidInput,
    };
    io::Error::new(kind, error)
}

pub(crate) fn join(error: JoinError) -> io::Error {
    let kind = match error {
        JoinError::NoSuchFlow => ErrorKind::NotConnected,
        JoinError::NotMptcp => ErrorKind::Unsupported,
        JoinError::Limit => ErrorKind::QuotaExceeded,
        JoinError::Address => ErrorKind::AddrNotAvailable,
        JoinError::InUse => ErrorKind::AddrInUse,
        JoinError::Denied => ErrorKind::PermissionDenied,
    };
    io::Error::new(kind, error)
}

/// For reading, and for waiting until connected.
pub(crate) fn closed(reason: CloseReason) -> io::Error {
    let kind = match reason {
        CloseReason::Finished => ErrorKind::NotConnected,
        CloseReason::Reset => ErrorKind::ConnectionReset,
        CloseReason::Refused => ErrorKind::ConnectionRefused,
        CloseReason::TimedOut => ErrorKind::TimedOut,
        CloseReason::Unreachable => ErrorKind::HostUnreachable,
        CloseReason::Aborted => ErrorKind::ConnectionAborted,
    };
    io::Error::new(kind, format!("connection {reason}"))
}

/// For writing.
pub(crate) fn flow(error: FlowError) -> io::Error {
    match error {
        FlowError::Closed(CloseReason::Finished) | FlowError::ShutDown => {
            io::Error::new(ErrorKind::BrokenPipe, error)
        }
        FlowError::Closed(reason) => closed(reason),
        FlowError::NoSuchFlow => io::Error::new(ErrorKind::NotConnected, error),
        FlowError::NotMptcp => io::Error::new(ErrorKind::Unsupported, error),
        FlowError::NoSuchSubflow | FlowError::AddressId | FlowError::OutOfRange => {
            io::Error::new(ErrorKind::InvalidInput, error)
        }
        FlowError::Limit | FlowError::Stuck(_) => io::Error::new(ErrorKind::QuotaExceeded, error),
    }
}
