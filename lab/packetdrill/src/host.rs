//! The library's one host, and how its calls wait.
//!
//! Time is virtual: it moves when packetdrill reads the clock, sleeps or waits for a packet. A call
//! that blocks on packetdrill's second thread is given a turn after everything that happens, and
//! whoever made it happen waits until the call blocks again or is done. So nothing depends on how
//! threads are scheduled.

use crate::world::World;
use anabranch_cabi::{Errno, Interface, Result};
use anabranch_mptcp::keys::Version;
use anabranch_tcp::Instant;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How far the clock goes on at each reading: packetdrill spins on it.
const TICK: Duration = Duration::from_micros(1);

/// When nobody has called for so long, in real time, everybody waits for the blocked call, which
/// then moves time itself.
const SILENCE: Duration = Duration::from_millis(100);

/// Real time for packetdrill's other thread to carry on after a call.
const HANDOVER: Duration = Duration::from_millis(2);

/// One stack under socket calls.
pub struct Host {
    shared: Mutex<Shared>,
    changed: Condvar,
    /// The thread that loaded the library.
    main: ThreadId,
}

pub(crate) struct Shared {
    pub(crate) world: World,
    blocked: BTreeMap<u64, Blocked>,
    next_blocked: u64,
    /// Calls so far.
    calls: u64,
    /// A call that had blocked returned since time last went by.
    left: bool,
    /// When calls of other threads than the main one returned: what their next look at the clock
    /// is to show.
    returned: HashMap<ThreadId, Instant>,
}

/// A blocked call.
struct Blocked {
    /// When it gives up.
    limit: Option<Instant>,
    /// It is to look again.
    turn: bool,
}

impl Shared {
    fn block(&mut self, limit: Option<Instant>) -> u64 {
        let id = self.next_blocked;
        self.next_blocked += 1;
        self.blocked.insert(id, Blocked { limit, turn: false });
        self.set_alarm();
        id
    }

    fn unblock(&mut self, id: u64) {
        self.blocked.remove(&id);
        self.set_alarm();
    }

    fn is_waiting(&self, id: u64) -> bool {
        self.blocked.get(&id).is_some_and(|blocked| !blocked.turn)
    }

    fn set_alarm(&mut self) {
        self.world.alarm = self
            .blocked
            .values()
            .filter_map(|blocked| blocked.limit)
            .min();
    }
}

type Guard<'a> = MutexGuard<'a, Shared>;

/// What an attempt at a call came to.
pub(crate) enum Attempt<T> {
    Done(Result<T>),
    /// Not now; perhaps after something happened.
    Later,
}

impl Host {
    /// For [`anabranch_cabi::export!`]. `flags` are the addresses of this host, separated by commas,
    /// `mtu=` with that of its device, if it is not 1500, and `version=` with that of Multipath TCP,
    /// if there is only one.
    pub fn start(flags: &str) -> Box<dyn Interface> {
        let addresses: Vec<IpAddr> = flags
            .split(',')
            .filter_map(|ip| ip.trim().parse().ok())
            .collect();
        let epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        let now = Instant(0) + epoch;
        let number = |name: &str| {
            let mut flags = flags.split(',');
            flags.find_map(|flag| flag.trim().strip_prefix(name)?.parse::<u16>().ok())
        };
        let version = number("version=").and_then(|number| Version::of(number as u8));
        let world = World::new(now, addresses, number("mtu=").unwrap_or(1500), version);
        Box::new(Host {
            shared: Mutex::new(Shared {
                world,
                blocked: BTreeMap::new(),
                next_blocked: 0,
                calls: 0,
                left: false,
                returned: HashMap::new(),
            }),
            changed: Condvar::new(),
            main: thread::current().id(),
        })
    }

