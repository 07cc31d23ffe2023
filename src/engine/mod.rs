//! Sequences, continuous batching, prefix reuse, sampling.
//!
//! The engine runs on its own thread and owns the model's state. It knows tokens, text and
//! probabilities; it knows nothing of users, HTTP or JSON.

use crate::kernel::Compute;
use crate::model::{KvFormat, Model};
use crate::text::{Token, Tokenizer};
use std::sync::Arc;
use std::time::Duration;

/// Why a request was not taken or not finished.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The prompt has no tokens.
    #[error("the prompt is empty")]
    EmptyPrompt,
    /// The prompt does not fit.
    #[error("the prompt has {tokens} tokens, the context holds {context}")]
    TooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Room.
        context: usize,
    },
    /// A parameter is out of range.
    #[error("`{name}` {what}")]
    Parameter {
        /// Its name as in [`Sampling`] or [`Request`].
        name: &'static str,
        /// What is wrong with it.
        what: String,
    },
    /// A token id is outside the vocabulary.
    #[error("token {0} is outside the vocabulary")]
    Token(Token),
    /// Too many requests are waiting.
    #[error("{0} requests are waiting already")]
    Busy(usize),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    Closed,
}

/// How the next token is chosen. The order is: logit bias, penalties, temperature, top-k, top-p, min-p.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy (ties go to the lowest id).
    pub temperature: f32,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: usize,
    /// Keep the smallest set of most likely tokens whose probabilities sum to at least this.
    pub top_p: f32,
    /// Drop tokens less likely than this share of the most likely one.
    pub min_p: f32,
    /// Divides positive logits and multiplies negative ones of tokens in the last `repeat_last_n`; 1 is off.
    pub repeat_penalty: f32,
    /// How many tokens back `repeat_penalty` looks (prompt included).
    pub repeat_last_n: usize,
    /// Subtracted per occurrence in the answer so far.
    pub frequency_penalty: f32,
    /// Subtracted once if the token occurs in the answer so far.
    pub presence_penalty: f32,
    /// Added to these tokens' logits.
    pub logit_bias: Vec<(Token, f32)>,
    /// Same seed, same text.
    pub seed: u64,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            frequency_penalty: 0.0,
            presence_penalty: 0.0,
            logit_bias: Vec::new(),
            seed: 0,
        }
    }
}

/// One text to continue.
#[derive(Debug, Clone)]
pub struct Request {
    /// Token ids, BOS included where it belongs.
    pub prompt: Vec<Token>,
    /// Most tokens to generate (0 only scores the prompt).
    pub max_tokens: usize,
    /// How to choose tokens.
    pub sampling: Sampling,
    /// Texts that end the answer; they are not part of it.
    pub stop: Vec<String>,
    /// Tokens that end the answer besides the tokenizer's own.
    pub stop_tokens: Vec<Token>,
    /// Go on after the tokenizer's end tokens (for raw completion and benchmarks).
    pub ignore_end: bool,
    /// Report the chosen token's log-probability and this many alternatives per generated token.
    pub logprobs: Option<usize>,
    /// Report the same for each prompt token (`echo`).
    pub prompt_logprobs: Option<usize>,
}

/// A token with the log-probabilities at its position, before temperature and penalties.
#[derive(Debug, Clone, PartialEq)]
pub struct Scored {
    /// The token.
    pub token: Token,
    /// ln p of the token; `None` for a prompt's first token, or where nobody asked.
    pub logprob: Option<f32>,
    /// The most likely tokens, best first, lowest id first among equals. The token's own entry,
    /// where it is among them, carries the very same f32.
    pub top: Vec<(Token, f32)>,
}

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// End token, stop token or stop text.
    Stop,
    /// `max_tokens` or the context is used up.
    Length,
    /// The receiver went away or the engine was shut down.
    Cancelled,
}

/// Counts and times of one request.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Timing {
    /// Prompt tokens.
    pub prompt_tokens: usize,
    /// Of these, tokens whose KV was reused.
    pub cached_tokens: usize,
    /// Generated tokens (an end token counts).
    pub generated_tokens: usize,
    /// From submission to the first step that served it.
    pub queued: Duration,
    /// From there to the first generated token.
    pub prefill: Duration,
    /// From there to the last.
    pub decode: Duration,
}

/// What a request's receiver sees: `Prompt` at most once, any number of `Text`, one `Done`.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The prompt's scores, if asked for.
    Prompt(Vec<Scored>),
    /// A generated token. `text` is what became whole characters with it (often all of it,
    /// sometimes nothing) and is certain not to be part of a stop text.
    Text {
        /// New text.
        text: String,
        /// The token and, if asked for, its log-probabilities.
        token: Scored,
    },
    /// The end. `text` is what was held back.
    Done {
        /// Rest of the text.
        text: String,
        /// Why.
        finish: Finish,
        /// Counts and times.
        timing: Timing,
    },
}

/// Sizes the engine is built with.
#[derive(Debug, Clone)]
pub struct Options {
    /// Longest sequence; the model's own limit if `None`.
    pub context: Option<usize>,
    /// Sequences decoded together.
    pub max_sequences: usize,
    /// Most tokens per step: what prompts are cut into.
    pub max_step_tokens: usize,
    /// Requests that may wait before [`Error::Busy`].
    pub max_waiting: usize,
    /// Memory for keys and values.
    pub kv_bytes: usize,
    /// Their number format.
    pub kv_format: KvFormat,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            context: None,
            max_sequences: 8,
            max_step_tokens: 128,
            max_waiting: 64,
            kv_bytes: 256 << 20,
            kv_format: KvFormat::F16,
        }
    }
}

/// A running engine. Clones share it; it ends when [`Engine::shutdown`] is called or the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Engine {}

/// The events of one request. Dropping it cancels the request.
pub type Events = tokio::sync::mpsc::UnboundedReceiver<Event>;

impl Engine {
    /// Starts the engine's thread.
    pub fn start(_model: Arc<Model>, _tokenizer: Arc<Tokenizer>, _compute: Compute, _options: Options) -> Engine {
        todo!()
    }
    /// Queues a request.
    pub fn submit(&self, _request: Request) -> Result<Events, Error> {
        todo!()
    }
    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        todo!()
    }
    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        todo!()
    }
    /// Longest sequence.
    pub fn context(&self) -> usize {
        todo!()
    }
    /// Stops after the current step: live requests end with [`Finish::Cancelled`]. Waits for the thread.
    pub fn shutdown(&self) {
        todo!()
    }
}
