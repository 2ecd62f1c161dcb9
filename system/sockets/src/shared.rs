//! What the driver task and the sockets of one host share.

use crate::error;
use crate::manage::{Change, Readers};
use crate::paths::PathQueue;
use anabranch_stack::{
    CloseReason, Event, FlowError, FlowId, Instant, ListenerId, PathEvent, Stack,
};
use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::time::Duration;
use tokio::time;

/// A host's state behind its lock. Cloning counts as a further handle.
pub(crate) struct Shared(Arc<Mutex<Inner>>);

/// All there is to a host.
pub(crate) struct Inner {
    pub(crate) stack: Stack,
    clock: Clock,
    flows: HashMap<FlowId, Wakers>,
    listeners: HashMap<ListenerId, Vec<Waker>>,
    /// Wakes whoever waits for the host to have ended.
    watchers: Vec<Waker>,
    driver: Driver,
    /// Hosts, listeners and streams that exist.
    handles: usize,
    phase: Phase,
    /// Set once, when the driver task has ended.
    ended: Option<Ended>,
    pub(crate) readers: Readers,
}

/// What the stack's time is counted from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock(time::Instant);

impl Clock {
    /// A clock that begins at 0.
    pub(crate) fn start() -> Clock {
        Clock(time::Instant::now())
    }

    fn now(self) -> Instant {
        Instant(u64::try_from(self.0.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }
}

/// How long the driver task goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Until no handle is left, and every connection is closed.
    Serving,
    /// Until every connection is closed, and no stream is left whose bytes may wait to be read.
    Draining,
    /// Until every connection is closed.
    Aborting,
}

/// The driver task as its sockets see it.
#[derive(Default)]
struct Driver {
    waker: Option<Waker>,
    /// It will run anyway: no need to wake it again.
    awake: bool,
    /// How long it looks for packets before it sleeps.
    busy_poll: Duration,
}

/// Who waits for what on a connection.
#[derive(Default)]
struct Wakers {
    read: Option<Waker>,
    write: Option<Waker>,
    established: bool,
    closed: Option<CloseReason>,
    /// If somebody wants to know of its paths.
    paths: Option<Box<PathQueue>>,
}

impl Wakers {
    /// Everyone who waits.
    fn take(&mut self) -> Vec<Waker> {
        let paths = self.paths.as_mut().and_then(|queue| queue.wake());
        let all = [self.read.take(), self.write.take(), paths];
        all.into_iter().flatten().collect()
    }
}

/// Why the driver task ended.
#[derive(Clone, Debug)]
struct Ended {
    kind: io::ErrorKind,
    message: String,
}

impl Ended {
    fn error(&self) -> io::Error {
        io::Error::new(self.kind, self.message.clone())
    }
}

impl Shared {
    pub(crate) fn new(clock: Clock, make: impl FnOnce(Instant) -> Stack) -> Shared {
        Shared(Arc::new(Mutex::new(Inner {
            stack: make(clock.now()),
            clock,
            flows: HashMap::new(),
            listeners: HashMap::new(),
            watchers: Vec::new(),
            driver: Driver::default(),
            handles: 1,
            phase: Phase::Serving,
            ended: None,
            readers: Readers::default(),
        })))
    }

    /// What the driver task holds: not a handle, so that it may end when no handle is left.
    pub(crate) fn for_driver(&self) -> Arc<Mutex<Inner>> {
        Arc::clone(&self.0)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        lock(&self.0)
    }
}

/// Locks; a panic under the lock has ended the driver task, which every call reports anyway.
pub(crate) fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Clone for Shared {
    fn clone(&self) -> Shared {
        self.lock().handles += 1;
        Shared(Arc::clone(&self.0))
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        let mut inner = self.lock();
        inner.handles -= 1;
        if inner.handles == 0 {
            inner.wake_driver();
        }
    }
}

impl Inner {
    /// Now, on the stack's clock.
    pub(crate) fn now(&self) -> Instant {
        self.clock.now()
    }

    /// When `at` is, on the runtime's clock.
    pub(crate) fn when(&self, at: Instant) -> time::Instant {
        self.clock.0 + at.since(Instant(0))
    }

