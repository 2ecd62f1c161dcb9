//! Opening and closing.

use crate::host::Attempt;
use crate::options::Options;
use crate::paths::Paths;
use crate::socket::{Entry, Role, Socket, Stage, error_of};
use crate::world::World;
use anabranch_cabi::{Address, Errno, Result};
use anabranch_stack::{ConnectConfig, ConnectError, ListenConfig, ListenError};
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::RawFd;
use std::time::Duration;

/// `IPPROTO_MPTCP`.
pub(crate) const MPTCP: i32 = 262;

impl World {
    pub(crate) fn open(&mut self, domain: i32, kind: i32, protocol: i32) -> Result<RawFd> {
        if !matches!(domain, libc::AF_INET | libc::AF_INET6) {
            return Err(Errno(libc::EAFNOSUPPORT));
        }
        if kind & 0xf != libc::SOCK_STREAM || !matches!(protocol, 0 | libc::IPPROTO_TCP | MPTCP) {
            return Err(Errno(libc::EPROTONOSUPPORT));
        }
        self.read_sysctl();
        if protocol == MPTCP && !self.sysctl.mptcp {
            return Err(Errno(libc::ENOPROTOOPT));
        }
        let mut socket = Socket::new(domain, Options::new(&self.sysctl))?;
        socket.mptcp = protocol == MPTCP || self.is_fork;
        socket.nonblocking = kind & libc::SOCK_NONBLOCK != 0;
        Ok(self.insert(socket))
    }

    pub(crate) fn bind(&mut self, fd: RawFd, to: Address) -> Result<()> {
        let to = to.ip().ok_or(Errno(libc::EAFNOSUPPORT))?;
        let socket = self.socket(fd)?;
        if socket.local.is_some() {
            return Err(Errno(libc::EINVAL));
        }
        socket.local = Some(canonical(to));
        Ok(())
    }

    pub(crate) fn listen(&mut self, fd: RawFd, backlog: i32) -> Result<()> {
        self.configure(fd)?;
        let now = self.now;
        let socket = self.socket(fd)?;
        match socket.role {
            Role::Fresh => {}
            Role::Listener { id, .. } => {
                self.listeners.remove(&id);
                self.stack.close_listener(now, id);
            }
            Role::Deferred(_) | Role::Connection(_) => return Err(Errno(libc::EINVAL)),
        }
        let socket = self.socket(fd)?;
        let local = socket.local.ok_or(Errno(libc::EADDRINUSE))?;
        let (mptcp, asked) = (socket.mptcp, socket.options.fast_open);
        let fast_open = self.sysctl.fast_open.queue(asked);
        let addr = Some(local.ip()).filter(|ip| !ip.is_unspecified());
        let ipv6 = self.socket(fd)?.domain == libc::AF_INET6;
        let headers = if ipv6 { 80 } else { 60 };
        self.narrow(20 * u32::from(self.mtu.saturating_sub(headers)));
        let id = self.stack.listen(ListenConfig {
            addr,
            port: local.port(),
            // One more than asked for, as BSD began it.
            backlog: usize::try_from(backlog).unwrap_or(128) + 1,
            mptcp,
            fast_open,
        });
        let id = id.map_err(|error| match error {
            ListenError::InUse | ListenError::NoPort => Errno(libc::EADDRINUSE),
            ListenError::NotLocal => Errno(libc::EADDRNOTAVAIL),
        })?;
        self.socket(fd)?.role = Role::Listener {
            id,
            backlog,
            queue: VecDeque::new(),
        };
        self.listeners.insert(id, fd);
        Ok(())
    }

    /// Options of a listener hold for the connections to come.
    pub(crate) fn renew(&mut self, fd: RawFd) -> Result<()> {
        match &self.socket(fd)?.role {
            Role::Listener { backlog, queue, .. } if queue.is_empty() => {
                let backlog = *backlog;
                self.listen(fd, backlog)
            }
            _ => Ok(()),
        }
    }

