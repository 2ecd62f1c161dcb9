//! From the first SYN to the last trace of a connection.

use crate::counters::Counter;
use crate::demux::{Target, Tuple};
use crate::event::{CloseReason, Event};
use crate::flow::{FLOW_COST, Flow, Slot, Stage, Told};
use crate::id::{FlowId, ListenerId};
use crate::rest::{self, Body};
use crate::stack::Stack;
use anabranch_mptcp::SubflowId;
use anabranch_tcp::budget::Charge;
use anabranch_tcp::{Instant, State};
use smallvec::{SmallVec, smallvec};

/// A slot's index and generation.
pub(crate) type Handle = (u32, u32);

impl From<FlowId> for Handle {
    fn from(id: FlowId) -> Handle {
        (id.index, id.generation)
    }
}

impl From<Handle> for FlowId {
    fn from((index, generation): Handle) -> FlowId {
        FlowId { index, generation }
    }
}

impl Stack {
    /// Leave to make one more connection: the memory it takes. An eighth of all memory is kept
    /// for the connections there are.
    pub(crate) fn admit(&self) -> Option<Charge> {
        if self.flows.len() + self.syn_cache.len() >= self.config.limits.flows {
            return None;
        }
        if self.short_of_memory() {
            return None;
        }
        self.budget.charge(FLOW_COST)
    }

    pub(crate) fn short_of_memory(&self) -> bool {
        self.budget.available() < self.config.limits.memory / 8
    }

    /// Puts a new connection in a slot and makes its initial subflow reachable.
    pub(crate) fn adopt(
        &mut self,
        now: Instant,
        tuple: Tuple,
        flow: Flow,
        stage: Stage,
        charge: Charge,
    ) -> Handle {
        let token = match &flow {
            Flow::Tcp(_) => None,
            Flow::Mptcp(multi) => Some(multi.token),
        };
        let handle = self.flows.insert(Slot {
            body: Body::new(flow),
            opened: now,
            stage,
            early: None,
            closed: None,
            shut_down: false,
            resting: false,
            ready: false,
            told: Told::default(),
            charges: smallvec![charge],
        });
        // In place of its handshake, if that was in the SYN cache; so does the token.
        self.demux.set(
            tuple,
            Target {
                index: handle.0,
                subflow: 0,
            },
        );
        if let Some(token) = token {
            self.tokens.insert(token, handle.0);
        }
        self.touched(now, handle);
        handle
    }

    /// To be called after anything that happened to a connection: takes its events and queues it
    /// for transmission, at the end of which its timer is set.
    pub(crate) fn touched(&mut self, now: Instant, handle: Handle) {
        self.take_events(now, handle);
        self.run_paths(now, handle);
        if let Some(slot) = self.flows.get_mut(handle)
            && !slot.ready
            && !slot.resting
        {
            slot.ready = true;
            self.ready.push(handle);
        }
    }

    /// The connection has nothing more to send now.
    pub(crate) fn drained(&mut self, now: Instant, handle: Handle) {
        if let Some(slot) = self.flows.get_mut(handle) {
            slot.ready = false;
        }
        self.part_with_past(now, handle);
        self.take_events(now, handle);
        self.run_paths(now, handle);
        // There is something to send again otherwise.
        let Some(slot) = self.flows.get_mut(handle).filter(|slot| !slot.ready) else {
            return;
        };
        if slot.flow().is_over() || slot.flow().can_rest() {
            self.rest(now, handle);
        } else {
            let deferred = match slot.stage {
                Stage::Deferred(_, until) => Some(until),
                _ => None,
            };
            let mut next = slot.flow().deadline().into_iter().chain(deferred).min();
            match slot.body.rests_at().filter(|_| slot.stage == Stage::Owned) {
                Some(at) if at <= now => {
                    let rested = slot.body.rest(&self.settings.plain);
                    self.counters.add(Counter::FlowsRested, rested.into());
                }
                at => {
                    // Looked at too early it is looked at again: the timer is not moved each time.
                    let at = at.map(|at| match self.wheel.get(handle.0) {
                        Some(set) if set <= at && set + rest::AFTER / 2 > at => set,
                        _ => at,
                    });
                    next = next.into_iter().chain(at).min();
                }
            }
            self.wheel.set(handle.0, next);
        }
    }

