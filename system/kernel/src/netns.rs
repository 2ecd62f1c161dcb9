//! Network namespaces.

use crate::{Error, Result};
use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::thread;

/// Where `ip netns` looks for names.
const NAMES: &str = "/run/netns";

/// A network namespace, kept alive by a descriptor; the kernel removes it with the last descriptor
/// or process in it, also when this process dies.
#[derive(Debug)]
pub struct Netns {
    file: File,
    /// Bound to this name, removed on drop.
    name: Option<PathBuf>,
}

impl Netns {
    /// A new, empty namespace without a name; its loopback interface is up.
    ///
    /// # Errors
    /// [`Error::Permission`] without `CAP_SYS_ADMIN`.
    pub fn new() -> Result<Netns> {
        let file = on_thread(|| {
            // SAFETY: unshare takes a flag; it changes this thread alone, which ends with the
            // closure.
            if unsafe { libc::unshare(libc::CLONE_NEWNET) } < 0 {
                return Err(io::Error::last_os_error());
            }
            File::open("/proc/thread-self/ns/net")
        })
        .map_err(|error| Error::sys("create a network namespace", error))?;
        let netns = Netns { file, name: None };
        netns.run(|| crate::Netlink::open()?.set_up("lo"))??;
        Ok(netns)
    }

    /// A new namespace that `ip netns` can see by `name` until it is dropped.
    ///
    /// # Errors
    /// [`Error::Taken`] if the name exists, [`Error::Permission`] without `CAP_SYS_ADMIN`.
    pub fn named(name: &str) -> Result<Netns> {
        if name.is_empty() || name.contains(['/', '\0']) || name.starts_with('.') {
            return Err(Error::Invalid(format!(
                "{name:?} cannot name a network namespace"
            )));
        }
        let mut netns = Netns::new()?;
        let path = Path::new(NAMES).join(name);
        let what = || format!("name a network namespace {name}");
        std::fs::create_dir_all(NAMES).map_err(|error| Error::sys(what(), error))?;
        match File::create_new(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                let what = format!("the network namespace {name}");
                return Err(Error::Taken {
                    what,
                    by: path.display().to_string(),
                });
            }
            other => other.map_err(|error| Error::sys(what(), error))?,
        };
        netns.name = Some(path.clone());
        let source = format!("/proc/self/fd/{}", netns.as_raw_fd());
        bind(Path::new(&source), &path).map_err(|error| Error::sys(what(), error))?;
        Ok(netns)
    }

    /// The namespace that `ip netns` knows by `name`. It stays when this is dropped.
    ///
    /// # Errors
    /// [`Error::Missing`] if there is none.
    pub fn existing(name: &str) -> Result<Netns> {
        match File::open(Path::new(NAMES).join(name)) {
            Ok(file) => Ok(Netns { file, name: None }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Error::Missing {
                kind: "network namespace",
                name: name.into(),
            }),
            Err(error) => Err(Error::sys(format!("open network namespace {name}"), error)),
        }
    }

    /// Whether `name` still means this namespace: one that was deleted lives on as long as somebody
    /// holds it.
    pub fn is_named(&self, name: &str) -> bool {
        let named = std::fs::metadata(Path::new(NAMES).join(name)).map(|it| it.ino());
        named.ok() == self.inode().ok()
    }

    /// The namespace of the current thread.
    ///
    /// # Errors
    /// [`Error::System`] without `/proc`.
    pub fn current() -> Result<Netns> {
        let file = File::open("/proc/thread-self/ns/net")
            .map_err(|error| Error::sys("open the current network namespace", error))?;
        Ok(Netns { file, name: None })
    }

    /// Another descriptor of the same namespace; the name stays with this one.
    ///
    /// # Errors
    /// [`Error::System`] if there are no descriptors left.
    pub fn try_clone(&self) -> Result<Netns> {
        let file = self.file.try_clone();
        let file = file.map_err(|error| Error::sys("hold a network namespace", error))?;
        Ok(Netns { file, name: None })
    }

    /// The namespace's number, the same for every descriptor of it.
    ///
    /// # Errors
    /// [`Error::System`] as `fstat(2)`.
    pub fn inode(&self) -> Result<u64> {
        let metadata = self.file.metadata();
        Ok(metadata
            .map_err(|error| Error::sys("identify a network namespace", error))?
            .ino())
    }

    /// Runs `work` on a thread of its own within the namespace and returns what it returns. Sockets
    /// opened and processes spawned there belong to the namespace ever after.
    ///
    /// # Errors
    /// [`Error::Permission`] without `CAP_SYS_ADMIN`.
    ///
    /// # Panics
    /// If `work` does.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        on_thread(|| {
            self.enter()
                .map_err(|error| Error::sys(format!("enter {self}"), error))?;
            Ok(work())
        })
    }

    /// Starts a process within the namespace.
    ///
    /// # Errors
    /// [`Error::System`] if the program cannot be started.
    pub fn spawn(&self, command: &mut Command) -> Result<Child> {
        let what = format!("start {} in {self}", command.get_program().display());
        self.run(|| command.spawn())?
            .map_err(|error| Error::sys(what, error))
    }

    /// Moves the current thread, for good, into the namespace.
    fn enter(&self) -> io::Result<()> {
        // SAFETY: setns takes a descriptor that is open for the call, and a flag.
        let done = unsafe { libc::setns(self.as_raw_fd(), libc::CLONE_NEWNET) };
        if done < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(())
        }
    }
}