    pub(crate) fn lock(&self) -> Guard<'_> {
        let mut guard = self.shared.lock().unwrap_or_else(PoisonError::into_inner);
        guard.calls += 1;
        guard
    }

    /// A call that does not wait.
    pub(crate) fn call<T>(&self, act: impl FnOnce(&mut World) -> T) -> T {
        let mut guard = self.lock();
        let result = act(&mut guard.world);
        guard.world.settle();
        drop(self.take_turns(guard));
        result
    }

    /// A call that is tried until it is done, `EAGAIN` if it may not wait, or what `late` says when
    /// `timeout` is over.
    pub(crate) fn attempt<T>(
        &self,
        may_wait: impl FnOnce(&mut World) -> bool,
        timeout: Option<Duration>,
        late: impl FnOnce() -> Result<T>,
        mut act: impl FnMut(&mut World) -> Attempt<T>,
    ) -> Result<T> {
        let mut guard = self.lock();
        let limit = timeout.map(|timeout| guard.world.now + timeout);
        let may_wait = may_wait(&mut guard.world);
        let result = loop {
            let attempt = act(&mut guard.world);
            guard.world.settle();
            if let Attempt::Done(result) = attempt {
                break result;
            }
            if !may_wait || limit.is_some_and(|limit| guard.world.now >= limit) {
                break late();
            }
            let waited;
            (guard, waited) = self.wait(guard, limit);
            if !waited {
                break late();
            }
        };
        if thread::current().id() != self.main {
            let now = guard.world.now;
            guard.returned.insert(thread::current().id(), now);
            guard.left = true;
        }
        drop(self.take_turns(guard));
        result
    }

    /// Waits until something happened or time is at `limit`; false if nothing will ever happen.
    fn wait<'a>(&'a self, mut guard: Guard<'a>, limit: Option<Instant>) -> (Guard<'a>, bool) {
        if thread::current().id() == self.main {
            let moved = guard.world.skip(limit);
            return (guard, moved);
        }
        let me = guard.block(limit);
        self.changed.notify_all();
        let mut calls = guard.calls;
        while guard.is_waiting(me) {
            let result = self.changed.wait_timeout(guard, SILENCE);
            let (again, timeout) = result.unwrap_or_else(PoisonError::into_inner);
            guard = again;
            if timeout.timed_out() && calls == guard.calls && guard.is_waiting(me) {
                guard.world.skip(limit);
                break;
            }
            calls = guard.calls;
        }
        // Whoever gave the turn sees this only once the mutex is free: after the next attempt.
        guard.unblock(me);
        self.changed.notify_all();
        (guard, true)
    }

    /// Lets blocked calls look at what happened.
    fn take_turns<'a>(&'a self, mut guard: Guard<'a>) -> Guard<'a> {
        let waiting: Vec<u64> = guard.blocked.keys().copied().collect();
        for id in waiting {
            if let Some(blocked) = guard.blocked.get_mut(&id) {
                blocked.turn = true;
            }
            self.changed.notify_all();
            while guard.blocked.contains_key(&id) {
                guard = self
                    .changed
                    .wait(guard)
                    .unwrap_or_else(PoisonError::into_inner);
            }
        }
        guard
    }

    /// Lets time go by.
    pub(crate) fn pass(&self, time: Duration) {
        let mut guard = self.lock();
        if time > TICK && std::mem::take(&mut guard.left) {
            // packetdrill's other thread still has to note what its call gave: let it run.
            drop(guard);
            thread::sleep(HANDOVER);
            guard = self.lock();
        }
        let to = guard.world.now + time;
        loop {
            let reached = guard.world.step(to);
            guard = self.take_turns(guard);
            if reached {
                return;
            }
        }
    }

    /// The clock, which has gone on since it was last read.
    pub(crate) fn clock(&self) -> Instant {
        let mut guard = self.lock();
        if let Some(at) = guard.returned.remove(&thread::current().id()) {
            return at;
        }
        drop(guard);
        self.pass(TICK);
        self.lock().world.now
    }

    /// The next packet, for which time goes by.
    pub(crate) fn next_packet(&self) -> Option<(Vec<u8>, Instant)> {
        let mut guard = self.lock();
        loop {
            if let Some((at, packet)) = guard.world.sent.pop_front() {
                return Some((packet, at));
            }
            if !guard.world.skip(None) {
                return None;
            }
            guard = self.take_turns(guard);
        }
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // packetdrill has closed what scripts left open, with libc's close.
        let mut guard = self.lock();
        std::mem::take(&mut guard.world.entries)
            .into_values()
            .for_each(std::mem::forget);
    }
}

/// The error of a call that may not wait.
pub(crate) fn again<T>() -> Result<T> {
    Err(Errno(libc::EAGAIN))
}
