//! The chat page: three files and an icon in the program, no outside requests, no framework.

use crate::serve::router::Service;
use axum::Router;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};
use std::sync::{Arc, LazyLock};

/// A file of the page.
struct File {
    content_type: &'static str,
    text: &'static str,
    /// Changes with the text.
    etag: HeaderValue,
}

static INDEX: LazyLock<File> = LazyLock::new(|| File::new("text/html; charset=utf-8", include_str!("index.html")));
static SCRIPT: LazyLock<File> = LazyLock::new(|| File::new("text/javascript; charset=utf-8", include_str!("app.js")));
static STYLE: LazyLock<File> = LazyLock::new(|| File::new("text/css; charset=utf-8", include_str!("style.css")));
static ICON: LazyLock<File> = LazyLock::new(|| File::new("image/svg+xml", include_str!("icon.svg")));

/// Only what comes from this server is run, shown or called, and nobody frames the page.
const POLICY: &str = "default-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page's paths.
pub(crate) fn routes() -> Router<Arc<Service>> {
    Router::new()
        .route("/", get(root))
        .route("/app.js", get(async |headers: HeaderMap| SCRIPT.response(&headers)))
        .route("/style.css", get(async |headers: HeaderMap| STYLE.response(&headers)))
        .route("/icon.svg", get(async |headers: HeaderMap| ICON.response(&headers)))
}

/// The page for browsers; for Ollama's clients, which look here whether a server runs, the words they know.
async fn root(headers: HeaderMap) -> Response {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if accept.contains("text/html") {
        INDEX.response(&headers)
    } else {
        ([(header::VARY, HeaderValue::from_static("accept"))], "Ollama is running").into_response()
    }
}

impl File {
    fn new(content_type: &'static str, text: &'static str) -> Self {
        let hash = Sha256::digest(text.as_bytes());
        let hex: String = hash.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{hex}\"")).unwrap_or(HeaderValue::from_static("\"\""));
        Self { content_type, text, etag }
    }

    /// The file, or 304 if the browser has it.
    fn response(&self, request: &HeaderMap) -> Response {
        let headers = [
            (header::CONTENT_TYPE, HeaderValue::from_static(self.content_type)),
            (header::ETAG, self.etag.clone()),
            // Kept, but asked about each time: after an update nobody sees the old page.
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::VARY, HeaderValue::from_static("accept")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            (header::REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
            (HeaderName::from_static("cross-origin-opener-policy"), HeaderValue::from_static("same-origin")),
        ];
        if request.get(header::IF_NONE_MATCH) == Some(&self.etag) {
            return (StatusCode::NOT_MODIFIED, headers).into_response();
        }
        (headers, self.text).into_response()
    }
}
