//! Handshakes that peers began and have not proven: of each only what its connection will be made
//! from (a SYN cache, RFC 4987 §3.5), some 300 bytes where a connection takes some thousands.
//!
//! A segment that acknowledges our SYN+ACK proves one, and makes its connection as if it had been
//! there from the SYN on. For whatever else happens to one it is made too, asked for its answer, and
//! forgotten again: so there is one set of rules for a handshake, TCP's and Multipath TCP's own.

mod request;

pub(crate) use request::{Hears, Request};

use crate::counters::Counter;
use crate::demux::Target;
use crate::fast_open::Early;
use crate::flow::{Flow, Stage};
use crate::id::{FlowId, ListenerId};
use crate::info::FlowInfo;
use crate::multipath::Wish;
use crate::receive::Arrival;
use crate::shard::Origin;
use crate::stack::Stack;
use crate::token::OPENING;
use crate::transmit::MAX_REPLIES;
use crate::wheel::Wheel;
use anabranch_tcp::{IcmpError, Instant};
use anabranch_wire::Seq;
use anabranch_wire::tcp::Flags;
use slab::Slab;
use smallvec::SmallVec;

/// Set in the index of a handle that names no connection yet: no slot has it.
const NO_SLOT: u32 = 1 << 31;

/// What there is of them.
pub(crate) struct SynCache {
    requests: Slab<Request>,
    /// When SYN+ACKs are sent again.
    timers: Wheel,
}

impl SynCache {
    pub(crate) fn new(now: Instant) -> SynCache {
        SynCache {
            requests: Slab::new(),
            timers: Wheel::new(now),
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.timers.deadline()
    }

    fn get(&self, index: u32) -> Option<&Request> {
        self.requests.get(index as usize)
    }

    /// Takes one out. Its place keeps nothing of the key.
    fn remove(&mut self, index: u32) -> Option<Request> {
        let place = self.requests.get_mut(index as usize)?;
        let key = place.take_key();
        let mut request = self.requests.try_remove(index as usize)?;
        request.give_key(key);
        self.timers.set(index, None);
        Some(request)
    }
}

/// From a SYN to its place in the cache.
impl Stack {
    /// A SYN that a listener takes.
    pub(crate) fn accept_syn(
        &mut self,
        now: Instant,
        id: ListenerId,
        arrival: &Arrival,
        wish: &Wish<'_>,
        least_iss: Option<Seq>,
    ) {
        // What the connection will take: who is answered finds room.
        let Some(charge) = self.admit() else {
            self.counters.inc(Counter::TcpExtListenDrops);
            self.counters.inc(Counter::TcpExtTCPBacklogDrop);
            return;
        };
        let early = match wish {
            // Version 0 has no place for payload of a SYN.
            Wish::Capable(capable) if !self.has_place_for_syn_payload(capable) => Early::No,
            _ => self.fast_open_of(now, id, arrival),
        };
        let settings = self.settings_of(id);
        let capable = match wish {
            Wish::Capable(capable) => self
                .key_for(&settings, capable)
                .map(|key| ((*capable).clone(), key)),
            Wish::Plain | Wish::Join(_) | Wish::Silence => None,
        };
        let iss = self.iss(now, &arrival.tuple, least_iss);
        let mut request = Request::new(now, (id, settings), arrival, capable, iss, charge);
        match early {
            Early::No => self.remember(request),
            Early::Grant(cookie) => {
                request.grant(Some(cookie));
                self.remember(request);
            }
            Early::Take(cookie) => {
                request.grant(cookie);
                self.accept_payload(now, request, arrival);
            }
        }
    }

    /// Answers a SYN, and keeps what its connection will be made from.
    fn remember(&mut self, request: Request) {
        let start = self.start_at(request.opened, &request.tuple, request.iss);
        let Some((emit, mptcp, again)) = request.answer(&start) else {
            return;
        };
        let (tuple, token) = (request.tuple, request.token());
        if let Some(listener) = self.listeners.get_mut(request.listener) {
            listener.half_open += 1;
        }
        let index = self.syn_cache.requests.insert(request) as u32;
        self.syn_cache.timers.set(index, Some(again));
        self.demux.insert(tuple, Target::request(index));
        if let Some(token) = token {
            self.tokens.insert(token, OPENING);
        }
        if self.replies.len() < MAX_REPLIES {
            let answer = self.assemble(&tuple, &emit, &mptcp, SmallVec::new());
            self.replies.extend(answer);
        }
    }

    /// The payload of a SYN with a cookie needs its connection at once.
    fn accept_payload(&mut self, now: Instant, request: Request, arrival: &Arrival) {
        let start = self.start_at(now, &request.tuple, request.iss);
        let mut flow = request.begin(start);
        flow.take_syn_payload(now, arrival);
        if let Some(listener) = self.listeners.get_mut(request.listener) {
            listener.half_open += 1;
        }
        let listener = request.listener;
        let handle = self.adopt_opened(now, request, flow);
        self.accept_early(handle, listener);
    }

