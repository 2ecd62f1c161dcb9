//! Network namespaces of the lab.

use std::fs::File;
use std::io;
use std::thread;

use nix::sched::{CloneFlags, setns, unshare};

/// A network namespace without a name. It lives as long as this value and what runs in it, so
/// nothing is left behind even when a test is killed.
#[derive(Debug)]
pub struct Netns {
    file: File,
    label: &'static str,
}

impl Netns {
    /// A new namespace with its loopback up. Needs `CAP_SYS_ADMIN`.
    pub fn new(label: &'static str) -> io::Result<Self> {
        let file = thread::scope(|scope| {
            let made = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNET)?;
                crate::tool::tool("ip", "link set lo up")?;
                File::open("/proc/thread-self/ns/net")
            });
            made.join().expect("making a namespace does not panic")
        })?;
        Ok(Self { file, label })
    }

    /// Runs `work` on a thread of its own in this namespace. Threads and processes it starts
    /// begin in this namespace too.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let worker = scope.spawn(|| {
                setns(&self.file, CloneFlags::CLONE_NEWNET).expect("a namespace can be entered");
                work()
            });
            match worker.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A path that names the namespace to other programs while this process lives.
    pub fn path(&self) -> String {
        use std::os::fd::AsRawFd;
        format!("/proc/{}/fd/{}", std::process::id(), self.file.as_raw_fd())
    }

    /// What it is for.
    pub fn label(&self) -> &'static str {
        self.label
    }
}
