//! A host on several cores: one stack for each, without locks between them.
//!
//! A connection never moves. Whatever reaches another stack than its connection's is a *stray*, and
//! is given to where it belongs: a SYN with MP_JOIN to the stack that its token names; anything
//! else of no connection here to one stack after the other, until one knows it or all have seen it.
//! A SYN that opens a connection stays where it came.

use crate::counters::Counter;
use crate::stack::Stack;
use anabranch_tcp::Instant;
use anabranch_wire::frame::Frame;

/// Stacks of one host at most: a stray remembers in a word who has seen it.
const MAX_SHARDS: u32 = 64;

/// Strays that wait to be taken; more are lost. Whoever keeps the contract takes them after each
/// batch.
const MAX_STRAYS: usize = 1024;

/// Which of a host's stacks this is. They share configuration and seed, and each has a device, or a
/// queue of one, of its own.
///
/// Tokens of a stack's connections, and the ports it picks for those it opens, are its index modulo
/// their number. The seed gives all of them the same initial sequence numbers, timestamps and Fast
/// Open keys, so that a peer notices nothing; keys and nonces are each one's own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Shard {
    index: u32,
    count: u32,
}

/// A packet on its way from stack to stack.
#[derive(Clone, Debug)]
pub struct Stray {
    frame: Frame,
    /// Which stacks had it, a bit each.
    seen: u64,
}

/// A packet that is looked at.
#[derive(Clone, Copy)]
pub(crate) struct Origin<'a> {
    pub(crate) frame: &'a Frame,
    seen: u64,
}

impl Shard {
    /// The only stack of a host.
    pub const ONLY: Shard = Shard { index: 0, count: 1 };

    /// Number `index` of `count`; `None` unless it is less than that, which is at most 64.
    pub fn new(index: usize, count: usize) -> Option<Shard> {
        let (index, count) = (u32::try_from(index).ok()?, u32::try_from(count).ok()?);
        (index < count && count <= MAX_SHARDS).then_some(Shard { index, count })
    }

    /// Counted from 0.
    pub fn index(self) -> usize {
        self.index as usize
    }

    /// Stacks of this host.
    pub fn count(self) -> usize {
        self.count as usize
    }

    pub(crate) fn is_only(self) -> bool {
        self.count == 1
    }

    /// Where the connection with this token is.
    pub(crate) fn of_token(self, token: u32) -> usize {
        (token % self.count) as usize
    }

    /// Whether connections here may have this token.
    pub(crate) fn has_token(self, token: u32) -> bool {
        self.is_only() || self.of_token(token) == self.index()
    }

    /// Where a connection is that was opened from this port, of those that are picked.
    pub(crate) fn of_port(self, port: u16) -> usize {
        (u32::from(port) % self.count) as usize
    }

    /// Whether connections opened here may have this port.
    pub(crate) fn has_port(self, port: u16) -> bool {
        self.of_port(port) == self.index()
    }

    /// The next to see a packet: `first`, unless it has; none when all have.
    fn next(self, seen: u64, first: Option<usize>) -> Option<usize> {
        let unseen = |index: &usize| seen & 1 << index == 0;
        let all = (1..self.count()).map(|step| (self.index() + step) % self.count());
        first.into_iter().chain(all).find(unseen)
    }
}

impl Default for Shard {
    fn default() -> Self {
        Shard::ONLY
    }
}

impl<'a> Origin<'a> {
    /// It came from the device.
    pub(crate) fn device(frame: &'a Frame) -> Self {
        Origin { frame, seen: 0 }
    }
}

impl Stack {
    /// Takes a packet that another stack of this host gave out.
    pub fn receive_stray(&mut self, now: Instant, stray: Stray) {
        self.counters.inc(Counter::StraysReceived);
        let Stray { frame, seen } = stray;
        self.receive_from(
            now,
            Origin {
                frame: &frame,
                seen,
            },
        );
    }

