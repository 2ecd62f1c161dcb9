//! Receive buffers: large frames are sliced out of them without a copy, small ones are copied.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Buffers kept for use again, at most: 16 MB of them.
const POOL: usize = 256;

/// Pinned buffers looked at before another is allocated.
const TRIES: usize = 4;

/// Frames shorter than the buffer divided by this are copied out, so that memory held is never
/// more than this many times the bytes that hold it.
const DILUTION: usize = 16;

/// A ring of buffers, each of which may still be pinned by slices handed out.
#[derive(Debug)]
pub(super) struct Buffers {
    size: usize,
    current: BytesMut,
    /// Oldest first: the likeliest to have been let go.
    pinned: VecDeque<BytesMut>,
}

impl Buffers {
    /// For packets of at most `size` bytes.
    pub(super) fn new(size: usize) -> Buffers {
        Buffers {
            size,
            current: BytesMut::with_capacity(size),
            pinned: VecDeque::new(),
        }
    }

    /// Reads one packet.
    pub(super) fn read(&mut self, fd: BorrowedFd<'_>) -> io::Result<Bytes> {
        let spare = &mut self.current.spare_capacity_mut()[..self.size];
        // SAFETY: `spare` is writable for its whole length during the call.
        let n = unsafe { libc::read(fd.as_raw_fd(), spare.as_mut_ptr().cast(), spare.len()) };
        if n < 0 {
            return Err(io::Error::last_os_error());
        }
        let n = n as usize;
        // SAFETY: the kernel has written the first `n` bytes, `n` at most the spare length.
        unsafe { self.current.set_len(n) };
        if n < self.size / DILUTION {
            let copy = Bytes::copy_from_slice(&self.current);
            self.current.clear();
            return Ok(copy);
        }
        let packet = self.current.split().freeze();
        self.replace();
        Ok(packet)
    }

    /// Puts the buffer just sliced behind the others and takes one that is free.
    fn replace(&mut self) {
        let used = std::mem::take(&mut self.current);
        self.pinned.push_back(used);
        for _ in 0..TRIES.min(self.pinned.len()) {
            let Some(mut buffer) = self.pinned.pop_front() else {
                break;
            };
            if buffer.try_reclaim(self.size) {
                self.current = buffer;
                return;
            }
            self.pinned.push_back(buffer);
        }
        if self.pinned.len() > POOL {
            // Forgotten here; freed with the last slice of it.
            self.pinned.pop_front();
        }
        self.current = BytesMut::with_capacity(self.size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    fn read(buffers: &mut Buffers, packet: &[u8]) -> Bytes {
        let (mut a, b) = UnixStream::pair().unwrap();
        a.write_all(packet).unwrap();
        buffers.read(b.as_fd()).unwrap()
    }

    #[test]
    fn a_small_packet_does_not_pin_the_buffer() {
        let mut buffers = Buffers::new(65_545);
        let before = buffers.current.as_ptr();
        let packet = read(&mut buffers, &[7; 1500]);
        assert_eq!(packet, vec![7; 1500]);
        assert_eq!(buffers.current.as_ptr(), before);
        assert!(buffers.pinned.is_empty());
    }

    #[test]
    fn a_large_packet_is_sliced_and_its_buffer_used_again_once_let_go() {
        let mut buffers = Buffers::new(65_545);
        let first = buffers.current.as_ptr();
        let held = read(&mut buffers, &[1; 40_000]);
        assert_eq!(held.as_ptr(), first, "no copy");
        let second = read(&mut buffers, &[2; 40_000]);
        assert_ne!(second.as_ptr(), first, "still held");
        assert_eq!(held, vec![1; 40_000]);
        drop(held);
        drop(read(&mut buffers, &[3; 40_000]));
        assert_eq!(
            read(&mut buffers, &[4; 40_000]).as_ptr(),
            first,
            "let go, so used again"
        );
    }

    #[test]
    fn buffers_that_are_never_let_go_do_not_accumulate_here() {
        let mut buffers = Buffers::new(65_545);
        let held: Vec<Bytes> = (0..2 * POOL)
            .map(|_| read(&mut buffers, &[5; 9000]))
            .collect();
        assert!(buffers.pinned.len() <= POOL);
        assert!(held.iter().all(|packet| packet.len() == 9000));
    }
}
