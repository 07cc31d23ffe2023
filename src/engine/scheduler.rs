//! Which sequences the next step serves, and with how many tokens.
//!
//! Every step serves all running sequences: one token for those that decode, and a fair share of the
//! rest of the step for those whose prompt is still being read. Requests are admitted in order of arrival.
//! When a decoding sequence finds no free KV block, the youngest running sequence gives up its own
//! and waits at the head of the queue. Its tokens are kept, only their keys and values are computed
//! again, which gives the same bits; nobody can tell from the answer.

use super::Finish;
use super::blocks::{BLOCK, BlockPool};
use super::sequence::Sequence;
use crate::model::Want;
use std::collections::VecDeque;

/// Sizes of a step.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Sequences that run together; at least 1.
    pub(super) sequences: usize,
    /// Prompt tokens per step; at least 1.
    pub(super) prompt_tokens: usize,
}

impl Limits {
    /// Most tokens of a step. Every running sequence can have one.
    pub(super) fn step_tokens(self) -> usize {
        self.prompt_tokens.max(self.sequences)
    }
}

/// A part of a step: consecutive pending tokens of one running sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Chunk {
    /// Which of the running sequences.
    pub(super) sequence: usize,
    /// Position of the first token.
    pub(super) start: usize,
    /// Number of tokens.
    pub(super) len: usize,
    /// Whose hidden states are of use.
    pub(super) want: Want,
}

/// The sequences of an engine and their KV blocks.
#[derive(Debug)]
pub(super) struct Scheduler {
    limits: Limits,
    pool: BlockPool,
    /// Oldest first. Those that were preempted are older than those that never ran.
    waiting: VecDeque<Sequence>,
    /// Oldest first; all older than the waiting ones.
    running: Vec<Sequence>,
    preemptions: u64,
}

impl Scheduler {
    /// Room for the longest sequence in `blocks` is the caller's duty.
    pub(super) fn new(limits: Limits, blocks: usize) -> Self {
        let running = Vec::with_capacity(limits.sequences);
        Self { limits, pool: BlockPool::new(blocks), waiting: VecDeque::new(), running, preemptions: 0 }
    }

    /// Whether there is nothing to do.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// The KV blocks.
    pub(super) fn pool(&self) -> &BlockPool {
        &self.pool
    }

    /// The running sequences, which [`Chunk::sequence`] counts.
    pub(super) fn running(&self) -> &[Sequence] {
        &self.running
    }

    /// One of them.
    pub(super) fn sequence(&mut self, index: usize) -> &mut Sequence {
        &mut self.running[index]
    }

    /// Requests that some step has served and that are not over.
    pub(super) fn begun(&self) -> usize {
        self.running.len() + self.waiting.iter().filter(|s| s.begun()).count()
    }

    /// How often a sequence had to give up its blocks.
    pub(super) fn preemptions(&self) -> u64 {
        self.preemptions
    }

    /// Queues a new sequence.
    pub(super) fn add(&mut self, sequence: Sequence) {
        self.waiting.push_back(sequence);
    }

    /// Fills `plan` with the next step; empty only if idle. At most [`Limits::step_tokens`] tokens.
    pub(super) fn plan(&mut self, plan: &mut Vec<Chunk>) {
        self.make_room();
        self.admit();
        plan.clear();
        let decoding = self.running.iter().filter(|s| s.pending() == 1).count();
        let prefilling = self.running.len() - decoding;
        let budget = self.limits.prompt_tokens.min(self.limits.step_tokens() - decoding).max(prefilling);
        let share = budget / prefilling.max(1);
        let mut spare = budget;
        for (index, s) in self.running.iter().enumerate() {
            let len = if s.pending() == 1 { 1 } else { s.pending().min(share) };
            spare -= if s.pending() == 1 { 0 } else { len };
            plan.push(Chunk { sequence: index, start: s.computed, len, want: Want::Nothing });
        }
        for chunk in plan {
            let s = &self.running[chunk.sequence];
            let more = spare.min(s.pending() - chunk.len);
            chunk.len += more;
            spare -= more;
            let last = chunk.start + chunk.len - 1;
            chunk.want = if (chunk.start..last).any(|p| s.wants(p)) {
                Want::All
            } else if s.wants(last) {
                Want::Last
            } else {
                Want::Nothing
            };
        }
    }