    /// Settings of connections that come from this socket.
    fn configure(&mut self, fd: RawFd) -> Result<()> {
        self.read_sysctl();
        let socket = self.socket(fd)?;
        let options = socket.options.clone();
        if socket.mptcp {
            self.paths = Paths::read();
        }
        let paths = &self.paths;
        self.stack.reconfigure(|config| {
            options.apply(config);
            paths.apply(config);
        });
        if !options.fast_open_key.is_empty() {
            return self.set_fast_open_key(&options.fast_open_key);
        }
        if let Some((key, previous)) = self.sysctl.fast_open_keys {
            self.stack.set_fast_open_keys(key, previous);
        }
        Ok(())
    }

    /// The fork of Linux for version 0 begins with a small window.
    fn narrow(&mut self, window: u32) {
        if self.is_fork {
            self.stack
                .reconfigure(|config| config.mptcp.initial_window = window);
        }
    }

    pub(crate) fn accept(&mut self, fd: RawFd) -> Attempt<(RawFd, Address)> {
        match self.try_accept(fd) {
            Ok(Some(found)) => Attempt::Done(Ok(found)),
            Ok(None) => Attempt::Later,
            Err(error) => Attempt::Done(Err(error)),
        }
    }

    fn try_accept(&mut self, fd: RawFd) -> Result<Option<(RawFd, Address)>> {
        let listener = self.socket(fd)?;
        let Role::Listener { queue, .. } = &mut listener.role else {
            return Err(Errno(libc::EINVAL));
        };
        let Some(flow) = queue.pop_front() else {
            return Ok(None);
        };
        let (domain, mptcp, options) = (listener.domain, listener.mptcp, listener.options.clone());
        let info = self.stack.info(flow).ok_or(Errno(libc::ECONNABORTED))?;
        let mut socket = Socket::new(domain, options)?;
        socket.mptcp = mptcp;
        socket.local = Some(info.local);
        let ended = self.early.remove(&flow);
        socket.error = ended.and_then(error_of);
        socket.adopt(flow, ended.map_or(Stage::Open, Stage::Ended));
        if let Some(connection) = socket.connection_mut() {
            connection.peer_fin = self.stack.tcb(flow).is_some_and(|tcb| tcb.peer_fin());
        }
        let fd = self.insert(socket);
        Ok(Some((fd, outward(domain, info.remote))))
    }

    /// Begins to connect; or says how it stands.
    pub(crate) fn connect(&mut self, fd: RawFd, to: Address) -> Result<()> {
        let Some(remote) = to.ip().map(canonical) else {
            return self.disconnect(fd);
        };
        let socket = self.socket(fd)?;
        match &socket.role {
            Role::Fresh => {}
            Role::Deferred(_) | Role::Listener { .. } => return Err(Errno(libc::EISCONN)),
            Role::Connection(connection) => {
                return match connection.stage {
                    Stage::Opening if socket.nonblocking => Err(Errno(libc::EALREADY)),
                    // It waits, or hears what became of it.
                    Stage::Opening | Stage::Ended(_) => Ok(()),
                    Stage::Open => Err(Errno(libc::EISCONN)),
                };
            }
        }
        if self.defers(fd, remote)? {
            self.socket(fd)?.role = Role::Deferred(remote);
            return Ok(());
        }
        let fast_open = self.socket(fd)?.options.fast_open_connect;
        self.start(fd, remote, fast_open)
    }

    /// Sends the SYN.
    pub(crate) fn start(&mut self, fd: RawFd, remote: SocketAddr, fast_open: bool) -> Result<()> {
        let socket = self.socket(fd)?;
        let mptcp = socket.mptcp;
        let local = socket.local;
        let local = self.local_for(local, remote);
        self.configure(fd)?;
        self.narrow(29_200);
        let flow = self
            .stack
            .connect(self.now, local, remote, ConnectConfig { mptcp, fast_open });
        let flow = flow.map_err(|error| match error {
            ConnectError::InUse | ConnectError::NoPorts => Errno(libc::EADDRNOTAVAIL),
            ConnectError::Address => Errno(libc::ENETUNREACH),
            ConnectError::Limit => Errno(libc::ENOMEM),
            ConnectError::Option => Errno(libc::EINVAL),
        })?;
        let info = self.stack.info(flow);
        self.flows.insert(flow, fd);
        let socket = self.socket(fd)?;
        socket.adopt(flow, Stage::Opening);
        socket.local = info.map(|info| info.local);
        Ok(())
    }

