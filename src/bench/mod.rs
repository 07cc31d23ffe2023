//! How fast a base runs here: prefill, decode at several batch sizes and context depths, and how near that is to what memory allows.
//!
//! The network alone is measured, one forward pass after another with greedy tokens: what `loco serve` adds (queue, sampling, text)
//! is below a percent of a large base's step. Keys and values of positions before a measurement are made up.

mod heads;
mod machine;
mod shapes;
mod synthetic;

pub use heads::{HeadCost, HeadsError, TEXT, head_costs};
pub use machine::{Memory, forget_peak, memory, processor, read_bandwidth};
pub use shapes::{Mix, SHAPES, Shape};
pub use synthetic::{Error, file as synthetic_file};

use crate::kernel::{Activations, Compute};
use crate::meter::{Joules, Meter};
use crate::model::{KvCache, KvFormat, Model, OutputHead, Skipping, Span, State, Want};
use crate::text::Token;
use serde::Serialize;
use std::time::Instant;

/// Prompt tokens per forward pass, as in the engine.
const STEP: usize = 128;

/// What to measure.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Tokens of the prompt.
    pub prompt: usize,
    /// Tokens that each sequence generates in a measurement of decoding.
    pub generate: usize,
    /// Sequences decoded together; a row for each, with an empty context.
    pub batches: Vec<usize>,
    /// Positions before the generated ones; a row for each, with one sequence.
    pub depths: Vec<usize>,
    /// How often each measurement is made; the median counts.
    pub repeats: usize,
    /// Number format of keys and values.
    pub kv: KvFormat,
}

/// Seconds of several measurements.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Seconds {
    /// The shortest.
    pub min: f64,
    /// The middle one.
    pub median: f64,
    /// The longest.
    pub max: f64,
}

impl Seconds {
    fn of(mut all: Vec<f64>) -> Seconds {
        all.sort_by(f64::total_cmp);
        Seconds { min: all[0], median: all[all.len() / 2], max: all[all.len() - 1] }
    }
}

/// A prompt, up to the logits of the first answer token.
#[derive(Debug, Clone, Serialize)]
pub struct Prefill {
    /// Tokens of the prompt.
    pub tokens: usize,
    /// Time to first token, without queue and network.
    pub ttft: Seconds,
    /// Prompt tokens per second, in the median.
    pub tokens_per_second: f64,
}

/// Tokens one after the other.
#[derive(Debug, Clone, Serialize)]
pub struct Decode {
    /// Sequences decoded together.
    pub batch: usize,
    /// Positions before the first generated one.
    pub depth: usize,
    /// Time for one token of each sequence.
    pub step: Seconds,
    /// Tokens per second of all sequences together, in the median.
    pub tokens_per_second: f64,
    /// Bytes of weights read per token, without those that were skipped.
    pub weight_bytes: usize,
    /// Bytes of weights read per second, in the median.
    pub weight_bytes_per_second: f64,
    /// Of squared-ReLU layers, the share of neurons whose gate was open; the others' weights were not read.
    pub open: Option<f64>,
    /// Energy per token, of the whole machine's processors, where they count it.
    pub joules_per_token: Option<Joules>,
}

/// A base that is being measured.
#[derive(Debug)]
pub struct Bench<'a> {
    model: &'a Model,
    compute: &'a Compute,
    plan: &'a Plan,
    state: State,
    input: Activations,
    logits: Vec<f32>,
}

impl<'a> Bench<'a> {
    /// Room for the steps of `plan`.
    pub fn new(model: &'a Model, compute: &'a Compute, plan: &'a Plan) -> Self {
        let widest = plan.batches.iter().copied().max().unwrap_or(1);
        let tokens = STEP.max(widest);
        Self {
            model,
            compute,
            plan,
            state: State::new(&model.config, tokens),
            input: Activations::default(),
            logits: vec![0.0; widest.max(1) * model.config.vocab],
        }
    }

