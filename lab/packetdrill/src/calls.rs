//! Socket calls.

use crate::epoll::Epoll;
use crate::fast_open::Begun;
use crate::host::{Attempt, Host, again};
use crate::socket::{Entry, Role};
use crate::world::World;
use anabranch_cabi::{
    Address, EpollEvent, Errno, Interface, PollFd, Received, Result, Room, Sending, Splice,
};
use std::fs::File;
use std::io::{Read, Write, pipe};
use std::os::fd::{IntoRawFd, RawFd};
use std::time::Duration;

/// `SIOCINQ` and `SIOCOUTQ`, and how much was never sent.
const SIOCINQ: u64 = 0x541b;
const SIOCOUTQ: u64 = 0x5411;
const SIOCOUTQNSD: u64 = 0x894b;

fn millis(timeout: i32) -> Option<Duration> {
    u64::try_from(timeout).ok().map(Duration::from_millis)
}

fn may_wait(fd: RawFd, flags: i32) -> impl FnOnce(&mut World) -> bool {
    move |world| {
        let nonblocking = world.socket(fd).is_ok_and(|socket| socket.nonblocking);
        !nonblocking && flags & libc::MSG_DONTWAIT == 0
    }
}

impl Interface for Host {
    fn socket(&self, domain: i32, kind: i32, protocol: i32) -> Result<RawFd> {
        self.call(|world| world.open(domain, kind, protocol))
    }

    fn bind(&self, fd: RawFd, to: Address) -> Result<()> {
        self.call(|world| world.bind(fd, to))
    }

    fn listen(&self, fd: RawFd, backlog: i32) -> Result<()> {
        self.call(|world| world.listen(fd, backlog))
    }

    fn accept(&self, fd: RawFd) -> Result<(RawFd, Address)> {
        self.attempt(may_wait(fd, 0), None, again, |world| world.accept(fd))
    }

    fn connect(&self, fd: RawFd, to: Address) -> Result<()> {
        let mut begun = false;
        let late = || Err(Errno(libc::EINPROGRESS));
        let limit = self.call(|world| world.socket(fd).ok()?.options.send_timeout);
        self.attempt(may_wait(fd, 0), limit, late, |world| {
            if !std::mem::replace(&mut begun, true) {
                let fresh = to == Address::Unspecified;
                match world.connect(fd, to) {
                    Ok(()) if !fresh => {}
                    done => return Attempt::Done(done),
                }
            }
            world.connected(fd)
        })
    }

    fn receive(&self, fd: RawFd, room: Room, flags: i32) -> Result<Received> {
        self.attempt(may_wait(fd, flags), None, again, |world| {
            world.receive_bytes(fd, room, flags)
        })
    }

    fn send(&self, fd: RawFd, sending: Sending<'_>) -> Result<usize> {
        let (mut taken, mut with_syn, mut opening) = (0, 0, None);
        let mut waiting = false;
        let waits = may_wait(fd, sending.flags);
        let sent = self.attempt(
            waits,
            None,
            || Ok(None),
            |world| {
                if opening.is_none() {
                    match world.begin_fast_open(fd, &sending) {
                        Ok(Begun::Not) => opening = Some(false),
                        Ok(Begun::Syn(len)) => (taken, with_syn, opening) = (len, len, Some(true)),
                        Err(error) => return Attempt::Done(Err(error)),
                    }
                }
                // Who waits is woken only when it is worth it.
                if waiting && world.socket(fd).is_ok_and(|socket| socket.no_space) {
                    return Attempt::Later;
                }
                match world.send_bytes(fd, &sending, &mut taken, with_syn) {
                    Attempt::Done(done) => Attempt::Done(done.map(Some)),
                    Attempt::Later => {
                        waiting = true;
                        Attempt::Later
                    }
                }
            },
        )?;
        self.call(|world| world.note_written(fd, taken, sending.flags));
        match sent {
            Some(sent) => Ok(sent),
            None if taken > 0 => Ok(taken),
            None if opening == Some(true) => Err(Errno(libc::EINPROGRESS)),
            None => again(),
        }
    }

    fn fcntl(&self, fd: RawFd, command: i32, argument: i32) -> Result<i32> {
        self.call(|world| {
            let socket = world.socket(fd)?;
            match command {
                libc::F_GETFL => {
                    let nonblocking = if socket.nonblocking {
                        libc::O_NONBLOCK
                    } else {
                        0
                    };
                    Ok(libc::O_RDWR | nonblocking)
                }
                libc::F_SETFL => {
                    socket.nonblocking = argument & libc::O_NONBLOCK != 0;
                    Ok(0)
                }
                libc::F_GETFD | libc::F_SETFD => Ok(0),
                _ => Err(Errno(libc::EINVAL)),
            }
        })
    }

