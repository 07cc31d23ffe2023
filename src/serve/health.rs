//! `/health` and `/ready`: for load balancers, watchdogs and people with curl.

use super::router::Service;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

/// The answer of both.
#[derive(Debug, Serialize)]
pub(crate) struct Health {
    /// `ok`, or `closing` once a shutdown has begun.
    status: &'static str,
    /// The base's name.
    model: String,
    /// Requests being answered or waiting.
    live: usize,
}

fn look(service: &Service) -> Health {
    let status = if service.is_closing() { "closing" } else { "ok" };
    Health { status, model: service.base.id.clone(), live: service.live() }
}

/// 200 as long as the process serves at all.
pub(crate) async fn health(State(service): State<Arc<Service>>) -> Json<Health> {
    Json(look(&service))
}

/// 200 while new requests are welcome, else 503.
pub(crate) async fn ready(State(service): State<Arc<Service>>) -> (StatusCode, Json<Health>) {
    let status = if service.is_closing() { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(look(&service)))
}
