//! From C calls to the [`Interface`].
//!
//! Every function has the contract of its namesake in libc; that is what `# Safety` would say of
//! each: pointers are null or point at as much memory as the call says, and the first argument is
//! the word of the [`crate::Table`] the function was found in.

use crate::address::Address;
use crate::table::User;
use crate::{
    Control, EpollEvent, Errno, Interface, PollFd, Received, Result, Room, Sending, Splice, memory,
    message,
};
use libc::{
    c_int, c_long, c_longlong, c_uint, c_ulong, c_void, epoll_event, iovec, loff_t, msghdr, nfds_t,
    pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval, useconds_t,
};
use std::time::Duration;

/// The stack behind the first argument.
///
/// # Safety
/// `user` is the word of a table that was not freed.
unsafe fn stack<'a>(user: User) -> &'a dyn Interface {
    // SAFETY: `Table::of` made the word from a box of this type, which `free` alone drops.
    unsafe { &**user.cast::<Box<dyn Interface>>() }
}

/// −1 and `errno`, or the value.
fn give<T>(result: Result<T>) -> T
where
    T: From<i8>,
{
    result.unwrap_or_else(|Errno(number)| {
        // SAFETY: the calling thread's own errno.
        unsafe { *libc::__errno_location() = number };
        T::from(-1)
    })
}

/// −1 and `errno`, or 0.
fn done(result: Result<()>) -> c_int {
    give(result.map(|()| 0))
}

fn size(result: Result<usize>) -> ssize_t {
    give(result.map(|len| len as ssize_t))
}

/// # Safety
/// `addr` is null or points at `len` bytes.
unsafe fn address(addr: *const sockaddr, len: socklen_t) -> Result<Address> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { memory::bytes(addr.cast(), len as usize) };
    Address::from_bytes(bytes.ok_or(Errno(libc::EFAULT))?)
}

pub(crate) unsafe extern "C" fn free(user: User) {
    if !user.is_null() {
        // SAFETY: the word was made from such a box, and packetdrill frees a table once, last.
        drop(unsafe { Box::from_raw(user.cast::<Box<dyn Interface>>()) });
    }
}

pub(crate) unsafe extern "C" fn socket(
    user: User,
    domain: c_int,
    kind: c_int,
    protocol: c_int,
) -> c_int {
    // SAFETY: the module's contract.
    give(unsafe { stack(user) }.socket(domain, kind, protocol))
}

pub(crate) unsafe extern "C" fn bind(
    user: User,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: the module's contract.
    let (stack, addr) = unsafe { (stack(user), address(addr, len)) };
    done(addr.and_then(|addr| stack.bind(fd, addr)))
}

pub(crate) unsafe extern "C" fn listen(user: User, fd: c_int, backlog: c_int) -> c_int {
    // SAFETY: the module's contract.
    done(unsafe { stack(user) }.listen(fd, backlog))
}

pub(crate) unsafe extern "C" fn accept(
    user: User,
    fd: c_int,
    addr: *mut sockaddr,
    len: *mut socklen_t,
) -> c_int {
    // SAFETY: the module's contract.
    let accepted = unsafe { stack(user) }.accept(fd);
    give(accepted.map(|(fd, peer)| {
        // SAFETY: the module's contract.
        unsafe { memory::write_sized(&peer.to_bytes(), addr.cast(), len, false) };
        fd
    }))
}

pub(crate) unsafe extern "C" fn connect(
    user: User,
    fd: c_int,
    addr: *const sockaddr,
    len: socklen_t,
) -> c_int {
    // SAFETY: the module's contract.
    let (stack, addr) = unsafe { (stack(user), address(addr, len)) };
    done(addr.and_then(|addr| stack.connect(fd, addr)))
}

pub(crate) unsafe extern "C" fn read(
    user: User,
    fd: c_int,
    buf: *mut c_void,
    count: size_t,
) -> ssize_t {
    // SAFETY: the module's contract.
    unsafe { recv(user, fd, buf, count, 0) }
}

