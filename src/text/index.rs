//! A hash index over things that are stored elsewhere.

use std::hash::{BuildHasher, Hash, RandomState};

/// Open addressing over `u32` positions. The keys live in the caller's arrays, which keeps a
/// vocabulary of 128 thousand tokens and 280 thousand merges below 8 MB. The hash is seeded, so a
/// hostile file cannot aim at collisions.
pub(super) struct Index {
    slots: Vec<u32>,
    state: RandomState,
}

impl Index {
    const FREE: u32 = u32::MAX;

    /// Room for `n` entries at a load of at most one half.
    pub(super) fn new(n: usize) -> Self {
        Self { slots: vec![Self::FREE; (n * 2).next_power_of_two().max(2)], state: RandomState::new() }
    }

    /// The entry with this key for which `same` holds.
    pub(super) fn get<K: Hash + ?Sized>(&self, key: &K, same: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(key);
        loop {
            match self.slots[at] {
                Self::FREE => return None,
                entry if same(entry) => return Some(entry),
                _ => at = (at + 1) & (self.slots.len() - 1),
            }
        }
    }

    /// Adds an entry that is not there yet. At most as many as [`Index::new`] was told.
    pub(super) fn insert<K: Hash + ?Sized>(&mut self, key: &K, entry: u32) {
        let mut at = self.home(key);
        while self.slots[at] != Self::FREE {
            at = (at + 1) & (self.slots.len() - 1);
        }
        self.slots[at] = entry;
    }

    fn home<K: Hash + ?Sized>(&self, key: &K) -> usize {
        // The low bits choose the slot; truncation is what is wanted.
        self.state.hash_one(key) as usize & (self.slots.len() - 1)
    }
}
