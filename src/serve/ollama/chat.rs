//! `POST /api/chat`.

use super::reply::{Asked, Form};
use super::{Common, Error};
use crate::serve::body;
use crate::serve::fields::{Fields, Invalid, kind};
use crate::serve::router::{Service, seeds};
use crate::text::Message;
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use serde_json::Value;
use std::sync::Arc;

/// A request, read.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// Model, delivery, options.
    pub common: Common,
    /// The conversation; none to have the model loaded.
    pub messages: Vec<Message>,
}

/// Reads the body of a request.
pub fn parse_chat(body: &[u8]) -> Result<ChatRequest, Invalid> {
    let mut fields = Fields::from_body(body)?;
    fields.refuse("tools", "this server calls no tools")?;
    let common = Common::parse(&mut fields)?;
    let messages = match fields.take("messages") {
        None => Vec::new(),
        Some(Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(i, item)| message(&format!("messages[{i}]"), item))
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(fields.error("messages", format!("must be an array, not {}", kind(&other)))),
    };
    Ok(ChatRequest { common, messages })
}

/// One message; `path` says which.
fn message(path: &str, item: Value) -> Result<Message, Invalid> {
    let mut fields = Fields::nested(path, item)?;
    fields.refuse("images", "this server reads text only")?;
    fields.refuse("tool_calls", "this server calls no tools")?;
    let role = fields.string("role")?.ok_or_else(|| fields.error("role", "is missing"))?;
    if !matches!(role.as_str(), "system" | "user" | "assistant") {
        return Err(fields.error("role", "must be \"system\", \"user\" or \"assistant\""));
    }
    Ok(Message { role, content: fields.string("content")?.unwrap_or_default() })
}

/// The handler.
pub(super) async fn create(State(service): State<Arc<Service>>, body: Body) -> Result<Response, Error> {
    let ChatRequest { common, messages } = parse_chat(&body::read(body).await?)?;
    let asked = Asked::new(service, common, Form::Chat)?;
    if messages.is_empty() {
        return Ok(asked.loaded());
    }
    let (service, common) = (asked.service(), asked.common());
    let conversation = service.encode(messages, common.truncation, &common.knobs).await?;
    let request = service.request(conversation.tokens, &common.knobs, seeds(&common.knobs, 1)[0]);
    asked.answer(request).await
}

#[cfg(test)]
mod tests {
    use super::super::Delivery;
    use super::*;
    use crate::host::Knobs;
    use crate::serve::router::Truncation;

    #[test]
    fn a_plain_request_is_streamed_and_truncated() {
        let request = parse_chat(
            br#"{"model": "demo:latest", "messages": [{"role": "user", "content": "Hi"}], "options": {"seed": 3}}"#,
        );
        let expected = ChatRequest {
            common: Common {
                model: "demo:latest".into(),
                delivery: Delivery::Stream,
                truncation: Truncation::Oldest,
                logprobs: None,
                knobs: Knobs { seed: Some(3), ..Knobs::default() },
            },
            messages: vec![Message { role: "user".into(), content: "Hi".into() }],
        };
        assert_eq!(request.unwrap(), expected);
    }

    #[test]
    fn what_is_not_supported_is_refused_and_not_ignored() {
        for (fields, param) in [
            (r#""tools": [{}]"#, "tools"),
            (r#""format": "json""#, "format"),
            (r#""format": {"type": "object"}"#, "format"),
            (r#""think": true"#, "think"),
            (r#""think": "high""#, "think"),
            (r#""messages": [{"role": "user", "content": "", "images": ["x"]}]"#, "messages[0].images"),
            (r#""options": {"mirostat": 2}"#, "options.mirostat"),
        ] {
            let e = parse_chat(format!(r#"{{"model": "demo", {fields}}}"#).as_bytes()).unwrap_err();
            assert!(matches!(e, Invalid::Unsupported { .. }), "{e}");
            assert_eq!(e.param(), Some(param), "{fields}");
        }
        let fine = r#"{"model": "demo", "format": "", "think": false, "tools": null, "keep_alive": "5m"}"#;
        assert!(parse_chat(fine.as_bytes()).is_ok());
    }

    #[test]
    fn a_model_is_required() {
        for body in ["{}", r#"{"model": ""}"#, r#"{"model": null}"#] {
            assert_eq!(parse_chat(body.as_bytes()).unwrap_err().param(), Some("model"), "{body}");
        }
    }
}