pub(crate) unsafe extern "C" fn readv(
    user: User,
    fd: c_int,
    iov: *const iovec,
    count: c_int,
) -> ssize_t {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the module's contract.
    let (stack, iov) = unsafe { (stack(user), memory::pieces(iov, count)) };
    let received = stack.receive(fd, room(iov), 0);
    size(received.and_then(|received| {
        // SAFETY: the module's contract.
        unsafe { memory::scatter(&received.data, iov) }?;
        Ok(received.data.len())
    }))
}

fn room(iov: &[iovec]) -> Room {
    let valid = |piece: &iovec| piece.iov_len == 0 || !piece.iov_base.is_null();
    Room {
        len: iov.iter().map(|piece| piece.iov_len).sum(),
        valid: iov.iter().all(valid),
    }
}

/// # Safety
/// The module's contract, and `buf` is null or has room for `len` bytes.
unsafe fn receive(
    user: User,
    fd: c_int,
    buf: *mut c_void,
    len: usize,
    flags: c_int,
) -> Result<Received> {
    let room = Room {
        len,
        valid: len == 0 || !buf.is_null(),
    };
    // SAFETY: the caller's promise.
    let received = unsafe { stack(user) }.receive(fd, room, flags)?;
    // SAFETY: the caller's promise; no more was received than there was room for.
    unsafe { memory::write(&received.data, buf) }?;
    Ok(received)
}

pub(crate) unsafe extern "C" fn recv(
    user: User,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the module's contract.
    size(unsafe { receive(user, fd, buf, len, flags) }.map(|received| received.data.len()))
}

pub(crate) unsafe extern "C" fn recvfrom(
    user: User,
    fd: c_int,
    buf: *mut c_void,
    len: size_t,
    flags: c_int,
    addr: *mut sockaddr,
    addr_len: *mut socklen_t,
) -> ssize_t {
    // SAFETY: the module's contract.
    let received = unsafe { receive(user, fd, buf, len, flags) };
    size(received.map(|received| {
        let from = received.from.map(Address::to_bytes).unwrap_or_default();
        // SAFETY: the module's contract.
        unsafe { memory::write_sized(&from, addr.cast(), addr_len, false) };
        received.data.len()
    }))
}

pub(crate) unsafe extern "C" fn recvmsg(
    user: User,
    fd: c_int,
    msg: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the module's contract: null, or the caller's structure, which nobody else looks at.
    let Some(msg) = (unsafe { msg.as_mut() }) else {
        return size(Err(Errno(libc::EFAULT)));
    };
    // SAFETY: the module's contract.
    let (stack, iov) = unsafe { (stack(user), memory::pieces(msg.msg_iov, msg.msg_iovlen)) };
    let received = stack.receive(fd, room(iov), flags);
    size(received.and_then(|received| {
        // SAFETY: the module's contract.
        unsafe { message::fill(msg, &received) }?;
        Ok(received.data.len())
    }))
}

pub(crate) unsafe extern "C" fn write(
    user: User,
    fd: c_int,
    buf: *const c_void,
    count: size_t,
) -> ssize_t {
    // SAFETY: the module's contract.
    unsafe { send(user, fd, buf, count, 0) }
}

pub(crate) unsafe extern "C" fn writev(
    user: User,
    fd: c_int,
    iov: *const iovec,
    count: c_int,
) -> ssize_t {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: the module's contract.
    let data = unsafe { memory::gather(memory::pieces(iov, count)) };
    // SAFETY: the module's contract.
    size(unsafe { stack(user) }.send(fd, sending(data.as_deref(), 0, None, &[])))
}

fn sending<'a>(
    data: Option<&'a [u8]>,
    flags: c_int,
    to: Option<Address>,
    control: &'a [Control],
) -> Sending<'a> {
    Sending {
        data,
        flags,
        to,
        control,
    }
}

pub(crate) unsafe extern "C" fn send(
    user: User,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the module's contract.
    let (stack, data) = unsafe { (stack(user), memory::bytes(buf, len)) };
    size(stack.send(fd, sending(data, flags, None, &[])))
}

pub(crate) unsafe extern "C" fn sendto(
    user: User,
    fd: c_int,
    buf: *const c_void,
    len: size_t,
    flags: c_int,
    addr: *const sockaddr,
    addr_len: socklen_t,
) -> ssize_t {
    // SAFETY: the module's contract.
    let (stack, data) = unsafe { (stack(user), memory::bytes(buf, len)) };
    let to = if addr.is_null() {
        Ok(None)
    } else {
        // SAFETY: the module's contract.
        unsafe { address(addr, addr_len) }.map(Some)
    };
    size(to.and_then(|to| stack.send(fd, sending(data, flags, to, &[]))))
}

