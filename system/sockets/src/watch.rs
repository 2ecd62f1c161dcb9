//! Waiting for a descriptor.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// Registers a duplicate of `fd` with the current runtime, to wait for what happens to the device,
/// socket or pipe that both refer to.
///
/// # Errors
/// No descriptor is left, or `fd` is of a kind that cannot be waited for (a file).
///
/// # Panics
/// Outside a tokio runtime that has I/O enabled.
pub fn watch(fd: BorrowedFd<'_>) -> io::Result<AsyncFd<OwnedFd>> {
    let duplicate = fd.try_clone_to_owned()?;
    // SAFETY: an `OwnedFd` refers to one open descriptor, always the same, until it is dropped.
    #[allow(unsafe_code)]
    Ok(unsafe { AsyncFd::register(duplicate) }?)
}