    /// Gives each running sequence blocks for all its tokens, the oldest first, at the cost of the youngest.
    fn make_room(&mut self) {
        let mut index = 0;
        while let Some(s) = self.running.get_mut(index) {
            if self.pool.grow(&mut s.blocks, s.tokens.len()) {
                index += 1;
            } else if let Some(mut youngest) = self.running.pop() {
                self.pool.release(&mut youngest.blocks);
                youngest.computed = 0;
                self.preemptions += 1;
                self.waiting.push_front(youngest);
            }
        }
    }

    /// Lets waiting sequences in as long as there is room, with a block to spare for each running one.
    fn admit(&mut self) {
        while self.running.len() < self.limits.sequences {
            let Some(s) = self.waiting.front_mut() else { break };
            let reuse = s.reusable();
            let headroom = self.running.len();
            let Some(cached) = self.pool.acquire(&mut s.blocks, &s.tokens, s.seed, reuse, headroom) else { break };
            s.begin(cached);
            self.running.extend(self.waiting.pop_front());
        }
    }

    /// Notes that a chunk's keys and values are computed, and publishes the blocks that are full with it.
    pub(super) fn computed(&mut self, chunk: Chunk) {
        let s = &mut self.running[chunk.sequence];
        s.computed = chunk.start + chunk.len;
        let full = s.tokens[..s.computed].as_chunks::<BLOCK>().0;
        for (index, tokens) in full.iter().enumerate().skip(s.published) {
            self.pool.publish(&mut s.blocks, index, tokens, s.seed);
        }
        s.published = full.len();
    }

    /// Takes out the sequences that are over or abandoned, with the reason.
    pub(super) fn reap(&mut self, ended: &mut Vec<(Sequence, Finish)>) {
        let over = |s: &mut Sequence| s.abandoned() || s.finish.is_some();
        let running = self.running.extract_if(.., over);
        for mut s in running {
            self.pool.release(&mut s.blocks);
            let finish = s.finish.unwrap_or(Finish::Cancelled);
            ended.push((s, finish));
        }
        self.waiting.retain(|s| !s.abandoned());
    }

