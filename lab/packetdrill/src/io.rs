//! Bytes in and out.

use crate::errors::{OPT_ID, OPT_TSONLY, Progress};
use crate::host::Attempt;
use crate::socket::{Role, Socket, Stage};
use crate::world::World;
use anabranch_cabi::{Control, Errno, Received, Result, Room, Sending};
use anabranch_stack::{FlowError, FlowId, Recv};
use bytes::Bytes;
use std::os::fd::RawFd;

/// Control message of `TCP_INQ`.
const TCP_CM_INQ: i32 = 36;
const MSG_ZEROCOPY: i32 = 0x400_0000;

impl World {
    /// How far sending has come.
    pub(crate) fn progress(&self, flow: FlowId) -> Progress {
        match self.stack.tcb(flow) {
            Some(tcb) => Progress {
                sent: tcb.snd_nxt(),
                acked: tcb.snd_una(),
            },
            // Over: nothing is held any more.
            None => Progress {
                sent: u64::MAX,
                acked: u64::MAX,
            },
        }
    }

    /// Bytes taken from the application and never sent.
    pub(crate) fn unsent(&self, flow: FlowId) -> usize {
        self.stack.tcb(flow).map_or(0, |tcb| tcb.unsent() as usize)
    }

    /// Position after everything the application has written.
    pub(crate) fn written(&self, fd: RawFd) -> u64 {
        let flow = match self.entries.get(&fd) {
            Some(crate::socket::Entry::Socket(socket)) => socket.flow(),
            _ => None,
        };
        flow.and_then(|flow| self.stack.tcb(flow))
            .map_or(0, anabranch_tcp::Tcb::snd_end)
    }

    pub(crate) fn receive_bytes(&mut self, fd: RawFd, room: Room, flags: i32) -> Attempt<Received> {
        match self.try_receive(fd, room, flags) {
            Ok(Some(received)) => Attempt::Done(Ok(received)),
            Ok(None) => Attempt::Later,
            Err(error) => Attempt::Done(Err(error)),
        }
    }

    fn try_receive(&mut self, fd: RawFd, room: Room, flags: i32) -> Result<Option<Received>> {
        let now = self.now;
        let socket = self.socket(fd)?;
        if flags & libc::MSG_ERRQUEUE != 0 {
            let ipv6 = socket.domain == libc::AF_INET6;
            let only = socket.options.timestamping & OPT_TSONLY != 0;
            return match socket.errors.take(ipv6, only) {
                Some(received) => Ok(Some(received)),
                None => Err(Errno(libc::EAGAIN)),
            };
        }
        let connection = match &socket.role {
            Role::Connection(connection) => *connection,
            Role::Deferred(_) => return Ok(None),
            Role::Fresh | Role::Listener { .. } => return Err(Errno(libc::ENOTCONN)),
        };
        let unread = self.unread(connection.flow);
        let socket = self.socket(fd)?;
        if unread > 0 && !room.valid {
            return Err(Errno(libc::EFAULT));
        }
        if unread == 0 {
            socket.take_error()?;
            let ended = connection.peer_fin || matches!(connection.stage, Stage::Ended(_));
            if ended || socket.shut.read {
                return Ok(Some(Received::default()));
            }
            return Ok(None);
        }
        let mut data = Vec::new();
        while data.len() < room.len {
            match self.stack.recv(now, connection.flow, room.len - data.len()) {
                Ok(Recv::Data(bytes)) => data.extend_from_slice(&bytes),
                _ => break,
            }
        }
        let control = self.inq(fd)?;
        Ok(Some(Received {
            data,
            control,
            ..Received::default()
        }))
    }

    fn unread(&self, flow: FlowId) -> usize {
        self.stack.info(flow).map_or(0, |info| info.recv_queue)
    }

    /// How much is left to be read, where the application wants to know; one more at the end, so
    /// that it comes again to find it.
    fn inq(&mut self, fd: RawFd) -> Result<Vec<Control>> {
        let socket = self.socket(fd)?;
        let (on, connection) = (socket.options.inq, socket.connection().copied());
        let Some(connection) = connection.filter(|_| on) else {
            return Ok(Vec::new());
        };
        let left = match self.unread(connection.flow) {
            0 if connection.peer_fin => 1,
            left => left as i32,
        };
        Ok(vec![Control {
            level: libc::SOL_TCP,
            kind: TCP_CM_INQ,
            data: left.to_ne_bytes().to_vec(),
        }])
    }

    /// Sends from `taken` on; how far it came is in `taken`.
    pub(crate) fn send_bytes(
        &mut self,
        fd: RawFd,
        sending: &Sending<'_>,
        taken: &mut usize,
    ) -> Attempt<usize> {
        let result = self.try_send(fd, sending, taken);
        match result {
            Ok(true) => Attempt::Done(Ok(*taken)),
            Ok(false) => Attempt::Later,
            Err(_) if *taken > 0 => Attempt::Done(Ok(*taken)),
            Err(error) => Attempt::Done(Err(error)),
        }
    }

    /// Whether all was taken.
    fn try_send(&mut self, fd: RawFd, sending: &Sending<'_>, taken: &mut usize) -> Result<bool> {
        let now = self.now;
        let socket = self.socket(fd)?;
        let Some(connection) = socket.connection().copied() else {
            return Err(Errno(libc::EPIPE));
        };
        socket.take_error()?;
        if socket.shut.write || matches!(connection.stage, Stage::Ended(_)) {
            return Err(Errno(libc::EPIPE));
        }
        if connection.stage == Stage::Opening {
            return Ok(false);
        }
        let Some(data) = sending.data else {
            return Err(Errno(libc::EFAULT));
        };
        let rest = Bytes::copy_from_slice(&data[*taken..]);
        let wanted = rest.len();
        let sent = match self.stack.send(now, connection.flow, rest) {
            Ok(sent) => sent,
            Err(FlowError::Closed(_) | FlowError::ShutDown) => return Err(Errno(libc::EPIPE)),
            Err(_) => return Err(Errno(libc::ENOTCONN)),
        };
        *taken += sent;
        let end = self.written(fd);
        let socket = self.socket(fd)?;
        if sent > 0 {
            socket.note_write(end, sending.flags);
        }
        socket.no_space |= sent < wanted;
        Ok(sent == wanted)
    }
}

impl Socket {
    /// Bytes up to position `end` were taken.
    fn note_write(&mut self, end: u64, flags: i32) {
        let options = &self.options;
        let zero_copy = options.zero_copy && flags & MSG_ZEROCOPY != 0;
        let key = if options.timestamping & OPT_ID != 0 {
            end.saturating_sub(options.stamp_base + 1) as u32
        } else {
            0
        };
        self.errors.wrote(end, zero_copy, options.timestamping, key);
    }
}
