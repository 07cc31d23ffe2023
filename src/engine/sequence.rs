//! One request on its way: its tokens, how far they are computed, and the text made of them.

use super::blocks::{BASE_SEED, BLOCK};
use super::board::Place;
use super::logprobs;
use super::sample::{Sampler, Scratch};
use super::stop::{StopTexts, Stream};
use super::{Event, Events, Finish, Request, Scored, Timing};
use crate::model::OutputHead;
use crate::text::{Decoder, Token, Tokenizer};
use std::time::Instant;
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// A request's tokens and state. Between steps the first `computed` tokens have keys and values in
/// `blocks`; the rest, one token while decoding, is pending.
#[derive(Debug)]
pub(super) struct Sequence {
    /// Prompt and answer.
    pub(super) tokens: Vec<Token>,
    /// Tokens with keys and values.
    pub(super) computed: usize,
    /// The KV blocks, in order of position.
    pub(super) blocks: Vec<u32>,
    /// Blocks of these that are published.
    pub(super) published: usize,
    /// Under what its keys and values are computed (see [`super::blocks`]).
    pub(super) seed: u64,
    /// Why it is over, once it is.
    pub(super) finish: Option<Finish>,
    /// Its place among those that never ran.
    place: Option<Place>,
    /// When a step first served it.
    started: Option<Instant>,
    /// Tokens of the prompt.
    prompt: usize,
    /// Number of tokens at which it is full.
    limit: usize,
    /// Scores of the prompt's first tokens, if asked for.
    scores: Option<Vec<Scored>>,
    prompt_logprobs: usize,
    logprobs: Option<usize>,
    head: OutputHead,
    stop_tokens: Vec<Token>,
    ignore_end: bool,
    sampler: Sampler,
    decoder: Decoder,
    stops: StopTexts,
    /// Characters on their way from the decoder to `stops`.
    piece: String,
    events: UnboundedSender<Event>,
    submitted: Instant,
    first: Option<Instant>,
    timing: Timing,
}

impl Sequence {
    /// A sequence for a checked request, in a context of `context` positions, and where its events arrive.
    pub(super) fn new(request: Request, context: usize, place: Place) -> (Self, Events) {
        let (events, receiver) = unbounded_channel();
        let Request { prompt: mut tokens, max_tokens, sampling, stop, stop_tokens, .. } = request;
        let prompt = tokens.len();
        let limit = prompt + max_tokens.min(context - prompt);
        tokens.reserve_exact(limit - prompt);
        let first = Scored { token: tokens[0], logprob: None, top: Vec::new() };
        let sequence = Self {
            tokens,
            computed: 0,
            blocks: Vec::with_capacity(limit.div_ceil(BLOCK)),
            published: 0,
            seed: BASE_SEED,
            finish: None,
            submitted: place.since,
            place: Some(place),
            started: None,
            prompt,
            limit,
            scores: request.prompt_logprobs.map(|_| vec![first]),
            prompt_logprobs: request.prompt_logprobs.unwrap_or(0),
            logprobs: request.logprobs,
            head: match (request.logprobs, request.prompt_logprobs) {
                (None, None) => OutputHead::Compact,
                _ => OutputHead::Exact,
            },
            stop_tokens,
            ignore_end: request.ignore_end,
            sampler: Sampler::new(sampling),
            decoder: Decoder::default(),
            stops: StopTexts::new(stop),
            piece: String::new(),
            events,
            first: None,
            timing: Timing { prompt_tokens: prompt, ..Timing::default() },
        };
        (sequence, receiver)
    }

    /// Tokens without keys and values; at least one in a live sequence.
    pub(super) fn pending(&self) -> usize {
        self.tokens.len() - self.computed
    }

    /// Whether nobody waits for the answer any more.
    pub(super) fn abandoned(&self) -> bool {
        self.events.is_closed()
    }

    /// Whether some step has served it.
    pub(super) fn begun(&self) -> bool {
        self.started.is_some()
    }

    /// How many leading positions may come from the prefix cache: not the last one, whose hidden state is
    /// needed, and none whose hidden state still has to score a prompt token.
    pub(super) fn reusable(&self) -> usize {
        let unscored = match &self.scores {
            Some(scores) => scores.len() - 1,
            None => usize::MAX,
        };
        unscored.min(self.tokens.len() - 1)
    }