    /// Takes out all sequences.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Sequence> {
        for s in &mut self.running {
            self.pool.release(&mut s.blocks);
        }
        self.running.drain(..).chain(self.waiting.drain(..))
    }

    /// Checks what must hold between steps.
    #[cfg(test)]
    pub(super) fn check(&self) {
        self.pool.check(self.running.iter().map(|s| &s.blocks));
        assert!(self.waiting.iter().all(|s| s.blocks.is_empty() && s.computed == 0), "those who wait hold nothing");
        assert!(self.running.len() <= self.limits.sequences);
        let begun = self.waiting.iter().map(Sequence::begun);
        assert!(begun.is_sorted_by(|a, b| a >= b), "the preempted wait before those that never ran");
        for s in &self.running {
            assert!(s.computed <= s.blocks.len() * BLOCK);
            assert_eq!(s.published, s.computed / BLOCK, "every full block is published");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Board, Events, Request, Sampling};
    use super::*;
    use std::sync::Arc;

    const CONTEXT: usize = 10 * BLOCK;

    fn scheduler(sequences: usize, prompt_tokens: usize, blocks: usize) -> Scheduler {
        Scheduler::new(Limits { sequences, prompt_tokens }, blocks)
    }

    /// Adds a sequence with a prompt of `len` tokens that no other sequence has, unless with the same `salt`.
    fn add(scheduler: &mut Scheduler, len: usize, salt: u32) -> Events {
        let request = Request {
            prompt: vec![salt; len],
            max_tokens: CONTEXT,
            sampling: Sampling::default(),
            stop: Vec::new(),
            stop_tokens: Vec::new(),
            ignore_end: true,
            logprobs: None,
            prompt_logprobs: None,
        };
        let place = Arc::new(Board::new(1)).place().unwrap();
        let (sequence, events) = Sequence::new(request, CONTEXT, place);
        scheduler.add(sequence);
        events
    }

    /// One step, in which token 7 follows everything: start and length of each chunk.
    fn step(scheduler: &mut Scheduler) -> Vec<(usize, usize)> {
        let mut plan = Vec::new();
        scheduler.plan(&mut plan);
        for &chunk in &plan {
            scheduler.computed(chunk);
            if chunk.want == Want::Last {
                scheduler.sequence(chunk.sequence).tokens.push(7);
            }
        }
        scheduler.check();
        plan.iter().map(|chunk| (chunk.start, chunk.len)).collect()
    }

    #[test]
    fn prompts_share_a_step_fairly_and_decoding_goes_on() {
        let mut s = scheduler(4, 12, 40);
        let _a = add(&mut s, 3, 1);
        assert_eq!(step(&mut s), [(0, 3)]);
        let _b = add(&mut s, 20, 2);
        let _c = add(&mut s, 4, 3);
        // One decodes; the short prompt leaves the rest of its share to the long one.
        assert_eq!(step(&mut s), [(3, 1), (0, 7), (0, 4)]);
        assert_eq!(step(&mut s), [(4, 1), (7, 10), (4, 1)]);
        assert_eq!(step(&mut s), [(5, 1), (17, 3), (5, 1)]);
        assert_eq!(step(&mut s), [(6, 1), (20, 1), (6, 1)]);
    }

    #[test]
    fn a_step_smaller_than_the_batch_still_serves_everyone() {
        let mut s = scheduler(4, 1, 40);
        let _events: Vec<_> = (0..4).map(|salt| add(&mut s, 3, salt)).collect();
        for start in 0..3 {
            assert_eq!(step(&mut s), [(start, 1); 4]);
        }
    }

    #[test]
    fn requests_are_admitted_in_order_even_if_a_later_one_would_fit() {
        let mut s = scheduler(4, 1000, 4);
        let _a = add(&mut s, 2 * BLOCK, 1);
        let _b = add(&mut s, 3 * BLOCK, 2);
        let c = add(&mut s, 1, 3);
        assert_eq!(step(&mut s).len(), 1);
        assert_eq!((s.running.len(), s.waiting.len()), (1, 2));
        drop(c);
        s.reap(&mut Vec::new());
        assert_eq!(s.waiting.len(), 1, "an abandoned request leaves the queue");
    }

    #[test]
    fn the_youngest_makes_room_and_comes_back_first() {
        let mut s = scheduler(3, 1000, 5);
        let a = add(&mut s, 2 * BLOCK - 1, 1);
        let _b = add(&mut s, BLOCK, 2);
        // Both run; with a block to spare for each there is none for a third.
        let _c = add(&mut s, BLOCK, 3);
        assert_eq!(step(&mut s), [(0, 2 * BLOCK - 1), (0, BLOCK)]);
        // They grow until the pool is empty: a to 3 blocks, b to 2.
        for _ in 0..BLOCK {
            assert_eq!(step(&mut s).len(), 2);
        }
        assert_eq!((s.pool.available(), s.preemptions()), (0, 0));
        // b needs a third block and is the youngest.
        assert_eq!(step(&mut s).len(), 1);
        assert_eq!((s.preemptions(), s.waiting.len()), (1, 2));
        assert!(s.waiting[0].begun());
        drop(a);
        s.reap(&mut Vec::new());
        // Its two blocks were full and are still there, but for the last token's.
        assert_eq!(step(&mut s)[0], (2 * BLOCK, 1));
    }

    #[test]
    fn at_least_the_last_prompt_token_is_computed() {
        let mut s = scheduler(2, 1000, 20);
        let a = add(&mut s, 2 * BLOCK, 1);
        assert_eq!(step(&mut s), [(0, 2 * BLOCK)]);
        drop(a);
        s.reap(&mut Vec::new());
        let _b = add(&mut s, 2 * BLOCK, 1);
        assert_eq!(step(&mut s), [(BLOCK, BLOCK)]);
    }
}
