//! `GET /v1/models` and `GET /v1/models/{id}`.

use super::Error;
use crate::serve::clock;
use crate::serve::router::Service;
use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use std::sync::Arc;

/// The list.
#[derive(Debug, Serialize)]
pub(super) struct List {
    object: &'static str,
    data: Vec<Model>,
}

/// A model.
#[derive(Debug, Serialize)]
pub(super) struct Model {
    id: String,
    object: &'static str,
    created: u64,
    owned_by: &'static str,
    meta: Meta,
}

/// What there is to say about it, in llama.cpp's names where it has them.
#[derive(Debug, Serialize)]
struct Meta {
    arch: String,
    n_params: usize,
    size: usize,
    n_ctx: usize,
    n_ctx_train: usize,
    n_vocab: usize,
    format: &'static str,
    ternary: bool,
    chat: bool,
    demo: bool,
}

fn describe(service: &Service) -> Model {
    let (base, facts) = (&service.base, &service.base.facts);
    Model {
        id: base.id.clone(),
        object: "model",
        created: clock::unix(service.started),
        owned_by: "locollm",
        meta: Meta {
            arch: facts.arch.clone(),
            n_params: facts.parameters,
            size: facts.bytes,
            n_ctx: base.engine.context(),
            n_ctx_train: facts.trained_context,
            n_vocab: base.engine.tokenizer().vocab_size(),
            format: facts.format,
            ternary: facts.ternary,
            chat: base.template.is_ok(),
            demo: base.demo,
        },
    }
}

pub(super) async fn list(State(service): State<Arc<Service>>) -> Json<List> {
    Json(List { object: "list", data: vec![describe(&service)] })
}

pub(super) async fn one(State(service): State<Arc<Service>>, Path(id): Path<String>) -> Result<Json<Model>, Error> {
    service.check_model(&id)?;
    Ok(Json(describe(&service)))
}
