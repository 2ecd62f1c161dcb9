//! The account that processes keep with each other, in files that tell whether their owner lives.
//!
//! A process holds an exclusive lock on its file for as long as it lives; the kernel lets go of it
//! when the process ends, however it ends. Changes are made under a lock on the folder.

use super::{nat, ports};
use crate::{Error, Result, netns};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Processes that may hold ports at once.
const SLOTS: u32 = 64;

/// The account of one network namespace.
pub(super) struct Directory {
    path: PathBuf,
}

/// What a process writes down about itself.
#[derive(Serialize, Deserialize, Clone, Default, Debug)]
#[serde(default)]
struct Record {
    pid: u32,
    tun: String,
    ports: Vec<(u16, u16)>,
    /// Ports it has reserved, which were not before.
    reserved: BTreeSet<u16>,
    /// It has a table of nftables.
    translates: bool,
}

impl Record {
    fn ranges(&self) -> Vec<RangeInclusive<u16>> {
        self.ports.iter().map(|&(start, end)| start..=end).collect()
    }
}

impl Directory {
    pub(super) fn of_this_namespace(state_dir: &Path) -> Result<Directory> {
        let name = format!("netns-{}", netns::unique()?);
        Ok(Directory {
            path: state_dir.join(name),
        })
    }

    /// Waits until no other process makes changes.
    pub(super) fn lock(&self) -> Result<Lock<'_>> {
        loop {
            fs::create_dir_all(&self.path).map_err(|error| self.failed("create", error))?;
            let file = match File::open(&self.path) {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                file => file.map_err(|error| self.failed("open", error))?,
            };
            file.lock().map_err(|error| self.failed("lock", error))?;
            // The one who held it before may have removed the folder: then ours is another.
            let here = file.metadata().map(|it| it.ino()).ok();
            if here.is_some() && here == fs::metadata(&self.path).map(|it| it.ino()).ok() {
                return Ok(Lock {
                    directory: self,
                    _file: file,
                });
            }
        }
    }

    fn failed(&self, verb: &str, source: io::Error) -> Error {
        let path = self.path.display();
        let what = match source.kind() {
            ErrorKind::PermissionDenied => {
                return Error::Invalid(format!(
                    "cannot {verb} {path}: permission denied; let this user write there \
                     (systemd: RuntimeDirectory=anabranch) or run as root"
                ));
            }
            _ => format!("{verb} {path}"),
        };
        Error::System { what, source }
    }
}

/// The right to make changes.
pub(super) struct Lock<'a> {
    directory: &'a Directory,
    _file: File,
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        // Goes only when it is empty: when nobody holds anything.
        let _ = fs::remove_dir(&self.directory.path);
    }
}

