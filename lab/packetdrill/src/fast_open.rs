//! Fast Open of clients: `MSG_FASTOPEN` and `TCP_FASTOPEN_CONNECT`.

use crate::open::canonical;
use crate::socket::{Role, Stage};
use crate::world::World;
use anabranch_cabi::{Address, Errno, Result, Sending};
use bytes::Bytes;
use std::net::SocketAddr;
use std::os::fd::RawFd;

pub(crate) const MSG_FASTOPEN: i32 = 0x2000_0000;

/// How a write that opens the connection began.
pub(crate) enum Begun {
    /// It is no such write.
    Not,
    /// The SYN carries so many bytes; the rest goes once the connection is established.
    Syn(usize),
}

impl World {
    /// Opens the connection if this write is to.
    pub(crate) fn begin_fast_open(&mut self, fd: RawFd, sending: &Sending<'_>) -> Result<Begun> {
        let asked = sending.flags & MSG_FASTOPEN != 0;
        let allowed = self.sysctl_now().client();
        let socket = self.socket(fd)?;
        let to = match (&socket.role, asked) {
            (Role::Deferred(to), _) => *to,
            (_, false) => return Ok(Begun::Not),
            (Role::Fresh, true) => match sending.to {
                Some(Address::Ip(to)) if allowed => canonical(to),
                _ => return Err(Errno(libc::EOPNOTSUPP)),
            },
            (Role::Listener { .. }, true) => return Err(Errno(libc::EOPNOTSUPP)),
            (Role::Connection(connection), true) => {
                return match connection.stage {
                    Stage::Opening => Err(Errno(libc::EALREADY)),
                    Stage::Open | Stage::Ended(_) => Ok(Begun::Not),
                };
            }
        };
        let Some(data) = sending.data else {
            self.socket(fd)?.role = Role::Fresh;
            return Err(Errno(libc::EFAULT));
        };
        self.open_with(fd, to, data).map(Begun::Syn)
    }

    fn open_with(&mut self, fd: RawFd, to: SocketAddr, data: &[u8]) -> Result<usize> {
        self.socket(fd)?.role = Role::Fresh;
        self.start(fd, to, true)?;
        let Some(flow) = self.socket(fd)?.flow() else {
            return Ok(0);
        };
        let room = match self.stack.tcb(flow) {
            Some(tcb) => tcb.fast_open_room() as usize,
            None => 0,
        };
        let early = Bytes::copy_from_slice(&data[..data.len().min(room)]);
        if early.is_empty() {
            return Ok(0);
        }
        let sent = self.stack.send(self.now, flow, early);
        self.settle();
        self.push(flow);
        sent.map_err(|_| Errno(libc::ENOTCONN))
    }

    /// Whether connecting waits for the first write, which goes with the SYN.
    pub(crate) fn defers(&mut self, fd: RawFd, to: SocketAddr) -> Result<bool> {
        let now = self.now;
        let fast_open = self.sysctl_now();
        let options = &self.socket(fd)?.options;
        let needless = options.fast_open_without_cookie || fast_open.cookie_not_needed();
        Ok(options.fast_open_connect
            && fast_open.client()
            && (needless || self.stack.has_fast_open_cookie(now, to.ip())))
    }
}