    /// Subflows in TIME-WAIT beside others go where past connections are.
    fn part_with_past(&mut self, now: Instant, handle: Handle) {
        while let Some(slot) = self.flows.get_mut(handle)
            && let Flow::Mptcp(multi) = slot.flow()
            && let Some((path, tcb)) = multi.connection.take_past(now)
        {
            let forgotten = self.time_wait.insert(now, path.into(), &tcb);
            self.counters.count_past(forgotten);
        }
    }

    fn take_events(&mut self, now: Instant, handle: Handle) {
        while let Some(slot) = self.flows.get_mut(handle) {
            match slot.flow() {
                Flow::Tcp(plain) => {
                    let Some(event) = plain.stream.poll_event() else {
                        return;
                    };
                    self.on_tcp_event(now, handle, event);
                }
                Flow::Mptcp(multi) => {
                    let Some(event) = multi.connection.poll_event() else {
                        return;
                    };
                    multi.inform(now, &event);
                    self.on_mptcp_event(now, handle, event);
                }
            }
        }
    }

    fn on_tcp_event(&mut self, now: Instant, handle: Handle, event: anabranch_tcp::Event) {
        use anabranch_tcp::Event as Tcp;
        match event {
            Tcp::Established => self.established(now, handle),
            Tcp::Readable => {
                self.deferred(now, handle);
                self.readable(handle);
            }
            Tcp::Writable => self.writable(handle),
            Tcp::PeerFin => self.tell(handle, Event::PeerFin(handle.into())),
            Tcp::Closed => self.ended(handle, CloseReason::Finished),
            Tcp::Aborted(close) => self.ended(handle, close.into()),
        }
    }

    /// The initial handshake is complete.
    pub(crate) fn established(&mut self, now: Instant, handle: Handle) {
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        if let Some(id) = slot.early.take() {
            self.counters.inc(Counter::TcpPassiveOpens);
            return self.no_longer_early(id);
        }
        let Stage::HalfOpen(id) = slot.stage else {
            self.learn_fast_open(now, handle);
            self.tell(handle, Event::Established(handle.into()));
            return;
        };
        self.counters.inc(Counter::TcpPassiveOpens);
        match self.defers(handle, id) {
            Some(limit) => self.set_stage(handle, Stage::Deferred(id, now + limit)),
            None => self.complete(now, handle, id),
        }
    }

    fn set_stage(&mut self, handle: Handle, stage: Stage) {
        if let Some(slot) = self.flows.get_mut(handle) {
            slot.stage = stage;
        }
    }