pub(crate) unsafe extern "C" fn sendmsg(
    user: User,
    fd: c_int,
    msg: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the module's contract.
    let Some(msg) = (unsafe { msg.as_ref() }) else {
        return size(Err(Errno(libc::EFAULT)));
    };
    // SAFETY: the module's contract.
    let data = unsafe { memory::gather(memory::pieces(msg.msg_iov, msg.msg_iovlen)) };
    // SAFETY: the module's contract.
    let control = unsafe { memory::bytes(msg.msg_control, msg.msg_controllen) };
    let control = message::read_control(control.unwrap_or(&[]));
    let to = if msg.msg_name.is_null() || msg.msg_namelen == 0 {
        Ok(None)
    } else {
        // SAFETY: the module's contract.
        unsafe { address(msg.msg_name.cast(), msg.msg_namelen) }.map(Some)
    };
    // SAFETY: the module's contract.
    let stack = unsafe { stack(user) };
    size(to.and_then(|to| stack.send(fd, sending(data.as_deref(), flags, to, &control))))
}

pub(crate) unsafe extern "C" fn fcntl(
    user: User,
    fd: c_int,
    command: c_int,
    argument: c_long,
) -> c_int {
    // SAFETY: the module's contract.
    give(unsafe { stack(user) }.fcntl(fd, command, argument as i32))
}

pub(crate) unsafe extern "C" fn ioctl(
    user: User,
    fd: c_int,
    request: c_ulong,
    value: *mut c_int,
) -> c_int {
    // SAFETY: the module's contract.
    let found = unsafe { stack(user) }.ioctl(fd, request);
    done(found.map(|found| {
        if !value.is_null() {
            // SAFETY: the requests that the interface knows have an int to fill.
            unsafe { *value = found };
        }
    }))
}

pub(crate) unsafe extern "C" fn close(user: User, fd: c_int) -> c_int {
    // SAFETY: the module's contract.
    done(unsafe { stack(user) }.close(fd))
}

pub(crate) unsafe extern "C" fn shutdown(user: User, fd: c_int, how: c_int) -> c_int {
    // SAFETY: the module's contract.
    done(unsafe { stack(user) }.shutdown(fd, how))
}

pub(crate) unsafe extern "C" fn getsockopt(
    user: User,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    len: *mut socklen_t,
) -> c_int {
    if value.is_null() || len.is_null() {
        return done(Err(Errno(libc::EFAULT)));
    }
    // SAFETY: the module's contract.
    let (stack, room) = unsafe { (stack(user), *len as usize) };
    let found = stack.get_option(fd, level, name, room);
    done(found.map(|found| {
        // SAFETY: the module's contract.
        unsafe { memory::write_sized(&found, value, len, true) };
    }))
}

pub(crate) unsafe extern "C" fn setsockopt(
    user: User,
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *const c_void,
    len: socklen_t,
) -> c_int {
    // SAFETY: the module's contract.
    let (stack, value) = unsafe { (stack(user), memory::bytes(value, len as usize)) };
    let value = value.ok_or(Errno(libc::EFAULT));
    done(value.and_then(|value| stack.set_option(fd, level, name, value)))
}

pub(crate) unsafe extern "C" fn poll(
    user: User,
    fds: *mut pollfd,
    count: nfds_t,
    timeout: c_int,
) -> c_int {
    let fds = if fds.is_null() {
        &mut []
    } else {
        // SAFETY: the module's contract: the caller's array, which nobody else looks at.
        unsafe { std::slice::from_raw_parts_mut(fds, count as usize) }
    };
    let mut asked: Vec<PollFd> = fds
        .iter()
        .map(|fd| PollFd {
            fd: fd.fd,
            events: fd.events,
            revents: 0,
        })
        .collect();
    // SAFETY: the module's contract.
    let found = unsafe { stack(user) }.poll(&mut asked, timeout);
    for (fd, asked) in fds.iter_mut().zip(asked) {
        fd.revents = asked.revents;
    }
    give(found.map(|found| found as c_int))
}