    /// Makes the connection of a handshake one of those that are half open in a slot.
    fn adopt_opened(&mut self, now: Instant, request: Request, flow: Flow) -> (u32, u32) {
        let (stage, dscp) = (Stage::HalfOpen(request.listener), request.dscp);
        let handle = self.adopt(now, request.tuple, flow, stage, request.charge);
        if let Some(slot) = self.flows.get_mut(handle) {
            slot.opened = request.opened;
        }
        self.apply_rules(now, handle, dscp);
        handle
    }
}

/// What happens to those in the cache.
impl Stack {
    /// A segment for one of them.
    pub(crate) fn receive_for_request(
        &mut self,
        now: Instant,
        index: u32,
        arrival: Arrival,
        origin: Origin<'_>,
    ) {
        let Some(request) = self.syn_cache.get(index) else {
            return;
        };
        let flags = arrival.segment.flags;
        let knows = flags.has(Flags::ACK) && arrival.segment.ack == request.iss + 1;
        if flags.has(Flags::ACK) && !knows && !self.config.shard.is_only() {
            // A SYN that came again, to another stack, was answered twice, and the peer took the
            // other answer.
            return self.stranger(now, arrival, origin);
        }
        if knows && !flags.has(Flags::SYN) && !flags.has(Flags::RST) {
            return self.prove(now, index, arrival);
        }
        let again = request.repeats(&arrival);
        let mut flow = self.revive(now, request);
        self.counters.received(&arrival.mptcp);
        flow.hear(now, &arrival);
        if let Some(request) = self.syn_cache.requests.get_mut(index as usize)
            && again
        {
            request.repeated(&arrival);
        }
        self.answer_for(now, index, flow, true);
    }

    /// The peer knows our initial sequence number: its connection is made.
    fn prove(&mut self, now: Instant, index: u32, arrival: Arrival) {
        let Some(request) = self.syn_cache.remove(index) else {
            return;
        };
        let flow = self.revive(now, &request);
        let handle = self.adopt_opened(now, request, flow);
        let target = Target {
            index: handle.0,
            subflow: 0,
        };
        self.deliver(now, target, arrival);
    }

    /// An ICMP error about a SYN+ACK.
    pub(crate) fn icmp_for_request(&mut self, now: Instant, index: u32, error: IcmpError) {
        let Some(request) = self.syn_cache.get(index) else {
            return;
        };
        let mut flow = self.revive(now, request);
        if flow.on_icmp(now, error) == Hears::OutOfWindow {
            self.counters.inc(Counter::TcpExtOutOfWindowIcmps);
        }
        self.answer_for(now, index, flow, true);
    }

    /// Sends SYN+ACKs again that were not answered, until it was often enough.
    pub(crate) fn answer_again(&mut self, now: Instant) {
        while let Some(index) = self.syn_cache.timers.expire(now) {
            let Some(request) = self.syn_cache.get(index) else {
                continue;
            };
            self.counters.inc(Counter::FlowsVisited);
            let mut flow = self.revive(now, request);
            flow.on_deadline(now);
            if let Some(request) = self.syn_cache.requests.get_mut(index as usize) {
                request.tries += 1;
            }
            self.answer_for(now, index, flow, false);
        }
    }

    /// The connection of a handshake as it is now.
    fn revive(&self, now: Instant, request: &Request) -> Flow {
        request.revive(self.start_at(now, &request.tuple, request.iss))
    }

    /// Sends what the connection of a handshake has to say; `asked`: to whoever sent something.
    fn answer_for(&mut self, now: Instant, index: u32, mut flow: Flow, asked: bool) {
        let Some(tuple) = self.syn_cache.get(index).map(|request| request.tuple) else {
            return;
        };
        while let Some((emit, mptcp)) = flow.answer(now) {
            let may = if asked {
                self.may_reply(now)
            } else {
                self.replies.len() < MAX_REPLIES
            };
            if may {
                let answer = self.assemble(&tuple, &emit, &mptcp, SmallVec::new());
                self.replies.extend(answer);
            }
        }
        if flow.is_over() {
            self.fail(index);
        } else {
            self.syn_cache.timers.set(index, flow.deadline());
        }
    }

    /// A handshake came to nothing.
    fn fail(&mut self, index: u32) {
        let Some(request) = self.syn_cache.remove(index) else {
            return;
        };
        self.demux.remove(&request.tuple, Target::request(index));
        if let Some(token) = request.token() {
            self.tokens.remove(token, OPENING);
        }
        if let Some(listener) = self.listeners.get_mut(request.listener) {
            listener.half_open -= 1;
        }
        self.counters.inc(Counter::TcpAttemptFails);
    }

    /// Those in the cache, to look at. No call reaches one by its handle.
    pub(crate) fn opening(&self) -> impl Iterator<Item = FlowInfo> + '_ {
        let requests = self.syn_cache.requests.iter();
        requests.map(|(index, request)| {
            let id = FlowId {
                index: index as u32 | NO_SLOT,
                generation: 0,
            };
            let flow = self.revive(request.opened, request);
            flow.info(id, request.opened)
        })
    }
}
