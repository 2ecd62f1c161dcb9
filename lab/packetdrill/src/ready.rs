//! What a descriptor is ready for (`poll`).

use crate::sndbuf::Sending;
use crate::socket::{Entry, Role, Socket, Stage};
use crate::world::World;
use anabranch_cabi::PollFd;
use std::os::fd::RawFd;

impl World {
    /// Everything that holds now, as `EPOLL*` (of which `POLL*` are the low bits).
    pub(crate) fn readiness(&self, fd: RawFd) -> Option<u32> {
        let Entry::Socket(socket) = self.entries.get(&fd)? else {
            return Some(0);
        };
        let mut found = match &socket.role {
            Role::Fresh => libc::EPOLLOUT | libc::EPOLLHUP,
            Role::Deferred(_) => libc::EPOLLOUT | libc::EPOLLWRNORM,
            Role::Listener { queue, .. } if queue.is_empty() => 0,
            Role::Listener { .. } => libc::EPOLLIN | libc::EPOLLRDNORM,
            Role::Connection(_) => self.connection_readiness(socket),
        };
        if socket.error.is_some() || socket.errors.has_some() {
            found |= libc::EPOLLERR;
        }
        Some(found as u32)
    }

    fn connection_readiness(&self, socket: &Socket) -> i32 {
        let Some(connection) = socket.connection() else {
            return 0;
        };
        let mut found = 0;
        let ended = matches!(connection.stage, Stage::Ended(_));
        let no_more_in = connection.peer_fin || socket.shut.read || ended;
        if ended || (no_more_in && socket.shut.write) {
            found |= libc::EPOLLHUP;
        }
        if no_more_in {
            found |= libc::EPOLLIN | libc::EPOLLRDNORM | libc::EPOLLRDHUP;
        }
        if connection.stage == Stage::Opening {
            return found;
        }
        let unread = self
            .stack
            .info(connection.flow)
            .map_or(0, |info| info.recv_queue);
        if unread > 0 {
            found |= libc::EPOLLIN | libc::EPOLLRDNORM;
        }
        if socket.shut.write || ended || self.has_space(socket) {
            found |= libc::EPOLLOUT | libc::EPOLLWRNORM;
        }
        found
    }

    /// Whether there is room enough for a write.
    pub(crate) fn has_space(&self, socket: &Socket) -> bool {
        match self.sending(socket) {
            Some(sending) => socket.options.send_buffer.is_writable(&sending),
            None => true,
        }
    }

    /// What the send buffer of a connection depends on; `None` once it is over.
    pub(crate) fn sending(&self, socket: &Socket) -> Option<Sending> {
        let flow = socket.flow()?;
        let tcb = self.stack.tcb(flow)?;
        let mss = tcb.mss() as usize;
        let lowat = socket.options.notsent_lowat.filter(|lowat| *lowat != 0);
        Some(Sending {
            mss,
            window: (tcb.peer_wnd() as usize).max(socket.window),
            queued: (tcb.snd_end() - tcb.snd_una()) as usize,
            unsent: tcb.unsent() as usize,
            cwnd: tcb.cwnd() as usize / mss,
            in_flight: tcb.in_flight() as usize / mss,
            lowat: lowat.unwrap_or(self.sysctl.notsent_lowat) as usize,
        })
    }

    pub(crate) fn is_writable(&self, fd: RawFd) -> bool {
        match self.entries.get(&fd) {
            Some(Entry::Socket(socket)) => match socket.connection() {
                Some(connection) if connection.stage == Stage::Open => self.has_space(socket),
                _ => false,
            },
            _ => false,
        }
    }

    /// One look of `poll`: how many have something.
    pub(crate) fn poll_once(&mut self, fds: &mut [PollFd]) -> usize {
        let always = (libc::POLLERR | libc::POLLHUP) as u32;
        for asked in fds.iter_mut() {
            asked.revents = match self.readiness(asked.fd) {
                Some(found) => (found & (asked.events as u16 as u32 | always)) as i16,
                None => libc::POLLNVAL,
            };
            self.note_no_space(asked.fd);
        }
        fds.iter().filter(|fd| fd.revents != 0).count()
    }

    /// Who looks and finds no room is told when there is some.
    pub(crate) fn note_no_space(&mut self, fd: RawFd) {
        let writable = self.is_writable(fd);
        if let Ok(socket) = self.socket(fd) {
            socket.no_space |= !writable && socket.connection().is_some();
        }
    }
}
