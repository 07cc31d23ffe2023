//! The engine's thread: takes requests, runs steps, sends events.

use super::sample::Scratch;
use super::scheduler::{Chunk, Limits, Scheduler};
use super::sequence::Sequence;
use super::{Board, Error, Finish, Stats};
use crate::kernel::{Activations, Compute};
use crate::model::{KvCache, Model, OutputHead, Span, State, Want};
use crate::text::Tokenizer;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError};
use std::thread::JoinHandle;

/// Most rows of logits at a time.
const TILE: usize = 16;

/// What a step needs of the network.
pub(super) trait Network {
    /// Length of a hidden state.
    fn dim(&self) -> usize;
    /// Length of a row of logits.
    fn vocab(&self) -> usize;
    /// The hidden states that `spans` ask for (see [`Model::forward`]).
    fn forward(&mut self, spans: &[Span]) -> &[f32];
    /// Logits of `[n][dim]` hidden states into `[n][vocab]` (see [`Model::head_of`]).
    fn head(&mut self, head: OutputHead, hidden: &[f32], logits: &mut [f32]);
}

/// A base with its working memory.
#[derive(Debug)]
pub(super) struct Base {
    pub(super) model: Arc<Model>,
    pub(super) compute: Compute,
    pub(super) state: State,
    /// Scratch of the output head.
    pub(super) head: Activations,
    pub(super) kv: KvCache,
}

impl Network for Base {
    fn dim(&self) -> usize {
        self.model.config.dim
    }
    fn vocab(&self) -> usize {
        self.model.config.vocab
    }
    fn forward(&mut self, spans: &[Span]) -> &[f32] {
        self.model.forward(&self.compute, &mut self.state, &mut self.kv, spans)
    }
    fn head(&mut self, head: OutputHead, hidden: &[f32], logits: &mut [f32]) {
        self.model.head_of(head, &self.compute, &mut self.head, hidden, logits);
    }
}

/// What the thread owns.
pub(super) struct Worker<N> {
    network: N,
    tokenizer: Arc<Tokenizer>,
    scheduler: Scheduler,
    board: Arc<Board>,
    stats: Stats,
    scratch: Scratch,
    plan: Vec<Chunk>,
    spans: Vec<Span<'static>>,
    /// Whose hidden state each row of `hidden` is: an index of the running sequences, and a position.
    rows: Vec<(usize, usize)>,
    /// `[rows][dim]`
    hidden: Vec<f32>,
    /// Which rows go through a head.
    chosen: Vec<usize>,
    /// Hidden states of a tile, `[TILE][dim]`.
    input: Vec<f32>,
    /// `[TILE][vocab]`
    logits: Vec<f32>,
    ended: Vec<(Sequence, Finish)>,
}

impl<N: Network> Worker<N> {
    /// A worker with `blocks` KV blocks, enough for the longest sequence that will be submitted.
    pub(super) fn new(network: N, tokenizer: Arc<Tokenizer>, board: Arc<Board>, limits: Limits, blocks: usize) -> Self {
        let (dim, vocab) = (network.dim(), network.vocab());
        let tile = TILE.min(limits.step_tokens());
        Self {
            scheduler: Scheduler::new(limits, blocks),
            scratch: Scratch::new(vocab),
            plan: Vec::with_capacity(limits.sequences),
            spans: Vec::with_capacity(limits.sequences),
            rows: Vec::with_capacity(limits.step_tokens()),
            hidden: Vec::with_capacity(limits.step_tokens() * dim),
            chosen: Vec::with_capacity(limits.step_tokens()),
            input: Vec::with_capacity(tile * dim),
            logits: vec![0.0; tile * vocab],
            ended: Vec::with_capacity(limits.sequences),
            stats: Stats { kv_blocks: blocks, ..Stats::default() },
            network,
            tokenizer,
            board,
        }
    }

    /// Serves until nobody can send a request any more.
    pub(super) fn run(&mut self, requests: &Receiver<Box<Sequence>>) {
        while self.receive(requests) {
            self.step();
        }
        self.scheduler.drain().for_each(|sequence| sequence.close(Finish::Cancelled));
        self.post();
    }

    /// Takes what was sent; sleeps if there is nothing to do. False when it is time to end.
    fn receive(&mut self, requests: &Receiver<Box<Sequence>>) -> bool {
        if self.scheduler.is_idle() {
            match requests.recv() {
                Ok(sequence) => self.scheduler.add(*sequence),
                Err(_) => return false,
            }
        }
        loop {
            match requests.try_recv() {
                Ok(sequence) => self.scheduler.add(*sequence),
                Err(TryRecvError::Empty) => return true,
                Err(TryRecvError::Disconnected) => return false,
            }
        }
    }

