//! Deadlines nearer than the runtime's clock can tell apart.
//!
//! Tokio's timers go by the millisecond, and are late by up to one. That is a super-frame or two of
//! a paced connection each time. A kernel timer is exact, and costs a system call when it is set
//! and nothing while it runs: for near deadlines it stands beside the runtime's timer, which keeps
//! the far ones (and those of tests, whose time is not the kernel's).

use anabranch_stack::Instant;
use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// Deadlines this near are worth a system call.
const NEAR: Duration = Duration::from_millis(4);

/// A timer of the kernel.
pub(crate) struct FineTimer {
    timer: TimerFd,
    ready: AsyncFd<OwnedFd>,
    /// When it expires, if it runs. It may be earlier than the deadline, which moves often and
    /// mostly to later: then it is set again when it expires.
    armed: Option<Instant>,
}

impl FineTimer {
    /// # Errors
    /// The kernel has no more descriptors.
    pub(crate) fn new() -> io::Result<FineTimer> {
        let flags = TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC;
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, flags)?;
        let ready = crate::watch(timer.as_fd())?;
        Ok(FineTimer {
            timer,
            ready,
            armed: None,
        })
    }

    /// Ready when a near `deadline` is reached, or somewhat before; far ones are left to others.
    pub(crate) fn poll(
        &mut self,
        now: Instant,
        deadline: Instant,
        cx: &mut Context<'_>,
    ) -> Poll<()> {
        let left = deadline.since(now);
        if left > NEAR {
            return Poll::Pending;
        }
        if self.armed.is_none_or(|at| at > deadline || at <= now) {
            // Zero would stop the timer.
            let after = TimeSpec::from_duration(left.max(Duration::from_nanos(1)));
            let once = Expiration::OneShot(after);
            if self.timer.set(once, TimerSetTimeFlags::empty()).is_err() {
                return Poll::Pending;
            }
            self.armed = Some(deadline);
        }
        match self.ready.poll_read_ready(cx) {
            Poll::Ready(Ok(mut guard)) => {
                guard.clear_ready();
                self.armed = None;
                Poll::Ready(())
            }
            // The runtime shuts down.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::poll_fn;

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime")
    }

    #[test]
    fn a_near_deadline_comes_and_can_be_set_again() {
        runtime().block_on(async {
            let mut timer = FineTimer::new().expect("a timer");
            for start in 0..3 {
                let now = Instant(start * 1_000_000_000);
                let deadline = now + Duration::from_micros(200);
                poll_fn(|cx| timer.poll(now, deadline, cx)).await;
                assert_eq!(timer.armed, None, "expired");
            }
        });
    }

    #[test]
    fn a_far_deadline_is_none_of_its_business() {
        runtime().block_on(async {
            let mut timer = FineTimer::new().expect("a timer");
            let far = Instant(1_000_000_000);
            poll_fn(|cx| {
                assert!(timer.poll(Instant(0), far, cx).is_pending());
                Poll::Ready(())
            })
            .await;
            assert_eq!(timer.armed, None);
        });
    }
}
