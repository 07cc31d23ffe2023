//! Sequences, continuous batching, prefix reuse, sampling.
//!
//! The engine runs on its own thread and owns the model's state. It knows tokens, text and
//! probabilities; it knows nothing of users, HTTP or JSON.

mod blocks;
mod board;
mod logprobs;
mod sample;
mod scheduler;
mod sequence;
mod stop;
mod worker;

use crate::kernel::{Activations, Compute};
use crate::model::{Config, KvCache, KvFormat, Model, State};
use crate::text::{Token, Tokenizer};
use board::{Board, Place};
use scheduler::Limits;
use sequence::Sequence;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use worker::{Base, Worker};

/// Most stop texts of a request.
const MAX_STOPS: usize = 64;
/// Longest stop text, in bytes. What might become one is held back and searched at each token.
const MAX_STOP_BYTES: usize = 1024;

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
    /// The engine's thread panicked; the log has the reason. No request will be served any more.
    #[error("the engine failed and serves no more")]
    Failed,
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
    /// Added to these tokens' logits, from −100 to 100. −100 rules a token out; 100 rules out all tokens without it.
    pub logit_bias: Vec<(Token, f32)>,
    /// Same seed, same text, whatever the threads and whatever else is served.
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
    /// No token could be chosen: the network gave no finite logit, or every token is ruled out by its bias.
    Failed,
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
    /// A generated token; an end or stop token is not reported. `text` is what became whole characters with it (often all of it,
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
    /// Longest sequence; the model's own limit, or what [`Options::USUAL_KV_BYTES`] hold, if `None`.
    pub context: Option<usize>,
    /// Sequences decoded together, from 1 to [`Options::MOST_SEQUENCES`].
    pub max_sequences: usize,
    /// Most prompt tokens per step, from 1 to [`Options::MOST_STEP_TOKENS`]: prompts are cut into such pieces. Each
    /// running sequence has at least one token.
    pub max_step_tokens: usize,
    /// Requests that may wait before [`Error::Busy`], at least 1.
    pub max_waiting: usize,
    /// Memory for keys and values; if `None`, [`Options::USUAL_KV_BYTES`] or what one sequence of the asked-for
    /// context takes, whichever is more.
    pub kv_bytes: Option<usize>,
    /// Their number format.
    pub kv_format: KvFormat,
}

impl Options {
    /// Memory for keys and values where nobody says: a sequence and a half of BitNet 2B4T at its longest (4,096 tokens).
    pub const USUAL_KV_BYTES: usize = 512 << 20;
    /// Most sequences decoded together. More would only wait for each other.
    pub const MOST_SEQUENCES: usize = 1024;
    /// Most prompt tokens per step: the network's working memory has room for as many.
    pub const MOST_STEP_TOKENS: usize = 8192;

    /// What a step may have.
    fn limits(&self) -> Limits {
        Limits {
            sequences: self.max_sequences.clamp(1, Self::MOST_SEQUENCES),
            prompt_tokens: self.max_step_tokens.clamp(1, Self::MOST_STEP_TOKENS),
        }
    }

    /// KV blocks and the longest sequence for a model.
    fn sizes(&self, config: &Config) -> (usize, usize) {
        let block_bytes = KvCache::block_bytes(config, self.kv_format);
        let wanted = self.context.unwrap_or(config.context).clamp(1, config.context);
        let asked_for = self.context.map_or(0, |_| wanted.div_ceil(KvCache::BLOCK).saturating_mul(block_bytes));
        let bytes = self.kv_bytes.unwrap_or(Self::USUAL_KV_BYTES.max(asked_for));
        // More than all sequences and as many reusable prefixes would never be used.
        let useful = (2 * self.limits().sequences).saturating_mul(wanted.div_ceil(KvCache::BLOCK) + 1);
        let blocks = (bytes / block_bytes).clamp(1, useful.min(u32::MAX as usize));
        (blocks, wanted.min(blocks.saturating_mul(KvCache::BLOCK)))
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            context: None,
            max_sequences: 8,
            max_step_tokens: 128,
            max_waiting: 64,
            kv_bytes: None,
            kv_format: KvFormat::Q8,
        }
    }
}

/// What an engine is doing, as of its last step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Requests being served.
    pub running: usize,
    /// Requests that have a place (see [`Options::max_waiting`]) and that no step has served yet.
    pub waiting: usize,
    /// Tokens generated since the start.
    pub generated_tokens: u64,
    /// Steps since the start.
    pub steps: u64,
    /// How often a sequence gave up its KV blocks to an older one.
    pub preemptions: u64,
    /// KV blocks of live sequences; the others are free or hold reusable prefixes.
    pub kv_blocks_used: usize,
    /// All KV blocks.
    pub kv_blocks: usize,
}

