//! A device as its task uses it: in batches, and waited for when it has nothing, or no room.

use anabranch_drivers::Driver;
use anabranch_wire::frame::{Frame, Transmit};
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Frames received, and packets sent, before the other direction has its turn.
pub(crate) const BATCH: usize = 64;

/// What a direction of the device has left to do.
#[derive(PartialEq, Eq, Clone, Copy)]
pub(crate) enum Left {
    /// Nothing until the device or an application says so.
    Nothing,
    /// There may be more at once.
    More,
}

/// A device, and what is on its way to and from it.
pub(crate) struct Port<D> {
    device: D,
    ready: Arc<AsyncFd<OwnedFd>>,
    /// Ready when the device has something to say that is no packet: that it is gone.
    alarm: Pin<Box<dyn Future<Output = ()> + Send>>,
    /// Those of the last batch.
    pub(crate) frames: Vec<Frame>,
    /// Packets for the device; it had no room for those that are left after a batch.
    pub(crate) outgoing: VecDeque<Transmit>,
    /// The device takes no packets any more; it may still hold some for us.
    gone: Option<io::Error>,
}

/// Ends when the descriptor tells of an error.
fn alarm(ready: Arc<AsyncFd<OwnedFd>>) -> Pin<Box<dyn Future<Output = ()> + Send>> {
    Box::pin(async move {
        // The runtime shuts down otherwise.
        if let Ok(mut guard) = ready.ready(Interest::ERROR).await {
            guard.clear_ready();
        }
    })
}

impl<D: Driver> Port<D> {
    pub(crate) fn new(device: D) -> io::Result<Port<D>> {
        let fd = device.fd().ok_or_else(|| {
            io::Error::new(ErrorKind::Unsupported, "the device cannot be waited for")
        })?;
        let ready = Arc::new(crate::watch(fd)?);
        Ok(Port {
            device,
            alarm: alarm(Arc::clone(&ready)),
            ready,
            frames: Vec::with_capacity(BATCH),
            outgoing: VecDeque::with_capacity(BATCH),
            gone: None,
        })
    }

    /// Whether frames wait that nothing tells of.
    pub(crate) fn is_waiting(&self) -> bool {
        self.device.is_waiting()
    }

    /// Why the device takes no packets any more, once nothing comes from it either.
    pub(crate) fn take_end(&mut self) -> Option<io::Error> {
        self.gone.take()
    }

    /// Receives a batch, or has the task woken when there may be one.
    pub(crate) fn receive(&mut self, cx: &mut Context<'_>) -> io::Result<Left> {
        if self.device.is_waiting() {
            return self.receive_now();
        }
        loop {
            let Poll::Ready(guard) = self.ready.poll_read_ready(cx) else {
                if self.alarm.as_mut().poll(cx).is_pending() {
                    return Ok(Left::Nothing);
                }
                // What it is, the device says; it may be over already.
                self.alarm = alarm(Arc::clone(&self.ready));
                match self.receive_now()? {
                    Left::More => return Ok(Left::More),
                    Left::Nothing => continue,
                }
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

    /// Looks for a batch without having been told of any. The task is not woken for what comes
    /// later.
    pub(crate) fn receive_now(&mut self) -> io::Result<Left> {
        match self.device.receive(&mut self.frames, BATCH) {
            Ok(_) => Ok(Left::More),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Left::Nothing),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(Left::More),
            Err(error) => Err(error),
        }
    }

    /// Sends a batch with what `next` adds to it, or has the task woken when the device may have room
    /// for what is left of it. (Readability can mean room too, and wakes the task anyway.)
    pub(crate) fn send(
        &mut self,
        mut next: impl FnMut() -> Option<Transmit>,
        cx: &mut Context<'_>,
    ) -> io::Result<Left> {
        while self.outgoing.len() < BATCH
            && let Some(transmit) = next()
        {
            self.outgoing.push_back(transmit);
        }
        if self.outgoing.is_empty() {
            return Ok(Left::Nothing);
        }
        let left = match self.outgoing.len() {
            BATCH => Left::More,
            _ => Left::Nothing,
        };
        let mut sent = self.device.send_all(&mut self.outgoing);
        loop {
            match sent {
                Ok(()) => return Ok(left),
                Err(error) if error.kind() != ErrorKind::WouldBlock => {
                    self.outgoing.clear();
                    self.gone = Some(error);
                    return Ok(Left::More);
                }
                Err(_) => {}
            }
            // Readiness is taken before the attempt that may clear it.
            let Poll::Ready(guard) = self.ready.poll_write_ready(cx) else {
                return Ok(Left::Nothing);
            };
            let mut guard = guard?;
            sent = self.device.send_all(&mut self.outgoing);
            if matches!(&sent, Err(error) if error.kind() == ErrorKind::WouldBlock) {
                guard.clear_ready();
            }
        }
    }
}
