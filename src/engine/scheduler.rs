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
}
