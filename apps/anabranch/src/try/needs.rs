//! What the real network needs of this machine.

use std::fs;
use std::io;

use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getegid, geteuid};

/// Makes what is missing where an ordinary user may: a user namespace in which this process is
/// root. To be called while the process has one thread.
///
/// # Errors
/// One line: what this machine lacks.
pub(crate) fn provide() -> Result<(), String> {
    if !geteuid().is_root() {
        become_root().map_err(|error| {
            format!("network namespaces need root, or user namespaces, which are refused ({error})")
        })?;
    }
    fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")
        .map_err(|error| format!("/dev/net/tun cannot be used ({error})"))?;
    let host = anabranch_interop::host::Host::new()
        .map_err(|error| format!("network namespaces are refused ({error})"))?;
    // Each namespace has its own switch, so it is asked there.
    host.run(anabranch_kernel::mptcp::available)
        .map_err(|error| format!("Linux's own Multipath TCP is missing ({error})"))
}

/// Root in a user namespace of its own, as `user_namespaces(7)` tells: one user and one group are
/// mapped, and the right to set further groups is given up first.
fn become_root() -> io::Result<()> {
    let (user, group) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {user} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {group} 1"))
}