    /// One pass through the network for all running sequences.
    pub(super) fn step(&mut self) {
        self.reap();
        self.scheduler.plan(&mut self.plan);
        if self.plan.is_empty() {
            return;
        }
        self.forward();
        for &chunk in &self.plan {
            self.scheduler.computed(chunk);
        }
        self.advance();
        for chunk in &self.plan {
            self.scheduler.sequence(chunk.sequence).settle();
        }
        self.stats.steps += 1;
        self.reap();
    }

    /// Runs the plan and collects the hidden states that are of use.
    fn forward(&mut self) {
        let running = self.scheduler.running();
        let mut spans = recycle(std::mem::take(&mut self.spans));
        spans.extend(self.plan.iter().map(|chunk| {
            let s = &running[chunk.sequence];
            let tokens = &s.tokens[chunk.start..chunk.start + chunk.len];
            Span { tokens, start: chunk.start, blocks: &s.blocks, want: chunk.want }
        }));
        let dim = self.network.dim();
        let mut states = self.network.forward(&spans).chunks_exact(dim);
        self.rows.clear();
        self.hidden.clear();
        for chunk in &self.plan {
            let end = chunk.start + chunk.len;
            let given = match chunk.want {
                Want::Nothing => continue,
                Want::Last => end - 1..end,
                Want::All => chunk.start..end,
            };
            for (position, state) in given.zip(&mut states) {
                if running[chunk.sequence].wants(position) {
                    self.rows.push((chunk.sequence, position));
                    self.hidden.extend_from_slice(state);
                }
            }
        }
        self.spans = recycle(spans);
    }

    /// Turns the hidden states into logits, a tile at a time, and the logits into tokens and scores. Each head goes over its
    /// rows once, so that few requests for log-probabilities among many others do not make it read twice.
    fn advance(&mut self) {
        let (dim, vocab) = (self.network.dim(), self.network.vocab());
        let tile = self.logits.len() / vocab;
        for head in [OutputHead::Exact, OutputHead::Compact] {
            let running = self.scheduler.running();
            self.chosen.clear();
            self.chosen.extend((0..self.rows.len()).filter(|&row| running[self.rows[row].0].head() == head));
            for chosen in self.chosen.chunks(tile) {
                self.input.clear();
                self.input.extend(chosen.iter().flat_map(|&row| &self.hidden[row * dim..(row + 1) * dim]));
                let logits = &mut self.logits[..chosen.len() * vocab];
                self.network.head(head, &self.input, logits);
                for (&row, logits) in chosen.iter().zip(logits.chunks_exact(vocab)) {
                    let (index, position) = self.rows[row];
                    let s = self.scheduler.sequence(index);
                    if s.finish.is_none() {
                        let before = s.tokens.len();
                        s.advance(position, logits, &self.tokenizer, &mut self.scratch);
                        self.stats.generated_tokens += (s.tokens.len() - before) as u64;
                    }
                }
            }
        }
    }

    /// Lets go of the sequences that are over. Their blocks are free before anybody hears of the end.
    fn reap(&mut self) {
        self.scheduler.reap(&mut self.ended);
        self.post();
        for (sequence, finish) in self.ended.drain(..) {
            sequence.close(finish);
        }
    }

    /// Shows the state of things.
    fn post(&mut self) {
        self.stats.running = self.scheduler.begun();
        self.stats.preemptions = self.scheduler.preemptions();
        self.stats.kv_blocks_used = self.scheduler.pool().used();
        self.board.post(self.stats);
    }
}

/// Runs a worker on a thread of its own. It ends when the sender is dropped. A panic there is shown on the board
/// and then closes all event streams.
pub(super) fn spawn<N: Network + Send + 'static>(mut worker: Worker<N>) -> (Sender<Box<Sequence>>, JoinHandle<()>) {
    let (sender, requests) = std::sync::mpsc::channel();
    // Before the thread runs: who asks at once sees the sizes.
    worker.post();
    let work = move || {
        let run = AssertUnwindSafe(|| worker.run(&requests));
        if let Err(panic) = std::panic::catch_unwind(run) {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            log::error!("the engine failed and serves no more: {text}");
            // The worker and the channel are dropped after this: who sees a stream close finds the reason here.
            worker.board.end(Error::Failed);
            worker.board.post(Stats::default());
        }
    };
    let thread = std::thread::Builder::new().name("engine".into()).spawn(work).expect("a thread for the engine");
    (sender, thread)
}

/// The same empty vector for spans of another lifetime; collecting in place keeps its memory.
fn recycle<'a>(mut spans: Vec<Span<'_>>) -> Vec<Span<'a>> {
    spans.clear();
    spans.into_iter().map(|_| unreachable!("the vector is empty")).collect()
}

#[cfg(test)]
mod tests;
