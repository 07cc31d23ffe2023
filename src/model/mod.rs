//! Transformer bases: configuration, weights, KV cache and the forward pass.
//!
//! Read [`forward`](Model::forward) first: it goes from token ids to hidden states in the order of the papers, for
//! every architecture. What differs between architectures is in [`Config`] (numbers and choices) and
//! in which optional tensors a layer has (sub-norms, query and key norms, post-norms).
//!
//! Nothing here depends on what else is in a step: a token's hidden state is the same to the last
//! bit whether it was computed alone, in a prompt's chunk, or beside other sequences.

mod attention;
mod cache;
mod config;
mod forward;
mod math;
mod weights;

pub use cache::{KvCache, KvFormat};
pub use config::{Activation, Config, Pairs, Rope};
pub use forward::{Span, State, Tap, Want};

use crate::gguf;
use weights::Weights;

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

/// A base: configuration and weights, read-only after loading.
#[derive(Debug)]
pub struct Model {
    /// Hyperparameters.
    pub config: Config,
    weights: Weights,
}

impl Model {
    /// Loads a base from a validated file. Every tensor of the file must have a place in the
    /// network: one that has none is an error, for it would silently change the answers.
    pub fn load(file: &gguf::File) -> Result<Model, Error> {
        let config = Config::from_gguf(file)?;
        let weights = Weights::load(file, &config)?;
        Ok(Model { config, weights })
    }

    /// Bytes of weights read per decoded token: all linear layers and the output head.
    pub fn bytes_per_token(&self) -> usize {
        self.weights.linears().map(|m| m.bytes()).sum::<usize>() + self.weights.head().bytes()
    }

    /// Number of weights in the linear layers, the embedding and (where it is a separate one) the head.
    pub fn parameters(&self) -> usize {
        let count = |m: &crate::kernel::Matrix| m.rows() * m.cols();
        let head = self.weights.output.as_ref().map_or(0, count);
        self.weights.linears().map(count).sum::<usize>() + count(&self.weights.embedding) + head
    }

    /// Whether every linear layer is ternary: a 1.58-bit base.
    pub fn is_ternary(&self) -> bool {
        self.weights.linears().all(|m| m.is_ternary())
    }
}
