//! What `/api/chat` and `/api/generate` answer: the same lines, but for where the text is.

use super::{Common, Delivery, Error, error};
use crate::engine::{Request, Scored, Timing};
use crate::serve::answer::{self, Ending, Writer, frames, json};
use crate::serve::clock::{nanos, rfc3339};
use crate::serve::error::Refusal;
use crate::serve::logprobs::{ChatToken, chat_token};
use crate::serve::router::{Live, Service};
use crate::text::Tokenizer;
use axum::Json;
use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

/// Where the text of an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// In `message.content`.
    Chat,
    /// In `response`.
    Generate,
}

/// One line of a stream, or the whole answer.
#[derive(Debug, Serialize)]
struct Line<'a> {
    model: &'a str,
    created_at: String,
    #[serde(flatten)]
    content: Content,
    done: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    logprobs: Vec<ChatToken>,
    #[serde(flatten)]
    end: Option<End>,
}

/// The text.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
enum Content {
    Message { role: &'static str, content: String },
    Response(String),
}

/// What the last line has besides.
#[derive(Debug, Serialize)]
struct End {
    done_reason: &'static str,
    total_duration: u64,
    load_duration: u64,
    prompt_eval_count: usize,
    prompt_eval_duration: u64,
    eval_count: usize,
    eval_duration: u64,
}

/// Writes lines.
pub(super) struct Lines {
    /// The model's name as the client wrote it.
    model: String,
    form: Form,
    /// When the request came.
    since: Instant,
    /// Names tokens, if log-probabilities are asked for.
    logprobs_with: Option<Arc<Tokenizer>>,
}

impl Lines {
    fn line(&self, text: String, logprobs: Vec<ChatToken>, end: Option<End>) -> Line<'_> {
        let content = match self.form {
            Form::Chat => Content::Message { role: "assistant", content: text },
            Form::Generate => Content::Response(text),
        };
        let created_at = rfc3339(SystemTime::now());
        Line { model: &self.model, created_at, content, done: end.is_some(), logprobs, end }
    }

    fn last(&self, done_reason: &'static str, timing: &Timing) -> End {
        End {
            done_reason,
            total_duration: nanos(self.since.elapsed()),
            // The base is loaded before the first request can come.
            load_duration: 0,
            prompt_eval_count: timing.prompt_tokens,
            prompt_eval_duration: nanos(timing.prefill),
            eval_count: timing.generated_tokens,
            eval_duration: nanos(timing.decode),
        }
    }

    fn named(&self, scored: &Scored) -> Option<ChatToken> {
        self.logprobs_with.as_deref().and_then(|tokenizer| chat_token(tokenizer, scored))
    }
}

impl Writer for Lines {
    fn start(&mut self, _out: &mut VecDeque<String>) {}

    fn prompt(&mut self, _choice: usize, _scores: Vec<Scored>, _out: &mut VecDeque<String>) {}

    fn text(&mut self, _choice: usize, text: String, token: Option<Scored>, out: &mut VecDeque<String>) {
        let logprobs: Vec<ChatToken> = token.and_then(|scored| self.named(&scored)).into_iter().collect();
        if !text.is_empty() || !logprobs.is_empty() {
            out.push_back(json(&self.line(text, logprobs, None)));
        }
    }

    fn done(&mut self, _choice: usize, ending: Ending, timing: Timing, out: &mut VecDeque<String>) {
        let end = self.last(ending.word(), &timing);
        out.push_back(json(&self.line(String::new(), Vec::new(), Some(end))));
    }

    fn end(&mut self, _out: &mut VecDeque<String>) {}

    fn fail(&mut self, why: &Refusal, out: &mut VecDeque<String>) {
        out.push_back(json(&error::body(why)));
    }
}

/// A request on its way: when it came, how it is answered, and that it counts as live.
pub(super) struct Asked {
    service: Arc<Service>,
    lines: Lines,
    common: Common,
    live: Live,
}

