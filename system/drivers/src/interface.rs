//! Requests about network interfaces, by name, in the namespace of the calling thread.

use crate::link::Mac;
use libc::c_int;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixDatagram;

/// An Ethernet interface of the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Interface {
    pub(crate) name: String,
    pub(crate) index: c_int,
    pub(crate) mac: Mac,
}

impl Interface {
    /// Finds it by name.
    ///
    /// # Errors
    /// `NotFound`; `InvalidInput` for a name that is none, or where it is not Ethernet.
    pub(crate) fn find(name: &str) -> io::Result<Interface> {
        let missing = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENODEV) => {
                io::Error::new(ErrorKind::NotFound, format!("there is no interface {name}"))
            }
            _ => error,
        };
        let mut answer = request(name)?;
        configure(libc::SIOCGIFINDEX, &mut answer).map_err(missing)?;
        // SAFETY: SIOCGIFINDEX has just filled in the index.
        let index = unsafe { answer.ifr_ifru.ifru_ifindex };
        let mut answer = request(name)?;
        configure(libc::SIOCGIFHWADDR, &mut answer).map_err(missing)?;
        // SAFETY: SIOCGIFHWADDR has just filled in the address.
        let hardware = unsafe { answer.ifr_ifru.ifru_hwaddr };
        if hardware.sa_family != libc::ARPHRD_ETHER {
            let message = format!("{name} is no Ethernet interface");
            return Err(io::Error::new(ErrorKind::InvalidInput, message));
        }
        let mut mac = [0; 6];
        for (to, from) in mac.iter_mut().zip(hardware.sa_data) {
            *to = from as u8;
        }
        Ok(Interface {
            name: name.to_owned(),
            index,
            mac: Mac(mac),
        })
    }

    /// Largest IP packet it takes, bytes; more than a packet has where it says more. Asked by a
    /// socket of its namespace, which the calling thread may have left.
    ///
    /// # Errors
    /// It is gone.
    pub(crate) fn mtu(&self, socket: &impl AsRawFd) -> io::Result<u16> {
        let mut answer = request(&self.name)?;
        configure_by(socket, libc::SIOCGIFMTU, &mut answer)?;
        // SAFETY: SIOCGIFMTU has just filled in the MTU.
        let mtu = unsafe { answer.ifr_ifru.ifru_mtu };
        Ok(u16::try_from(mtu.max(0)).unwrap_or(u16::MAX))
    }
}

/// An `ifreq` that names the interface and is zero otherwise.
pub(crate) fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: `ifreq` is plain data, for which all zeroes is a value.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    // The last byte stays 0: the kernel wants a terminated string.
    let room = request.ifr_name.len() - 1;
    if name.is_empty() || name.len() > room || name.contains(['/', '\0', ' ']) {
        let message = format!("{name:?} is no interface name (1 to {room} bytes, no slash)");
        return Err(io::Error::new(ErrorKind::InvalidInput, message));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// An interface request; any socket of this namespace will do for it.
pub(crate) fn configure(operation: libc::Ioctl, request: &mut libc::ifreq) -> io::Result<()> {
    configure_by(&UnixDatagram::unbound()?, operation, request)
}

fn configure_by(
    socket: &impl AsRawFd,
    operation: libc::Ioctl,
    request: &mut libc::ifreq,
) -> io::Result<()> {
    // SAFETY: these operations read and write one `ifreq`, which is ours for the call.
    check(unsafe { libc::ioctl(socket.as_raw_fd(), operation, request) }).map(drop)
}

/// What a system call returned, or why it failed if that is negative.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(result)
    }
}
