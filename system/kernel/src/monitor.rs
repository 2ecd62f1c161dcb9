//! Word that interfaces, addresses or routes have changed.

use crate::{Error, Result};
use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};
use std::io::ErrorKind;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// A descriptor that becomes readable when interfaces, addresses or routes of the current
/// namespace change.
pub struct Monitor {
    socket: Socket,
}

impl Monitor {
    /// Listens from now on.
    ///
    /// # Errors
    /// [`Error::System`] if no netlink socket is to be had.
    pub fn open() -> Result<Monitor> {
        let groups = [
            libc::RTNLGRP_LINK,
            libc::RTNLGRP_IPV4_IFADDR,
            libc::RTNLGRP_IPV6_IFADDR,
            libc::RTNLGRP_IPV4_ROUTE,
            libc::RTNLGRP_IPV6_ROUTE,
        ];
        let open = || {
            let mut socket = Socket::new(NETLINK_ROUTE)?;
            socket.bind(&SocketAddr::new(0, 0))?;
            groups
                .iter()
                .try_for_each(|group| socket.add_membership(*group))?;
            socket.set_non_blocking(true)?;
            Ok(socket)
        };
        let socket = open().map_err(|error| Error::net("watch for changes", error))?;
        Ok(Monitor { socket })
    }

    /// Takes all the word there is; whether there was any. What has changed is to be asked anew.
    ///
    /// # Errors
    /// Any of the socket's but that it is empty or has overflowed, which is word of change too.
    pub fn drain(&self) -> Result<bool> {
        let mut changed = false;
        loop {
            let mut datagram = [0; 4096];
            match self.socket.recv(&mut &mut datagram[..], 0) {
                Ok(_) => changed = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(changed),
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => changed = true,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::net("watch for changes", error)),
            }
        }
    }
}

impl AsFd for Monitor {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Monitor {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}
