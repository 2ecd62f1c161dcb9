//! `struct msghdr`.

use crate::address::Address;
use crate::memory;
use crate::{Control, Received, Result};
use libc::{cmsghdr, msghdr};
use std::mem::size_of;

/// Bytes of a control message's header, and of what it is aligned to.
const HEADER: usize = size_of::<cmsghdr>();
const ALIGN: usize = size_of::<usize>();

/// The control messages that a caller sends along.
pub(crate) fn read_control(mut bytes: &[u8]) -> Vec<Control> {
    let mut found = Vec::new();
    while let Some((header, _)) = bytes.split_at_checked(HEADER) {
        let word = |at: usize| {
            i32::from_ne_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let len = usize::try_from(word(0)).unwrap_or(0);
        let Some(data) = bytes.get(HEADER..len) else {
            break;
        };
        found.push(Control {
            level: word(HEADER - 8),
            kind: word(HEADER - 4),
            data: data.to_vec(),
        });
        bytes = bytes.get(len.next_multiple_of(ALIGN)..).unwrap_or(&[]);
    }
    found
}

/// Control messages as they lie in memory: those that fit into `room`.
fn write_control(control: &[Control], room: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for message in control {
        let len = HEADER + message.data.len();
        if bytes.len() + len > room {
            break;
        }
        bytes.extend(len.to_ne_bytes());
        bytes.extend(message.level.to_ne_bytes());
        bytes.extend(message.kind.to_ne_bytes());
        bytes.extend(&message.data);
        bytes.resize(bytes.len().next_multiple_of(ALIGN).min(room), 0);
    }
    bytes
}

/// What `recvmsg` leaves in the caller's structure.
///
/// # Safety
/// Every pointer of `message` is null or points at as much writable memory as its length says.
pub(crate) unsafe fn fill(message: &mut msghdr, received: &Received) -> Result<()> {
    // SAFETY: the caller's promise.
    let iov = unsafe { memory::pieces(message.msg_iov, message.msg_iovlen) };
    // SAFETY: the caller's promise.
    unsafe { memory::scatter(&received.data, iov) }?;
    message.msg_flags = received.flags;
    if !message.msg_name.is_null() {
        let name = received.from.map(Address::to_bytes).unwrap_or_default();
        let room = message.msg_namelen as usize;
        // SAFETY: the caller's promise; no more than there is room for.
        unsafe { memory::write(&name[..name.len().min(room)], message.msg_name) }?;
        message.msg_namelen = name.len() as u32;
    }
    let control = write_control(&received.control, message.msg_controllen);
    // SAFETY: the caller's promise; `control` is no longer than the room for it.
    unsafe { memory::write(&control, message.msg_control) }?;
    message.msg_controllen = control.len();
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_messages_survive_the_way_through_memory() {
        let message = |kind, len| Control {
            level: libc::SOL_SOCKET,
            kind,
            data: vec![7; len],
        };
        let sent = [message(1, 4), message(2, 48), message(3, 0)];
        assert_eq!(read_control(&write_control(&sent, 1000)), sent);
    }

    #[test]
    fn control_messages_without_room_or_with_nonsense_lengths_are_left_out() {
        let message = Control {
            level: 1,
            kind: 2,
            data: vec![0; 16],
        };
        let two = [message.clone(), message.clone()];
        assert_eq!(read_control(&write_control(&two, 40)), [message]);
        assert_eq!(read_control(&[0; 64]), []);
        assert_eq!(read_control(&[255; 64]), []);
    }
}
