//! A hierarchical timer wheel: one deadline for each key, set and cleared in constant time.
//!
//! Times are exact. A level holds 64 slots; level 0 slots are one nanosecond wide, each level's
//! slots are as wide as the whole level below. An entry stands on the level of the highest digit
//! (base 64) in which its deadline differs from `base`, in the slot of that digit. So everything
//! on a level comes before everything on the levels above, and within a level slots are in order:
//! the earliest entry is in the lowest slot of the lowest level in use, found by two bit scans.
//! (Varghese and Lauck, "Hashed and Hierarchical Timing Wheels", 1987.)
//!
//! The stack has one entry for each connection; it is free for other owners too.

use anabranch_tcp::Instant;

const BITS: u32 = 6;
const SLOTS: usize = 1 << BITS;
const LEVELS: usize = 11; // 11 × 6 ≥ 64 bits

const NIL: u32 = u32::MAX;
const UNSET: u16 = u16::MAX;

/// The wheel. Keys are small integers: memory is proportional to the greatest ever used.
pub struct Wheel {
    /// No entry is earlier; never goes back.
    base: u64,
    /// Bit per level with entries.
    levels_used: u16,
    /// Bit per slot with entries.
    slots_used: [u64; LEVELS],
    slots: Vec<Slot>,
    nodes: Vec<Node>,
}

/// A slot: a doubly linked list of keys.
#[derive(Clone, Copy)]
struct Slot {
    head: u32,
    /// No entry of this slot is earlier. Exact, unless the earliest was taken out.
    least: u64,
}

#[derive(Clone, Copy)]
struct Node {
    prev: u32,
    next: u32,
    at: u64,
    /// Index of the slot, or `UNSET`.
    slot: u16,
}

const EMPTY: Slot = Slot {
    head: NIL,
    least: u64::MAX,
};
const IDLE: Node = Node {
    prev: NIL,
    next: NIL,
    at: 0,
    slot: UNSET,
};

impl Wheel {
    /// A wheel without entries, at `now`.
    pub fn new(now: Instant) -> Self {
        Wheel {
            base: now.0,
            levels_used: 0,
            slots_used: [0; LEVELS],
            slots: vec![EMPTY; LEVELS * SLOTS],
            nodes: Vec::new(),
        }
    }

    /// Sets, moves or (with `None`) clears the deadline of `key`.
    pub fn set(&mut self, key: u32, deadline: Option<Instant>) {
        let known = self.nodes.get(key as usize).copied().unwrap_or(IDLE);
        // A deadline in the past is due now.
        let at = deadline.map(|d| d.0.max(self.base));
        if known.slot != UNSET {
            if at == Some(known.at) {
                return;
            }
            self.unlink(key);
        }
        if let Some(at) = at {
            if self.nodes.len() <= key as usize {
                self.nodes.resize(key as usize + 1, IDLE);
            }
            self.link(key, at);
        }
    }

    /// The deadline of `key`.
    pub fn get(&self, key: u32) -> Option<Instant> {
        let node = self.nodes.get(key as usize)?;
        (node.slot != UNSET).then_some(Instant(node.at))
    }

    /// No entry is due earlier; the earliest one's time, or before it if that was moved since.
    pub fn deadline(&self) -> Option<Instant> {
        let (_, slot) = self.first()?;
        Some(Instant(self.slots[slot].least))
    }

    /// Takes out an entry that is due at `now`.
    pub fn expire(&mut self, now: Instant) -> Option<u32> {
        loop {
            let (level, slot) = self.first()?;
            if self.slots[slot].least > now.0 {
                return None;
            }
            let key = self.slots[slot].head;
            if level == 0 {
                self.base = self.base.max(self.nodes[key as usize].at);
                self.unlink(key);
                return Some(key);
            }
            self.cascade(level, slot);
        }
    }

    /// Moves the entries of a slot to the levels below, `base` going on to the slot's start.
    fn cascade(&mut self, level: usize, slot: usize) {
        let mut key = self.slots[slot].head;
        let shift = BITS * level as u32;
        self.base = self.base.max(self.nodes[key as usize].at >> shift << shift);
        self.empty(slot);
        while key != NIL {
            let node = self.nodes[key as usize];
            self.link(key, node.at);
            key = node.next;
        }
    }

    /// Level and slot with the earliest entry.
    fn first(&self) -> Option<(usize, usize)> {
        if self.levels_used == 0 {
            return None;
        }
        let level = self.levels_used.trailing_zeros() as usize;
        let slot = self.slots_used[level].trailing_zeros() as usize;
        Some((level, level * SLOTS + slot))
    }