impl Asked {
    /// Takes a request on, if it is for this server's model.
    pub(super) fn new(service: Arc<Service>, common: Common, form: Form) -> Result<Self, Refusal> {
        service.check_model(&common.model)?;
        let logprobs_with = common.logprobs.map(|_| Arc::clone(service.base.engine.tokenizer()));
        let lines = Lines { model: common.model.clone(), form, since: Instant::now(), logprobs_with };
        let live = service.enter();
        Ok(Self { service, lines, common, live })
    }

    /// The answer to a request that only wants the model loaded, which it is.
    pub(super) fn loaded(self) -> Response {
        let end = self.lines.last("load", &Timing::default());
        Json(self.lines.line(String::new(), Vec::new(), Some(end))).into_response()
    }

    /// The answer to `prompt`.
    pub(super) async fn answer(self, mut request: Request) -> Result<Response, Error> {
        let Self { service, lines, common, live } = self;
        request.logprobs = common.logprobs;
        let admitted = answer::admit(&service.base.engine, vec![request], live)?;
        if common.delivery == Delivery::Stream {
            return Ok(ndjson(frames(admitted, lines)));
        }
        let answers = answer::all(admitted).await?;
        let answer = answers.into_iter().next().ok_or(Refusal::Lost)?;
        let logprobs = answer.tokens.iter().filter_map(|scored| lines.named(scored)).collect();
        let end = lines.last(answer.ending.word(), &answer.timing);
        Ok(Json(lines.line(answer.text, logprobs, Some(end))).into_response())
    }

    /// The service.
    pub(super) fn service(&self) -> &Arc<Service> {
        &self.service
    }

    /// What was asked.
    pub(super) fn common(&self) -> &Common {
        &self.common
    }
}

/// One JSON object per line.
fn ndjson(frames: impl futures_util::Stream<Item = String> + Send + 'static) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
        // Or nginx keeps the stream back until it ends.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    let lines = frames.map(|frame| Ok::<_, Infallible>(frame + "\n"));
    (headers, Body::from_stream(lines)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;
    use std::time::Duration;

    fn lines(form: Form) -> Lines {
        Lines { model: "demo".into(), form, since: Instant::now(), logprobs_with: None }
    }

    fn write(form: Form) -> Vec<Value> {
        let mut lines = lines(form);
        let mut out = VecDeque::new();
        lines.start(&mut out);
        lines.text(0, "Hé".into(), None, &mut out);
        let timing =
            Timing { prompt_tokens: 4, generated_tokens: 2, decode: Duration::from_micros(3), ..Timing::default() };
        lines.done(0, Ending::Length, timing, &mut out);
        lines.end(&mut out);
        assert!(out.iter().all(|line| !line.contains('\n')));
        out.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn chat_lines_carry_a_message_and_the_last_the_counts_in_nanoseconds() {
        let lines = write(Form::Chat);
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["message"], serde_json::json!({"role": "assistant", "content": "Hé"}));
        assert_eq!((&lines[0]["done"], &lines[1]["done"]), (&false.into(), &true.into()));
        assert_eq!(lines[0].get("done_reason"), None);
        assert_eq!(lines[1]["done_reason"], "length");
        assert_eq!(lines[1]["eval_duration"], 3000);
        assert_eq!((&lines[1]["prompt_eval_count"], &lines[1]["eval_count"]), (&4.into(), &2.into()));
        assert_eq!(lines[1]["message"]["content"], "");
    }

    #[test]
    fn generated_lines_carry_a_response() {
        let lines = write(Form::Generate);
        assert_eq!(lines[0]["response"], "Hé");
        assert_eq!(lines[0].get("message"), None);
        assert_eq!(lines[1]["response"], "");
    }

    #[test]
    fn a_failure_is_a_line_with_an_error() {
        let mut out = VecDeque::new();
        lines(Form::Chat).fail(&Refusal::Lost, &mut out);
        let line: Value = serde_json::from_str(&out[0]).unwrap();
        assert!(line["error"].is_string(), "{line}");
    }
}