impl AsFd for Netns {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Netns {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

impl fmt::Display for Netns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name.as_ref().and_then(|path| path.file_name()) {
            Some(name) => write!(f, "network namespace {}", name.display()),
            None => write!(f, "network namespace {}", self.inode().unwrap_or_default()),
        }
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let Some(path) = &self.name else { return };
        if let Ok(path) = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()) {
            // SAFETY: `path` is a terminated string that outlives the call.
            unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
        }
        // What cannot be removed now is left for its reader to see; there is no one to tell.
        let _ = std::fs::remove_file(path);
    }
}

/// A number of the current thread's namespace that no other ever has until the machine restarts:
/// inodes are used again. The inode, with a kernel that has no such number.
pub fn unique() -> Result<String> {
    let what = "identify the network namespace";
    let socket = std::os::unix::net::UnixDatagram::unbound();
    let socket = socket.map_err(|error| Error::sys(what, error))?;
    let mut cookie = 0u64;
    let mut length = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the kernel writes at most `length` bytes to `cookie`, and the length to `length`;
    // both are ours for the call.
    let done = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &mut length,
        )
    };
    match done {
        0 => Ok(format!("cookie-{cookie}")),
        _ => Ok(format!("inode-{}", Netns::current()?.inode()?)),
    }
}

/// Binds one file over another.
fn bind(source: &Path, target: &Path) -> io::Result<()> {
    let source = std::ffi::CString::new(source.as_os_str().as_encoded_bytes())?;
    let target = std::ffi::CString::new(target.as_os_str().as_encoded_bytes())?;
    // SAFETY: both paths are terminated strings that outlive the call; the others may be null for
    // a bind mount (mount(2)).
    let done = unsafe {
        libc::mount(
            source.as_ptr(),
            target.as_ptr(),
            std::ptr::null(),
            libc::MS_BIND,
            std::ptr::null(),
        )
    };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(())
    }
}

/// Runs `work` on a thread that ends with it, so that it may change its namespace.
fn on_thread<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| match scope.spawn(work).join() {
        Ok(value) => value,
        Err(panic) => std::panic::resume_unwind(panic),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_keeps_its_number_and_no_other_has_it() {
        let here = unique().unwrap();
        assert_eq!(unique().unwrap(), here);
        match Netns::new() {
            Ok(other) => assert_ne!(other.run(unique).unwrap().unwrap(), here),
            Err(error) => assert!(std::env::var("CI").as_deref() != Ok("true"), "{error}"),
        }
    }
}
