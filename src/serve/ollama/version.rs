//! `GET /api/version`.

use axum::Json;
use serde::Serialize;

/// The answer.
#[derive(Debug, Serialize)]
pub(super) struct Version {
    version: &'static str,
}

pub(super) async fn show() -> Json<Version> {
    Json(Version { version: env!("CARGO_PKG_VERSION") })
}
