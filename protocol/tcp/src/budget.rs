//! Counting memory: a budget, and charges that return to it when dropped.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// An amount of memory that several owners share, perhaps part of a larger one. Cloning is cheap
/// and gives the same budget.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Pot>);

#[derive(Debug)]
struct Pot {
    limit: usize,
    used: AtomicUsize,
    parent: Option<Budget>,
}

/// Bytes taken from a [`Budget`]; dropping gives them back.
#[derive(Debug)]
pub struct Charge {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Budget {
        Budget(Arc::new(Pot {
            limit,
            used: AtomicUsize::new(0),
            parent: None,
        }))
    }

    /// A budget without limit: it only counts.
    pub fn unlimited() -> Budget {
        Budget::new(usize::MAX)
    }

    /// A part of this one with a limit of its own: what is charged to it is charged to both.
    pub fn part(&self, limit: usize) -> Budget {
        Budget(Arc::new(Pot {
            limit,
            used: AtomicUsize::new(0),
            parent: Some(self.clone()),
        }))
    }

    /// Take `bytes`, or `None` if they do not fit here or in what this is part of.
    pub fn charge(&self, bytes: usize) -> Option<Charge> {
        self.take(bytes).then(|| Charge {
            budget: self.clone(),
            bytes,
        })
    }

    /// Bytes charged now.
    pub fn used(&self) -> usize {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The limit, bytes.
    pub fn limit(&self) -> usize {
        self.0.limit
    }

    /// Bytes that could be charged now, here and in what this is part of.
    pub fn available(&self) -> usize {
        let own = self.0.limit.saturating_sub(self.used());
        self.0
            .parent
            .as_ref()
            .map_or(own, |p| own.min(p.available()))
    }

    /// Bytes that one of many may hope for: all that is left while that is more than half, else an
    /// eighth of it, so that those who come together find something.
    pub fn share(&self) -> usize {
        let left = self.available();
        let scarce = |budget: &Budget| left < budget.0.limit / 2;
        let parent = self.0.parent.as_ref();
        if scarce(self) || parent.is_some_and(|p| p.available() < p.0.limit / 2) {
            left / 8
        } else {
            left
        }
    }

    /// Take `bytes` even if they do not fit: for what must be kept because it was promised, such as
    /// received bytes within an advertised window.
    pub fn charge_anyway(&self, bytes: usize) -> Charge {
        self.add(bytes);
        Charge {
            budget: self.clone(),
            bytes,
        }
    }

    fn add(&self, bytes: usize) {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.0.parent {
            parent.add(bytes);
        }
    }

    fn take(&self, bytes: usize) -> bool {
        let fits = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= self.0.limit);
        if self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_err()
        {
            return false;
        }
        let granted = self.0.parent.as_ref().is_none_or(|p| p.take(bytes));
        if !granted {
            self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        }
        granted
    }

    fn give_back(&self, bytes: usize) {
        self.0.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(parent) = &self.0.parent {
            parent.give_back(bytes);
        }
    }
}

impl Charge {
    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Hold `bytes` instead, more or less than now, even if they do not fit.
    pub fn set(&mut self, bytes: usize) {
        if bytes > self.bytes {
            self.budget.add(bytes - self.bytes);
        } else {
            self.budget.give_back(self.bytes - bytes);
        }
        self.bytes = bytes;
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_bound_by_the_whole() {
        let whole = Budget::new(100);
        let (a, b) = (whole.part(80), whole.part(80));
        let charge = a.charge(70).expect("fits both");
        assert!(a.charge(20).is_none(), "beyond its own limit");
        assert!(b.charge(40).is_none(), "beyond the limit of the whole");
        assert_eq!((b.used(), b.available(), whole.used()), (0, 30, 70));
        drop(charge);
        assert_eq!((a.used(), whole.used()), (0, 0));
    }

    #[test]
    fn a_promise_is_kept_beyond_the_limit() {
        let budget = Budget::new(10);
        let mut charge = budget.charge_anyway(15);
        assert_eq!((budget.used(), budget.available()), (15, 0));
        charge.set(4);
        assert_eq!((budget.used(), budget.available()), (4, 6));
    }
}
