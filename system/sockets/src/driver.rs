//! The task that moves packets between a device and its stack.

use crate::fine::FineTimer;
use crate::lanes::Lanes;
use crate::port::{BATCH, Left, Port};
use crate::shared::{Inner, lock};
use anabranch_drivers::Driver;
use anabranch_stack::Instant;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use tokio::time::Sleep;

/// Batches in one turn, unless an application is woken: then it runs first.
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
pub(crate) fn spawn<D: Driver + 'static>(
    device: D,
    shared: Arc<Mutex<Inner>>,
    lanes: Option<Lanes>,
) -> io::Result<()> {
    let mut task = DriverTask::new(device, Arc::clone(&shared), lanes)?;
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
    port: Port<D>,
    shared: Arc<Mutex<Inner>>,
    timer: Pin<Box<Sleep>>,
    /// For near deadlines; `None`: the kernel gave none.
    fine: Option<FineTimer>,
    /// To and from the other shards, if there are any.
    lanes: Option<Lanes>,
    wake: Vec<Waker>,
    /// When there was last something to do.
    busy: Instant,
    /// The last batch was looked for: the task is not woken for the next one.
    spins: bool,
}

/// Has the task woken when all tasks that are ready have run, those that they wake too, and the
/// runtime has looked for other I/O.
fn wake_after_all(cx: &mut Context<'_>) {
    // The first poll leaves the waker with the runtime; there is nothing to come back to.
    let _ = pin!(tokio::task::yield_now()).poll(cx);
}

impl<D: Driver> DriverTask<D> {
    fn new(
        device: D,
        shared: Arc<Mutex<Inner>>,
        lanes: Option<Lanes>,
    ) -> io::Result<DriverTask<D>> {
        Ok(DriverTask {
            port: Port::new(device)?,
            shared,
            timer: Box::pin(tokio::time::sleep(std::time::Duration::ZERO)),
            fine: FineTimer::new().ok(),
            lanes,
            wake: Vec::new(),
            busy: Instant(0),
            spins: false,
        })
    }

    /// One turn: batches both ways, timers, events. `Ready` when the task is done.
    fn turn(&mut self, inner: &mut Inner, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner.begin_turn(cx.waker());
        let mut left = Ok(Left::More);
        for _ in 0..BATCHES {
            if let Ok(Left::More) = left
                && self.wake.is_empty()
            {
                left = self.batch(inner, cx);
                inner.take_events(&mut self.wake);
            }
        }
        let left = left?;
        if inner.is_over() {
            return Poll::Ready(Ok(()));
        }
        if left == Left::More && !self.wake.is_empty() {
            // What they write leaves with the acknowledgement of what they read.
            inner.stay_awake();
            wake_after_all(cx);
        } else if left == Left::More || self.poll_timer(inner, cx).is_ready() {
            inner.stay_awake();
            cx.waker().wake_by_ref();
        } else if self.spins {
            inner.stay_awake();
            wake_after_all(cx);
        }
        Poll::Pending
    }

    /// Sends a batch, receives one, and lets time pass: the clock is read once. What the packets
    /// received have us send is sent by the next batch, after the applications they wake.
    fn batch(&mut self, inner: &mut Inner, cx: &mut Context<'_>) -> io::Result<Left> {
        let now = inner.now();
        self.spins = now.since(self.busy) < inner.busy_poll();
        let sent = self.port.send(|| inner.stack.poll_transmit(now), cx)?;
        let mut received = match self.spins {
            true => self.port.receive_now()?,
            false => self.port.receive(cx)?,
        };
        for frame in self.port.frames.drain(..) {
            inner.stack.receive(now, frame);
        }
        if let Some(lanes) = &mut self.lanes {
            if lanes.receive(inner, now, BATCH, cx) {
                received = Left::More;
            }
            lanes.send(inner, now);
        }
        if received == Left::Nothing
            && let Some(error) = self.port.take_end()
        {
            return Err(error);
        }
        if inner
            .stack
            .deadline()
            .is_some_and(|deadline| deadline <= now)
        {
            inner.stack.on_deadline(now);
            received = Left::More;
        }
        let more = received == Left::More || sent == Left::More || self.port.is_waiting();
        if !more {
            return Ok(Left::Nothing);
        }
        self.busy = now;
        Ok(Left::More)
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