    /// Has the driver task send what the stack has to send, after the tasks that are ready now.
    pub(crate) fn wake_driver(&mut self) {
        if !self.driver.awake
            && let Some(waker) = &self.driver.waker
        {
            self.driver.awake = true;
            waker.wake_by_ref();
        }
    }

    /// The driver task begins a turn: changes from now on need another.
    pub(crate) fn begin_turn(&mut self, waker: &Waker) {
        self.driver.awake = false;
        match &mut self.driver.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }

    pub(crate) fn set_busy_poll(&mut self, limit: Duration) {
        self.driver.busy_poll = limit;
        self.wake_driver();
    }

    pub(crate) fn busy_poll(&self) -> Duration {
        self.driver.busy_poll
    }

    /// The driver task has had itself woken.
    pub(crate) fn stay_awake(&mut self) {
        self.driver.awake = true;
    }

    /// The driver task has nothing to do any more.
    pub(crate) fn is_over(&self) -> bool {
        let unused = match self.phase {
            Phase::Serving => self.handles == 0,
            Phase::Draining => self.flows.is_empty(),
            Phase::Aborting => true,
        };
        unused && self.stack.is_quiet()
    }

    /// No listener from now on; the driver task ends when every connection is closed.
    pub(crate) fn drain(&mut self) {
        if self.phase == Phase::Serving {
            self.phase = Phase::Draining;
        }
        let ids: Vec<_> = self.listeners.keys().copied().collect();
        ids.into_iter().for_each(|id| self.close_listener(id));
        self.wake_driver();
    }

