//! The endpoints of OpenAI's API (<https://platform.openai.com/docs/api-reference>), one file each.
//!
//! Extensions: `top_k`, `min_p`, `repetition_penalty` (or `repeat_penalty`), `repeat_last_n`, and for chats
//! `truncation: "auto"` (leave out the oldest turns of a conversation that is too long; the answer's
//! `truncated_messages` says how many) in requests; `timings` and `seed` in answers. Unknown parameters are accepted;
//! known ones that are not supported are refused by name.

mod chat;
mod completions;
mod error;
mod models;

pub use chat::{ChatRequest, parse_chat};
pub use completions::{CompletionRequest, Prompt, parse_completion};
pub use error::Error;

use super::answer::{Answer, Timings};
use super::fields::{Fields, Invalid};
use super::router::Service;
use crate::host::random_seed;
use axum::Router;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use futures_util::stream::{self, Stream, StreamExt};
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// This API's paths.
pub(crate) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/v1/models", get(models::list))
        .route("/v1/models/{id}", get(models::one))
        .route("/v1/chat/completions", post(chat::create))
        .route("/v1/completions", post(completions::create))
}

/// Most choices per prompt.
const MOST_CHOICES: i64 = 8;
/// Most alternatives per token.
const MOST_LOGPROBS: i64 = 20;
/// A silent stream (a long prompt, a queue) shows that it is alive this often.
const PING: Duration = Duration::from_secs(10);

/// What answers call the program: a change of it may change the text that a seed gives.
const FINGERPRINT: &str = concat!("loco-", env!("CARGO_PKG_VERSION"));

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// At once, when it is finished.
    Whole,
    /// As it comes.
    Stream,
    /// As it comes, with the token counts after the last piece (`stream_options.include_usage`).
    StreamWithUsage,
}

impl Delivery {
    fn parse(fields: &mut Fields) -> Result<Self, Invalid> {
        let stream = fields.flag("stream")?.unwrap_or(false);
        let usage = match fields.object("stream_options")? {
            Some(mut options) => options.flag("include_usage")?.unwrap_or(false),
            None => false,
        };
        Ok(match (stream, usage) {
            (false, _) => Delivery::Whole,
            (true, false) => Delivery::Stream,
            (true, true) => Delivery::StreamWithUsage,
        })
    }
}

/// `n`.
fn choices(fields: &mut Fields) -> Result<usize, Invalid> {
    let n = fields.int("n", 1..=MOST_CHOICES)?.unwrap_or(1);
    Ok(usize::try_from(n).unwrap_or(1))
}

/// Token counts.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct Usage {
    prompt_tokens: usize,
    completion_tokens: usize,
    total_tokens: usize,
    prompt_tokens_details: PromptDetails,
}

/// Part of [`Usage`].
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct PromptDetails {
    cached_tokens: usize,
}

impl Usage {
    /// Counts one more choice. A prompt with several choices counts once: `first_of_prompt` is the others' `No`.
    fn add(&mut self, timing: &crate::engine::Timing, prompt: CountPrompt) {
        if prompt == CountPrompt::Yes {
            self.prompt_tokens += timing.prompt_tokens;
            self.prompt_tokens_details.cached_tokens += timing.cached_tokens;
        }
        self.completion_tokens += timing.generated_tokens;
        self.total_tokens = self.prompt_tokens + self.completion_tokens;
    }

    /// Of answers, `n` to each prompt.
    fn of(answers: &[Answer], n: usize) -> Self {
        let mut usage = Self::default();
        for (i, answer) in answers.iter().enumerate() {
            usage.add(&answer.timing, CountPrompt::of(i, n));
        }
        usage
    }
}

/// Whether a choice is the one that its prompt is counted with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CountPrompt {
    Yes,
    No,
}

impl CountPrompt {
    /// Of choice `choice` where each prompt has `n`.
    fn of(choice: usize, n: usize) -> Self {
        if choice.is_multiple_of(n) { Self::Yes } else { Self::No }
    }
}

/// An id for an answer.
fn new_id(prefix: &str) -> String {
    format!("{prefix}-{:014x}", random_seed())
}

/// Server-sent events: the frames, then `[DONE]`.
fn sse(frames: impl Stream<Item = String> + Send + 'static) -> Response {
    let events = frames
        .chain(stream::once(async { "[DONE]".to_string() }))
        .map(|data| Ok::<_, Infallible>(Event::default().data(data)));
    let sse = Sse::new(events).keep_alive(KeepAlive::new().interval(PING));
    let headers = [
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Or nginx keeps the stream back until it ends.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, sse).into_response()
}

/// What every answer begins with.
#[derive(Debug, Clone, Serialize)]
struct Head {
    id: String,
    object: &'static str,
    created: u64,
    model: String,
    system_fingerprint: &'static str,
}

/// What every whole answer ends with.
#[derive(Debug, Clone, Copy, Serialize)]
struct Tail {
    usage: Usage,
    timings: Timings,
    /// The seed of the first choice; the others have its successors.
    seed: u64,
}
