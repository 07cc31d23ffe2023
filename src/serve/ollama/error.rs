//! Errors in Ollama's shape: `{"error": "…"}`.

use crate::serve::error::Refusal;
use axum::Json;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A refusal, to be written in Ollama's shape.
#[derive(Debug)]
pub struct Error(pub Refusal);

/// The wire form.
#[derive(Debug, Serialize)]
pub(super) struct Body {
    error: String,
}

/// The wire form of a refusal.
pub(super) fn body(why: &Refusal) -> Body {
    Body { error: why.to_string() }
}

impl<E: Into<Refusal>> From<E> for Error {
    fn from(why: E) -> Self {
        Self(why.into())
    }
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let mut response = (self.0.status(), Json(body(&self.0))).into_response();
        if let Some(seconds) = self.0.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}
