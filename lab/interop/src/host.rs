//! A host of the lab: a network namespace.

use std::io;

use anabranch_kernel::{Netns, sysctl};

/// A network namespace without a name. It lives as long as this value and what runs in it, so
/// nothing is left behind even when a test is killed.
#[derive(Debug)]
pub struct Host(Netns);

impl Host {
    /// A new namespace with its loopback up. Needs `CAP_SYS_ADMIN`.
    pub fn new() -> io::Result<Self> {
        let netns = Netns::new().map_err(io::Error::other)?;
        // Duplicate address detection would have the host change by itself for seconds; it is on if
        // either says so. Without IPv6 there is none.
        for whom in ["all", "default"] {
            let name = format!("net/ipv6/conf/{whom}/accept_dad");
            let _ = netns.run(|| sysctl::write(&name, "0"));
        }
        Ok(Self(netns))
    }

    /// Runs `work` on a thread of its own in this namespace. Threads and processes it starts
    /// begin in this namespace too.
    ///
    /// # Panics
    /// If `work` does, or if this process lost the right to enter what it made.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.0
            .run(work)
            .expect("what made a namespace may enter it")
    }

    /// The namespace.
    pub fn netns(&self) -> &Netns {
        &self.0
    }
}
