//! `GET /api/tags`: the models that are here.

use crate::host::short_count;
use crate::serve::clock;
use crate::serve::router::Service;
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use std::sync::Arc;

/// The list.
#[derive(Debug, Serialize)]
pub(super) struct Tags {
    models: Vec<Tag>,
}

/// A model.
#[derive(Debug, Serialize)]
struct Tag {
    name: String,
    model: String,
    modified_at: String,
    size: usize,
    digest: String,
    details: Details,
    capabilities: Vec<&'static str>,
}

/// What kind of model it is.
#[derive(Debug, Serialize)]
struct Details {
    parent_model: &'static str,
    format: &'static str,
    family: String,
    families: Vec<String>,
    parameter_size: String,
    quantization_level: &'static str,
    context_length: usize,
}

pub(super) async fn list(State(service): State<Arc<Service>>) -> Json<Tags> {
    let (base, facts) = (&service.base, &service.base.facts);
    let name = format!("{}:latest", base.id);
    Json(Tags {
        models: vec![Tag {
            model: name.clone(),
            name,
            modified_at: clock::rfc3339(facts.modified),
            size: facts.bytes,
            digest: facts.digest.clone(),
            details: Details {
                parent_model: "",
                format: "gguf",
                family: facts.arch.clone(),
                families: vec![facts.arch.clone()],
                parameter_size: short_count(facts.parameters),
                quantization_level: facts.format,
                context_length: base.engine.context(),
            },
            capabilities: vec!["completion"],
        }],
    })
}
