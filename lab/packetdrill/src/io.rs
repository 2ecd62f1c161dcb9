//! Bytes in and out.

use crate::errors::{OPT_ID, OPT_TSONLY, Progress};
use crate::host::Attempt;
use crate::socket::{Entry, Role, Socket, Stage};
use crate::world::World;
use anabranch_cabi::{Control, Errno, Received, Result, Room, Sending};
use anabranch_stack::{FlowError, FlowId, Recv};
use anabranch_tcp::SocketOption;
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
            Some(Entry::Socket(socket)) => socket.flow(),
            _ => None,
        };
        flow.and_then(|flow| self.stack.tcb(flow))
            .map_or(0, |tcb| tcb.snd_end())
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
        // Linux's Multipath TCP, other than its TCP, waits for nothing if nothing is asked for.
        if room.len == 0 && socket.mptcp {
            return Ok(Some(Received::default()));
        }
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

    /// Sends from `taken` on; how far it came is in `taken`, `with_syn` bytes of it in a SYN: of
    /// what becomes of those the caller is to hear.
    pub(crate) fn send_bytes(
        &mut self,
        fd: RawFd,
        sending: &Sending<'_>,
        taken: &mut usize,
        with_syn: usize,
    ) -> Attempt<usize> {
        let result = self.try_send(fd, sending, taken, with_syn);
        match result {
            Ok(true) => Attempt::Done(Ok(*taken)),
            Ok(false) => Attempt::Later,
            Err(_) if *taken > with_syn => Attempt::Done(Ok(*taken)),
            Err(error) => Attempt::Done(Err(error)),
        }
    }

    /// Whether all was taken.
    fn try_send(
        &mut self,
        fd: RawFd,
        sending: &Sending<'_>,
        taken: &mut usize,
        with_syn: usize,
    ) -> Result<bool> {
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
        if *taken < data.len() {
            self.note_answer(connection.flow, with_syn > 0);
        }
        while *taken < data.len() {
            let Some(room) = self.room(fd)? else {
                self.socket(fd)?.no_space = true;
                self.stack.set_starved(now, connection.flow, true);
                self.push(connection.flow);
                return Ok(false);
            };
            let end = (*taken + room).min(data.len());
            let part = Bytes::copy_from_slice(&data[*taken..end]);
            let more = end < data.len() || sending.flags & libc::MSG_MORE != 0;
            match self.stack.send_with(now, connection.flow, part, more) {
                Ok(sent) => {
                    *taken += sent;
                    if self.pushes(fd, more) {
                        self.push(connection.flow);
                    }
                }
                Err(FlowError::Closed(_) | FlowError::ShutDown) => return Err(Errno(libc::EPIPE)),
                Err(_) => return Err(Errno(libc::ENOTCONN)),
            }
            self.settle();
        }
        if sending.flags & libc::MSG_EOR != 0 {
            self.stack.end_record(connection.flow);
        }
        Ok(true)
    }

    /// Linux takes a connection for interactive whose application writes soon after payload came,
    /// or waited to write while it was opened: from then on acknowledgements wait for its next
    /// answer.
    fn note_answer(&mut self, flow: FlowId, waited: bool) {
        let soon = self.stack.tcb(flow).is_some_and(|tcb| {
            let info = tcb.info();
            let recent = self.now.since(info.seen.data_received) < info.timing.ato;
            recent && (waited || info.stats.bytes_in > 0)
        });
        if soon {
            // It may have ended meanwhile.
            let _ = self
                .stack
                .set_option(self.now, flow, &SocketOption::QuickAck(false));
        }
    }

    /// Whether Linux pushes here: at the end of a write, or when half a window was written since.
    fn pushes(&mut self, fd: RawFd, more: bool) -> bool {
        let end = self.written(fd);
        let Ok(socket) = self.socket(fd) else {
            return false;
        };
        let push = !more || end - socket.pushed.min(end) > socket.window as u64 / 2;
        if push {
            socket.pushed = end;
        }
        push
    }

    /// What was written so far is to be pushed.
    pub(crate) fn push(&mut self, flow: FlowId) {
        let info = self.stack.info(flow);
        if let (Some(info), Some(tcb)) = (info, self.stack.tcb(flow)) {
            let ports = (info.local.port(), info.remote.port());
            self.output.push(ports, tcb.snd_end());
        }
    }

    /// How many bytes the send buffer takes now, as one piece.
    fn room(&mut self, fd: RawFd) -> Result<Option<usize>> {
        let sending = match self.entries.get(&fd) {
            Some(Entry::Socket(socket)) => self.sending(socket),
            _ => None,
        };
        let sending = sending.ok_or(Errno(libc::EPIPE))?;
        let socket = self.socket(fd)?;
        socket.window = socket.window.max(sending.window);
        let buffer = &mut socket.options.send_buffer;
        let room = buffer.room(&sending);
        if room > 0 {
            buffer.took(room, &sending);
        }
        Ok((room > 0).then_some(room))
    }
}

impl World {
    /// A write took `len` bytes.
    pub(crate) fn note_written(&mut self, fd: RawFd, len: usize, flags: i32) {
        let end = self.written(fd);
        if let Ok(socket) = self.socket(fd) {
            socket.note_write(end, len, flags);
        }
    }
}

impl Socket {
    /// Bytes up to position `end` were taken.
    fn note_write(&mut self, end: u64, len: usize, flags: i32) {
        if len == 0 {
            return;
        }
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
