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
mod prepared;
mod weights;

pub use cache::{KvCache, KvFormat};
pub use config::{Activation, Config, FULL_PRECISION_TWIN, Pairs, Rope, is_ternary_by_definition};
pub use forward::{Skipping, Span, State, Tap, Want};
pub use prepared::{Prepared, prepare, prepared_path};

use crate::gguf;
use crate::kernel::Layout;
use crate::quant::Format;
use serde::{Deserialize, Serialize};
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
    /// Packed matrices cannot be kept.
    #[error("cannot prepare {}: {source}", path.display())]
    Prepare {
        /// Where they should have been.
        path: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
}

/// The compact output head, which stands beside the file's own: a large vocabulary's head in F16 takes longer to read
/// than all ternary layers together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, clap::ValueEnum, Serialize, Deserialize)]
#[allow(non_camel_case_types)]
#[clap(rename_all = "snake_case")]
pub enum CompactHead {
    /// None: the file's own head alone.
    #[default]
    File,
    /// Q8_0 for F32, F16 and BF16 heads over 32 MB.
    Auto,
    /// 8 bits.
    Q8_0,
    /// 6 bits; takes longer to make.
    Q6_K,
    /// 4 bits, the fastest; takes longer to make.
    Q4_K,
}

/// How weights are kept in memory. It changes speed and size and, but for the compact head, no bit of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Packing {
    /// The compact output head.
    pub head: CompactHead,
    /// Layout of ternary matrices of which every weight is read: [`Layout::Panels`] or [`Layout::Trits`].
    pub layout: Layout,
    /// Whether feed-forward layers with squared ReLU skip what is multiplied by zero.
    pub skip_zeros: bool,
}

impl Default for Packing {
    /// The file's own head, panels, zeros skipped.
    fn default() -> Self {
        Packing { head: CompactHead::File, layout: Layout::Panels, skip_zeros: true }
    }
}

impl Packing {
    /// Layouts of a layer's `up` and `down` matrices, and of its others.
    fn layouts(&self, config: &Config) -> [Layout; 3] {
        let skip = self.skip_zeros && config.activation == Activation::SquaredRelu;
        if skip { [Layout::Rows, Layout::Columns, self.layout] } else { [self.layout; 3] }
    }
}

/// Which output head computes logits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OutputHead {
    /// The file's own precision: log-probabilities, evaluation.
    Exact,
    /// The compact one where the base was loaded with one: choosing the next token.
    Compact,
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
        Self::load_with(file, Packing::default())
    }

    /// The same, kept as `packing` says. Where [`prepare`] has been at work before, it is mapped from the disk.
    ///
    /// # Errors
    /// [`Error::Unsupported`] also for a head that was named and cannot be made, or is no smaller than the file's.
    pub fn load_with(file: &gguf::File, packing: Packing) -> Result<Model, Error> {
        let config = Config::from_gguf(file)?;
        let weights = Weights::load(file, &config, packing)?;
        Ok(Model { config, weights })
    }

    /// Bytes of weights read per decoded token: all linear layers and the output head.
    pub fn bytes_per_token(&self, head: OutputHead) -> usize {
        self.weights.linears().map(|m| m.bytes()).sum::<usize>() + self.weights.head(head).bytes()
    }

    /// The same for steps of one token in which neurons were skipped.
    pub fn bytes_read(&self, head: OutputHead, skipping: Skipping) -> usize {
        let all = self.bytes_per_token(head);
        if skipping.neurons == 0 {
            return all;
        }
        let bytes = |layout: Layout| -> usize {
            self.weights.linears().filter(|m| m.layout() == Some(layout)).map(|m| m.bytes()).sum()
        };
        let skipped =
            |bytes: usize, read: u64| (bytes as f64 * (1.0 - read as f64 / skipping.neurons as f64)).round() as usize;
        all - skipped(bytes(Layout::Rows), skipping.open) - skipped(bytes(Layout::Columns), skipping.nonzero)
    }

    /// Bytes of a head.
    pub fn head_bytes(&self, head: OutputHead) -> usize {
        self.weights.head(head).bytes()
    }

    /// Format of the weights of a head.
    pub fn head_format(&self, head: OutputHead) -> Format {
        match (&self.weights.compact, head) {
            (Some((format, _)), OutputHead::Compact) => *format,
            _ => self.weights.head_format,
        }
    }

    /// Number of weights in the linear layers, the embedding and (where it is a separate one) the head.
    pub fn parameters(&self) -> usize {
        let count = |m: &crate::kernel::Matrix| m.rows() * m.cols();
        let head = count(&self.weights.output) * if self.weights.tied { 1 } else { 2 };
        self.weights.linears().map(count).sum::<usize>() + head
    }

    /// Whether every linear layer is ternary: a 1.58-bit base.
    pub fn is_ternary(&self) -> bool {
        self.weights.linears().all(|m| m.is_ternary())
    }
}
