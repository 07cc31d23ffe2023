//! Tokenizers, chat templates, and bytes to characters.

mod bpe;
mod decoder;
mod gguf;
mod index;
mod json;
mod python;
mod special;
mod split;
mod spm;
mod template;
#[cfg(test)]
mod tests;
mod tokenizer;
mod unicode;
mod vocab;

pub use decoder::Decoder;
pub use template::{ChatTemplate, Message, Render};
pub use tokenizer::{Encode, Tokenizer};

/// What is wrong with a tokenizer or a template.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file's metadata is missing or wrong.
    #[error(transparent)]
    Gguf(#[from] crate::gguf::Error),
    /// The tokenizer cannot be built.
    #[error("{file}: {what}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// The chat template failed.
    #[error("chat template: {0}")]
    Template(String),
}

/// A token id.
pub type Token = u32;
