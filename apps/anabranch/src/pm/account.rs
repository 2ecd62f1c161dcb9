//! What a path manager has changed in its namespace, written down so that it can be put back: by
//! itself at its end, or by the next one after a crash.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use anabranch_kernel::mptcp::{Limits, PathManager};
use anabranch_kernel::{netns, sysctl};
use serde::{Deserialize, Serialize};

const PATH_MANAGER: &str = "net/mptcp/path_manager";
/// What kernels before 6.16 have instead: 0 is the kernel's own, 1 one in userspace.
const PM_TYPE: &str = "net/mptcp/pm_type";

/// An endpoint that is ours.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub(super) struct Owned {
    pub(super) address: IpAddr,
    pub(super) port: u16,
    pub(super) id: u8,
}

/// What was changed.
#[derive(Clone, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
struct Record {
    pid: u32,
    /// Who managed the paths of new connections before.
    path_manager: Option<String>,
    /// The limits before: subflows, addresses accepted.
    limits: Option<(u32, u32)>,
    endpoints: Vec<Owned>,
}

/// The one path manager of a namespace, as long as it holds this.
pub(super) struct Account {
    file: File,
    path: PathBuf,
    record: Record,
}

impl Account {
    /// Takes the current namespace, and puts back what one that crashed has left.
    ///
    /// # Errors
    /// One line: another path manager has it, or the folder cannot be written.
    pub(super) fn open(folder: &Path) -> Result<Account, String> {
        let netns = netns::unique().map_err(|error| error.to_string())?;
        let path = folder.join(format!("pm-{netns}.json"));
        let file = create(folder, &path).map_err(|error| cannot_write(&path, &error))?;
        let record = read(&file).unwrap_or_default();
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(format!(
                    "another `anabranch pm` (process {}) manages the paths of this network \
                     namespace: stop it first, or name another namespace with --netns",
                    record.pid
                ));
            }
            Err(TryLockError::Error(error)) => return Err(cannot_write(&path, &error)),
        }
        let mut account = Account { file, path, record };
        if account.record.pid != 0 {
            tracing::info!(
                "process {} ended without putting back what it had set up: done now",
                account.record.pid
            );
            account.put_back();
        }
        account.record.pid = std::process::id();
        account.write()?;
        Ok(account)
    }

    /// New connections have their paths managed by us from now on.
    ///
    /// # Errors
    /// One line.
    pub(super) fn take_connections(&mut self) -> Result<(), String> {
        self.record.path_manager = Some(manager()?);
        self.write()?;
        set_manager("userspace")
    }

    /// The limits of the kernel's own path manager are as given from now on.
    ///
    /// # Errors
    /// One line.
    pub(super) fn set_limits(
        &mut self,
        manager: &PathManager,
        limits: Limits,
    ) -> Result<(), String> {
        let now = manager.limits().map_err(|error| error.to_string())?;
        if now == limits {
            return Ok(());
        }
        if self.record.limits.is_none() {
            self.record.limits = Some((now.subflows, now.add_addr_accepted));
            self.write()?;
        }
        manager
            .set_limits(limits)
            .map_err(|error| error.to_string())
    }

    /// The endpoints that are ours.
    pub(super) fn endpoints(&self) -> &[Owned] {
        &self.record.endpoints
    }

    /// An endpoint is about to become ours.
    ///
    /// # Errors
    /// One line.
    pub(super) fn add(&mut self, endpoint: Owned) -> Result<(), String> {
        self.record.endpoints.push(endpoint);
        self.write()
    }

    /// An endpoint is ours no more.
    ///
    /// # Errors
    /// One line.
    pub(super) fn forget(&mut self, address: IpAddr, port: u16) -> Result<(), String> {
        let is_it = |it: &Owned| (it.address, it.port) == (address, port);
        self.record.endpoints.retain(|it| !is_it(it));
        self.write()
    }

    /// Puts everything back, and gives the namespace up.
    pub(super) fn close(&mut self) {
        self.put_back();
        // The lock goes with the file; who waits for neither finds nothing left to do.
        let _ = fs::remove_file(&self.path);
    }

    /// What fails here is said and left: it is not there any more, or was changed by others.
    fn put_back(&mut self) {
        if let Some(before) = self.record.path_manager.take()
            && let Err(error) = set_manager(&before)
        {
            tracing::warn!("{error}");
        }
        let manager = match PathManager::open() {
            Ok(manager) => manager,
            Err(error) => return tracing::warn!("{error}"),
        };
        let present = manager.endpoints().unwrap_or_default();
        for owned in std::mem::take(&mut self.record.endpoints) {
            // Somebody may have made another of the same number since.
            let same = |it: &&_| is_owned(it, &owned);
            if let Some(endpoint) = present.iter().find(same)
                && let Err(error) = manager.remove(endpoint.id)
            {
                tracing::warn!("{error}");
            }
        }
        if let Some((subflows, add_addr_accepted)) = self.record.limits.take() {
            let limits = Limits {
                subflows,
                add_addr_accepted,
            };
            if let Err(error) = manager.set_limits(limits) {
                tracing::warn!("{error}");
            }
        }
        if let Err(error) = self.write() {
            tracing::warn!("{error}");
        }
    }

    fn write(&mut self) -> Result<(), String> {
        let write = || -> io::Result<()> {
            let text = serde_json::to_vec(&self.record)?;
            let mut file = &self.file;
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(&text)
        };
        write().map_err(|error| cannot_write(&self.path, &error))
    }
}

/// Whether an endpoint of the kernel is the one we made.
pub(super) fn is_owned(endpoint: &anabranch_kernel::mptcp::Endpoint, owned: &Owned) -> bool {
    (endpoint.address, endpoint.port, endpoint.id) == (owned.address, owned.port, owned.id)
}

fn create(folder: &Path, path: &Path) -> io::Result<File> {
    fs::create_dir_all(folder)?;
    OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
}

fn read(mut file: &File) -> Option<Record> {
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    let path = path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => format!(
            "cannot keep account in {path}: permission denied; run as root, or in a systemd unit \
             set RuntimeDirectory=anabranch"
        ),
        _ => format!("cannot keep account in {path}: {error}"),
    }
}

/// Who manages the paths of new connections.
fn manager() -> Result<String, String> {
    match sysctl::read(PATH_MANAGER) {
        Err(anabranch_kernel::Error::Missing { .. }) => {
            let kind = sysctl::read(PM_TYPE).map_err(|error| error.to_string())?;
            Ok(if kind == "1" { "userspace" } else { "kernel" }.to_owned())
        }
        other => other.map_err(|error| error.to_string()),
    }
}

fn set_manager(name: &str) -> Result<(), String> {
    let kind = if name == "userspace" { "1" } else { "0" };
    match sysctl::write(PATH_MANAGER, name) {
        Err(anabranch_kernel::Error::Missing { .. }) => sysctl::write(PM_TYPE, kind),
        other => other,
    }
    .map_err(|error| error.to_string())
}
