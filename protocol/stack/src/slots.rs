//! Slots whose handles tell a later occupant apart.

use slab::Slab;

/// Values in stable slots; each insertion has a generation of its own.
pub(crate) struct Slots<T> {
    slab: Slab<(u32, T)>,
    generation: u32,
}

impl<T> Slots<T> {
    pub(crate) fn new() -> Self {
        Slots {
            slab: Slab::new(),
            generation: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.slab.len()
    }

    /// Inserts a value; returns its index and generation.
    pub(crate) fn insert(&mut self, value: T) -> (u32, u32) {
        self.generation = self.generation.wrapping_add(1);
        let index = self.slab.insert((self.generation, value));
        // Counts are limited far below: no process holds 2³² connections.
        (index as u32, self.generation)
    }

    pub(crate) fn get(&self, (index, generation): (u32, u32)) -> Option<&T> {
        let (found, value) = self.slab.get(index as usize)?;
        (*found == generation).then_some(value)
    }

    pub(crate) fn get_mut(&mut self, (index, generation): (u32, u32)) -> Option<&mut T> {
        let (found, value) = self.slab.get_mut(index as usize)?;
        (*found == generation).then_some(value)
    }

    /// The handle of whoever is at `index`.
    pub(crate) fn handle(&self, index: u32) -> Option<(u32, u32)> {
        self.slab
            .get(index as usize)
            .map(|(generation, _)| (index, *generation))
    }

    pub(crate) fn remove(&mut self, handle: (u32, u32)) -> Option<T> {
        self.get(handle)?;
        Some(self.slab.remove(handle.0 as usize).1)
    }

    /// Where the slots end: all that are in use come before.
    pub(crate) fn end(&self) -> usize {
        self.slab.capacity()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = ((u32, u32), &mut T)> + '_ {
        self.slab
            .iter_mut()
            .map(|(index, (generation, value))| ((index as u32, *generation), value))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = ((u32, u32), &T)> + '_ {
        self.slab
            .iter()
            .map(|(index, (generation, value))| ((index as u32, *generation), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_handle_does_not_reach_the_next_occupant() {
        let mut slots = Slots::new();
        let first = slots.insert('a');
        assert_eq!(slots.remove(first), Some('a'));
        let second = slots.insert('b');
        assert_eq!(first.0, second.0);
        assert_eq!(slots.get(first), None);
        assert_eq!(slots.remove(first), None);
        assert_eq!(slots.get(second), Some(&'b'));
    }
}
