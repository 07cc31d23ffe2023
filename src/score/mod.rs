//! What a base thinks of given tokens: logits of every position, and perplexity.
//!
//! The output head runs over a few positions at a time, so that logits of a whole prompt
//! (tokens × vocabulary) are never in memory.

pub mod npy;
mod perplexity;

pub use perplexity::{Bos, Interval, Perplexity, Windows, perplexity};

use crate::kernel::{Activations, Compute};
use crate::model::{KvCache, KvFormat, Model, OutputHead, Span, State, Want};
use crate::text::Token;

/// Tokens per forward step.
const STEP: usize = 64;
/// Positions per run of the output head.
const TILE: usize = 8;

/// Runs one sequence at a time through a base.
#[derive(Debug)]
pub struct Scorer<'a> {
    model: &'a Model,
    compute: &'a Compute,
    state: State,
    kv: KvCache,
    blocks: Vec<u32>,
    input: Activations,
    head: OutputHead,
    /// `[TILE][vocab]`
    logits: Vec<f32>,
}

/// Why tokens cannot be scored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing to do.
    #[error("there are no tokens")]
    Empty,
    /// Not a token of this base.
    #[error("token {token} at position {position} is not in the vocabulary of {vocab}")]
    Vocabulary {
        /// The token.
        token: Token,
        /// Where it stands.
        position: usize,
        /// Size of the vocabulary.
        vocab: usize,
    },
    /// More tokens than there is room for.
    #[error("{tokens} tokens do not fit in {room} positions")]
    TooLong {
        /// How many there are.
        tokens: usize,
        /// How many fit.
        room: usize,
    },
    /// Windows that make no sense.
    #[error(
        "a stride of {stride} in windows of {context} tokens; it needs 1 ≤ stride ≤ context and 2 tokens per window"
    )]
    Windows {
        /// The window.
        context: usize,
        /// The stride.
        stride: usize,
    },
    /// A base that is broken, or a file that is.
    #[error("the base computes no numbers: a logit at position {position} is not finite")]
    NotFinite {
        /// Where the first such logit is.
        position: usize,
    },
    /// Perplexity needs at least two tokens.
    #[error("there are too few tokens ({0}): the first has nothing to be predicted from")]
    TooShort(usize),
}

impl<'a> Scorer<'a> {
    /// Room for sequences of at most `positions` tokens.
    pub fn new(model: &'a Model, compute: &'a Compute, format: KvFormat, positions: usize) -> Self {
        let blocks = positions.div_ceil(KvCache::BLOCK);
        Self {
            model,
            compute,
            state: State::new(&model.config, STEP.min(positions.max(1))),
            kv: KvCache::new(&model.config, format, blocks),
            // A cache of 2^32 blocks fits in no memory.
            blocks: (0..blocks as u32).collect(),
            input: Activations::default(),
            head: OutputHead::Exact,
            logits: vec![0.0; TILE * model.config.vocab],
        }
    }

    /// Logits by this head from now on, instead of the file's own.
    pub fn set_head(&mut self, head: OutputHead) {
        self.head = head;
    }

    /// The scratch of the forward pass, to set its tap.
    pub fn state(&mut self) -> &mut State {
        &mut self.state
    }

    /// Runs `tokens` as a sequence of their own and calls `each(position, logits)` for every position
    /// in `wanted`, in ascending order; `logits` is `[vocab]`, what may follow `tokens[..=position]`.
    ///
    /// # Errors
    /// [`Error`] as `E` for tokens that cannot be run and logits that are not finite; whatever `each` returns.
    pub fn each<E: From<Error>>(
        &mut self,
        tokens: &[Token],
        wanted: impl Fn(usize) -> bool,
        mut each: impl FnMut(usize, &[f32]) -> Result<(), E>,
    ) -> Result<(), E> {
        self.check(tokens)?;
        let (dim, vocab) = (self.model.config.dim, self.model.config.vocab);
        let step = self.state.max_tokens();
        for start in (0..tokens.len()).step_by(step) {
            let end = tokens.len().min(start + step);
            let positions: Vec<usize> = (start..end).filter(|&p| wanted(p)).collect();
            let want = if positions.is_empty() { Want::Nothing } else { Want::All };
            let span = Span { tokens: &tokens[start..end], start, blocks: &self.blocks, want };
            let hidden = self.model.forward(self.compute, &mut self.state, &mut self.kv, &[span]);
            for tile in positions.chunks(TILE) {
                let rows: Vec<f32> = tile.iter().flat_map(|p| &hidden[(p - start) * dim..][..dim]).copied().collect();
                let logits = &mut self.logits[..tile.len() * vocab];
                self.model.head_of(self.head, self.compute, &mut self.input, &rows, logits);
                for (&position, logits) in tile.iter().zip(logits.chunks_exact(vocab)) {
                    if !logits.iter().all(|l| l.is_finite()) {
                        return Err(Error::NotFinite { position }.into());
                    }
                    each(position, logits)?;
                }
            }
        }
        Ok(())
    }

    fn check(&self, tokens: &[Token]) -> Result<(), Error> {
        let vocab = self.model.config.vocab;
        let room = self.blocks.len() * KvCache::BLOCK;
        if tokens.is_empty() {
            return Err(Error::Empty);
        }
        if tokens.len() > room {
            return Err(Error::TooLong { tokens: tokens.len(), room });
        }
        match tokens.iter().position(|&t| t as usize >= vocab) {
            Some(position) => Err(Error::Vocabulary { token: tokens[position], position, vocab }),
            None => Ok(()),
        }
    }
}

/// Logits to natural log-probabilities, in place; sums in f64.
pub fn log_softmax(logits: &mut [f32]) {
    let total = log_sum_exp(logits);
    logits.iter_mut().for_each(|l| *l = (f64::from(*l) - total) as f32);
}

/// `ln Σ exp(logits)` in f64.
fn log_sum_exp(logits: &[f32]) -> f64 {
    let largest = logits.iter().fold(f32::NEG_INFINITY, |a, &l| a.max(l));
    let largest = f64::from(largest);
    largest + logits.iter().map(|&l| (f64::from(l) - largest).exp()).sum::<f64>().ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn log_probabilities_sum_to_one_even_for_large_logits() {
        let mut logits = [1000.0, 999.0, -1000.0];
        log_softmax(&mut logits);
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{sum}");
        assert!((logits[0] - -0.313_261_7).abs() < 1e-6, "{logits:?}");
    }
}