    /// Notes that it has blocks, `cached` positions of which are computed already.
    pub(super) fn begin(&mut self, cached: usize) {
        self.computed = cached;
        self.published = cached / BLOCK;
        if self.started.is_none() {
            self.started = Some(Instant::now());
            self.place = None;
            self.timing.cached_tokens = cached;
            self.timing.queued = self.submitted.elapsed();
        }
    }

    /// Which head computes its logits, all along: who asks for log-probabilities gets the file's own.
    pub(super) fn head(&self) -> OutputHead {
        self.head
    }

    /// Whether the hidden state at `position` is of use: the next token follows from it, or a prompt token's score.
    pub(super) fn wants(&self, position: usize) -> bool {
        let next = position + 1;
        match &self.scores {
            Some(scores) if next < self.prompt => next >= scores.len(),
            _ => next == self.tokens.len() && next < self.limit,
        }
    }

    /// Uses the `[vocab]` logits that follow `position`. The rows that it [wants](Sequence::wants) come in order.
    pub(super) fn advance(&mut self, position: usize, logits: &[f32], text: &Tokenizer, scratch: &mut Scratch) {
        let next = position + 1;
        let done = if next < self.prompt { self.score(next, logits) } else { self.choose(logits, text, scratch) };
        if done.is_none() {
            log::warn!("no token can follow after {next} tokens: no logit is finite, or all tokens are banned");
            self.finish = Some(Finish::Failed);
        }
    }

    /// Scores the prompt token at `position`.
    fn score(&mut self, position: usize, logits: &[f32]) -> Option<()> {
        let scored = logprobs::score(logits, self.tokens[position], self.prompt_logprobs)?;
        self.scores.as_mut()?.push(scored);
        Some(())
    }

    /// Chooses the next token and sends it.
    fn choose(&mut self, logits: &[f32], text: &Tokenizer, scratch: &mut Scratch) -> Option<()> {
        self.send_scores();
        let id = self.sampler.sample(logits, &self.tokens, self.prompt, scratch)?;
        let token = match self.logprobs {
            Some(n) => logprobs::score(logits, id, n)?,
            None => Scored { token: id, logprob: None, top: Vec::new() },
        };
        self.tokens.push(id);
        self.clock();
        if self.stop_tokens.contains(&id) || (!self.ignore_end && text.ends_answer(id)) {
            self.finish = Some(Finish::Stop);
            return Some(());
        }
        if !text.is_control(id) {
            self.decoder.push(text.bytes(id), &mut self.piece);
        }
        let mut text = String::new();
        let stream = self.stops.push(&self.piece, &mut text);
        self.piece.clear();
        self.events.send(Event::Text { text, token }).ok();
        if stream == Stream::Stopped {
            self.finish = Some(Finish::Stop);
        } else if self.tokens.len() == self.limit {
            self.finish = Some(Finish::Length);
        }
        Some(())
    }

    /// Counts a generated token.
    fn clock(&mut self) {
        let now = Instant::now();
        let started = self.started.unwrap_or(self.submitted);
        let first = *self.first.get_or_insert(now);
        self.timing.generated_tokens += 1;
        self.timing.prefill = first - started;
        self.timing.decode = now - first;
    }

    /// To be called after each step: ends a sequence that only has its prompt scored or cached.
    pub(super) fn settle(&mut self) {
        if self.limit == self.prompt && self.computed == self.prompt && self.finish.is_none() {
            self.send_scores();
            self.timing.prefill = self.started.unwrap_or(self.submitted).elapsed();
            self.finish = Some(Finish::Length);
        }
    }

    fn send_scores(&mut self) {
        if let Some(scores) = self.scores.take() {
            self.events.send(Event::Prompt(scores)).ok();
        }
    }

    /// Sends the end, with the text that was held back.
    pub(super) fn close(mut self, finish: Finish) {
        let mut text = String::new();
        self.decoder.finish(&mut self.piece);
        self.stops.push(&self.piece, &mut text);
        self.stops.finish(&mut text);
        if !self.begun() {
            self.timing.queued = self.submitted.elapsed();
        }
        self.events.send(Event::Done { text, finish, timing: self.timing }).ok();
    }
}
