//! Why a request was refused or not finished: one list for both APIs, each of which writes it in its own shape
//! (`openai/error.rs`, `ollama/error.rs`).

use super::fields::Invalid;
use crate::{engine, host};
use axum::http::StatusCode;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The body is no good.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The body is too long.
    #[error("the body has more than {limit} bytes")]
    TooLarge {
        /// Most bytes taken.
        limit: usize,
    },
    /// The body did not come in time, or not whole.
    #[error("the body did not arrive whole and in time")]
    Incomplete,
    /// No such model here.
    #[error("model `{name}` is not here; this server runs `{here}`")]
    Model {
        /// What was asked for.
        name: String,
        /// What there is.
        here: String,
    },
    /// No such path.
    #[error("there is nothing at {0}")]
    Path(String),
    /// The path takes another method.
    #[error("{path} does not take {method}")]
    Method {
        /// The path.
        path: String,
        /// The method it does not take.
        method: String,
    },
    /// The request is for another host.
    #[error("this server is not `{0}`; it goes by localhost and 127.0.0.1 only (--lan opens it to the network)")]
    Host(String),
    /// Another site's page made the request.
    #[error("requests of pages from `{0}` are not answered")]
    Origin(String),
    /// The base has no chat template, so it continues texts but does not converse.
    #[error("{0}; it can continue texts (/v1/completions, or /api/generate with \"raw\": true)")]
    NoTemplate(host::Error),
    /// The template will not have these messages.
    #[error(transparent)]
    Template(host::Error),
    /// The engine refused.
    #[error(transparent)]
    Engine(#[from] engine::Error),
    /// No token could be chosen.
    #[error("no token could be chosen: `logit_bias` rules all of them out, or the base computes no numbers")]
    NoToken,
    /// The engine is gone.
    #[error("the engine stopped before the answer was finished")]
    Lost,
}

impl From<host::Error> for Refusal {
    fn from(why: host::Error) -> Self {
        match why {
            host::Error::NoTemplate(_) => Refusal::NoTemplate(why),
            _ => Refusal::Template(why),
        }
    }
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> StatusCode {
        match self {
            Refusal::Invalid(_) | Refusal::Template(_) | Refusal::NoTemplate(_) => StatusCode::BAD_REQUEST,
            Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::Host(_) | Refusal::Origin(_) => StatusCode::FORBIDDEN,
            Refusal::Incomplete => StatusCode::REQUEST_TIMEOUT,
            Refusal::Model { .. } | Refusal::Path(_) => StatusCode::NOT_FOUND,
            Refusal::Method { .. } => StatusCode::METHOD_NOT_ALLOWED,
            Refusal::Engine(engine::Error::Busy(_)) => StatusCode::TOO_MANY_REQUESTS,
            Refusal::Engine(engine::Error::Closed | engine::Error::Failed) => StatusCode::SERVICE_UNAVAILABLE,
            Refusal::Engine(_) => StatusCode::BAD_REQUEST,
            Refusal::NoToken | Refusal::Lost => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// A word for programs; OpenAI's own where they have one.
    pub fn code(&self) -> &'static str {
        match self {
            Refusal::Invalid(Invalid::Json(_)) => "invalid_json",
            Refusal::Invalid(Invalid::Parameter { .. }) => "invalid_value",
            Refusal::Invalid(Invalid::Unsupported { .. }) => "unsupported_parameter",
            Refusal::TooLarge { .. } => "body_too_large",
            Refusal::Host(_) => "foreign_host",
            Refusal::Origin(_) => "foreign_origin",
            Refusal::Incomplete => "body_incomplete",
            Refusal::Model { .. } => "model_not_found",
            Refusal::Path(_) => "unknown_path",
            Refusal::Method { .. } => "method_not_allowed",
            Refusal::NoTemplate(_) => "no_chat_template",
            Refusal::Template(_) => "chat_template",
            Refusal::Engine(engine::Error::TooLong { .. }) => "context_length_exceeded",
            Refusal::Engine(engine::Error::Busy(_)) => "queue_full",
            Refusal::Engine(engine::Error::Closed) => "shutting_down",
            Refusal::Engine(engine::Error::Failed) => "engine_failed",
            Refusal::Engine(_) => "invalid_value",
            Refusal::NoToken => "no_token",
            Refusal::Lost => "engine_stopped",
        }
    }

    /// The parameter at fault.
    pub fn param(&self) -> Option<&str> {
        match self {
            Refusal::Invalid(invalid) => invalid.param(),
            Refusal::Model { .. } => Some("model"),
            Refusal::Template(_) => Some("messages"),
            Refusal::Engine(engine::Error::Parameter { name, .. }) => Some(name),
            _ => None,
        }
    }

    /// After how many seconds it is worth asking again, where it is.
    pub fn retry_after(&self) -> Option<usize> {
        match self {
            // An answer takes seconds, and several are computed together.
            Refusal::Engine(engine::Error::Busy(waiting)) => Some(1 + waiting / 8),
            Refusal::Engine(engine::Error::Closed) => Some(5),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_says_when_to_come_back() {
        let busy = Refusal::Engine(engine::Error::Busy(64));
        assert_eq!(busy.status(), 429);
        assert_eq!(busy.retry_after(), Some(9));
        assert_eq!(Refusal::Lost.retry_after(), None);
    }
}
