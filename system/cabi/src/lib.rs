//! The C interface through which packetdrill drives a network stack in a shared library.
//!
//! packetdrill loads a library, calls `packetdrill_interface_init` and gets a table of 33 pointers:
//! the socket calls of libc with a word in front, a packet in and a packet out, a clock. This crate
//! has the table, the C structures and all the unsafe code that goes with them. A stack implements
//! the safe [`Interface`] and names its constructor to [`export!`].
//!
//! Calls come from two threads: the one that loaded the library, and a second one for calls that
//! block while the first goes on.

mod address;
mod caller;
mod calls;
mod memory;
mod message;
mod table;

pub use address::Address;
pub use caller::Caller;
pub use table::Table;

use std::os::fd::RawFd;
use std::time::Duration;

/// A C error number; what a call leaves in `errno` when it gives −1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Errno(pub i32);

/// What a call gives.
pub type Result<T> = std::result::Result<T, Errno>;

/// A control message of `sendmsg` and `recvmsg`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Control {
    /// Protocol level, as `SOL_SOCKET`.
    pub level: i32,
    /// Type within the level.
    pub kind: i32,
    /// Its data as it lies in memory.
    pub data: Vec<u8>,
}

/// Where received bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Room {
    /// Most bytes.
    pub len: usize,
    /// The buffer is no null pointer. Otherwise data that is there makes `EFAULT`.
    pub valid: bool,
}

/// What a receiving call gives.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Received {
    /// The bytes, at most as many as there was room for.
    pub data: Vec<u8>,
    /// Who sent them, where that is told.
    pub from: Option<Address>,
    /// Control messages.
    pub control: Vec<Control>,
    /// `msg_flags`.
    pub flags: i32,
}

/// What a sending call hands over.
#[derive(Clone, Copy, Debug)]
pub struct Sending<'a> {
    /// The bytes; `None` when a null pointer was to hold some.
    pub data: Option<&'a [u8]>,
    /// `MSG_*` flags.
    pub flags: i32,
    /// Destination, where one is named.
    pub to: Option<Address>,
    /// Control messages.
    pub control: &'a [Control],
}

/// One descriptor of `poll`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PollFd {
    /// Descriptor.
    pub fd: RawFd,
    /// `POLL*` asked for.
    pub events: i16,
    /// `POLL*` found.
    pub revents: i16,
}

/// Event of `epoll`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EpollEvent {
    /// `EPOLL*`.
    pub events: u32,
    /// The caller's own word.
    pub data: u64,
}

/// Where `splice` has its bytes from and to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Splice {
    /// From here.
    pub from: RawFd,
    /// To there.
    pub to: RawFd,
    /// Most bytes.
    pub len: usize,
    /// `SPLICE_F_*`.
    pub flags: u32,
}

/// A stack under test. Calls are those of libc; descriptors handed out must be real ones of the
/// process, because packetdrill closes what is left over with libc's `close`.
pub trait Interface: Send + Sync {
    /// socket(2): a descriptor.
    fn socket(&self, domain: i32, kind: i32, protocol: i32) -> Result<RawFd>;
    /// bind(2).
    fn bind(&self, fd: RawFd, to: Address) -> Result<()>;
    /// listen(2).
    fn listen(&self, fd: RawFd, backlog: i32) -> Result<()>;
    /// accept(2): a descriptor and the peer's address.
    fn accept(&self, fd: RawFd) -> Result<(RawFd, Address)>;
    /// connect(2).
    fn connect(&self, fd: RawFd, to: Address) -> Result<()>;
    /// read(2), readv(2), recv(2), recvfrom(2), recvmsg(2).
    fn receive(&self, fd: RawFd, room: Room, flags: i32) -> Result<Received>;
    /// write(2), writev(2), send(2), sendto(2), sendmsg(2): bytes taken.
    fn send(&self, fd: RawFd, sending: Sending<'_>) -> Result<usize>;
    /// fcntl(2).
    fn fcntl(&self, fd: RawFd, command: i32, argument: i32) -> Result<i32>;
    /// ioctl(2) that gives an `int`.
    fn ioctl(&self, fd: RawFd, request: u64) -> Result<i32>;
    /// close(2).
    fn close(&self, fd: RawFd) -> Result<()>;
    /// shutdown(2).
    fn shutdown(&self, fd: RawFd, how: i32) -> Result<()>;
    /// getsockopt(2): the value, at most `len` bytes of which are used.
    fn get_option(&self, fd: RawFd, level: i32, name: i32, len: usize) -> Result<Vec<u8>>;
    /// setsockopt(2).
    fn set_option(&self, fd: RawFd, level: i32, name: i32, value: &[u8]) -> Result<()>;
    /// poll(2): descriptors with something in `revents`. `timeout` in milliseconds, negative for
    /// ever.
    fn poll(&self, fds: &mut [PollFd], timeout: i32) -> Result<usize>;
    /// An IP packet for the stack.
    fn packet_in(&self, packet: &[u8]) -> Result<()>;
    /// The next IP packet from the stack with the time at which it left; waits for one. `None`
    /// when none will come.
    fn packet_out(&self) -> Option<(Vec<u8>, Duration)>;
    /// Lets so much time pass.
    fn sleep(&self, time: Duration);
    /// Time since the epoch of the stack's clock: later at each call.
    fn now(&self) -> Duration;
    /// epoll_create(2): a descriptor.
    fn epoll_create(&self) -> Result<RawFd>;
    /// epoll_ctl(2).
    fn epoll_ctl(&self, epoll: RawFd, op: i32, fd: RawFd, event: EpollEvent) -> Result<()>;
    /// epoll_wait(2). `timeout` in milliseconds, negative for ever.
    fn epoll_wait(&self, epoll: RawFd, max: usize, timeout: i32) -> Result<Vec<EpollEvent>>;
    /// pipe(2): the end to read, the end to write.
    fn pipe(&self) -> Result<(RawFd, RawFd)>;
    /// splice(2): bytes moved.
    fn splice(&self, splice: Splice) -> Result<usize>;
}

/// Exports `packetdrill_interface_init` from a shared library. `$new` is a function
/// `fn(flags: &str) -> Box<dyn Interface>`; `flags` is what packetdrill was given as `--so_flags`.
#[macro_export]
macro_rules! export {
    ($new:path) => {
        /// Fills packetdrill's table; see [`anabranch_cabi`].
        ///
        /// # Safety
        /// `flags` is a C string or null, `table` a table to be filled or null.
        // The name has to be this; nothing else in the process has it.
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        pub unsafe extern "C" fn packetdrill_interface_init(
            flags: *const ::std::ffi::c_char,
            table: *mut $crate::Table,
        ) {
            // SAFETY: the caller's promise, passed on.
            unsafe { $crate::Table::fill(flags, table, $new) };
        }
    };
}
