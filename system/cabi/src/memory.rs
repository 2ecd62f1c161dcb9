//! Memory of the caller.

use crate::{Errno, Result};
use libc::{c_void, iovec};

/// What `const void *buf, size_t len` points at; `None` for a null pointer.
///
/// # Safety
/// If not null, `buf` points at `len` readable bytes that do not change during `'a`.
pub(crate) unsafe fn bytes<'a>(buf: *const c_void, len: usize) -> Option<&'a [u8]> {
    if len == 0 {
        return Some(&[]);
    }
    if buf.is_null() {
        return None;
    }
    // SAFETY: not null, and the caller says the rest.
    Some(unsafe { std::slice::from_raw_parts(buf.cast(), len) })
}

/// The pieces of an array of `iovec`.
///
/// # Safety
/// `iov` points at `count` of them, or is null if there are none.
pub(crate) unsafe fn pieces<'a>(iov: *const iovec, count: usize) -> &'a [iovec] {
    if iov.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: not null, and the caller says the rest.
    unsafe { std::slice::from_raw_parts(iov, count) }
}

/// All bytes of the pieces; `None` if one is a null pointer to some.
///
/// # Safety
/// As [`bytes`] for each piece.
pub(crate) unsafe fn gather(iov: &[iovec]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for piece in iov {
        // SAFETY: the caller's promise.
        all.extend_from_slice(unsafe { bytes(piece.iov_base, piece.iov_len) }?);
    }
    Some(all)
}

/// Fills the pieces with `data`, as far as it goes.
///
/// # Safety
/// Each piece that is not null points at as many writable bytes as it says.
pub(crate) unsafe fn scatter(mut data: &[u8], iov: &[iovec]) -> Result<()> {
    for piece in iov {
        let (now, later) = data.split_at(data.len().min(piece.iov_len));
        // SAFETY: the caller's promise; `now` is no longer than the piece.
        unsafe { write(now, piece.iov_base) }?;
        data = later;
    }
    Ok(())
}

/// Writes `data` to `to`.
///
/// # Safety
/// `to` is null or points at as many writable bytes.
pub(crate) unsafe fn write(data: &[u8], to: *mut c_void) -> Result<()> {
    if data.is_empty() {
        return Ok(());
    }
    if to.is_null() {
        return Err(Errno(libc::EFAULT));
    }
    // SAFETY: `to` is not null and has room; our bytes are not the caller's.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), to.cast(), data.len()) };
    Ok(())
}

/// Writes as much of `data` as `len` allows and stores in `len` how long it is: what `getsockopt`
/// and `accept` do. Null pointers: the caller does not want to know.
///
/// # Safety
/// `len` is null or valid, and `to` null or as long as `len` says.
pub(crate) unsafe fn write_sized(data: &[u8], to: *mut c_void, len: *mut u32, truncate: bool) {
    if to.is_null() || len.is_null() {
        return;
    }
    // SAFETY: valid, says the caller.
    let room = unsafe { *len } as usize;
    let some = &data[..data.len().min(room)];
    // SAFETY: there is room for `some` at `to`, which is not null, and `len` is valid.
    unsafe {
        std::ptr::copy_nonoverlapping(some.as_ptr(), to.cast(), some.len());
        *len = if truncate { some.len() } else { data.len() } as u32;
    }
}
