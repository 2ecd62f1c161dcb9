//! Receive packet steering: which processors do the kernel's work with the packets that come from a
//! device (`Documentation/networking/scaling.rst` of the kernel). What a program writes to a TUN
//! device comes from it: without steering its own thread does that work, on through the stack and
//! out of the host, within the system call.
//!
//! A device takes its setting along when it goes.

use crate::{Error, Result};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

/// The kernel's parameters of devices in the current network namespace, whatever namespace `/sys`
/// shows. Nobody else sees this mount, and it goes with the descriptor.
struct Sysfs(OwnedFd);

impl Sysfs {
    fn open() -> io::Result<Sysfs> {
        let context = fsopen(c"sysfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_create(&context)?;
        let none = MountAttrFlags::empty();
        let mount = fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, none)?;
        Ok(Sysfs(mount))
    }

    /// The receiving queues of an interface.
    fn queues(&self, interface: &str) -> io::Result<Vec<PathBuf>> {
        let root = format!("/proc/self/fd/{}", self.0.as_raw_fd());
        let folder = Path::new(&root).join("class/net").join(interface);
        let mut queues = Vec::new();
        for entry in std::fs::read_dir(folder.join("queues"))? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("rx-") {
                queues.push(entry.path().join("rps_cpus"));
            }
        }
        Ok(queues)
    }
}

/// Has `cpus` share the work with what comes from an interface, each flow with one of them; with
/// none, whoever hands a packet over does it.
///
/// The kernel leaves out those that it keeps free of such work (`isolcpus`).
///
/// # Errors
/// [`Error::Missing`] interface; [`Error::Permission`]: it takes `CAP_SYS_ADMIN` beside
/// `CAP_NET_ADMIN`; [`Error::Invalid`] where there are no such processors; [`Error::Unsupported`]
/// by a kernel before 5.2, or without `CONFIG_RPS`.
pub fn set(interface: &str, cpus: &[usize]) -> Result<()> {
    let mask = mask(cpus);
    each(interface, |queue| {
        std::fs::write(queue, &mask).map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL | libc::EOVERFLOW) => Error::Invalid(format!(
                "this machine does not have all the processors {cpus:?}"
            )),
            _ => failed(interface, error),
        })
    })
}

/// The processors that [`set`] has given to the queues of an interface, as the kernel writes such
/// sets.
///
/// # Errors
/// Those of [`set`].
pub fn read(interface: &str) -> Result<Vec<String>> {
    let mut all = Vec::new();
    each(interface, |queue| {
        let text = std::fs::read_to_string(queue).map_err(|error| failed(interface, error))?;
        all.push(text.trim_end().to_owned());
        Ok(())
    })?;
    Ok(all)
}

fn each(interface: &str, mut act: impl FnMut(&Path) -> Result<()>) -> Result<()> {
    if interface.is_empty() || interface.contains('/') || interface.starts_with('.') {
        return Err(Error::Invalid(format!("{interface:?} names no interface")));
    }
    let sysfs = Sysfs::open().map_err(|error| failed(interface, error))?;
    let queues = sysfs
        .queues(interface)
        .map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::Missing {
                kind: "interface",
                name: interface.to_owned(),
            },
            _ => failed(interface, error),
        })?;
    queues.iter().try_for_each(|queue| act(queue))
}

fn failed(interface: &str, error: io::Error) -> Error {
    let what = format!("share the work of {interface} among processors");
    match error.kind() {
        ErrorKind::PermissionDenied => Error::Permission {
            what,
            capability: "CAP_SYS_ADMIN",
        },
        ErrorKind::Unsupported => Error::Unsupported {
            what,
            feature: "mounts without a place (Linux 5.2)",
        },
        ErrorKind::NotFound => Error::Unsupported {
            what,
            feature: "receive packet steering (CONFIG_RPS)",
        },
        _ => Error::System {
            what,
            source: error,
        },
    }
}

/// As the kernel reads sets of processors: hexadecimal, in groups of 32, the highest first.
fn mask(cpus: &[usize]) -> String {
    let groups = cpus.iter().max().map_or(1, |most| most / 32 + 1);
    let mut words = vec![0_u32; groups];
    for cpu in cpus {
        words[cpu / 32] |= 1 << (cpu % 32);
    }
    let words: Vec<String> = words
        .iter()
        .rev()
        .map(|word| format!("{word:08x}"))
        .collect();
    words.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_of_processors_are_written_in_groups() {
        assert_eq!(mask(&[]), "00000000");
        assert_eq!(mask(&[0, 1, 31]), "80000003");
        assert_eq!(mask(&[1, 32, 69]), "00000020,00000001,00000002");
    }

    #[test]
    fn names_of_interfaces_stay_in_their_folder() {
        for name in ["", ".", "../../x", "a/b"] {
            assert!(matches!(read(name), Err(Error::Invalid(_))), "{name}");
        }
    }
}
