//! epoll: interest in descriptors, and which of them are to be looked at.

use crate::socket::{Descriptor, Entry};
use crate::world::World;
use anabranch_cabi::{EpollEvent, Errno, Result};
use std::collections::{BTreeMap, VecDeque};
use std::os::fd::RawFd;

pub(crate) struct Epoll {
    pub(crate) descriptor: Descriptor,
    interest: BTreeMap<RawFd, EpollEvent>,
    /// To be looked at by the next wait.
    list: VecDeque<RawFd>,
}

const ALWAYS: u32 = (libc::EPOLLERR | libc::EPOLLHUP) as u32;
/// Bits of `events` that say how, not what.
const HOW: u32 = (libc::EPOLLET | libc::EPOLLONESHOT | libc::EPOLLEXCLUSIVE) as u32;

impl Epoll {
    pub(crate) fn new() -> Result<Epoll> {
        Ok(Epoll {
            descriptor: Descriptor::new()?,
            interest: BTreeMap::new(),
            list: VecDeque::new(),
        })
    }

    fn enlist(&mut self, fd: RawFd) {
        if !self.list.contains(&fd) {
            self.list.push_back(fd);
        }
    }
}

impl World {
    fn epoll(&mut self, fd: RawFd) -> Result<&mut Epoll> {
        match self.entries.get_mut(&fd) {
            Some(Entry::Epoll(epoll)) => Ok(epoll),
            Some(Entry::Socket(_)) => Err(Errno(libc::EINVAL)),
            None => Err(Errno(libc::EBADF)),
        }
    }

    pub(crate) fn epoll_ctl(
        &mut self,
        at: RawFd,
        op: i32,
        fd: RawFd,
        event: EpollEvent,
    ) -> Result<()> {
        let ready = self.readiness(fd).ok_or(Errno(libc::EBADF))?;
        let epoll = self.epoll(at)?;
        let known = epoll.interest.contains_key(&fd);
        match op {
            libc::EPOLL_CTL_ADD if known => return Err(Errno(libc::EEXIST)),
            libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD => {
                if op == libc::EPOLL_CTL_MOD && !known {
                    return Err(Errno(libc::ENOENT));
                }
                epoll.interest.insert(fd, event);
                if ready & (event.events | ALWAYS) != 0 {
                    epoll.enlist(fd);
                }
                self.note_no_space(fd);
            }
            libc::EPOLL_CTL_DEL => {
                epoll.interest.remove(&fd).ok_or(Errno(libc::ENOENT))?;
                epoll.list.retain(|listed| *listed != fd);
            }
            _ => return Err(Errno(libc::EINVAL)),
        }
        Ok(())
    }

    /// Puts what happened to sockets on the lists of who is interested.
    pub(crate) fn wake_epolls(&mut self) {
        let mut woken = Vec::new();
        for (fd, entry) in &mut self.entries {
            if let Entry::Socket(socket) = entry {
                let events = std::mem::take(&mut socket.woken);
                if events != 0 {
                    woken.push((*fd, events));
                }
            }
        }
        for (fd, events) in woken {
            for entry in self.entries.values_mut() {
                if let Entry::Epoll(epoll) = entry
                    && let Some(interest) = epoll.interest.get(&fd)
                    && interest.events & !HOW != 0
                    && events & (interest.events | ALWAYS) != 0
                {
                    epoll.enlist(fd);
                }
            }
        }
    }

    /// One look of `epoll_wait`.
    pub(crate) fn epoll_once(&mut self, at: RawFd, max: usize) -> Result<Vec<EpollEvent>> {
        let listed = std::mem::take(&mut self.epoll(at)?.list);
        let mut found = Vec::new();
        let mut again = VecDeque::new();
        for fd in listed {
            let Some(interest) = self.epoll(at)?.interest.get(&fd).copied() else {
                continue;
            };
            if found.len() == max {
                again.push_back(fd);
                continue;
            }
            let ready = self.readiness(fd).unwrap_or(0);
            self.note_no_space(fd);
            let events = ready & (interest.events & !HOW | ALWAYS);
            if events == 0 || interest.events & !HOW == 0 {
                continue;
            }
            found.push(EpollEvent {
                events,
                data: interest.data,
            });
            if interest.events & libc::EPOLLONESHOT as u32 != 0 {
                // Disabled until it is changed.
                let how = interest.events & HOW;
                if let Some(interest) = self.epoll(at)?.interest.get_mut(&fd) {
                    interest.events = how;
                }
            } else if interest.events & libc::EPOLLET as u32 == 0 {
                again.push_back(fd);
            }
        }
        self.epoll(at)?.list.extend(again);
        Ok(found)
    }

    /// A descriptor was closed.
    pub(crate) fn forget(&mut self, fd: RawFd) {
        for entry in self.entries.values_mut() {
            if let Entry::Epoll(epoll) = entry {
                epoll.interest.remove(&fd);
                epoll.list.retain(|listed| *listed != fd);
            }
        }
    }
}
