//! Which process has a socket.

use std::fs;
use std::path::Path;

/// A process that has a socket open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// Its name, as in `/proc/PID/comm`: 15 bytes at most.
    pub name: String,
    /// Path of its control group (version 2), `/` for the root; empty if there is none.
    pub cgroup: String,
}

/// A process that has the socket of this inode, if any that we may look into does: it takes
/// `CAP_SYS_PTRACE` for those of others. It looks at every descriptor of every process, so it is
/// not for each packet.
pub fn owner(inode: u32) -> Option<Owner> {
    let wanted = format!("socket:[{inode}]");
    let processes = fs::read_dir("/proc").ok()?.flatten();
    for process in processes {
        let name = process.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if has(&process.path(), &wanted) {
            return Some(describe(pid, &process.path()));
        }
    }
    None
}

fn has(process: &Path, wanted: &str) -> bool {
    let Ok(descriptors) = fs::read_dir(process.join("fd")) else {
        return false;
    };
    let mut links = descriptors.flatten().map(|it| fs::read_link(it.path()));
    links.any(|link| link.is_ok_and(|link| link.to_str() == Some(wanted)))
}

fn describe(pid: u32, process: &Path) -> Owner {
    let read = |file: &str| fs::read_to_string(process.join(file)).unwrap_or_default();
    let cgroup = read("cgroup");
    // Of version 2: `0::/path`.
    let path = cgroup.lines().find_map(|line| line.strip_prefix("0::"));
    Owner {
        pid,
        name: read("comm").trim_end().to_owned(),
        cgroup: path.unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;
    use std::os::fd::AsRawFd;

    #[test]
    fn our_own_socket_is_ours() {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let link = fs::read_link(format!("/proc/self/fd/{}", socket.as_raw_fd())).unwrap();
        let inode = link.to_str().unwrap();
        let inode = inode.trim_start_matches("socket:[").trim_end_matches(']');
        let owner = owner(inode.parse().unwrap()).unwrap();
        assert_eq!(owner.pid, std::process::id());
        let name = fs::read_to_string("/proc/self/comm").unwrap();
        assert_eq!(owner.name, name.trim_end());
    }

    #[test]
    fn nobody_has_a_socket_that_is_not_there() {
        assert_eq!(owner(0), None);
    }
}
