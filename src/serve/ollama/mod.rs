//! The endpoints of Ollama's API (<https://docs.ollama.com/api>), one file each.
//!
//! Streams are one JSON object per line, not server-sent events; durations are nanoseconds. `keep_alive` and sizes
//! (`num_ctx`, …) are the server's business here and have no effect; a conversation that is too long
//! loses its oldest turns, as with Ollama, unless `truncate` is false.

mod chat;
mod error;
mod generate;
mod reply;
mod tags;
mod version;

pub use chat::{ChatRequest, parse_chat};
pub use error::Error;
pub use generate::{GenerateRequest, parse_generate};

use super::fields::{Fields, Invalid};
use super::router::{Service, Truncation};
use crate::host::Knobs;
use axum::Router;
use axum::routing::{get, post};
use std::sync::Arc;

/// This API's paths.
pub(crate) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/api/tags", get(tags::list))
        .route("/api/version", get(version::show))
        .route("/api/chat", post(chat::create))
        .route("/api/generate", post(generate::create))
}

/// How an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// At once, when it is finished.
    Whole,
    /// As it comes, a line per piece: what Ollama does unless told otherwise.
    Stream,
}

/// What requests to both endpoints have in common.
#[derive(Debug, Clone, PartialEq)]
pub struct Common {
    /// Which model.
    pub model: String,
    /// Whole or streamed.
    pub delivery: Delivery,
    /// What to do with a text that is too long.
    pub truncation: Truncation,
    /// Alternatives per token, if log-probabilities are asked for.
    pub logprobs: Option<usize>,
    /// How to answer.
    pub knobs: Knobs,
}

impl Common {
    fn parse(fields: &mut Fields) -> Result<Self, Invalid> {
        fields.refuse("format", "this server answers in free text")?;
        fields.refuse("think", "this base does not think aloud")?;
        let model = fields.string("model")?.filter(|name| !name.is_empty());
        let stream = fields.flag("stream")?.unwrap_or(true);
        let truncate = fields.flag("truncate")?.unwrap_or(true);
        let top = fields.int("top_logprobs", 0..=20)?.and_then(|n| usize::try_from(n).ok()).unwrap_or(0);
        let logprobs = fields.flag("logprobs")?.unwrap_or(false);
        Ok(Self {
            model: model.ok_or_else(|| fields.error("model", "is required"))?,
            delivery: if stream { Delivery::Stream } else { Delivery::Whole },
            truncation: if truncate { Truncation::Oldest } else { Truncation::Never },
            logprobs: logprobs.then_some(top),
            knobs: match fields.object("options")? {
                Some(options) => Knobs::from_ollama(options)?,
                None => Knobs::default(),
            },
        })
    }
}
