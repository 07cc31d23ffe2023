//! A tokenizer from Hugging Face's `tokenizer.json`.

use super::{Error, Tokenizer};

impl Tokenizer {
    /// From a Hugging Face `tokenizer.json` (special tokens from `tokenizer_config.json` beside it if there).
    pub fn from_json(_path: &std::path::Path) -> Result<Self, Error> {
        todo!()
    }
}
