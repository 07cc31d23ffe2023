//! Errors in OpenAI's shape: `{"error": {"message", "type", "param", "code"}}`.

use crate::serve::error::Refusal;
use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

/// A refusal, to be written in OpenAI's shape.
#[derive(Debug)]
pub struct Error(pub Refusal);

/// The wire form.
#[derive(Debug, Serialize)]
pub(super) struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Debug, Serialize)]
struct Inner<'a> {
    message: String,
    r#type: &'static str,
    param: Option<&'a str>,
    code: &'static str,
}

/// The wire form of a refusal.
pub(super) fn body(why: &Refusal) -> Body<'_> {
    let r#type = match why.status() {
        StatusCode::TOO_MANY_REQUESTS => "rate_limit_error",
        status if status.is_server_error() => "server_error",
        _ => "invalid_request_error",
    };
    Body { error: Inner { message: why.to_string(), r#type, param: why.param(), code: why.code() } }
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine;
    use crate::serve::Invalid;

    #[test]
    fn errors_name_the_parameter_and_the_code() {
        let why = Refusal::Invalid(Invalid::Parameter { param: "n".into(), what: "must be a number".into() });
        assert_eq!(
            serde_json::to_string(&body(&why)).unwrap(),
            r#"{"error":{"message":"`n` must be a number","type":"invalid_request_error","param":"n","code":"invalid_value"}}"#
        );
    }

    #[test]
    fn a_full_queue_is_a_rate_limit_with_a_retry_time() {
        let response = Error(Refusal::Engine(engine::Error::Busy(16))).into_response();
        assert_eq!(response.status(), 429);
        assert_eq!(response.headers()["retry-after"], "3");
    }
}
