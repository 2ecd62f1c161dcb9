//! How strays cross from one shard to another: a bounded queue for each to read.

use crate::shared::Inner;
use anabranch_stack::{Instant, Stray};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Strays that may wait for a shard. More are lost, as if on the wire.
const CAPACITY: usize = 1024;

/// A shard's end of all of them.
pub(crate) struct Lanes {
    incoming: mpsc::Receiver<Stray>,
    /// To each shard, this one included.
    outgoing: Vec<mpsc::Sender<Stray>>,
    /// What is taken at a time.
    taken: Vec<Stray>,
}

impl Lanes {
    /// Those of so many shards.
    pub(crate) fn of(count: usize) -> Vec<Lanes> {
        let (outgoing, incoming): (Vec<_>, Vec<_>) =
            (0..count).map(|_| mpsc::channel(CAPACITY)).unzip();
        let lanes = incoming.into_iter().map(|incoming| Lanes {
            incoming,
            outgoing: outgoing.clone(),
            taken: Vec::new(),
        });
        lanes.collect()
    }

    /// Gives the stack at most `max` strays; whether there may be more. The task is woken for those
    /// to come.
    pub(crate) fn receive(
        &mut self,
        inner: &mut Inner,
        now: Instant,
        max: usize,
        cx: &mut Context<'_>,
    ) -> bool {
        let polled = self.incoming.poll_recv_many(cx, &mut self.taken, max);
        for stray in self.taken.drain(..) {
            inner.stack.receive_stray(now, stray);
        }
        matches!(polled, Poll::Ready(count) if count > 0)
    }

    /// Takes the stack's strays to where they belong.
    pub(crate) fn send(&mut self, inner: &mut Inner, now: Instant) {
        while let Some((to, stray)) = inner.stack.poll_stray() {
            match self.outgoing[to].try_send(stray) {
                Ok(()) => {}
                Err(TrySendError::Full(_)) => inner.stack.lose_stray(),
                Err(TrySendError::Closed(stray)) => inner.stack.take_back_stray(now, to, stray),
            }
        }
    }
}