    fn ioctl(&self, fd: RawFd, request: u64) -> Result<i32> {
        self.call(|world| {
            let socket = world.socket(fd)?;
            if matches!(socket.role, Role::Listener { .. }) {
                return Err(Errno(libc::EINVAL));
            }
            let flow = socket.flow();
            let info = flow.and_then(|flow| world.stack.info(flow));
            let found = match request {
                SIOCINQ => info.map_or(0, |info| info.recv_queue),
                SIOCOUTQ => info.map_or(0, |info| info.send_queue),
                SIOCOUTQNSD => flow.map_or(0, |flow| world.unsent(flow)),
                _ => return Err(Errno(libc::EINVAL)),
            };
            Ok(found as i32)
        })
    }

    fn close(&self, fd: RawFd) -> Result<()> {
        self.call(|world| world.close(fd))
    }

    fn shutdown(&self, fd: RawFd, how: i32) -> Result<()> {
        self.call(|world| world.shutdown(fd, how))
    }

    fn get_option(&self, fd: RawFd, level: i32, name: i32, len: usize) -> Result<Vec<u8>> {
        self.call(|world| world.get_option(fd, level, name, len))
    }

    fn set_option(&self, fd: RawFd, level: i32, name: i32, value: &[u8]) -> Result<()> {
        self.call(|world| world.set_option(fd, level, name, value))
    }

    fn poll(&self, fds: &mut [PollFd], timeout: i32) -> Result<usize> {
        self.attempt(
            |_| timeout != 0,
            millis(timeout),
            || Ok(0),
            |world| match world.poll_once(fds) {
                0 => Attempt::Later,
                found => Attempt::Done(Ok(found)),
            },
        )
    }

    fn packet_in(&self, packet: &[u8]) -> Result<()> {
        self.call(|world| world.receive(packet));
        Ok(())
    }

    fn packet_out(&self) -> Option<(Vec<u8>, Duration)> {
        let (packet, at) = self.next_packet()?;
        Some((packet, Duration::from_nanos(at.0)))
    }

    fn sleep(&self, time: Duration) {
        self.pass(time);
    }

    fn now(&self) -> Duration {
        Duration::from_nanos(self.clock().0)
    }

    fn epoll_create(&self) -> Result<RawFd> {
        self.call(|world| {
            let epoll = Epoll::new()?;
            let fd = epoll.descriptor.raw();
            world.entries.insert(fd, Entry::Epoll(epoll));
            Ok(fd)
        })
    }

    fn epoll_ctl(&self, epoll: RawFd, op: i32, fd: RawFd, event: EpollEvent) -> Result<()> {
        self.call(|world| world.epoll_ctl(epoll, op, fd, event))
    }

    fn epoll_wait(&self, epoll: RawFd, max: usize, timeout: i32) -> Result<Vec<EpollEvent>> {
        let nothing = || Ok(Vec::new());
        self.attempt(
            |_| timeout != 0,
            millis(timeout),
            nothing,
            |world| match world.epoll_once(epoll, max) {
                Ok(found) if found.is_empty() => Attempt::Later,
                done => Attempt::Done(done),
            },
        )
    }

    fn pipe(&self) -> Result<(RawFd, RawFd)> {
        let (read, write) = pipe().map_err(errno)?;
        Ok((read.into_raw_fd(), write.into_raw_fd()))
    }

    fn splice(&self, splice: Splice) -> Result<usize> {
        let ours = |fd| self.lock().world.socket(fd).is_ok();
        let room = Room {
            len: splice.len.min(1 << 16),
            valid: true,
        };
        if ours(splice.from) {
            let received = self.receive(splice.from, room, 0)?;
            let mut pipe = open(splice.to, true)?;
            pipe.write_all(&received.data).map_err(errno)?;
            return Ok(received.data.len());
        }
        let mut data = vec![0; room.len];
        let len = open(splice.from, false)?.read(&mut data).map_err(errno)?;
        let data = data.get(..len);
        self.send(
            splice.to,
            Sending {
                data,
                flags: 0,
                to: None,
                control: &[],
            },
        )
    }
}

/// A pipe of the process by its descriptor, which stays open.
fn open(fd: RawFd, write: bool) -> Result<File> {
    let path = format!("/proc/self/fd/{fd}");
    let file = File::options().read(!write).write(write).open(path);
    file.map_err(errno)
}

fn errno(error: std::io::Error) -> Errno {
    Errno(error.raw_os_error().unwrap_or(libc::EIO))
}
