//! The task that gives a stack the ICMP errors that its device does not carry.

use crate::shared::{Inner, lock};
use anabranch_drivers::IcmpErrors;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::unix::AsyncFd;

/// Messages taken before other tasks have their turn.
const BATCH: usize = 64;

/// Feeds the stack until the host has ended, or the socket fails.
///
/// # Errors
/// The runtime refuses the descriptor.
pub(crate) fn spawn(mut errors: IcmpErrors, shared: Arc<Mutex<Inner>>) -> io::Result<()> {
    let ready = crate::watch(errors.fd())?;
    tokio::spawn(async move {
        let fed = poll_fn(|cx| {
            let mut inner = lock(&shared);
            if inner.has_ended() {
                return Poll::Ready(Ok(()));
            }
            inner.watch(cx.waker());
            batch(&mut errors, &ready, &mut inner, cx)
        });
        if let Err(error) = fed.await {
            tracing::warn!("ICMP errors are not heard any more: {error}");
        }
    });
    Ok(())
}

fn batch(
    errors: &mut IcmpErrors,
    ready: &AsyncFd<OwnedFd>,
    inner: &mut Inner,
    cx: &mut Context<'_>,
) -> Poll<io::Result<()>> {
    for _ in 0..BATCH {
        let Poll::Ready(guard) = ready.poll_read_ready(cx) else {
            return Poll::Pending;
        };
        let mut guard = guard?;
        match errors.receive() {
            Ok(Some(frame)) => {
                let now = inner.now();
                inner.stack.receive(now, frame);
                inner.wake_driver();
            }
            Ok(None) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
    cx.waker().wake_by_ref();
    Poll::Pending
}
