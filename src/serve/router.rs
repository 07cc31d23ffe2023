//! The service's state, and which path goes where.

use super::error::Refusal;
use super::guard::Names;
use super::{health, ollama, openai, page};
use crate::engine::{self, Sampling};
use crate::host::{Conversation, Knobs, LoadedBase, random_seed};
use crate::text::{Message, Token};
use axum::Router;
use axum::extract::Request;
use axum::http::{Method, StatusCode, Uri};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::SystemTime;

/// What all handlers share.
#[derive(Debug)]
pub struct Service {
    /// The base that answers.
    pub base: LoadedBase,
    /// How tokens are chosen where a client does not say.
    pub defaults: Sampling,
    /// When the service was started: `created` of its model.
    pub(crate) started: SystemTime,
    /// Requests being answered; held down by [`Live`].
    live: Arc<AtomicUsize>,
    /// Set when a shutdown begins: `/ready` says no from then on.
    closing: AtomicBool,
}

/// A request being answered: counted until it is dropped.
#[derive(Debug)]
pub(crate) struct Live(Arc<AtomicUsize>);

impl Drop for Live {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service {
    /// A service for `base`.
    pub fn new(base: LoadedBase, defaults: Sampling) -> Arc<Self> {
        Arc::new(Self {
            base,
            defaults,
            started: SystemTime::now(),
            live: Arc::default(),
            closing: AtomicBool::new(false),
        })
    }

    /// Counts one more request until the result is dropped.
    pub(crate) fn enter(&self) -> Live {
        self.live.fetch_add(1, Ordering::Relaxed);
        Live(Arc::clone(&self.live))
    }

    /// Requests being answered.
    pub fn live(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether a shutdown has begun.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Relaxed)
    }

    /// Begins a shutdown.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Refuses a name that is not this base's. `:latest` may follow it, as Ollama's clients write.
    pub(crate) fn check_model(&self, name: &str) -> Result<(), Refusal> {
        let here = &self.base.id;
        if name == here || name.strip_suffix(":latest") == Some(here) {
            return Ok(());
        }
        Err(Refusal::Model { name: name.chars().take(200).collect(), here: here.clone() })
    }

    /// An engine request with the server's defaults where `knobs` says nothing. Log-probabilities are off.
    pub(crate) fn request(&self, prompt: Vec<Token>, knobs: &Knobs, seed: u64) -> engine::Request {
        self.base.request(prompt, knobs, &self.defaults, seed)
    }

    /// The tokens of a conversation; `truncate` leaves out its oldest turns if it is too long.
    pub(crate) async fn encode(
        self: &Arc<Self>,
        messages: Vec<Message>,
        truncate: Truncation,
        knobs: &Knobs,
    ) -> Result<Conversation, Refusal> {
        let reserve = match truncate {
            Truncation::Oldest => Some(knobs.max_tokens.unwrap_or(usize::MAX)),
            Truncation::Never => None,
        };
        let service = Arc::clone(self);
        // A long text takes a while; others' streams go on meanwhile.
        let encoding = tokio::task::spawn_blocking(move || service.base.encode(&messages, reserve));
        Ok(encoding.await.map_err(|_| Refusal::Lost)??)
    }
}

/// What to do with a conversation that is longer than the context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Truncation {
    /// Refuse it.
    Never,
    /// Leave out the oldest turns.
    Oldest,
}

/// The seeds of `n` choices: the client's (or a random one), then its successors.
pub(crate) fn seeds(knobs: &Knobs, n: usize) -> Vec<u64> {
    let first = knobs.seed.unwrap_or_else(random_seed);
    (0u64..).take(n).map(|i| first.wrapping_add(i)).collect()
}

/// All paths, for requests under `names`.
pub fn router(service: Arc<Service>, names: Names) -> Router {
    Router::new()
        .merge(page::routes())
        .route("/health", get(health::health))
        .route("/ready", get(health::ready))
        .merge(openai::routes())
        .merge(ollama::routes())
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn(move |request: Request, next: Next| async move {
            match names.check(request.headers()) {
                Ok(()) => next.run(request).await,
                Err(why) => refuse(request.uri().path(), why),
            }
        }))
        .with_state(service)
}

async fn unknown_path(uri: Uri) -> Response {
    refuse(uri.path(), Refusal::Path(uri.path().chars().take(200).collect()))
}

async fn wrong_method(method: Method, uri: Uri) -> Response {
    refuse(uri.path(), Refusal::Method { path: uri.path().into(), method: method.to_string() })
}

/// An error in the shape of the API that the path belongs to.
fn refuse(path: &str, why: Refusal) -> Response {
    if path.starts_with("/api/") {
        ollama::Error(why).into_response()
    } else if path.starts_with("/v1/") {
        openai::Error(why).into_response()
    } else {
        let status: StatusCode = why.status();
        (status, format!("{why}\n")).into_response()
    }
}
