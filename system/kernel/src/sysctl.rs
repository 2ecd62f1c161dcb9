//! Kernel parameters of the current network namespace, by `/proc/sys`.

use crate::{Error, Result};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::PathBuf;

/// Reads `name`, a path such as `net/ipv4/ip_forward`; without the final newline.
///
/// # Errors
/// [`Error::Missing`] if this kernel has none of this name.
pub fn read(name: &str) -> Result<String> {
    let value = std::fs::read_to_string(path(name)?);
    value
        .map(|value| value.trim_end().to_owned())
        .map_err(|error| failed("read", name, error))
}

/// Writes `value` to `name`.
///
/// # Errors
/// [`Error::Missing`] if this kernel has none of this name; [`Error::Permission`].
pub fn write(name: &str, value: &str) -> Result<()> {
    // Opened without leave to create: where it is missing, `/proc` would give a misleading reason.
    OpenOptions::new()
        .write(true)
        .open(path(name)?)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .map_err(|error| failed("write", name, error))
}

/// Writes `value` and returns what stood there before.
///
/// # Errors
/// As [`read`] and [`fn@write`].
pub fn replace(name: &str, value: &str) -> Result<String> {
    let former = read(name)?;
    if former != value {
        write(name, value)?;
    }
    Ok(former)
}

fn path(name: &str) -> Result<PathBuf> {
    if name.is_empty() || name.starts_with('/') || name.split('/').any(|part| part == "..") {
        return Err(Error::Invalid(format!("{name:?} is no name of a sysctl")));
    }
    Ok(PathBuf::from("/proc/sys").join(name))
}

fn failed(verb: &str, name: &str, error: std::io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::Missing {
            kind: "sysctl",
            name: name.into(),
        },
        _ => Error::net(format!("{verb} sysctl {name}"), error),
    }
}
