//! `POST /api/generate`.

use super::reply::{Asked, Form};
use super::{Common, Error};
use crate::serve::body;
use crate::serve::error::Refusal;
use crate::serve::fields::{Fields, Invalid};
use crate::serve::router::{Service, seeds};
use crate::text::{Encode, Message};
use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use std::sync::Arc;

/// A request, read.
#[derive(Debug, Clone, PartialEq)]
pub struct GenerateRequest {
    /// Model, delivery, options.
    pub common: Common,
    /// The question or text; empty to have the model loaded.
    pub prompt: String,
    /// System message.
    pub system: Option<String>,
    /// Whether a chat template is put around the prompt.
    pub form: PromptForm,
}

/// Whether a chat template is put around a prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptForm {
    /// The prompt is a user's message.
    Chat,
    /// The prompt is continued as it is; names of control tokens in it stand for them (`raw`).
    Raw,
}

/// Reads the body of a request.
pub fn parse_generate(body: &[u8]) -> Result<GenerateRequest, Invalid> {
    let mut fields = Fields::from_body(body)?;
    fields.refuse("suffix", "this server continues texts and fills no gaps")?;
    fields.refuse("images", "this server reads text only")?;
    fields.refuse("template", "the model's own is used; with \"raw\": true none is")?;
    fields.refuse("context", "send the conversation to /api/chat")?;
    let common = Common::parse(&mut fields)?;
    let raw = fields.flag("raw")?.unwrap_or(false);
    let system = fields.string("system")?.filter(|system| !system.is_empty());
    if raw && system.is_some() {
        return Err(fields.error("system", "has no place in a raw prompt"));
    }
    Ok(GenerateRequest {
        common,
        prompt: fields.string("prompt")?.unwrap_or_default(),
        system,
        form: if raw { PromptForm::Raw } else { PromptForm::Chat },
    })
}

/// The handler.
pub(super) async fn create(State(service): State<Arc<Service>>, body: Body) -> Result<Response, Error> {
    let GenerateRequest { common, prompt, system, form } = parse_generate(&body::read(body).await?)?;
    let asked = Asked::new(service, common, Form::Generate)?;
    if prompt.is_empty() {
        return Ok(asked.loaded());
    }
    let (service, common) = (asked.service(), asked.common());
    let tokens = match form {
        PromptForm::Raw => {
            let tokenizer = Arc::clone(service.base.engine.tokenizer());
            // A long text takes a while; others' streams go on meanwhile.
            let encoding =
                tokio::task::spawn_blocking(move || tokenizer.encode(&prompt, Encode { bos: true, special: true }));
            encoding.await.map_err(|_| Refusal::Lost)?
        }
        PromptForm::Chat => {
            let message = |role: &str, content| Message { role: role.into(), content };
            let system = system.map(|content| message("system", content));
            let messages = system.into_iter().chain([message("user", prompt)]).collect();
            service.encode(messages, common.truncation, &common.knobs).await?.tokens
        }
    };
    let request = service.request(tokens, &common.knobs, seeds(&common.knobs, 1)[0]);
    asked.answer(request).await
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(fields: &str) -> Result<GenerateRequest, Invalid> {
        parse_generate(format!(r#"{{"model": "demo", {fields}}}"#).as_bytes())
    }

    #[test]
    fn a_prompt_is_a_users_message_unless_it_is_raw() {
        let chat = parse(r#""prompt": "Hi", "system": "Be kind.""#).unwrap();
        assert_eq!((chat.form, chat.system.as_deref()), (PromptForm::Chat, Some("Be kind.")));
        let raw = parse(r#""prompt": "Hi", "raw": true"#).unwrap();
        assert_eq!(raw.form, PromptForm::Raw);
        assert_eq!(parse(r#""raw": true, "system": "x""#).unwrap_err().param(), Some("system"));
    }

    #[test]
    fn what_is_not_supported_is_refused_and_not_ignored() {
        for (fields, param) in [
            (r#""suffix": "b""#, "suffix"),
            (r#""template": "{{ .Prompt }}""#, "template"),
            (r#""context": [1, 2]"#, "context"),
            (r#""images": ["x"]"#, "images"),
        ] {
            let e = parse(fields).unwrap_err();
            assert!(matches!(e, Invalid::Unsupported { .. }), "{e}");
            assert_eq!(e.param(), Some(param), "{fields}");
        }
    }
}
