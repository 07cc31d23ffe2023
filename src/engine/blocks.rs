//! The pool of KV blocks: reference counts, and reuse of blocks whose tokens were computed before.
//!
//! A full block is *published* under its parent block and its own tokens, so the published blocks form
//! a tree whose paths spell token prefixes. A new sequence walks the tree from a root as far as its
//! tokens go and shares what it meets. The root carries a seed: what was computed under one adapter
//! hangs below another root than what was computed under the next, and is never shared between them.
//! Keys are compared whole, so a hash collision cannot hand out a foreign prefix.
//!
//! A published block that nobody uses stays until its room is needed; the least recently used goes
//! first. Sequences give blocks back from their end, so a block always goes before its parent.

use crate::model::KvCache;
use crate::text::Token;
use std::collections::{BTreeSet, HashMap};

/// Positions per block.
pub(super) const BLOCK: usize = KvCache::BLOCK;

/// The seed under which the bare base computes; an adapter brings its own.
pub(super) const BASE_SEED: u64 = 0;

/// What a full block continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Parent {
    /// Nothing: the block starts a sequence computed under this seed.
    Root(u64),
    /// A published block.
    Block(u32),
}

/// The name of a published block.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    parent: Parent,
    tokens: [Token; BLOCK],
}

#[derive(Debug, Default)]
struct Block {
    /// Sequences whose table holds the block.
    users: u32,
    /// Its name, once published.
    key: Option<Key>,
    /// When its last user left; orders eviction.
    left: u64,
}

/// All blocks of a KV cache. Each is free (no user, no name), used (in the table of at least one
/// sequence), or cached (a name, no user).
#[derive(Debug)]
pub(super) struct BlockPool {
    blocks: Vec<Block>,
    free: Vec<u32>,
    published: HashMap<Key, u32>,
    /// Cached blocks by the time their last user left.
    cached: BTreeSet<(u64, u32)>,
    clock: u64,
}

impl BlockPool {
    /// A pool of `blocks` free blocks.
    pub(super) fn new(blocks: usize) -> Self {
        let count = u32::try_from(blocks).expect("fewer than 2^32 KV blocks");
        Self {
            blocks: (0..count).map(|_| Block::default()).collect(),
            free: (0..count).rev().collect(),
            published: HashMap::with_capacity(blocks),
            cached: BTreeSet::new(),
            clock: 0,
        }
    }

    /// Number of blocks.
    pub(super) fn total(&self) -> usize {
        self.blocks.len()
    }

    /// Blocks in some sequence's table.
    pub(super) fn used(&self) -> usize {
        self.total() - self.available()
    }

    /// Blocks that can be handed out: free ones and cached ones.
    pub(super) fn available(&self) -> usize {
        self.free.len() + self.cached.len()
    }

    /// Fills the empty `table` with blocks for all of `tokens`, of which as many full ones as possible,
    /// within the first `reuse` positions, are shared. Gives the number of positions that need no
    /// computing, or `None`, with nothing taken, if fewer than `headroom` blocks would be left.
    pub(super) fn acquire(
        &mut self,
        table: &mut Vec<u32>,
        tokens: &[Token],
        seed: u64,
        reuse: usize,
        headroom: usize,
    ) -> Option<usize> {
        debug_assert!(table.is_empty());
        let mut parent = Parent::Root(seed);
        for tokens in tokens[..reuse.min(tokens.len())].as_chunks::<BLOCK>().0 {
            let Some(&block) = self.published.get(&Key { parent, tokens: *tokens }) else { break };
            self.share(block);
            table.push(block);
            parent = Parent::Block(block);
        }
        let shared = table.len() * BLOCK;
        let missing = tokens.len().div_ceil(BLOCK) - table.len();
        if missing + headroom > self.available() {
            self.release(table);
            return None;
        }
        let grown = self.grow(table, tokens.len());
        debug_assert!(grown);
        Some(shared)
    }

    /// Adds blocks to `table` until it has room for `positions`. False, with `table` as far as it came, if
    /// there are no more.
    pub(super) fn grow(&mut self, table: &mut Vec<u32>, positions: usize) -> bool {
        while table.len() * BLOCK < positions {
            let Some(block) = self.free.pop().or_else(|| self.evict()) else { return false };
            self.blocks[block as usize].users = 1;
            table.push(block);
        }
        true
    }

    /// Publishes `table[index]`, whose KV is now computed: it holds `tokens`, and all blocks before it
    /// are published. If another sequence has published the same meanwhile, `table` gets that
    /// block instead (the bits are the same) and its own goes back.
    pub(super) fn publish(&mut self, table: &mut [u32], index: usize, tokens: &[Token; BLOCK], seed: u64) {
        let parent = match index.checked_sub(1) {
            None => Parent::Root(seed),
            Some(before) => Parent::Block(table[before]),
        };
        let own = table[index];
        let key = Key { parent, tokens: *tokens };
        match self.published.get(&key) {
            Some(&twin) if twin == own => {}
            Some(&twin) => {
                self.share(twin);
                table[index] = twin;
                self.leave(own);
            }
            None => {
                self.blocks[own as usize].key = Some(key.clone());
                self.published.insert(key, own);
            }
        }
    }

