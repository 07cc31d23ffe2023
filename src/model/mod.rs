//! Transformer bases: configuration, weights, KV cache and the forward pass.

use crate::gguf;
use crate::kernel::Compute;
use crate::text::Token;

/// What is wrong with a model file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file cannot be read, or a key or tensor is wrong.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
    /// The file declares something this engine cannot honour.
    #[error("{file}: {what}")]
    Unsupported {
        /// The file.
        file: String,
        /// What it declares.
        what: String,
    },
    /// A weight matrix the kernels cannot take.
    #[error("{file}: tensor `{tensor}`: {source}")]
    Matrix {
        /// The file.
        file: String,
        /// The tensor.
        tensor: String,
        /// Why.
        source: crate::kernel::Error,
    },
}

/// Hyperparameters of a base.
#[derive(Debug, Clone)]
pub struct Config {
    /// GGUF architecture, e.g. `bitnet-b1.58`.
    pub arch: String,
    /// The file's `general.name`, if any.
    pub name: Option<String>,
    /// Vocabulary size.
    pub vocab: usize,
    /// Longest sequence the base was trained for.
    pub context: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Layers.
    pub layers: usize,
}

/// A base: configuration and weights, read-only after loading.
#[derive(Debug)]
pub struct Model {
    /// Hyperparameters.
    pub config: Config,
}

/// Number format of cached keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum KvFormat {
    /// IEEE half precision.
    #[default]
    F16,
    /// Single precision.
    F32,
}

/// Keys and values of all sequences, in blocks of [`KvCache::BLOCK`] positions.
#[derive(Debug)]
pub struct KvCache {}

impl KvCache {
    /// Positions per block.
    pub const BLOCK: usize = 32;
    /// Room for `blocks` blocks in all layers of `config`.
    pub fn new(_config: &Config, _format: KvFormat, _blocks: usize) -> Self {
        todo!()
    }
    /// Bytes that one block takes in all layers.
    pub fn block_bytes(_config: &Config, _format: KvFormat) -> usize {
        todo!()
    }
    /// Number of blocks.
    pub fn blocks(&self) -> usize {
        todo!()
    }
}

/// Which positions' final hidden states a [`Span`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// None: part of a prompt.
    Nothing,
    /// The last position: the next token follows.
    Last,
    /// Every position: prompt log-probabilities.
    All,
}

/// Consecutive new tokens of one sequence, to run in one step with others.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// New tokens.
    pub tokens: &'a [Token],
    /// Position of the first of them.
    pub start: usize,
    /// The sequence's KV blocks, enough for `start + tokens.len()` positions: position p lives in
    /// `blocks[p / BLOCK]`, slot `p % BLOCK`.
    pub blocks: &'a [u32],
    /// What to give back.
    pub want: Want,
}

/// Scratch of the forward pass, reused from step to step.
#[derive(Debug)]
pub struct State {}

impl State {
    /// Scratch for steps of at most `max_tokens` tokens.
    pub fn new(_config: &Config, _max_tokens: usize) -> Self {
        todo!()
    }
}

impl Model {
    /// Loads a base from a validated file.
    pub fn load(_file: &gguf::File) -> Result<Model, Error> {
        todo!()
    }

    /// Runs all `spans` in one pass and returns the final normed hidden states that were asked
    /// for, `[wanted][dim]`, in span order. A token's result does not depend on what else is in the batch.
    ///
    /// # Panics
    /// If a token is outside the vocabulary, a block outside the cache, or the step larger than `state` allows:
    /// the engine has checked all of that.
    pub fn forward<'s>(
        &self,
        _compute: &Compute,
        _state: &'s mut State,
        _kv: &mut KvCache,
        _spans: &[Span],
    ) -> &'s [f32] {
        todo!()
    }

    /// Logits of hidden states: `hidden` is `[n][dim]`, `logits` becomes `[n][vocab]`.
    pub fn head(&self, _compute: &Compute, _state: &mut State, _hidden: &[f32], _logits: &mut [f32]) {
        todo!()
    }

    /// Bytes of weights read per decoded token.
    pub fn bytes_per_token(&self) -> usize {
        todo!()
    }
}
