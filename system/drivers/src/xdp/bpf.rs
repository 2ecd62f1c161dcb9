//! The BPF objects of an interface (`bpf(2)`): a map of sockets, a program that gives them packets,
//! and the link that holds it there. The kernel removes all of it with the last descriptor.

use crate::interface::check;
use libc::{c_int, c_long};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

const MAP_CREATE: c_long = 0;
const MAP_UPDATE_ELEM: c_long = 2;
const PROG_LOAD: c_long = 5;
const LINK_CREATE: c_long = 28;

const MAP_TYPE_XSKMAP: u32 = 17;
const PROG_TYPE_XDP: u32 = 6;
const ATTACH_XDP: u32 = 37;

/// In the driver of the device, or before the kernel's stack, where a driver has no support.
const MODES: [u32; 2] = [1 << 2, 1 << 1];

/// One instruction (`struct bpf_insn`).
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Instruction {
    pub(super) code: u8,
    /// Destination in the lower four bits, source in the upper.
    pub(super) registers: u8,
    pub(super) offset: i16,
    pub(super) immediate: i32,
}

#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
}

#[repr(C)]
struct MapUpdate {
    map_fd: u32,
    pad: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// A map of the socket of each queue.
pub(super) fn socket_map(queues: u32) -> io::Result<OwnedFd> {
    let attributes = MapCreate {
        map_type: MAP_TYPE_XSKMAP,
        key_size: 4,
        value_size: 4,
        max_entries: queues,
    };
    // SAFETY: nothing in the attributes is a pointer.
    unsafe { create(MAP_CREATE, &attributes) }
}

/// Gives the packets of `queue` to `socket`.
pub(super) fn set_socket(map: &OwnedFd, queue: u32, socket: RawFd) -> io::Result<()> {
    let socket = socket as u32;
    let attributes = MapUpdate {
        map_fd: map.as_raw_fd() as u32,
        pad: 0,
        key: (&raw const queue) as u64,
        value: (&raw const socket) as u64,
        flags: 0,
    };
    // SAFETY: the pointers are to a key and a value of four bytes, which the call reads.
    unsafe { call(MAP_UPDATE_ELEM, &attributes) }.map(drop)
}

/// Has the kernel check and take a program.
pub(super) fn load(program: &[Instruction]) -> io::Result<OwnedFd> {
    let mut prog_name = [0; 16];
    prog_name[..9].copy_from_slice(b"anabranch");
    let attributes = ProgLoad {
        prog_type: PROG_TYPE_XDP,
        insn_cnt: program.len() as u32,
        insns: program.as_ptr() as u64,
        license: c"Dual MIT/GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
        prog_name,
        prog_ifindex: 0,
        expected_attach_type: ATTACH_XDP,
    };
    // SAFETY: the pointers are to as many instructions as counted and to a terminated string, which
    // the call reads.
    unsafe { create(PROG_LOAD, &attributes) }
}

/// Runs a program for each packet that an interface receives, as long as the link is open.
pub(super) fn attach(program: &OwnedFd, interface: c_int) -> io::Result<OwnedFd> {
    let mut refused = io::ErrorKind::Unsupported.into();
    for flags in MODES {
        let attributes = LinkCreate {
            prog_fd: program.as_raw_fd() as u32,
            target_ifindex: interface as u32,
            attach_type: ATTACH_XDP,
            flags,
        };
        // SAFETY: nothing in the attributes is a pointer.
        match unsafe { create(LINK_CREATE, &attributes) } {
            Ok(link) => return Ok(link),
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => return Err(error),
            Err(error) => refused = error,
        }
    }
    Err(refused)
}

/// # Safety
/// `attributes` are those of `command`, and what they point to is as the command wants it.
unsafe fn create<T>(command: c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: as the caller says.
    let fd = unsafe { call(command, attributes) }?;
    // SAFETY: these commands return a descriptor that nothing else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// # Safety
/// `attributes` are those of `command`, and what they point to is as the command wants it.
unsafe fn call<T>(command: c_long, attributes: &T) -> io::Result<c_int> {
    let size = size_of::<T>() as c_long;
    let attributes = std::ptr::from_ref(attributes);
    // SAFETY: the pointer and the size are those of `attributes`; the rest says the caller.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size) };
    check(result as c_int)
}
