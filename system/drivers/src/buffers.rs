//! Receive buffers: large frames are sliced out of them without a copy, small ones are copied.

use bytes::{Bytes, BytesMut};
use std::collections::VecDeque;
use std::io;
use std::mem::MaybeUninit;
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
pub(crate) struct Buffers {
    size: usize,
    /// Oldest first: the likeliest to have been let go.
    pinned: VecDeque<BytesMut>,
}

impl Buffers {
    /// For packets of at most `size` bytes.
    pub(crate) fn new(size: usize) -> Buffers {
        Buffers {
            size,
            pinned: VecDeque::new(),
        }
    }

    /// An empty buffer for one packet.
    pub(crate) fn take(&mut self) -> BytesMut {
        for _ in 0..TRIES.min(self.pinned.len()) {
            let Some(mut buffer) = self.pinned.pop_front() else {
                break;
            };
            if buffer.try_reclaim(self.size) {
                return buffer;
            }
            self.pinned.push_back(buffer);
        }
        BytesMut::with_capacity(self.size)
    }

    /// What may be written of a buffer that is empty.
    pub(crate) fn room<'a>(&self, buffer: &'a mut BytesMut) -> &'a mut [MaybeUninit<u8>] {
        &mut buffer.spare_capacity_mut()[..self.size]
    }

    /// The packet in the first `len` bytes of a buffer that was empty, which is empty again: another
    /// one, unless the packet was small.
    ///
    /// # Safety
    /// So many bytes of [`Buffers::room`] have been written.
    pub(crate) unsafe fn filled(&mut self, buffer: &mut BytesMut, len: usize) -> Bytes {
        let len = len.min(self.size);
        // SAFETY: the caller has seen these bytes written, and they are within the capacity.
        unsafe { buffer.set_len(len) };
        if len < self.size / DILUTION {
            let copy = Bytes::copy_from_slice(buffer);
            buffer.clear();
            return copy;
        }
        let packet = buffer.split().freeze();
        let next = self.take();
        self.pinned.push_back(std::mem::replace(buffer, next));
        if self.pinned.len() > POOL {
            // Forgotten here; freed with the last slice of it.
            self.pinned.pop_front();
        }
        packet
    }

    /// Reads one packet from a device that gives one for each read, into a buffer that is empty.
    pub(crate) fn read(&mut self, fd: BorrowedFd<'_>, buffer: &mut BytesMut) -> io::Result<Bytes> {
        let room = self.room(buffer);
        // SAFETY: `room` is writable for its whole length during the call.
        let len = unsafe { libc::read(fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len()) };
        let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
        // SAFETY: the kernel has written as many bytes as it says.
        Ok(unsafe { self.filled(buffer, len) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsFd;
    use std::os::unix::net::UnixStream;

    /// A pool, and the buffer that is read into.
    struct Pool(Buffers, BytesMut);

    impl Pool {
        fn new() -> Pool {
            let mut buffers = Buffers::new(65_545);
            let current = buffers.take();
            Pool(buffers, current)
        }

        fn read(&mut self, packet: &[u8]) -> Bytes {
            let (mut a, b) = UnixStream::pair().unwrap();
            a.write_all(packet).unwrap();
            self.0.read(b.as_fd(), &mut self.1).unwrap()
        }
    }

    #[test]
    fn a_small_packet_does_not_pin_the_buffer() {
        let mut pool = Pool::new();
        let before = pool.1.as_ptr();
        let packet = pool.read(&[7; 1500]);
        assert_eq!(packet, vec![7; 1500]);
        assert_eq!(pool.1.as_ptr(), before);
        assert!(pool.0.pinned.is_empty());
    }

    #[test]
    fn a_large_packet_is_sliced_and_its_buffer_used_again_once_let_go() {
        let mut pool = Pool::new();
        let first = pool.1.as_ptr();
        let held = pool.read(&[1; 40_000]);
        assert_eq!(held.as_ptr(), first, "no copy");
        let second = pool.read(&[2; 40_000]);
        assert_ne!(second.as_ptr(), first, "still held");
        assert_eq!(held, vec![1; 40_000]);
        drop(held);
        drop(pool.read(&[3; 40_000]));
        assert_eq!(
            pool.read(&[4; 40_000]).as_ptr(),
            first,
            "let go, so used again"
        );
    }

    #[test]
    fn buffers_that_are_never_let_go_do_not_accumulate_here() {
        let mut pool = Pool::new();
        let held: Vec<Bytes> = (0..2 * POOL).map(|_| pool.read(&[5; 9000])).collect();
        assert!(pool.0.pinned.len() <= POOL);
        assert!(held.iter().all(|packet| packet.len() == 9000));
    }
}
