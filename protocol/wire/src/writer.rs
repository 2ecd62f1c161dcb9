//! Where headers are written before they become a packet's.

use crate::frame::HeaderBytes;

/// Room for the largest headers: IPv6 (40), TCP (20), options (40).
const ROOM: usize = 128;

/// Bytes of headers so far. Whoever writes options has checked that they fit.
pub(crate) struct Writer {
    bytes: [u8; ROOM],
    len: usize,
}

impl Writer {
    pub(crate) fn new() -> Writer {
        Writer {
            bytes: [0; ROOM],
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub(crate) fn put(&mut self, bytes: &[u8]) {
        self.bytes[self.len..self.len + bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    pub(crate) fn u8(&mut self, value: u8) {
        self.put(&[value]);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn u32(&mut self, value: u32) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn u64(&mut self, value: u64) {
        self.put(&value.to_be_bytes());
    }

    pub(crate) fn finish(self) -> HeaderBytes {
        HeaderBytes::from_buf_and_len(self.bytes, self.len)
    }
}