    /// A connection leaves those that are half open.
    fn complete(&mut self, now: Instant, handle: Handle, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.half_open -= 1;
            return self.enqueue(handle, id);
        }
        // The listener closed meanwhile: nobody will ever take this connection.
        if let Some(slot) = self.flows.get_mut(handle) {
            slot.stage = Stage::Released;
            slot.flow().abort(now);
            self.touched(now, handle);
        }
    }

    /// A connection that was kept back, if it is: something arrived, or enough time has passed.
    pub(crate) fn deferred(&mut self, now: Instant, handle: Handle) {
        if let Some(slot) = self.flows.get(handle)
            && let Stage::Deferred(id, until) = slot.stage
            && (until <= now || !slot.look().is_silent())
        {
            self.complete(now, handle, id);
        }
    }

    /// A connection waits to be accepted.
    fn enqueue(&mut self, handle: Handle, id: ListenerId) {
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        let Some(listener) = self.listeners.get_mut(id) else {
            return;
        };
        slot.stage = Stage::Queued(id);
        listener.queue.push_back(handle.into());
        if !listener.told {
            listener.told = true;
            self.events.push_back(Event::Accepted(id));
        }
    }

    /// The payload of this connection's SYN is there: it is accepted before its handshake is
    /// complete.
    pub(crate) fn accept_early(&mut self, handle: Handle, id: ListenerId) {
        if let Some(slot) = self.flows.get_mut(handle)
            && let Some(listener) = self.listeners.get_mut(id)
        {
            slot.early = Some(id);
            listener.early += 1;
            listener.half_open -= 1;
            self.enqueue(handle, id);
        }
    }

    fn no_longer_early(&mut self, id: ListenerId) {
        if let Some(listener) = self.listeners.get_mut(id) {
            listener.early -= 1;
        }
    }

    pub(crate) fn readable(&mut self, handle: Handle) {
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        if slot.stage == Stage::Owned && !slot.told.readable {
            slot.told.readable = true;
            self.events.push_back(Event::Readable(handle.into()));
        }
    }

    pub(crate) fn writable(&mut self, handle: Handle) {
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        if slot.stage == Stage::Owned && !slot.told.writable {
            slot.told.writable = true;
            self.events.push_back(Event::Writable(handle.into()));
        }
    }

    /// The connection ended: the application hears of it once.
    pub(crate) fn ended(&mut self, handle: Handle, reason: CloseReason) {
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        if slot.closed.is_some() {
            return;
        }
        slot.closed = Some(reason);
        if let Some(id) = slot.early.take() {
            self.counters.inc(Counter::TcpAttemptFails);
            self.no_longer_early(id);
            return self.tell(handle, Event::Closed(handle.into(), reason));
        }
        if let Stage::HalfOpen(id) | Stage::Deferred(id, _) = slot.stage {
            slot.stage = Stage::Released;
            self.counters.inc(Counter::TcpAttemptFails);
            if let Some(listener) = self.listeners.get_mut(id) {
                listener.half_open -= 1;
            }
        } else if reason == CloseReason::Reset {
            self.counters.inc(Counter::TcpEstabResets);
        }
        self.tell(handle, Event::Closed(handle.into(), reason));
    }

    /// Queues an event that happens once in the life of a connection.
    pub(crate) fn tell(&mut self, handle: Handle, event: Event) {
        if self
            .flows
            .get(handle)
            .is_some_and(|slot| slot.stage == Stage::Owned)
        {
            self.events.push_back(event);
        }
    }

    /// A connection of a listener's queue becomes the application's, which hears what it missed.
    pub(crate) fn hand_over(&mut self, listener: ListenerId) -> Option<FlowId> {
        let id = self.listeners.get_mut(listener)?.queue.pop_front()?;
        let slot = self.flows.get_mut(id.into())?;
        slot.stage = Stage::Owned;
        let closed = slot.closed;
        self.readable(id.into());
        if let Some(reason) = closed {
            self.tell(id.into(), Event::Closed(id, reason));
        }
        Some(id)
    }

    /// The application is done with a connection.
    pub(crate) fn let_go(&mut self, now: Instant, handle: Handle) {
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        slot.stage = Stage::Released;
        if slot.resting {
            self.flows.remove(handle);
        } else {
            slot.flow().orphan(now);
            self.touched(now, handle);
        }
    }

    /// Takes a connection that is over, or in TIME-WAIT, off the tables; out of its slot too unless
    /// the application may still read from it.
    fn rest(&mut self, now: Instant, handle: Handle) {
        self.wheel.set(handle.0, None);
        self.no_longer_managed(handle);
        let Some(slot) = self.flows.get_mut(handle) else {
            return;
        };
        slot.resting = true;
        let flow = slot.body.flow();
        let past = match flow {
            Flow::Tcp(plain) => smallvec![(0, plain.tuple)],
            Flow::Mptcp(multi) => {
                self.tokens.remove(multi.token, handle.0);
                multi.tuples().collect::<SmallVec<[_; 4]>>()
            }
        };
        for (subflow, tuple) in past {
            let target = Target {
                index: handle.0,
                subflow,
            };
            self.demux.remove(&tuple, target);
            self.half_open.end(target);
            let tcb = match flow {
                Flow::Tcp(plain) => Some(plain.stream.tcb()),
                Flow::Mptcp(multi) => multi.connection.tcb(SubflowId(subflow)),
            };
            if let Some(tcb) = tcb.filter(|tcb| tcb.state() == State::TimeWait) {
                let forgotten = self.time_wait.insert(now, tuple, tcb);
                self.counters.count_past(forgotten);
            }
        }
        if slot.stage == Stage::Released {
            self.flows.remove(handle);
        }
    }
}