/// A running engine. Clones share it; it ends when [`Engine::shutdown`] is called or the last clone is dropped.
#[derive(Debug, Clone)]
pub struct Engine {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    model: Arc<Model>,
    tokenizer: Arc<Tokenizer>,
    context: usize,
    board: Arc<Board>,
    /// Requests for the thread, which ends when this is gone.
    requests: Mutex<Option<Sender<Box<Sequence>>>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

/// The events of one request. Dropping it cancels the request. It closes without [`Event::Done`] only if the engine failed.
pub type Events = tokio::sync::mpsc::UnboundedReceiver<Event>;

impl Engine {
    /// Starts the engine's thread. Sizes outside their range count as the nearest in it. A context that was asked for
    /// and that the model or [`Options::kv_bytes`] do not have is cut, with a warning.
    ///
    /// # Panics
    /// If the operating system gives no thread.
    pub fn start(model: Arc<Model>, tokenizer: Arc<Tokenizer>, compute: Compute, options: Options) -> Engine {
        let config = &model.config;
        let limits = options.limits();
        let (blocks, context) = options.sizes(config);
        if options.context.is_some_and(|wanted| context < wanted) {
            log::warn!(
                "the context is cut to {context} tokens: the base was made for {}, memory may hold less",
                config.context
            );
        }
        let state = State::new(config, limits.step_tokens());
        let kv = KvCache::new(config, options.kv_format, blocks);
        let base = Base { model: model.clone(), compute, state, head: Activations::default(), kv };
        let board = Arc::new(Board::new(options.max_waiting));
        let worker = Worker::new(base, tokenizer.clone(), board.clone(), limits, blocks);
        let (requests, thread) = worker::spawn(worker);
        let (requests, thread) = (Mutex::new(Some(requests)), Mutex::new(Some(thread)));
        let handle = Handle { model, tokenizer, context, board, requests, thread };
        Engine { handle: Arc::new(handle) }
    }

    /// Queues a request, or refuses it with [`Error::Busy`] if too many wait.
    pub fn submit(&self, request: Request) -> Result<Events, Error> {
        self.check(&request)?;
        self.send(request, self.handle.board.place()?)
    }

    /// Queues a request as soon as a place to wait in is free; never [`Error::Busy`]. Places go to whoever asked
    /// first, and nobody who asks later with [`Engine::submit`] gets ahead. Dropping the future gives the turn up.
    ///
    /// For the later parts of what was admitted as a whole, such as a client's several choices or prompts:
    /// submit the first with [`Engine::submit`], and the others with this.
    pub async fn submit_when_free(&self, request: Request) -> Result<Events, Error> {
        self.check(&request)?;
        self.send(request, self.handle.board.place_when_free().await?)
    }

    fn send(&self, request: Request, place: Place) -> Result<Events, Error> {
        let Handle { context, board, requests, .. } = &*self.handle;
        let (sequence, events) = Sequence::new(request, *context, place);
        // Under the lock, so that a shutdown comes before or after: the thread serves or cancels all that was sent.
        let sent = match &*requests.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(requests) => requests.send(Box::new(sequence)).is_ok(),
            None => false,
        };
        if sent { Ok(events) } else { Err(board.refusal()) }
    }

    /// Refuses what can never be served, without queueing it.
    pub fn check(&self, request: &Request) -> Result<(), Error> {
        check(request, self.handle.model.config.vocab, self.handle.context)
    }

    /// Whether requests are taken: no longer once [`Engine::shutdown`] was called or the engine's thread panicked.
    pub fn is_alive(&self) -> bool {
        self.handle.board.serves()
    }

    /// Waits until that is no longer so; [`Error::Closed`] or [`Error::Failed`] says why.
    pub async fn ended(&self) -> Error {
        self.handle.board.ended().await
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.handle.model
    }

    /// Its tokenizer.
    pub fn tokenizer(&self) -> &Arc<Tokenizer> {
        &self.handle.tokenizer
    }

    /// Longest sequence, prompt and answer together.
    pub fn context(&self) -> usize {
        self.handle.context
    }

    /// What it is doing.
    pub fn stats(&self) -> Stats {
        self.handle.board.stats()
    }

    /// Stops after the current step: live requests end with [`Finish::Cancelled`]. Waits for the thread.
    pub fn shutdown(&self) {
        let Handle { board, requests, thread, .. } = &*self.handle;
        board.end(Error::Closed);
        drop(requests.lock().unwrap_or_else(PoisonError::into_inner).take());
        // Whoever else calls this waits here until the thread is gone.
        if let Some(thread) = thread.lock().unwrap_or_else(PoisonError::into_inner).take() {
            thread.join().ok();
        }
    }
}

/// Refuses a request that cannot be served.
fn check(request: &Request, vocab: usize, context: usize) -> Result<(), Error> {
    let Request { prompt, sampling, stop, stop_tokens, .. } = request;
    if prompt.is_empty() {
        return Err(Error::EmptyPrompt);
    }
    if prompt.len() > context {
        return Err(Error::TooLong { tokens: prompt.len(), context });
    }
    if let Some(&token) = prompt.iter().chain(stop_tokens).find(|&&token| token as usize >= vocab) {
        return Err(Error::Token(token));
    }
    if stop.iter().any(String::is_empty) {
        return Err(Error::Parameter { name: "stop", what: "must not contain an empty text".into() });
    }
    if stop.len() > MAX_STOPS {
        let what = format!("must have at most {MAX_STOPS} texts, not {}", stop.len());
        return Err(Error::Parameter { name: "stop", what });
    }
    if let Some(long) = stop.iter().find(|text| text.len() > MAX_STOP_BYTES) {
        let what = format!("must have texts of at most {MAX_STOP_BYTES} bytes, not {}", long.len());
        return Err(Error::Parameter { name: "stop", what });
    }
    for (name, n) in [("logprobs", request.logprobs), ("prompt_logprobs", request.prompt_logprobs)] {
        if let Some(n) = n.filter(|&n| n > vocab) {
            let what = format!("must be at most {vocab}, the size of the vocabulary, not {n}");
            return Err(Error::Parameter { name, what });
        }
    }
    sample::check(sampling, vocab)
}