    /// Resets every connection; says how many there were.
    pub(crate) fn abort_all(&mut self) -> usize {
        self.phase = Phase::Aborting;
        let now = self.now();
        let open = self.stack.abort_all(now);
        self.wake_driver();
        open
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Fails once the driver task has ended.
    pub(crate) fn check(&self) -> io::Result<()> {
        match &self.ended {
            None => Ok(()),
            Some(ended) => Err(ended.error()),
        }
    }

    /// Ends the host: nothing moves any more, and everyone who waits is told.
    pub(crate) fn end(&mut self, kind: io::ErrorKind, message: String) -> Vec<Waker> {
        self.ended.get_or_insert(Ended { kind, message });
        let mut wake = std::mem::take(&mut self.watchers);
        for wakers in self.flows.values_mut() {
            wake.append(&mut wakers.take());
        }
        for waiting in self.listeners.values_mut() {
            wake.append(waiting);
        }
        wake
    }

    /// Takes the stack's events and appends the wakers of those they concern.
    pub(crate) fn take_events(&mut self, wake: &mut Vec<Waker>) {
        while let Some(event) = self.stack.poll_event() {
            match event {
                Event::Accepted(listener) => {
                    if let Some(waiting) = self.listeners.get_mut(&listener) {
                        wake.append(waiting);
                    }
                }
                Event::Readable(flow) | Event::PeerFin(flow) => {
                    let wakers = self.flows.get_mut(&flow);
                    wake.extend(wakers.and_then(|w| w.read.take()));
                }
                Event::Writable(flow) => {
                    let wakers = self.flows.get_mut(&flow);
                    wake.extend(wakers.and_then(|w| w.write.take()));
                }
                Event::Established(flow) => {
                    self.tell(flow, Change::Established);
                    self.settle(flow, None, wake);
                }
                Event::Closed(flow, reason) => {
                    self.tell(flow, Change::Closed(reason));
                    self.settle(flow, Some(reason), wake);
                }
                Event::Path(flow, event) => {
                    tracing::debug!("{flow}: {event:?}");
                    self.tell(flow, Change::Path(event.clone()));
                    if let PathEvent::Stuck(_) = event {
                        // Who waits to write is told why that will not be.
                        let wakers = self.flows.get_mut(&flow);
                        wake.extend(wakers.and_then(|w| w.write.take()));
                    }
                    if let Some(queue) = self.path_queue(flow) {
                        wake.extend(queue.push(event));
                    }
                }
            }
        }
    }

    /// Tells whoever reads the news of the host.
    pub(crate) fn tell(&mut self, flow: FlowId, change: Change) {
        let now = self.now();
        self.readers.tell(&self.stack, now, flow, change);
    }

    fn settle(&mut self, flow: FlowId, closed: Option<CloseReason>, wake: &mut Vec<Waker>) {
        let Some(wakers) = self.flows.get_mut(&flow) else {
            return;
        };
        wakers.established |= closed.is_none();
        wakers.closed = wakers.closed.or(closed);
        wake.append(&mut wakers.take());
    }

    pub(crate) fn watch(&mut self, waker: &Waker) {
        enlist(&mut self.watchers, waker);
    }

    // Listeners.

    pub(crate) fn add_listener(&mut self, id: ListenerId) {
        self.listeners.insert(id, Vec::new());
    }

    pub(crate) fn await_accept(&mut self, id: ListenerId, waker: &Waker) {
        enlist(self.listeners.entry(id).or_default(), waker);
    }

    pub(crate) fn close_listener(&mut self, id: ListenerId) {
        if let Some(waiting) = self.listeners.remove(&id) {
            waiting.into_iter().for_each(Waker::wake);
            let now = self.now();
            self.stack.close_listener(now, id);
            self.wake_driver();
        }
    }

    pub(crate) fn is_listening(&self, id: ListenerId) -> bool {
        self.listeners.contains_key(&id)
    }

    // Connections.

    pub(crate) fn add_flow(&mut self, id: FlowId) {
        self.flows.insert(id, Wakers::default());
    }

    /// Keeps what happens to the paths of a connection from now on.
    pub(crate) fn watch_paths(&mut self, id: FlowId) {
        if let Some(wakers) = self.flows.get_mut(&id) {
            wakers.paths.get_or_insert_default();
        }
    }

    pub(crate) fn path_queue(&mut self, id: FlowId) -> Option<&mut PathQueue> {
        self.flows.get_mut(&id)?.paths.as_deref_mut()
    }

    pub(crate) fn release(&mut self, id: FlowId) {
        if let Some(mut wakers) = self.flows.remove(&id) {
            wakers.take().into_iter().for_each(Waker::wake);
        }
        let now = self.now();
        self.stack.release(now, id);
        self.wake_driver();
    }

    pub(crate) fn await_read(&mut self, id: FlowId, waker: &Waker) {
        set(self.flows.get_mut(&id).map(|w| &mut w.read), waker);
    }

    pub(crate) fn await_write(&mut self, id: FlowId, waker: &Waker) {
        set(self.flows.get_mut(&id).map(|w| &mut w.write), waker);
    }

    /// Why the connection has ended; `None` while it has not.
    pub(crate) fn close_reason(&self, id: FlowId) -> Option<CloseReason> {
        self.flows.get(&id).and_then(|wakers| wakers.closed)
    }

    /// Fails once the host has ended; with the connection's own reason, if that ended before.
    pub(crate) fn check_flow(&self, id: FlowId) -> io::Result<()> {
        match (&self.ended, self.close_reason(id)) {
            (None, _) => Ok(()),
            (Some(_), Some(reason)) => Err(error::flow(FlowError::Closed(reason))),
            (Some(ended), None) => Err(ended.error()),
        }
    }

    /// Whether the handshake is complete.
    ///
    /// # Errors
    /// The connection ended before.
    pub(crate) fn is_established(&self, id: FlowId) -> io::Result<bool> {
        self.check()?;
        match self.flows.get(&id) {
            Some(Wakers {
                established: true, ..
            }) => Ok(true),
            Some(Wakers {
                closed: Some(reason),
                ..
            }) => Err(error::closed(*reason)),
            _ => Ok(false),
        }
    }
}

fn set(slot: Option<&mut Option<Waker>>, waker: &Waker) {
    match slot {
        Some(Some(known)) => known.clone_from(waker),
        Some(none) => *none = Some(waker.clone()),
        None => {}
    }
}

fn enlist(list: &mut Vec<Waker>, waker: &Waker) {
    if !list.iter().any(|known| known.will_wake(waker)) {
        list.push(waker.clone());
    }
}
