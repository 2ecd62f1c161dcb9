//! The task that moves packets between a device and its stack.

use crate::fine::FineTimer;
use crate::shared::{Inner, lock};
use anabranch_drivers::Driver;
use anabranch_wire::frame::{Frame, Transmit};
use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tokio::io::unix::AsyncFd;
use tokio::time::Sleep;

/// Frames received, and packets sent, before the other direction has its turn.
const BATCH: usize = 64;

/// Batches in one turn; then the applications run.
const BATCHES: usize = 4;

/// Tells everyone who waits, when the driver task has ended in whatever way.
struct Farewell {
    shared: Arc<Mutex<Inner>>,
    kind: ErrorKind,
    message: String,
}

/// Drives `device` until no handle of the host is left and every connection is closed, or the
/// host is told to stop, or the device fails.
///
/// # Errors
/// The device cannot be waited for, or the runtime refuses its descriptor.
pub(crate) fn spawn<D: Driver + 'static>(device: D, shared: Arc<Mutex<Inner>>) -> io::Result<()> {
    let mut task = DriverTask::new(device, Arc::clone(&shared))?;
    let mut farewell = Farewell {
        shared,
        kind: ErrorKind::ConnectionAborted,
        message: "the host has stopped".to_owned(),
    };
    tokio::spawn(async move {
        if let Err(error) = (&mut task).await {
            farewell.kind = error.kind();
            farewell.message = format!("packet device: {error}");
        }
        // The device is closed before anyone hears that the host has ended.
        drop(task);
        drop(farewell);
    });
    Ok(())
}

impl Drop for Farewell {
    fn drop(&mut self) {
        let message = std::mem::take(&mut self.message);
        let waiting = lock(&self.shared).end(self.kind, message);
        waiting.into_iter().for_each(Waker::wake);
    }
}

/// One turn after another.
struct DriverTask<D> {
    device: D,
    ready: AsyncFd<OwnedFd>,
    shared: Arc<Mutex<Inner>>,
    timer: Pin<Box<Sleep>>,
    /// For near deadlines; `None`: the kernel gave none.
    fine: Option<FineTimer>,
    frames: Vec<Frame>,
    /// A packet that the device had no room for.
    refused: Option<Transmit>,
    wake: Vec<Waker>,
}

/// What a direction of the device has left to do.
#[derive(PartialEq, Eq, Clone, Copy)]
enum Left {
    /// Nothing until the device or an application says so.
    Nothing,
    /// There may be more at once.
    More,
}

impl<D: Driver> DriverTask<D> {
    fn new(device: D, shared: Arc<Mutex<Inner>>) -> io::Result<DriverTask<D>> {
        let fd = device.fd().ok_or_else(|| {
            io::Error::new(ErrorKind::Unsupported, "the device cannot be waited for")
        })?;
        let ready = crate::watch(fd)?;
        Ok(DriverTask {
            device,
            ready,
            shared,
            timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
            fine: FineTimer::new().ok(),
            frames: Vec::with_capacity(BATCH),
            refused: None,
            wake: Vec::new(),
        })
    }

    /// One turn: batches both ways, timers, events. `Ready` when the task is done.
    fn turn(&mut self, inner: &mut Inner, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner.begin_turn(cx.waker());
        let mut left = Ok(Left::More);
        for _ in 0..BATCHES {
            if let Ok(Left::More) = left {
                left = self.batch(inner, cx);
            }
        }
        inner.take_events(&mut self.wake);
        let left = left?;
        if inner.is_over() {
            return Poll::Ready(Ok(()));
        }
        if left == Left::More || self.poll_timer(inner, cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        Poll::Pending
    }

    /// Receives a batch, lets time pass, and sends a batch: the clock is read once.
    fn batch(&mut self, inner: &mut Inner, cx: &mut Context<'_>) -> io::Result<Left> {
        let now = inner.now();
        let received = self.receive(cx)?;
        for frame in self.frames.drain(..) {
            inner.stack.receive(now, frame);
        }
        if inner
            .stack
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            inner.stack.on_deadline(now);
        }
        let sent = self.send(inner, now, cx);
        Ok(if received == Left::More || sent == Left::More {
            Left::More
        } else {
            Left::Nothing
        })
    }

    fn receive(&mut self, cx: &mut Context<'_>) -> io::Result<Left> {
        loop {
            let Poll::Ready(guard) = self.ready.poll_read_ready(cx) else {
                return Ok(Left::Nothing);
            };
            let mut guard = guard?;
            match self.device.receive(&mut self.frames, BATCH) {
                Ok(_) => return Ok(Left::More),
                Err(error) if error.kind() == ErrorKind::WouldBlock => guard.clear_ready(),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn send(
        &mut self,
        inner: &mut Inner,
        now: anabranch_stack::Instant,
        cx: &mut Context<'_>,
    ) -> Left {
        for _ in 0..BATCH {
            let transmit = match self.refused.take() {
                Some(refused) => refused,
                None => match inner.stack.poll_transmit(now) {
                    Some(transmit) => transmit,
                    None => return Left::Nothing,
                },
            };
            if let Some(refused) = self.send_one(transmit, cx) {
                self.refused = Some(refused);
                return Left::Nothing;
            }
        }
        Left::More
    }

    /// Sends one packet, or gives it back and has the task woken when the device may have room.
    /// (Readability can mean room too, and wakes the task anyway.)
    fn send_one(&mut self, transmit: Transmit, cx: &mut Context<'_>) -> Option<Transmit> {
        let mut result = self.device.send(&transmit);
        while let Err(error) = result {
            if error.kind() != ErrorKind::WouldBlock {
                // Lost as if on the wire; a device that is gone tells so on receiving.
                tracing::debug!("packet not sent: {error}");
                return None;
            }
            // Readiness is taken before the attempt that may clear it.
            match self.ready.poll_write_ready(cx) {
                Poll::Ready(Ok(mut guard)) => {
                    result = self.device.send(&transmit);
                    if matches!(&result, Err(e) if e.kind() == ErrorKind::WouldBlock) {
                        guard.clear_ready();
                    }
                }
                // An error means that the runtime shuts down: this task will not run again.
                Poll::Pending | Poll::Ready(Err(_)) => return Some(transmit),
            }
        }
        None
    }

    /// Sleeps until the stack's deadline.
    fn poll_timer(&mut self, inner: &Inner, cx: &mut Context<'_>) -> Poll<()> {
        let Some(deadline) = inner.stack.deadline() else {
            return Poll::Pending;
        };
        if let Some(fine) = &mut self.fine
            && fine.poll(inner.now(), deadline, cx).is_ready()
        {
            return Poll::Ready(());
        }
        let deadline = inner.when(deadline);
        if self.timer.deadline() != deadline {
            self.timer.as_mut().reset(deadline);
        }
        self.timer.as_mut().poll(cx)
    }
}

// Nothing in it is pinned but the timer, which has a box of its own.
impl<D> Unpin for DriverTask<D> {}

impl<D: Driver> Future for DriverTask<D> {
    type Output = io::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let shared = Arc::clone(&this.shared);
        let mut inner = lock(&shared);
        let turn = this.turn(&mut inner, cx);
        drop(inner);
        // Outside the lock: a waker is foreign code.
        this.wake.drain(..).for_each(Waker::wake);
        turn
    }
}
