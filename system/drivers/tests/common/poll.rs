//! Waiting for a driver.

use anabranch_drivers::Driver;
use std::os::fd::AsRawFd;
use std::time::Duration;

/// Longest that anything in these tests may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// Waits until the driver is readable.
pub(crate) fn wait(driver: &impl Driver) {
    assert!(readable(driver, PATIENCE), "nothing came");
}

/// Whether the driver is or becomes readable within `patience`.
pub(crate) fn readable(driver: &impl Driver, patience: Duration) -> bool {
    let fd = driver.fd().expect("a descriptor").as_raw_fd();
    let mut poll = libc::pollfd {
        fd,
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: `poll` is one entry, ours for the call.
    unsafe { libc::poll(&mut poll, 1, patience.as_millis() as i32) == 1 }
}