impl Lock<'_> {
    /// Writes down that this process holds `ports`.
    pub(super) fn register(&self, tun: &str, wanted: &[RangeInclusive<u16>]) -> Result<Held> {
        let others = self.alive();
        for (_, record) in &others {
            if let Some(port) = ports::common(&record.ranges(), wanted) {
                let by = format!("process {} (device {})", record.pid, record.tun);
                return Err(Error::Taken {
                    what: format!("TCP port {port}"),
                    by,
                });
            }
        }
        let is_free = |slot: &u32| others.iter().all(|(other, _)| other != slot);
        let Some(slot) = (0..SLOTS).find(is_free) else {
            let what = "a place to keep account".into();
            return Err(Error::Taken {
                what,
                by: format!("{SLOTS} processes"),
            });
        };
        let path = self.slot_path(slot);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path);
        let file = file.map_err(|error| self.directory.failed("create a file in", error))?;
        file.lock()
            .map_err(|error| self.directory.failed("lock a file in", error))?;
        let record = Record {
            pid: std::process::id(),
            tun: tun.into(),
            ports: wanted
                .iter()
                .map(|range| (*range.start(), *range.end()))
                .collect(),
            reserved: BTreeSet::new(),
            translates: false,
        };
        let held = Held {
            slot,
            tun: tun.into(),
            file,
            path,
        };
        held.write(&record)?;
        Ok(held)
    }

    /// Whether any process but that in slot `except` holds ports.
    pub(super) fn others_alive(&self, except: Option<u32>) -> bool {
        self.alive().iter().any(|(slot, _)| Some(*slot) != except)
    }

    /// The devices of all processes alive.
    pub(super) fn devices(&self) -> Vec<String> {
        let alive = self.alive().into_iter();
        alive.map(|(_, record)| record.tun).collect()
    }

    /// Whether anyone but the one in slot `except` takes ports for this device.
    pub(super) fn others_use(&self, tun: &str, except: u32) -> bool {
        self.alive()
            .iter()
            .any(|(slot, record)| *slot != except && record.tun == tun)
    }

    /// The processes alive.
    fn alive(&self) -> Vec<(u32, Record)> {
        let mut alive = Vec::new();
        for slot in 0..SLOTS {
            let Ok(file) = File::open(self.slot_path(slot)) else {
                continue;
            };
            if let Err(TryLockError::WouldBlock) = file.try_lock_shared() {
                alive.push((slot, read(&file).unwrap_or_default()));
            }
        }
        alive
    }

    /// What processes no longer alive have left, now locked by us.
    pub(super) fn dead(&self) -> Vec<Held> {
        let mut dead = Vec::new();
        for slot in 0..SLOTS {
            let path = self.slot_path(slot);
            let Ok(file) = OpenOptions::new().read(true).write(true).open(&path) else {
                continue;
            };
            if file.try_lock().is_ok() {
                let record: Record = read(&file).unwrap_or_default();
                dead.push(Held {
                    slot,
                    tun: record.tun,
                    file,
                    path,
                });
            }
        }
        dead
    }

    /// Reads a file of the account that belongs to nobody in particular.
    pub(super) fn load<T: DeserializeOwned + Default>(&self, name: &str) -> T {
        let file = File::open(self.directory.path.join(name));
        file.ok().and_then(|file| read(&file)).unwrap_or_default()
    }

    /// Writes one, whole or not at all.
    pub(super) fn store(&self, name: &str, value: &impl Serialize) -> Result<()> {
        let path = self.directory.path.join(name);
        let new = self.directory.path.join(format!("{name}.new"));
        let text = serde_json::to_vec(value).map_err(io::Error::from);
        text.and_then(|text| fs::write(&new, text))
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|error| self.directory.failed("write to", error))
    }

    /// Removes one.
    pub(super) fn forget(&self, name: &str) {
        // Missing is as good as removed.
        for name in [name, &format!("{name}.new")] {
            let _ = fs::remove_file(self.directory.path.join(name));
        }
    }

    fn slot_path(&self, slot: u32) -> PathBuf {
        self.directory.path.join(format!("process-{slot}.json"))
    }
}

/// A process's file, locked by us: our own, or that of one no longer alive.
pub(super) struct Held {
    pub(super) slot: u32,
    pub(super) tun: String,
    file: File,
    path: PathBuf,
}

impl Held {
    /// Keeps the kernel from giving our ports to its own connections.
    pub(super) fn reserve_ports(&self, wanted: &[RangeInclusive<u16>]) -> Result<()> {
        let added = ports::reserve(wanted)?;
        if added.is_empty() {
            return Ok(());
        }
        let mut record = self.record();
        record.reserved.extend(added);
        self.write(&record)
    }

    /// Notes that there is a table of nftables to be removed, before there is one.
    pub(super) fn translates(&self) -> Result<()> {
        let record = self.record();
        if record.translates {
            return Ok(());
        }
        let translates = true;
        self.write(&Record {
            translates,
            ..record
        })
    }

    /// Ends this account.
    pub(super) fn release(self) -> Result<()> {
        let record = self.record();
        let mut outcome = ports::release(&record.reserved);
        if record.translates {
            outcome = outcome.and(nat::clear(self.slot));
        }
        let removed = fs::remove_file(&self.path).map_err(|source| Error::System {
            what: format!("remove {}", self.path.display()),
            source,
        });
        outcome.and(removed)
    }

    fn record(&self) -> Record {
        read(&self.file).unwrap_or_default()
    }

    fn write(&self, record: &Record) -> Result<()> {
        let write = || {
            let text = serde_json::to_vec(record)?;
            let mut file = &self.file;
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(&text)
        };
        let what = || format!("write {}", self.path.display());
        write().map_err(|source| Error::System {
            what: what(),
            source,
        })
    }
}

/// What a file says; `None` if it is damaged, as by a crash in the middle of writing.
fn read<T: DeserializeOwned>(mut file: &File) -> Option<T> {
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}