    /// Takes all of `table` back.
    pub(super) fn release(&mut self, table: &mut Vec<u32>) {
        while let Some(block) = table.pop() {
            self.leave(block);
        }
    }

    /// One more user of a published block.
    fn share(&mut self, block: u32) {
        let b = &mut self.blocks[block as usize];
        if b.users == 0 {
            self.cached.remove(&(b.left, block));
        }
        b.users += 1;
    }

    /// One user fewer.
    fn leave(&mut self, block: u32) {
        let b = &mut self.blocks[block as usize];
        b.users -= 1;
        if b.users > 0 {
            return;
        }
        if b.key.is_some() {
            self.clock += 1;
            b.left = self.clock;
            self.cached.insert((b.left, block));
        } else {
            self.free.push(block);
        }
    }

    /// Forgets the least recently used cached block and gives it.
    fn evict(&mut self) -> Option<u32> {
        let (_, block) = self.cached.pop_first()?;
        let key = self.blocks[block as usize].key.take().expect("a cached block has a name");
        self.published.remove(&key);
        Some(block)
    }

    /// Checks what must always hold, given every sequence's table.
    #[cfg(test)]
    pub(super) fn check<'a>(&self, tables: impl IntoIterator<Item = &'a Vec<u32>>) {
        let mut users = vec![0; self.total()];
        for table in tables {
            for (i, &block) in table.iter().enumerate() {
                users[block as usize] += 1;
                assert!(!table[..i].contains(&block), "block {block} twice in one table");
            }
        }
        let mut names = 0;
        for (id, (block, users)) in self.blocks.iter().zip(users).enumerate() {
            let id = id as u32;
            assert_eq!(block.users, users, "users of block {id}");
            assert!(users < 2 || block.key.is_some(), "block {id} is shared but has no name");
            let cached = self.cached.contains(&(block.left, id));
            assert_eq!(cached, users == 0 && block.key.is_some(), "block {id} cached");
            assert_eq!(self.free.contains(&id), users == 0 && block.key.is_none(), "block {id} free");
            let Some(key) = &block.key else { continue };
            names += 1;
            assert_eq!(self.published.get(key), Some(&id));
            if let Parent::Block(parent) = key.parent {
                let p = &self.blocks[parent as usize];
                assert!(p.key.is_some(), "block {id} outlives its parent {parent}");
                assert!(p.users >= users.min(1), "block {id} is used, its parent is not");
                assert!(p.users > 0 || p.left > block.left, "parent {parent} would go before block {id}");
            }
        }
        assert_eq!(self.published.len(), names);
        assert_eq!(self.cached.len() + self.free.len(), self.blocks.iter().filter(|b| b.users == 0).count());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(n: usize, salt: u32) -> Vec<Token> {
        (0..n as u32).map(|i| i * 7 % 5 + salt).collect()
    }

    fn publish_all(pool: &mut BlockPool, table: &mut [u32], tokens: &[Token], seed: u64) {
        for (i, chunk) in tokens.as_chunks::<BLOCK>().0.iter().enumerate() {
            pool.publish(table, i, chunk, seed);
        }
    }

    #[test]
    fn a_second_sequence_shares_the_full_blocks_of_its_prefix() {
        let mut pool = BlockPool::new(16);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let tokens = text(3 * BLOCK + 5, 0);
        assert_eq!(pool.acquire(&mut a, &tokens, BASE_SEED, tokens.len() - 1, 0), Some(0));
        publish_all(&mut pool, &mut a, &tokens, BASE_SEED);
        let mut other = tokens.clone();
        other[2 * BLOCK + 1] += 1;
        assert_eq!(pool.acquire(&mut b, &other, BASE_SEED, other.len() - 1, 0), Some(2 * BLOCK));
        assert_eq!(a[..2], b[..2]);
        assert_ne!(a[2], b[2]);
        pool.check([&a, &b]);
    }

    #[test]
    fn what_is_released_is_still_found_until_its_room_is_needed() {
        let mut pool = BlockPool::new(4);
        let tokens = text(4 * BLOCK, 0);
        let mut a = Vec::new();
        pool.acquire(&mut a, &tokens, BASE_SEED, 0, 0).unwrap();
        publish_all(&mut pool, &mut a, &tokens, BASE_SEED);
        pool.release(&mut a);
        assert_eq!((pool.used(), pool.available()), (0, 4));
        assert_eq!(pool.acquire(&mut a, &tokens, BASE_SEED, tokens.len() - 1, 0), Some(3 * BLOCK));
        pool.release(&mut a);
        // Another text of two blocks costs the first one its last two blocks, not its first.
        let mut b = Vec::new();
        pool.acquire(&mut b, &text(2 * BLOCK, 9), BASE_SEED, 0, 0).unwrap();
        pool.release(&mut b);
        assert_eq!(pool.acquire(&mut a, &tokens, BASE_SEED, tokens.len() - 1, 0), Some(2 * BLOCK));
        pool.check([&a]);
    }

    #[test]
    fn another_seed_shares_nothing() {
        let mut pool = BlockPool::new(16);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let tokens = text(2 * BLOCK, 0);
        pool.acquire(&mut a, &tokens, BASE_SEED, 0, 0).unwrap();
        publish_all(&mut pool, &mut a, &tokens, BASE_SEED);
        assert_eq!(pool.acquire(&mut b, &tokens, 1, tokens.len(), 0), Some(0));
        publish_all(&mut pool, &mut b, &tokens, 1);
        assert!(a.iter().all(|block| !b.contains(block)));
        pool.check([&a, &b]);
    }

    #[test]
    fn the_same_text_computed_twice_at_once_is_kept_once() {
        let mut pool = BlockPool::new(16);
        let (mut a, mut b) = (Vec::new(), Vec::new());
        let tokens = text(2 * BLOCK, 0);
        pool.acquire(&mut a, &tokens, BASE_SEED, tokens.len(), 0).unwrap();
        pool.acquire(&mut b, &tokens, BASE_SEED, tokens.len(), 0).unwrap();
        assert_eq!(pool.used(), 4);
        publish_all(&mut pool, &mut a, &tokens, BASE_SEED);
        publish_all(&mut pool, &mut b, &tokens, BASE_SEED);
        assert_eq!(a, b);
        assert_eq!(pool.used(), 2);
        pool.check([&a, &b]);
    }

    #[test]
    fn too_little_room_takes_nothing() {
        let mut pool = BlockPool::new(3);
        let mut a = Vec::new();
        let tokens = text(3 * BLOCK, 0);
        assert_eq!(pool.acquire(&mut a, &tokens, BASE_SEED, 0, 1), None);
        assert!(a.is_empty());
        assert_eq!(pool.available(), 3);
        assert_eq!(pool.acquire(&mut a, &tokens, BASE_SEED, 0, 0), Some(0));
        assert!(pool.grow(&mut a, 3 * BLOCK));
        assert!(!pool.grow(&mut a, 3 * BLOCK + 1));
        pool.check([&a]);
    }

    proptest! {
        /// Random sequences over a small alphabet start, grow, publish and leave. The pool's own
        /// books stay right, a block never changes under a reader, and shared means same tokens.
        #[test]
        fn no_block_leaks_or_serves_two_texts(
            blocks in 1usize..12,
            ops in prop::collection::vec((0usize..4, 0usize..6, 1usize..5, 0u32..2, 0u64..2), 1..120),
        ) {
            struct Live { table: Vec<u32>, tokens: Vec<Token>, published: usize, seed: u64 }
            let mut pool = BlockPool::new(blocks);
            let mut live: Vec<Live> = Vec::new();
            // What each block really holds: seed and tokens up to its end.
            let mut holds: Vec<Option<(u64, Vec<Token>)>> = vec![None; blocks];
            for (op, who, len, salt, seed) in ops {
                let at = who % live.len().max(1);
                match op {
                    0 => {
                        // Half a block more than `len` blocks.
                        let tokens = vec![salt; len * BLOCK - BLOCK / 2];
                        let mut table = Vec::new();
                        if let Some(cached) = pool.acquire(&mut table, &tokens, seed, tokens.len() - 1, 0) {
                            for (i, &block) in table.iter().enumerate() {
                                let end = (i + 1) * BLOCK;
                                if end <= cached {
                                    prop_assert_eq!(holds[block as usize].as_ref(), Some(&(seed, tokens[..end].to_vec())));
                                } else {
                                    prop_assert!(live.iter().all(|s| !s.table.contains(&block)));
                                    holds[block as usize] = None;
                                }
                            }
                            live.push(Live { table, tokens, published: cached / BLOCK, seed });
                        }
                    }
                    1 if !live.is_empty() => {
                        let s = &mut live[at];
                        let before = s.table.len();
                        if pool.grow(&mut s.table, s.tokens.len() + BLOCK / 2) {
                            s.tokens.extend(vec![salt; BLOCK / 2]);
                        }
                        for &block in &s.table[before..] {
                            holds[block as usize] = None;
                        }
                    }
                    2 if !live.is_empty() => {
                        let s = &mut live[at];
                        for (i, tokens) in s.tokens.as_chunks::<BLOCK>().0.iter().enumerate().skip(s.published) {
                            let held = (s.seed, s.tokens[..(i + 1) * BLOCK].to_vec());
                            holds[s.table[i] as usize] = Some(held.clone());
                            pool.publish(&mut s.table, i, tokens, s.seed);
                            prop_assert_eq!(holds[s.table[i] as usize].as_ref(), Some(&held));
                            s.published = i + 1;
                        }
                    }
                    3 if !live.is_empty() => pool.release(&mut live.swap_remove(at).table),
                    _ => {}
                }
                pool.check(live.iter().map(|s| &s.table));
            }
            for mut s in live {
                pool.release(&mut s.table);
            }
            prop_assert_eq!(pool.available(), blocks);
        }
    }
}
