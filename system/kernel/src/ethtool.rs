//! Offloads of an interface, as `ethtool -K` sets them (`linux/ethtool.h`).

use crate::{Error, Result};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

/// Work that an interface may do for the host.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Offload {
    /// Merging received segments (GRO).
    Receive,
    /// Segmenting in software, at the last moment (GSO).
    Generic,
    /// TCP segmentation (TSO), of both families.
    Tcp,
    /// Filling in the checksums of what is sent.
    Checksum,
}

impl Offload {
    /// ETHTOOL_G… and ETHTOOL_S….
    fn commands(self) -> (u32, u32) {
        match self {
            Offload::Receive => (0x2b, 0x2c),
            Offload::Generic => (0x23, 0x24),
            Offload::Tcp => (0x1e, 0x1f),
            Offload::Checksum => (0x16, 0x17),
        }
    }
}

/// Whether an interface of the current namespace does it.
///
/// # Errors
/// [`Error::Missing`] if there is none of this name.
pub fn offload(name: &str, offload: Offload) -> Result<bool> {
    let value = Value {
        command: offload.commands().0,
        data: 0,
    };
    let what = || format!("read offload {offload:?} of {name}");
    Ok(call(name, value)
        .map_err(|error| failed(name, what(), error))?
        .data
        != 0)
}

/// Has an interface of the current namespace do it, or not.
///
/// # Errors
/// [`Error::Missing`] if there is none of this name; [`Error::System`] with `EOPNOTSUPP` if the
/// device has no choice.
pub fn set_offload(name: &str, offload: Offload, on: bool) -> Result<()> {
    let value = Value {
        command: offload.commands().1,
        data: u32::from(on),
    };
    let what = || format!("set offload {offload:?} of {name}");
    call(name, value)
        .map(drop)
        .map_err(|error| failed(name, what(), error))
}

fn failed(name: &str, what: String, error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(libc::ENODEV) => Error::Missing {
            kind: "interface",
            name: name.into(),
        },
        _ => Error::net(what, error),
    }
}

/// `struct ethtool_value`.
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

fn call(name: &str, mut value: Value) -> io::Result<Value> {
    // SAFETY: `ifreq` is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // A name too long is none: the kernel finds no such device. The last byte stays 0.
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    let socket = UnixDatagram::unbound()?;
    // SAFETY: SIOCETHTOOL reads the request and, through its pointer, reads and writes the value;
    // both are ours for the call.
    let done = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL as _, &mut request) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}