    /// The end from which to connect: as bound, or the host's address of this family.
    fn local_for(&self, bound: Option<SocketAddr>, remote: SocketAddr) -> SocketAddr {
        let mine = |ip: &&IpAddr| ip.is_ipv6() == remote.is_ipv6();
        let otherwise = match remote {
            SocketAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            SocketAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let own = self
            .addresses
            .iter()
            .find(mine)
            .copied()
            .unwrap_or(otherwise);
        match bound {
            Some(bound) if bound.ip().is_unspecified() => (own, bound.port()).into(),
            Some(bound) => bound,
            None => (own, 0).into(),
        }
    }

    /// How connecting stands.
    pub(crate) fn connected(&mut self, fd: RawFd) -> Attempt<()> {
        let socket = match self.socket(fd) {
            Ok(socket) => socket,
            Err(error) => return Attempt::Done(Err(error)),
        };
        if let Role::Deferred(_) = socket.role {
            return Attempt::Done(Ok(()));
        }
        match socket.connection().map(|connection| connection.stage) {
            Some(Stage::Opening) => Attempt::Later,
            Some(Stage::Open) => Attempt::Done(Ok(())),
            Some(Stage::Ended(_)) | None => {
                let told = socket.error.take();
                Attempt::Done(Err(told.unwrap_or(Errno(libc::ECONNABORTED))))
            }
        }
    }

    /// connect(AF_UNSPEC): the socket is as new.
    fn disconnect(&mut self, fd: RawFd) -> Result<()> {
        self.leave(fd, true)?;
        let socket = self.socket(fd)?;
        socket.role = Role::Fresh;
        socket.local = None;
        socket.error = None;
        socket.shut = Default::default();
        Ok(())
    }

    pub(crate) fn close(&mut self, fd: RawFd) -> Result<()> {
        match self.entries.get(&fd) {
            Some(Entry::Socket(_)) => self.leave(fd, false)?,
            Some(Entry::Epoll(_)) => {}
            None => return Err(Errno(libc::EBADF)),
        }
        self.forget(fd);
        self.entries.remove(&fd);
        Ok(())
    }

    /// Lets go of what the socket has in the stack.
    fn leave(&mut self, fd: RawFd, abort: bool) -> Result<()> {
        let now = self.now;
        let socket = self.socket(fd)?;
        let abort = abort || socket.options.linger == Some(Duration::ZERO);
        match std::mem::replace(&mut socket.role, Role::Fresh) {
            Role::Fresh | Role::Deferred(_) => {}
            Role::Listener { id, queue, .. } => {
                self.listeners.remove(&id);
                self.stack.close_listener(now, id);
                for flow in queue {
                    self.stack.abort(now, flow);
                    self.stack.release(now, flow);
                }
            }
            Role::Connection(connection) => {
                self.flows.remove(&connection.flow);
                if abort {
                    self.stack.abort(now, connection.flow);
                }
                self.stack.release(now, connection.flow);
            }
        }
        Ok(())
    }

    pub(crate) fn shutdown(&mut self, fd: RawFd, how: i32) -> Result<()> {
        let now = self.now;
        let socket = self.socket(fd)?;
        let (read, write) = match how {
            libc::SHUT_RD => (true, false),
            libc::SHUT_WR => (false, true),
            libc::SHUT_RDWR => (true, true),
            _ => return Err(Errno(libc::EINVAL)),
        };
        let Some(connection) = socket.connection().copied() else {
            return Err(Errno(libc::ENOTCONN));
        };
        if matches!(connection.stage, Stage::Ended(_)) {
            return Err(Errno(libc::ENOTCONN));
        }
        socket.shut.read |= read;
        socket.shut.write |= write;
        let all = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLHUP | libc::EPOLLRDHUP;
        socket.woken |= all as u32;
        if write {
            self.stack.shutdown(now, connection.flow);
        }
        Ok(())
    }
}

/// IPv4 in IPv6 is IPv4.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    (addr.ip().to_canonical(), addr.port()).into()
}

/// An address as a socket of this family shows it.
fn outward(domain: i32, addr: SocketAddr) -> Address {
    Address::Ip(match addr.ip() {
        IpAddr::V4(ip) if domain == libc::AF_INET6 => (ip.to_ipv6_mapped(), addr.port()).into(),
        _ => addr,
    })
}