pub(crate) unsafe extern "C" fn netdev_send(user: User, buf: *const c_void, len: size_t) -> c_int {
    // SAFETY: the module's contract.
    let (stack, packet) = unsafe { (stack(user), memory::bytes(buf, len)) };
    done(
        packet
            .ok_or(Errno(libc::EFAULT))
            .and_then(|packet| stack.packet_in(packet)),
    )
}

pub(crate) unsafe extern "C" fn netdev_receive(
    user: User,
    buf: *mut c_void,
    len: *mut size_t,
    usecs: *mut c_longlong,
) -> c_int {
    // SAFETY: the module's contract.
    let (packet, at) = unsafe { stack(user) }.packet_out().unwrap_or_default();
    // SAFETY: packetdrill passes a buffer, how large it is, and where to store the time.
    unsafe {
        let fits = &packet[..packet.len().min(*len)];
        *len = fits.len();
        *usecs = at.as_micros() as c_longlong;
        done(memory::write(fits, buf))
    }
}

pub(crate) unsafe extern "C" fn usleep(user: User, usecs: useconds_t) -> c_int {
    // SAFETY: the module's contract.
    unsafe { stack(user) }.sleep(Duration::from_micros(usecs.into()));
    0
}

pub(crate) unsafe extern "C" fn gettimeofday(
    user: User,
    time: *mut timeval,
    _zone: *mut c_void,
) -> c_int {
    // SAFETY: the module's contract.
    let now = unsafe { stack(user) }.now();
    if !time.is_null() {
        let now = timeval {
            tv_sec: now.as_secs() as _,
            tv_usec: now.subsec_micros().into(),
        };
        // SAFETY: the module's contract.
        unsafe { time.write(now) };
    }
    0
}

pub(crate) unsafe extern "C" fn epoll_create(user: User, _size: c_int) -> c_int {
    // SAFETY: the module's contract.
    give(unsafe { stack(user) }.epoll_create())
}

pub(crate) unsafe extern "C" fn epoll_ctl(
    user: User,
    epoll: c_int,
    op: c_int,
    fd: c_int,
    event: *mut epoll_event,
) -> c_int {
    // SAFETY: the module's contract: null, or an event.
    let event = match unsafe { event.as_ref() } {
        Some(&epoll_event { events, u64: data }) => EpollEvent { events, data },
        None if op == libc::EPOLL_CTL_DEL => EpollEvent { events: 0, data: 0 },
        None => return done(Err(Errno(libc::EFAULT))),
    };
    // SAFETY: the module's contract.
    done(unsafe { stack(user) }.epoll_ctl(epoll, op, fd, event))
}

pub(crate) unsafe extern "C" fn epoll_wait(
    user: User,
    epoll: c_int,
    events: *mut epoll_event,
    max: c_int,
    timeout: c_int,
) -> c_int {
    let max = usize::try_from(max).unwrap_or(0);
    if max == 0 || events.is_null() {
        return done(Err(Errno(libc::EINVAL)));
    }
    // SAFETY: the module's contract.
    let found = unsafe { stack(user) }.epoll_wait(epoll, max, timeout);
    give(found.map(|found| {
        for (at, event) in found.iter().take(max).enumerate() {
            let event = epoll_event {
                events: event.events,
                u64: event.data,
            };
            // SAFETY: the array has `max` places.
            unsafe { events.add(at).write(event) };
        }
        found.len() as c_int
    }))
}

pub(crate) unsafe extern "C" fn pipe(user: User, fds: *mut c_int) -> c_int {
    // SAFETY: the module's contract.
    let ends = unsafe { stack(user) }.pipe();
    done(ends.map(|(read, write)| {
        // SAFETY: an array of two, as pipe(2) has it.
        unsafe {
            fds.write(read);
            fds.add(1).write(write);
        }
    }))
}

pub(crate) unsafe extern "C" fn splice(
    user: User,
    from: c_int,
    _from_at: *mut loff_t,
    to: c_int,
    _to_at: *mut loff_t,
    len: size_t,
    flags: c_uint,
) -> ssize_t {
    let splice = Splice {
        from,
        to,
        len,
        flags,
    };
    // SAFETY: the module's contract.
    size(unsafe { stack(user) }.splice(splice))
}
