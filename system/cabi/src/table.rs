//! The table of function pointers.

use crate::{Interface, calls};
use libc::{
    c_char, c_int, c_long, c_longlong, c_uint, c_ulong, c_void, epoll_event, iovec, loff_t, msghdr,
    nfds_t, pollfd, size_t, sockaddr, socklen_t, ssize_t, timeval, useconds_t,
};
use std::ffi::CStr;

/// First argument of every call: the [`Interface`] behind it.
pub(crate) type User = *mut c_void;

/// The table that packetdrill hands over to be filled. C's `fcntl` and `ioctl` are variadic there;
/// at most one argument follows, which the calling conventions of Linux pass where they pass a
/// fixed one.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Table {
    pub(crate) user: User,
    pub(crate) free: unsafe extern "C" fn(User),
    pub(crate) socket: unsafe extern "C" fn(User, c_int, c_int, c_int) -> c_int,
    pub(crate) bind: unsafe extern "C" fn(User, c_int, *const sockaddr, socklen_t) -> c_int,
    pub(crate) listen: unsafe extern "C" fn(User, c_int, c_int) -> c_int,
    pub(crate) accept: unsafe extern "C" fn(User, c_int, *mut sockaddr, *mut socklen_t) -> c_int,
    pub(crate) connect: unsafe extern "C" fn(User, c_int, *const sockaddr, socklen_t) -> c_int,
    pub(crate) read: unsafe extern "C" fn(User, c_int, *mut c_void, size_t) -> ssize_t,
    pub(crate) readv: unsafe extern "C" fn(User, c_int, *const iovec, c_int) -> ssize_t,
    pub(crate) recv: unsafe extern "C" fn(User, c_int, *mut c_void, size_t, c_int) -> ssize_t,
    pub(crate) recvfrom: unsafe extern "C" fn(
        User,
        c_int,
        *mut c_void,
        size_t,
        c_int,
        *mut sockaddr,
        *mut socklen_t,
    ) -> ssize_t,
    pub(crate) recvmsg: unsafe extern "C" fn(User, c_int, *mut msghdr, c_int) -> ssize_t,
    pub(crate) write: unsafe extern "C" fn(User, c_int, *const c_void, size_t) -> ssize_t,
    pub(crate) writev: unsafe extern "C" fn(User, c_int, *const iovec, c_int) -> ssize_t,
    pub(crate) send: unsafe extern "C" fn(User, c_int, *const c_void, size_t, c_int) -> ssize_t,
    pub(crate) sendto: unsafe extern "C" fn(
        User,
        c_int,
        *const c_void,
        size_t,
        c_int,
        *const sockaddr,
        socklen_t,
    ) -> ssize_t,
    pub(crate) sendmsg: unsafe extern "C" fn(User, c_int, *const msghdr, c_int) -> ssize_t,
    pub(crate) fcntl: unsafe extern "C" fn(User, c_int, c_int, c_long) -> c_int,
    pub(crate) ioctl: unsafe extern "C" fn(User, c_int, c_ulong, *mut c_int) -> c_int,
    pub(crate) close: unsafe extern "C" fn(User, c_int) -> c_int,
    pub(crate) shutdown: unsafe extern "C" fn(User, c_int, c_int) -> c_int,
    pub(crate) getsockopt:
        unsafe extern "C" fn(User, c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int,
    pub(crate) setsockopt:
        unsafe extern "C" fn(User, c_int, c_int, c_int, *const c_void, socklen_t) -> c_int,
    pub(crate) poll: unsafe extern "C" fn(User, *mut pollfd, nfds_t, c_int) -> c_int,
    pub(crate) netdev_send: unsafe extern "C" fn(User, *const c_void, size_t) -> c_int,
    pub(crate) netdev_receive:
        unsafe extern "C" fn(User, *mut c_void, *mut size_t, *mut c_longlong) -> c_int,
    pub(crate) usleep: unsafe extern "C" fn(User, useconds_t) -> c_int,
    pub(crate) gettimeofday: unsafe extern "C" fn(User, *mut timeval, *mut c_void) -> c_int,
    pub(crate) epoll_create: unsafe extern "C" fn(User, c_int) -> c_int,
    pub(crate) epoll_ctl:
        unsafe extern "C" fn(User, c_int, c_int, c_int, *mut epoll_event) -> c_int,
    pub(crate) epoll_wait:
        unsafe extern "C" fn(User, c_int, *mut epoll_event, c_int, c_int) -> c_int,
    pub(crate) pipe: unsafe extern "C" fn(User, *mut c_int) -> c_int,
    pub(crate) splice: unsafe extern "C" fn(
        User,
        c_int,
        *mut loff_t,
        c_int,
        *mut loff_t,
        size_t,
        c_uint,
    ) -> ssize_t,
}

const _: () = assert!(size_of::<Table>() == 33 * size_of::<usize>());

impl Table {
    /// A table of calls to this stack, which [`Table::free`] drops.
    pub(crate) fn of(interface: Box<dyn Interface>) -> Table {
        Table {
            user: Box::into_raw(Box::new(interface)).cast(),
            free: calls::free,
            socket: calls::socket,
            bind: calls::bind,
            listen: calls::listen,
            accept: calls::accept,
            connect: calls::connect,
            read: calls::read,
            readv: calls::readv,
            recv: calls::recv,
            recvfrom: calls::recvfrom,
            recvmsg: calls::recvmsg,
            write: calls::write,
            writev: calls::writev,
            send: calls::send,
            sendto: calls::sendto,
            sendmsg: calls::sendmsg,
            fcntl: calls::fcntl,
            ioctl: calls::ioctl,
            close: calls::close,
            shutdown: calls::shutdown,
            getsockopt: calls::getsockopt,
            setsockopt: calls::setsockopt,
            poll: calls::poll,
            netdev_send: calls::netdev_send,
            netdev_receive: calls::netdev_receive,
            usleep: calls::usleep,
            gettimeofday: calls::gettimeofday,
            epoll_create: calls::epoll_create,
            epoll_ctl: calls::epoll_ctl,
            epoll_wait: calls::epoll_wait,
            pipe: calls::pipe,
            splice: calls::splice,
        }
    }

    /// For [`crate::export!`]: what `packetdrill_interface_init` does.
    ///
    /// # Safety
    /// `flags` is a C string or null, `table` a table to be filled or null.
    pub unsafe fn fill(
        flags: *const c_char,
        table: *mut Table,
        new: fn(&str) -> Box<dyn Interface>,
    ) {
        let flags = if flags.is_null() {
            String::new()
        } else {
            // SAFETY: packetdrill passes its --so_flags, a C string, or null.
            unsafe { CStr::from_ptr(flags) }
                .to_string_lossy()
                .into_owned()
        };
        if !table.is_null() {
            // SAFETY: packetdrill passes a table of its own, of this layout, to be filled.
            unsafe { table.write(Table::of(new(&flags))) };
        }
    }
}