    /// A prompt of [`Plan::prompt`] tokens, in steps as the engine makes them.
    pub fn prefill(&mut self) -> Prefill {
        let n = self.plan.prompt;
        let vocab = self.model.config.vocab;
        let tokens: Vec<Token> = (0..n).map(|i| (i * 7919 % vocab) as Token).collect();
        let mut cache = self.cache(1, n);
        let blocks: Vec<u32> = (0..cache.blocks() as u32).collect();
        let all = (0..self.plan.repeats).map(|_| {
            let start = Instant::now();
            for (i, tokens) in tokens.chunks(STEP).enumerate() {
                let last = (i + 1) * STEP >= n;
                let want = if last { Want::Last } else { Want::Nothing };
                let span = Span { tokens, start: i * STEP, blocks: &blocks, want };
                let hidden = self.model.forward(self.compute, &mut self.state, &mut cache, &[span]);
                if last {
                    self.model.head_of(
                        OutputHead::Compact,
                        self.compute,
                        &mut self.input,
                        hidden,
                        &mut self.logits[..vocab],
                    );
                }
            }
            start.elapsed().as_secs_f64()
        });
        let ttft = Seconds::of(all.collect());
        Prefill { tokens: n, ttft, tokens_per_second: n as f64 / ttft.median }
    }

    /// `batch` sequences of [`Plan::generate`] greedy tokens each, after `depth` positions.
    pub fn decode(&mut self, batch: usize, depth: usize) -> Decode {
        let vocab = self.model.config.vocab;
        let positions = depth + self.plan.generate;
        let mut cache = self.cache(batch, positions);
        let each = positions.div_ceil(KvCache::BLOCK);
        let blocks: Vec<u32> = (0..cache.blocks() as u32).collect();
        let mut all = Vec::new();
        let mut meter = Meter::detect();
        let mut joules = None;
        self.state.skipping = Skipping::default();
        for _ in 0..self.plan.repeats {
            let mut tokens: Vec<Token> = (0..batch).map(|i| (i * 101 % vocab) as Token).collect();
            let start = Instant::now();
            for position in depth..positions {
                let spans: Vec<Span> = (tokens.iter().zip(blocks.chunks(each)))
                    .map(|(token, blocks)| Span {
                        tokens: std::slice::from_ref(token),
                        start: position,
                        blocks,
                        want: Want::Last,
                    })
                    .collect();
                let hidden = self.model.forward(self.compute, &mut self.state, &mut cache, &spans);
                let logits = &mut self.logits[..batch * vocab];
                self.model.head_of(OutputHead::Compact, self.compute, &mut self.input, hidden, logits);
                tokens = logits.chunks_exact(vocab).map(likeliest).collect();
            }
            all.push(start.elapsed().as_secs_f64() / self.plan.generate as f64);
            joules = meter.as_mut().and_then(Meter::total);
        }
        let generated = (batch * self.plan.generate * self.plan.repeats) as f64;
        let step = Seconds::of(all);
        let skipping = self.state.skipping;
        let weight_bytes = self.model.bytes_read(OutputHead::Compact, skipping);
        Decode {
            batch,
            depth,
            step,
            tokens_per_second: batch as f64 / step.median,
            weight_bytes,
            weight_bytes_per_second: weight_bytes as f64 / step.median,
            open: (skipping.neurons > 0).then(|| skipping.open as f64 / skipping.neurons as f64),
            joules_per_token: joules.map(|j| Joules(j.0 / generated)),
        }
    }

    fn cache(&self, sequences: usize, positions: usize) -> KvCache {
        let blocks = sequences * positions.div_ceil(KvCache::BLOCK);
        let mut cache = KvCache::new(&self.model.config, self.plan.kv, blocks);
        cache.fill();
        cache
    }
}

fn likeliest(logits: &[f32]) -> Token {
    let mut best = 0;
    for (i, logit) in logits.iter().enumerate() {
        if *logit > logits[best] {
            best = i;
        }
    }
    best as Token
}

/// How much memory a long conversation takes that it does not give back.
#[derive(Debug, Clone, Serialize)]
pub struct Stability {
    /// Tokens that went through the network.
    pub tokens: usize,
    /// Resident bytes after the first turn and at the end.
    pub resident: [u64; 2],
    /// Least-squares slope over all turns but the first, bytes per 1,000 tokens.
    pub slope: f64,
}