    /// The next packet for another stack of this host, and that stack's index. With one stack there
    /// is none.
    pub fn poll_stray(&mut self) -> Option<(usize, Stray)> {
        self.strays.pop_front()
    }

    /// Takes a stray back whose stack, number `ended`, is no more: the others may still know it.
    pub fn take_back_stray(&mut self, now: Instant, ended: usize, stray: Stray) {
        let Stray { frame, seen } = stray;
        let seen = seen | 1u64.checked_shl(ended as u32).unwrap_or(0);
        self.receive_from(
            now,
            Origin {
                frame: &frame,
                seen,
            },
        );
    }

    /// Counts a stray that could not be given to its stack: it is lost, as if on the wire.
    pub fn lose_stray(&mut self) {
        self.counters.inc(Counter::StraysDropped);
    }

    /// Whether this is the first stack that looks at a packet: it is counted here.
    pub(crate) fn is_first(&self, origin: Origin<'_>) -> bool {
        origin.seen == 0
    }

    /// Whether another stack may know what this packet is about, and has not been asked.
    pub(crate) fn may_be_elsewhere(&self, origin: Origin<'_>) -> bool {
        let seen = origin.seen | 1 << self.config.shard.index;
        self.config.shard.next(seen, None).is_some()
    }

    /// Gives a packet of no connection here to a stack that has not seen it; false when all have.
    /// `port`: ours in that packet.
    pub(crate) fn pass_on(&mut self, origin: Origin<'_>, port: u16) -> bool {
        let shard = self.config.shard;
        if shard.is_only() {
            return false;
        }
        // The one that would have picked this port, if it was picked.
        let picked = self.config.ephemeral.contains(&port);
        let first = picked.then(|| shard.of_port(port));
        let seen = origin.seen | 1 << shard.index;
        match shard.next(seen, first) {
            Some(to) => {
                self.stray_to(to, origin);
                true
            }
            None => false,
        }
    }

    /// Gives a SYN with MP_JOIN to the stack of its token, unless that is this one,
    /// or is no more.
    pub(crate) fn pass_join(&mut self, origin: Origin<'_>, token: u32) -> bool {
        let shard = self.config.shard;
        let home = shard.of_token(token);
        let elsewhere = home != shard.index() && origin.seen & 1 << home == 0;
        if elsewhere {
            self.stray_to(home, origin);
        }
        elsewhere
    }

    fn stray_to(&mut self, to: usize, origin: Origin<'_>) {
        if self.strays.len() >= MAX_STRAYS {
            return self.lose_stray();
        }
        self.counters.inc(Counter::StraysSent);
        let stray = Stray {
            // Verified before it came so far.
            frame: Frame {
                checksum_ok: true,
                ..origin.frame.clone()
            },
            seen: origin.seen | 1 << self.config.shard.index,
        };
        self.strays.push_back((to, stray));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_index_is_less_than_the_count_and_that_at_most_64() {
        assert_eq!(Shard::new(0, 1), Some(Shard::ONLY));
        assert!(Shard::new(63, 64).is_some());
        for (index, count) in [(0, 0), (1, 1), (64, 64), (0, 65)] {
            assert_eq!(Shard::new(index, count), None, "{index} of {count}");
        }
    }

    #[test]
    fn every_other_stack_sees_a_packet_once() {
        let shards: Vec<_> = (0..5).map(|i| Shard::new(i, 5).unwrap()).collect();
        for first in [None, Some(0), Some(1), Some(4)] {
            let (mut at, mut seen, mut order) = (1, 1 << 1, vec![1]);
            while let Some(next) = shards[at].next(seen, first) {
                (at, seen) = (next, seen | 1 << next);
                order.push(next);
            }
            if let Some(first) = first.filter(|&first| first != 1) {
                assert_eq!(order[1], first);
            }
            order.sort_unstable();
            assert_eq!(order, [0, 1, 2, 3, 4]);
        }
    }
}
