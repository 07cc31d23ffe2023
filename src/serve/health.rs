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
    /// `ok`, `closing` once a shutdown has begun, or `failed` if the engine has ended without one.
    status: &'static str,
    /// The base's name.
    model: String,
    /// Requests being answered or waiting.
    live: usize,
}

fn look(service: &Service) -> Health {
    let status = match (service.is_closing(), service.base.engine.is_alive()) {
        (true, _) => "closing",
        (false, true) => "ok",
        (false, false) => "failed",
    };
    Health { status, model: service.base.id.clone(), live: service.live() }
}

/// 200 as long as the process serves at all, and 503 if it never will again.
pub(crate) async fn health(State(service): State<Arc<Service>>) -> (StatusCode, Json<Health>) {
    let health = look(&service);
    let status = if health.status == "failed" { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    (status, Json(health))
}

/// 200 while new requests are welcome, else 503.
pub(crate) async fn ready(State(service): State<Arc<Service>>) -> (StatusCode, Json<Health>) {
    let health = look(&service);
    let status = if health.status == "ok" { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(health))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base;
    use crate::host::{LoadedBase, Options};

    #[tokio::test]
    async fn a_server_without_an_engine_is_neither_healthy_nor_ready() {
        let options = Options { threads: Some(1), ..Options::default() };
        let base = LoadedBase::load(&base::open(None).unwrap(), options).unwrap();
        let defaults = base.default_sampling();
        let service = Service::new(base, defaults);
        assert_eq!(ready(State(service.clone())).await.0, StatusCode::OK);
        service.base.engine.shutdown();
        let (status, Json(body)) = health(State(service.clone())).await;
        assert_eq!((status, body.status), (StatusCode::SERVICE_UNAVAILABLE, "failed"));
        assert_eq!(ready(State(service)).await.0, StatusCode::SERVICE_UNAVAILABLE);
    }
}