impl Bench<'_> {
    /// Conversations one after the other, `turns` turns of [`Plan::prompt`] prompt tokens and [`Plan::generate`] answer tokens
    /// each, from an empty context whenever the next turn does not fit. `None` where the system does not tell the memory.
    pub fn stability(&mut self, turns: usize, context: usize) -> Option<Stability> {
        let turn = self.plan.prompt + self.plan.generate;
        let vocab = self.model.config.vocab;
        let mut cache = self.cache(1, context.max(turn));
        let blocks: Vec<u32> = (0..cache.blocks() as u32).collect();
        let (mut position, mut total) = (0, 0);
        let mut samples = Vec::new();
        for t in 0..turns {
            if position + turn > context.max(turn) {
                position = 0;
            }
            let prompt: Vec<Token> = (0..self.plan.prompt).map(|i| ((i + t) * 7919 % vocab) as Token).collect();
            let mut next = 0;
            for tokens in prompt.chunks(STEP) {
                next = self.step(&mut cache, &blocks, tokens, position);
                position += tokens.len();
            }
            for _ in 0..self.plan.generate {
                next = self.step(&mut cache, &blocks, &[next], position);
                position += 1;
            }
            total += turn;
            samples.push((total as f64 / 1000.0, memory()?.resident as f64));
        }
        let after = &samples[1.min(samples.len() - 1)..];
        Some(Stability {
            tokens: total,
            resident: [after[0].1 as u64, after[after.len() - 1].1 as u64],
            slope: slope(after),
        })
    }
}

impl Bench<'_> {
    /// Runs `tokens` of one sequence and returns the likeliest next one.
    fn step(&mut self, cache: &mut KvCache, blocks: &[u32], tokens: &[Token], start: usize) -> Token {
        let span = Span { tokens, start, blocks, want: Want::Last };
        let hidden = self.model.forward(self.compute, &mut self.state, cache, &[span]);
        let logits = &mut self.logits[..self.model.config.vocab];
        self.model.head_of(OutputHead::Compact, self.compute, &mut self.input, hidden, logits);
        likeliest(logits)
    }
}

/// Least-squares slope of points (x, y); 0 for fewer than two.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let (mx, my) = (points.iter().map(|p| p.0).sum::<f64>() / n, points.iter().map(|p| p.1).sum::<f64>() / n);
    let spread: f64 = points.iter().map(|p| (p.0 - mx).powi(2)).sum();
    let together: f64 = points.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum();
    if spread > 0.0 { together / spread } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_of_three_counts() {
        assert_eq!(Seconds::of(vec![3.0, 1.0, 2.0]), Seconds { min: 1.0, median: 2.0, max: 3.0 });
    }

    #[test]
    fn a_line_has_its_slope() {
        assert_eq!(slope(&[(0.0, 5.0), (1.0, 7.0), (2.0, 9.0)]), 2.0);
        assert_eq!(slope(&[(1.0, 5.0)]), 0.0);
    }

    #[test]
    fn every_row_of_a_plan_is_measured() {
        let file = synthetic_file(Shape::named("tiny").unwrap(), Some(0.75)).unwrap();
        let model = Model::load(&file).unwrap();
        let compute = Compute::new(None, Some(1)).unwrap();
        let plan =
            Plan { prompt: 20, generate: 2, batches: vec![1, 3], depths: vec![40], repeats: 1, kv: KvFormat::F16 };
        let mut bench = Bench::new(&model, &compute, &plan);
        assert!(bench.prefill().tokens_per_second > 0.0);
        for (batch, depth) in [(1, 0), (3, 0), (1, 40)] {
            let row = bench.decode(batch, depth);
            assert_eq!((row.batch, row.depth), (batch, depth));
            assert!(row.step.min > 0.0 && row.weight_bytes_per_second > 0.0);
            let all = model.bytes_per_token(OutputHead::Compact);
            match row.open {
                // About a quarter, as was asked for; the first weights of a made-up base are not quite even.
                Some(open) if batch == 1 => assert!((0.1..0.4).contains(&open) && row.weight_bytes < all, "{row:?}"),
                open => assert!(open.is_none() && batch > 1 && row.weight_bytes == all, "{row:?}"),
            }
        }
        assert_eq!(bench.stability(4, 64).unwrap().tokens, 4 * 22);
    }
}
