//! Chat templates.

use super::{Error, Token, Tokenizer};
use crate::gguf;

/// One message of a conversation.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Message {
    /// `system`, `user`, `assistant` or `tool`.
    pub role: String,
    /// What was said.
    pub content: String,
}

/// What a template is rendered with, where a conversation has more than [`Message`]s.
#[derive(Debug, Clone, Default)]
pub struct Render {
    /// Messages as JSON objects with `role`, `content`, `tool_calls` and so on.
    pub messages: Vec<serde_json::Value>,
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
