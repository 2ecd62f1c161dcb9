//! The other side of the table: what packetdrill does with it, for tests.

use crate::table::Table;
use crate::{Address, Errno, Result};
use libc::{c_char, c_int, sockaddr, timeval};
use std::ffi::CString;
use std::mem::MaybeUninit;
use std::os::fd::RawFd;
use std::time::Duration;

/// What [`crate::export!`] makes.
type Init = unsafe extern "C" fn(*const c_char, *mut Table);

/// A user of a table: calls it as C does, with C's memory and `errno`.
#[derive(Debug)]
pub struct Caller {
    table: Table,
}

// SAFETY: what the table's word points at is an `Interface`, which is `Send` and `Sync`.
unsafe impl Send for Caller {}
// SAFETY: the same.
unsafe impl Sync for Caller {}

impl Caller {
    /// Lets `init`, an exported `packetdrill_interface_init`, fill a table.
    ///
    /// # Panics
    /// If `flags` holds a null byte.
    pub fn new(init: Init, flags: &str) -> Caller {
        let flags = CString::new(flags).expect("flags without null bytes");
        let mut table = MaybeUninit::uninit();
        // SAFETY: `crate::export!` makes functions that take a C string and fill the table they
        // are given.
        let table = unsafe {
            init(flags.as_ptr(), table.as_mut_ptr());
            table.assume_init()
        };
        Caller { table }
    }

    /// socket(2).
    ///
    /// # Errors
    /// The call's `errno`; so for all that follow.
    pub fn socket(&self, domain: i32, kind: i32, protocol: i32) -> Result<RawFd> {
        // SAFETY: a call of the table with its own word.
        checked(unsafe { (self.table.socket)(self.table.user, domain, kind, protocol) })
    }

    /// bind(2).
    pub fn bind(&self, fd: RawFd, to: Address) -> Result<()> {
        let addr = to.to_bytes();
        let at = addr.as_ptr().cast::<sockaddr>();
        // SAFETY: as above, and the address is as long as it says.
        checked(unsafe { (self.table.bind)(self.table.user, fd, at, addr.len() as u32) }).map(drop)
    }

    /// listen(2).
    pub fn listen(&self, fd: RawFd, backlog: i32) -> Result<()> {
        // SAFETY: a call of the table with its own word.
        checked(unsafe { (self.table.listen)(self.table.user, fd, backlog) }).map(drop)
    }

    /// accept(2), with the peer's address.
    pub fn accept(&self, fd: RawFd) -> Result<(RawFd, Address)> {
        let mut addr = [0; 128];
        let mut len = addr.len() as u32;
        let at = addr.as_mut_ptr().cast::<sockaddr>();
        // SAFETY: as above, and there is as much room as `len` says.
        let fd = checked(unsafe { (self.table.accept)(self.table.user, fd, at, &raw mut len) })?;
        Ok((fd, Address::from_bytes(&addr[..len as usize])?))
    }

    /// connect(2).
    pub fn connect(&self, fd: RawFd, to: Address) -> Result<()> {
        let addr = to.to_bytes();
        let at = addr.as_ptr().cast::<sockaddr>();
        // SAFETY: as above, and the address is as long as it says.
        checked(unsafe { (self.table.connect)(self.table.user, fd, at, addr.len() as u32) })
            .map(drop)
    }

    /// read(2) of at most `max` bytes.
    pub fn read(&self, fd: RawFd, max: usize) -> Result<Vec<u8>> {
        let mut data = vec![0; max];
        let at = data.as_mut_ptr().cast();
        // SAFETY: as above, and the buffer is as long as it says.
        let len = checked(unsafe { (self.table.read)(self.table.user, fd, at, max) } as c_int)?;
        data.truncate(len as usize);
        Ok(data)
    }

    /// write(2).
    pub fn write(&self, fd: RawFd, data: &[u8]) -> Result<usize> {
        let at = data.as_ptr().cast();
        // SAFETY: as above, and the buffer is as long as it says.
        let len = unsafe { (self.table.write)(self.table.user, fd, at, data.len()) };
        Ok(checked(len as c_int)? as usize)
    }

    /// fcntl(2) with an `int`.
    pub fn fcntl(&self, fd: RawFd, command: i32, argument: i32) -> Result<i32> {
        // SAFETY: a call of the table with its own word.
        checked(unsafe { (self.table.fcntl)(self.table.user, fd, command, argument.into()) })
    }

    /// ioctl(2) that gives an `int`.
    pub fn ioctl(&self, fd: RawFd, request: u64) -> Result<i32> {
        let mut value = 0;
        // SAFETY: as above, and there is an int to fill.
        checked(unsafe { (self.table.ioctl)(self.table.user, fd, request, &raw mut value) })?;
        Ok(value)
    }

    /// getsockopt(2).
    pub fn get_option(&self, fd: RawFd, level: i32, name: i32, room: usize) -> Result<Vec<u8>> {
        let mut value = vec![0; room];
        let mut len = room as u32;
        let at = value.as_mut_ptr().cast();
        // SAFETY: as above, and there is as much room as `len` says.
        checked(unsafe {
            (self.table.getsockopt)(self.table.user, fd, level, name, at, &raw mut len)
        })?;
        value.truncate(len as usize);
        Ok(value)
    }

    /// close(2).
    pub fn close(&self, fd: RawFd) -> Result<()> {
        // SAFETY: a call of the table with its own word.
        checked(unsafe { (self.table.close)(self.table.user, fd) }).map(drop)
    }

    /// A packet for the stack.
    pub fn packet_in(&self, packet: &[u8]) -> Result<()> {
        let at = packet.as_ptr().cast();
        // SAFETY: as above, and the packet is as long as it says.
        checked(unsafe { (self.table.netdev_send)(self.table.user, at, packet.len()) }).map(drop)
    }

    /// The next packet from the stack and the time at which it left; empty when none will come.
    pub fn packet_out(&self) -> Result<(Vec<u8>, Duration)> {
        let mut packet = vec![0; 1 << 16];
        let (mut len, mut usecs) = (packet.len(), 0);
        let at = packet.as_mut_ptr().cast();
        // SAFETY: as above, and the buffer is as long as it says.
        checked(unsafe {
            (self.table.netdev_receive)(self.table.user, at, &raw mut len, &raw mut usecs)
        })?;
        packet.truncate(len);
        Ok((packet, Duration::from_micros(usecs.unsigned_abs())))
    }

    /// usleep(3).
    pub fn sleep(&self, time: Duration) {
        // SAFETY: a call of the table with its own word.
        unsafe { (self.table.usleep)(self.table.user, time.as_micros() as u32) };
    }

    /// gettimeofday(2).
    pub fn now(&self) -> Duration {
        let mut time = timeval {
            tv_sec: 0,
            tv_usec: 0,
        };
        let none = std::ptr::null_mut();
        // SAFETY: as above, and there is a time to fill.
        unsafe { (self.table.gettimeofday)(self.table.user, &raw mut time, none) };
        Duration::new(time.tv_sec.unsigned_abs(), 1000 * time.tv_usec as u32)
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        // SAFETY: once, and nothing is called after it.
        unsafe { (self.table.free)(self.table.user) };
    }
}

/// −1 means `errno`.
fn checked(result: c_int) -> Result<c_int> {
    if result < 0 {
        // SAFETY: the calling thread's own errno.
        return Err(Errno(unsafe { *libc::__errno_location() }));
    }
    Ok(result)
}