    fn link(&mut self, key: u32, at: u64) {
        // `| 1` puts an entry that is due at `base` itself on level 0.
        let highest_difference = 63 - ((at ^ self.base) | 1).leading_zeros();
        let level = (highest_difference / BITS) as usize;
        let digit = (at >> (BITS * level as u32)) as usize % SLOTS;
        let index = level * SLOTS + digit;
        let slot = &mut self.slots[index];
        self.nodes[key as usize] = Node {
            prev: NIL,
            next: slot.head,
            at,
            slot: index as u16,
        };
        if slot.head != NIL {
            self.nodes[slot.head as usize].prev = key;
        }
        slot.head = key;
        slot.least = slot.least.min(at);
        self.slots_used[level] |= 1 << digit;
        self.levels_used |= 1 << level;
    }

    fn unlink(&mut self, key: u32) {
        let Node {
            prev, next, slot, ..
        } = self.nodes[key as usize];
        self.nodes[key as usize] = IDLE;
        if next != NIL {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NIL {
            self.nodes[prev as usize].next = next;
        } else if next != NIL {
            self.slots[slot as usize].head = next;
        } else {
            self.empty(slot as usize);
        }
    }

    fn empty(&mut self, slot: usize) {
        self.slots[slot] = EMPTY;
        let (level, digit) = (slot / SLOTS, slot % SLOTS);
        self.slots_used[level] &= !(1 << digit);
        if self.slots_used[level] == 0 {
            self.levels_used &= !(1 << level);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    /// What a wheel must do, by looking at everything each time.
    #[derive(Default)]
    struct Model {
        deadlines: BTreeMap<u32, u64>,
    }

    impl Model {
        fn due(&mut self, now: u64) -> Vec<u32> {
            let due: Vec<u32> = self
                .deadlines
                .iter()
                .filter(|(_, at)| **at <= now)
                .map(|(key, _)| *key)
                .collect();
            due.iter().for_each(|key| {
                self.deadlines.remove(key);
            });
            due
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Set(u32, u64),
        Clear(u32),
        Pass(u64),
        /// As a driver does: sleep until `deadline`, expire, until something fires.
        Sleep,
    }

    fn step() -> impl Strategy<Value = Step> {
        let span = prop_oneof![0..3u64, 0..100u64, 0..10_000_000u64, 0..u64::MAX / 4];
        prop_oneof![
            4 => (0..20u32, span.clone()).prop_map(|(key, after)| Step::Set(key, after)),
            1 => (0..20u32).prop_map(Step::Clear),
            1 => span.prop_map(Step::Pass),
            2 => Just(Step::Sleep),
        ]
    }

    fn expire(wheel: &mut Wheel, now: u64) -> Vec<u32> {
        let mut fired: Vec<u32> = std::iter::from_fn(|| wheel.expire(Instant(now))).collect();
        fired.sort_unstable();
        fired
    }

    proptest! {
        #[test]
        fn fires_what_the_model_fires(start in any::<u32>(), steps in prop::collection::vec(step(), 0..200)) {
            let mut now = u64::from(start);
            let mut wheel = Wheel::new(Instant(now));
            let mut model = Model::default();
            for step in steps {
                match step {
                    Step::Set(key, after) => {
                        let at = now.saturating_add(after);
                        wheel.set(key, Some(Instant(at)));
                        model.deadlines.insert(key, at);
                    }
                    Step::Clear(key) => {
                        wheel.set(key, None);
                        model.deadlines.remove(&key);
                    }
                    Step::Pass(by) => {
                        now = now.saturating_add(by);
                        prop_assert_eq!(expire(&mut wheel, now), model.due(now));
                    }
                    Step::Sleep => {
                        let least = model.deadlines.values().min().copied();
                        prop_assert_eq!(wheel.deadline().is_some(), least.is_some());
                        let Some(least) = least else { continue };
                        // Entries that were moved leave at most one early wake-up per level.
                        let mut fired = Vec::new();
                        for _ in 0..=LEVELS {
                            let at = wheel.deadline().unwrap().0;
                            prop_assert!(at <= least.max(now));
                            now = now.max(at);
                            fired = expire(&mut wheel, now);
                            if !fired.is_empty() {
                                break;
                            }
                        }
                        prop_assert!(now >= least);
                        prop_assert_eq!(fired, model.due(now));
                    }
                }
            }
        }
    }

    #[test]
    fn a_deadline_in_the_past_is_due_at_once() {
        let mut wheel = Wheel::new(Instant(1000));
        wheel.set(3, Some(Instant(5)));
        assert_eq!(wheel.expire(Instant(1000)), Some(3));
        assert_eq!(wheel.expire(Instant(1000)), None);
        assert_eq!(wheel.deadline(), None);
    }

    #[test]
    fn without_moved_entries_the_deadline_is_exact() {
        let mut wheel = Wheel::new(Instant(0));
        for key in 0..100 {
            wheel.set(key, Some(Instant(1_000_000_007 * u64::from(key + 1))));
        }
        for key in 0..100 {
            let at = wheel.deadline().unwrap();
            assert_eq!(at.0, 1_000_000_007 * u64::from(key + 1));
            assert_eq!(wheel.expire(at), Some(key));
            assert_eq!(wheel.expire(at), None);
        }
    }
}
