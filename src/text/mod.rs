//! Tokenizers, chat templates, and bytes to characters.

use crate::gguf;

/// What is wrong with a tokenizer or a template.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file's metadata is missing or wrong.
    #[error(transparent)]
    Gguf(#[from] gguf::Error),
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

/// Text to token ids and back.
#[derive(Debug)]
pub struct Tokenizer {}

/// How [`Tokenizer::encode`] treats special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Encode {
    /// Put the beginning-of-sequence token first if the file says so (never twice).
    pub bos: bool,
    /// Read `<|eot_id|>` and the like as control tokens. Off for anything a user wrote.
    pub special: bool,
}

impl Tokenizer {
    /// From a GGUF file's metadata; vocabulary-only files will do.
    pub fn from_gguf(_file: &gguf::File) -> Result<Self, Error> {
        todo!()
    }
    /// From a Hugging Face `tokenizer.json` (special tokens from `tokenizer_config.json` beside it if there).
    pub fn from_json(_path: &std::path::Path) -> Result<Self, Error> {
        todo!()
    }
    /// Number of tokens.
    pub fn vocab_size(&self) -> usize {
        todo!()
    }
    /// Token ids of `text`.
    pub fn encode(&self, _text: &str, _how: Encode) -> Vec<Token> {
        todo!()
    }
    /// The bytes a token stands for; control tokens give their name. Empty for an id out of range.
    pub fn bytes(&self, _token: Token) -> &[u8] {
        todo!()
    }
    /// Whether the token is a control token (shown to nobody).
    pub fn is_control(&self, _token: Token) -> bool {
        todo!()
    }
    /// Text of `tokens`; control tokens are left out unless `special`; broken UTF-8 becomes U+FFFD.
    pub fn decode(&self, _tokens: &[Token], _special: bool) -> String {
        todo!()
    }
    /// Beginning of sequence.
    pub fn bos(&self) -> Option<Token> {
        todo!()
    }
    /// End of sequence.
    pub fn eos(&self) -> Option<Token> {
        todo!()
    }
    /// Whether the token ends an answer (eos, eot, eom, and the usual names of those).
    pub fn ends_answer(&self, _token: Token) -> bool {
        todo!()
    }
    /// The id of a token by its exact name.
    pub fn id(&self, _name: &str) -> Option<Token> {
        todo!()
    }
}

/// Turns tokens into text as they come, never splitting a character.
#[derive(Debug, Default, Clone)]
pub struct Decoder {}

impl Decoder {
    /// Adds a token's bytes; whole characters that are now complete are appended to `out`.
    pub fn push(&mut self, _bytes: &[u8], _out: &mut String) {
        todo!()
    }
    /// What is left at the end, broken bytes as U+FFFD.
    pub fn finish(&mut self, _out: &mut String) {
        todo!()
    }
}

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// A chat template from a model file, compiled.
#[derive(Debug)]
pub struct ChatTemplate {}

impl ChatTemplate {
    /// The template of a file: its own, or a known better one where the file's is a known placeholder.
    pub fn from_gguf(_file: &gguf::File, _tokenizer: &Tokenizer) -> Result<Self, Error> {
        todo!()
    }
    /// Token ids of a conversation, ready for the answer. What the messages contain is text,
    /// whatever it looks like; only the template writes control tokens.
    pub fn encode(&self, _tokenizer: &Tokenizer, _messages: &[Message]) -> Result<Vec<Token>, Error> {
        todo!()
    }
}
