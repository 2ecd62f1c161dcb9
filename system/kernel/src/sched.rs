//! Scheduling of threads.

use crate::{Error, Result};
use std::io;

/// From now on the calling thread runs before every ordinary one, whenever it has something to do
/// (SCHED_FIFO, sched(7)).
///
/// # Errors
/// [`Error::Permission`] without `CAP_SYS_NICE`.
pub fn come_first() -> Result<()> {
    let lowest = libc::sched_param { sched_priority: 1 };
    // SAFETY: the kernel reads `lowest`, which outlives the call; 0 is the calling thread.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &raw const lowest) };
    if done < 0 {
        let error = io::Error::last_os_error();
        return Err(Error::sys("run before ordinary threads", error));
    }
    Ok(())
}
