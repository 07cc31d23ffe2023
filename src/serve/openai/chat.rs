//! `POST /v1/chat/completions`.

use super::{CountPrompt, Delivery, Error, FINGERPRINT, Head, MOST_LOGPROBS, Tail, Usage, choices, error, new_id, sse};
use crate::engine::{Scored, Timing};
use crate::host::Knobs;
use crate::serve::answer::{self, Answer, Ending, Timings, Writer, frames, json};
use crate::serve::error::Refusal;
use crate::serve::fields::{Fields, Invalid, kind};
use crate::serve::logprobs::{ChatLogprobs, ChatToken, chat_token};
use crate::serve::router::{Service, Truncation, seeds};
use crate::serve::{body, clock};
use crate::text::{Message, Tokenizer};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

/// A request, read.
#[derive(Debug, Clone, PartialEq)]
pub struct ChatRequest {
    /// Which model; the server's if absent.
    pub model: Option<String>,
    /// The conversation.
    pub messages: Vec<Message>,
    /// Whole or streamed.
    pub delivery: Delivery,
    /// Number of answers.
    pub n: usize,
    /// Alternatives per token, if log-probabilities are asked for.
    pub logprobs: Option<usize>,
    /// What to do with a conversation that is too long.
    pub truncation: Truncation,
    /// How to answer.
    pub knobs: Knobs,
}

/// Reads the body of a request.
pub fn parse_chat(body: &[u8]) -> Result<ChatRequest, Invalid> {
    let mut fields = Fields::from_body(body)?;
    fields.refuse("tools", "this server calls no tools")?;
    fields.refuse("functions", "this server calls no tools")?;
    fields.refuse("audio", "this server answers in text")?;
    fields.refuse("prediction", "leave it out")?;
    fields.refuse("web_search_options", "this server is offline")?;
    fields.refuse("reasoning_effort", "there is no such setting here")?;
    if let Some(mut format) = fields.object("response_format")?
        && let Some(kind) = format.string("type")?
        && kind != "text"
    {
        return Err(Invalid::Unsupported { param: "response_format".into(), what: "only \"text\" is".into() });
    }
    if fields.strings("modalities")?.iter().any(|m| m != "text") {
        return Err(Invalid::Unsupported { param: "modalities".into(), what: "only \"text\" is".into() });
    }
    let truncation = match fields.string("truncation")?.as_deref() {
        None | Some("disabled") => Truncation::Never,
        Some("auto") => Truncation::Oldest,
        Some(_) => return Err(fields.error("truncation", "must be \"auto\" or \"disabled\"")),
    };
    let top = fields.int("top_logprobs", 0..=MOST_LOGPROBS)?.and_then(|n| usize::try_from(n).ok());
    let logprobs = match (fields.flag("logprobs")?.unwrap_or(false), top) {
        (true, top) => Some(top.unwrap_or(0)),
        (false, None | Some(0)) => None,
        (false, Some(_)) => return Err(fields.error("top_logprobs", "needs `logprobs` to be true")),
    };
    Ok(ChatRequest {
        model: fields.string("model")?,
        messages: messages(&mut fields)?,
        delivery: Delivery::parse(&mut fields)?,
        n: choices(&mut fields)?,
        logprobs,
        truncation,
        knobs: Knobs::from_openai(&mut fields)?,
    })
}

/// `messages`, at least one.
fn messages(fields: &mut Fields) -> Result<Vec<Message>, Invalid> {
    let items = match fields.take("messages") {
        Some(Value::Array(items)) if !items.is_empty() => items,
        Some(Value::Array(_)) => return Err(fields.error("messages", "must not be empty")),
        Some(other) => return Err(fields.error("messages", format!("must be an array, not {}", kind(&other)))),
        None => return Err(fields.error("messages", "is missing")),
    };
    items.into_iter().enumerate().map(|(i, item)| message(&format!("messages[{i}]"), item)).collect()
}

/// One message; `path` says which.
fn message(path: &str, item: Value) -> Result<Message, Invalid> {
    let mut fields = Fields::nested(path, item)?;
    fields.refuse("tool_calls", "this server calls no tools")?;
    fields.refuse("function_call", "this server calls no tools")?;
    let role = fields.string("role")?.ok_or_else(|| fields.error("role", "is missing"))?;
    let role = match role.as_str() {
        "system" | "user" | "assistant" => role,
        // OpenAI's newer name.
        "developer" => "system".into(),
        "tool" | "function" => {
            return Err(Invalid::Unsupported { param: fields.path("role"), what: "this server calls no tools".into() });
        }
        _ => return Err(fields.error("role", "must be \"system\", \"user\" or \"assistant\"")),
    };
    let content = match fields.take("content") {
        Some(Value::String(text)) => text,
        Some(Value::Array(parts)) => {
            let path = fields.path("content");
            let parts: Result<Vec<String>, _> =
                parts.into_iter().enumerate().map(|(i, part)| text_part(&format!("{path}[{i}]"), part)).collect();
            parts?.concat()
        }
        Some(other) => {
            return Err(fields.error("content", format!("must be a string or an array, not {}", kind(&other))));
        }
        None => return Err(fields.error("content", "is missing")),
    };
    Ok(Message { role, content })
}

/// A part of a message's content: text, or refused.
fn text_part(path: &str, part: Value) -> Result<String, Invalid> {
    let mut fields = Fields::nested(path, part)?;
    match fields.string("type")?.as_deref() {
        Some("text") => fields.string("text")?.ok_or_else(|| fields.error("text", "is missing")),
        Some(_) => Err(Invalid::Unsupported { param: path.into(), what: "this server reads text only".into() }),
        None => Err(fields.error("type", "is missing")),
    }
}

/// A whole answer.
#[derive(Debug, Serialize)]
struct Completion {
    #[serde(flatten)]
    head: Head,
    choices: Vec<Choice>,
    #[serde(flatten)]
    tail: Tail,
    #[serde(skip_serializing_if = "is_zero")]
    truncated_messages: usize,
}

#[derive(Debug, Serialize)]
struct Choice {
    index: usize,
    message: Reply,
    logprobs: Option<ChatLogprobs>,
    finish_reason: &'static str,
}

#[derive(Debug, Serialize)]
struct Reply {
    role: &'static str,
    content: String,
    refusal: Option<&'static str>,
}

/// A piece of a streamed answer.
#[derive(Debug, Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: &'a [ChunkChoice],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
    #[serde(skip_serializing_if = "is_zero")]
    truncated_messages: usize,
}

#[derive(Debug, Serialize)]
struct ChunkChoice {
    index: usize,
    delta: Delta,
    logprobs: Option<ChatLogprobs>,
    finish_reason: Option<&'static str>,
}

#[derive(Debug, Default, Serialize)]
struct Delta {
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content: Option<String>,
}

/// Takes a reference because serde wants it so.
fn is_zero(n: &usize) -> bool {
    *n == 0
}

/// The handler.
pub(super) async fn create(State(service): State<Arc<Service>>, body: Body) -> Result<Response, Error> {
    let request = parse_chat(&body::read(body).await?)?;
    if let Some(model) = &request.model {
        service.check_model(model)?;
    }
    let live = service.enter();
    let conversation = service.encode(request.messages, request.truncation, &request.knobs).await?;
    let seeds = seeds(&request.knobs, request.n);
    let requests = seeds.iter().map(|&seed| {
        let mut one = service.request(conversation.tokens.clone(), &request.knobs, seed);
        one.logprobs = request.logprobs;
        one
    });
    let mut head = Head {
        id: new_id("chatcmpl"),
        object: "chat.completion",
        created: clock::unix(SystemTime::now()),
        model: service.base.id.clone(),
        system_fingerprint: FINGERPRINT,
    };
    let logprobs_with = request.logprobs.map(|_| Arc::clone(service.base.engine.tokenizer()));
    let admitted = answer::admit(&service.base.engine, requests.collect(), live)?;
    if request.delivery == Delivery::Whole {
        let answers = answer::all(admitted).await?;
        let tail = Tail { usage: Usage::of(&answers, request.n), timings: Timings::of_all(&answers), seed: seeds[0] };
        let choice = |(index, answer)| whole_choice(logprobs_with.as_deref(), index, answer);
        let choices = answers.into_iter().enumerate().map(choice).collect();
        return Ok(Json(Completion { head, choices, tail, truncated_messages: conversation.dropped }).into_response());
    }
    head.object = "chat.completion.chunk";
    let writer = ChunkWriter {
        head,
        logprobs_with,
        choices: request.n,
        usage: (request.delivery == Delivery::StreamWithUsage).then(Usage::default),
        seed: seeds[0],
        truncated: conversation.dropped,
    };
    Ok(sse(frames(admitted, writer)))
}

/// A whole answer's choice; with log-probabilities if there is a tokenizer to name tokens with.
fn whole_choice(logprobs_with: Option<&Tokenizer>, index: usize, answer: Answer) -> Choice {
    let logprobs = logprobs_with.map(|tokenizer| ChatLogprobs {
        content: answer.tokens.iter().filter_map(|scored| chat_token(tokenizer, scored)).collect(),
    });
    Choice {
        index,
        message: Reply { role: "assistant", content: answer.text, refusal: None },
        logprobs,
        finish_reason: answer.ending.word(),
    }
}

/// Writes a streamed answer.
struct ChunkWriter {
    head: Head,
    /// Names tokens, if log-probabilities are asked for.
    logprobs_with: Option<Arc<Tokenizer>>,
    /// Number of choices.
    choices: usize,
    /// Counts so far, if they are asked for.
    usage: Option<Usage>,
    seed: u64,
    /// Messages that were left out.
    truncated: usize,
}

impl ChunkWriter {
    /// A chunk with one choice. Where counts are asked for, all chunks but the last say `"usage": null`.
    fn chunk(&self, choice: ChunkChoice, timings: Option<Timings>) -> String {
        let usage = self.usage.map(|_| None);
        json(&Chunk { head: &self.head, choices: &[choice], usage, timings, seed: None, truncated_messages: 0 })
    }
}

impl Writer for ChunkWriter {
    fn start(&mut self, out: &mut VecDeque<String>) {
        let choices: Vec<ChunkChoice> = (0..self.choices)
            .map(|index| ChunkChoice {
                index,
                delta: Delta { role: Some("assistant"), content: Some(String::new()) },
                logprobs: None,
                finish_reason: None,
            })
            .collect();
        out.push_back(json(&Chunk {
            head: &self.head,
            choices: &choices,
            usage: self.usage.map(|_| None),
            timings: None,
            seed: Some(self.seed),
            truncated_messages: self.truncated,
        }));
    }

    fn prompt(&mut self, _choice: usize, _scores: Vec<Scored>, _out: &mut VecDeque<String>) {}

    fn text(&mut self, index: usize, text: String, token: Option<Scored>, out: &mut VecDeque<String>) {
        let named: Option<ChatToken> =
            self.logprobs_with.as_deref().zip(token).and_then(|(tokenizer, scored)| chat_token(tokenizer, &scored));
        if text.is_empty() && named.is_none() {
            return;
        }
        let logprobs = named.map(|token| ChatLogprobs { content: vec![token] });
        let delta = Delta { role: None, content: Some(text) };
        out.push_back(self.chunk(ChunkChoice { index, delta, logprobs, finish_reason: None }, None));
    }

    fn done(&mut self, index: usize, ending: Ending, timing: Timing, out: &mut VecDeque<String>) {
        if let Some(usage) = &mut self.usage {
            usage.add(&timing, CountPrompt::of(index, self.choices));
        }
        let last = ChunkChoice { index, delta: Delta::default(), logprobs: None, finish_reason: Some(ending.word()) };
        out.push_back(self.chunk(last, Some(Timings::of(&timing))));
    }

    fn end(&mut self, out: &mut VecDeque<String>) {
        if let Some(usage) = self.usage {
            let (head, usage) = (&self.head, Some(Some(usage)));
            let chunk = Chunk { head, choices: &[], usage, timings: None, seed: None, truncated_messages: 0 };
            out.push_back(json(&chunk));
        }
    }

    fn fail(&mut self, why: &Refusal, out: &mut VecDeque<String>) {
        out.push_back(json(&error::body(why)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<ChatRequest, Invalid> {
        parse_chat(json.as_bytes())
    }

    /// A request with these fields besides a message.
    fn with(fields: &str) -> Result<ChatRequest, Invalid> {
        parse(&format!(r#"{{"messages": [{{"role": "user", "content": "Hi"}}], {fields}}}"#))
    }

    #[test]
    fn a_plain_request_asks_for_one_whole_answer_with_the_servers_defaults() {
        let request = parse(r#"{"model": "demo", "messages": [{"role": "user", "content": "Hi"}]}"#).unwrap();
        let expected = ChatRequest {
            model: Some("demo".into()),
            messages: vec![Message { role: "user".into(), content: "Hi".into() }],
            delivery: Delivery::Whole,
            n: 1,
            logprobs: None,
            truncation: Truncation::Never,
            knobs: Knobs::default(),
        };
        assert_eq!(request, expected);
    }

    #[test]
    fn content_may_come_in_text_parts() {
        let request = parse(
            r#"{"messages": [{"role": "developer", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]}"#,
        );
        assert_eq!(request.unwrap().messages, [Message { role: "system".into(), content: "ab".into() }]);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (body, param) in [
            (r#"{}"#, "messages"),
            (r#"{"messages": []}"#, "messages"),
            (r#"{"messages": "Hi"}"#, "messages"),
            (r#"{"messages": ["Hi"]}"#, "messages[0]"),
            (r#"{"messages": [{"content": "Hi"}]}"#, "messages[0].role"),
            (r#"{"messages": [{"role": "user"}]}"#, "messages[0].content"),
            (r#"{"messages": [{"role": "user", "content": 3}]}"#, "messages[0].content"),
            (r#"{"messages": [{"role": "queen", "content": ""}]}"#, "messages[0].role"),
            (r#"{"messages": [{"role": "user", "content": [{"text": "a"}]}]}"#, "messages[0].content[0].type"),
        ] {
            assert_eq!(parse(body).unwrap_err().param(), Some(param), "{body}");
        }
        for (fields, param) in [
            (r#""n": 9"#, "n"),
            (r#""stream": 1"#, "stream"),
            (r#""logprobs": 5"#, "logprobs"),
            (r#""top_logprobs": 5"#, "top_logprobs"),
            (r#""logprobs": true, "top_logprobs": 21"#, "top_logprobs"),
            (r#""truncation": "yes""#, "truncation"),
            (r#""max_tokens": -1"#, "max_tokens"),
            (r#""temperature": 3"#, "temperature"),
        ] {
            assert_eq!(with(fields).unwrap_err().param(), Some(param), "{fields}");
        }
    }

    #[test]
    fn what_is_not_supported_is_refused_and_not_ignored() {
        for (fields, param) in [
            (r#""tools": [{"type": "function"}]"#, "tools"),
            (r#""response_format": {"type": "json_object"}"#, "response_format"),
            (r#""modalities": ["text", "audio"]"#, "modalities"),
            (r#""functions": [{}]"#, "functions"),
        ] {
            let e = with(fields).unwrap_err();
            assert!(matches!(e, Invalid::Unsupported { .. }), "{e}");
            assert_eq!(e.param(), Some(param), "{fields}");
        }
        let image =
            r#"{"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}"#;
        assert_eq!(parse(image).unwrap_err().param(), Some("messages[0].content[0]"));
        let tool = r#"{"messages": [{"role": "tool", "content": "x"}]}"#;
        assert!(matches!(parse(tool), Err(Invalid::Unsupported { .. })));
    }

    #[test]
    fn unknown_and_empty_parameters_are_accepted() {
        let ok = with(
            r#""user": "me", "metadata": {"a": 1}, "tools": [], "response_format": {"type": "text"}, "zzz": [1], "stop": null"#,
        );
        assert!(ok.is_ok(), "{ok:?}");
    }

    #[test]
    fn streams_may_ask_for_counts() {
        assert_eq!(with(r#""stream": true"#).unwrap().delivery, Delivery::Stream);
        let counted = with(r#""stream": true, "stream_options": {"include_usage": true}"#).unwrap();
        assert_eq!(counted.delivery, Delivery::StreamWithUsage);
    }

    #[test]
    fn a_streamed_answer_is_written_in_openais_chunks() {
        let mut writer = ChunkWriter {
            head: Head {
                id: "chatcmpl-1".into(),
                object: "chat.completion.chunk",
                created: 5,
                model: "demo".into(),
                system_fingerprint: "loco",
            },
            logprobs_with: None,
            choices: 1,
            usage: Some(Usage::default()),
            seed: 3,
            truncated: 0,
        };
        let head = r#""id":"chatcmpl-1","object":"chat.completion.chunk","created":5,"model":"demo","system_fingerprint":"loco""#;
        let mut out = VecDeque::new();
        writer.start(&mut out);
        writer.text(0, "Hé".into(), None, &mut out);
        writer.text(0, String::new(), None, &mut out);
        writer.done(0, Ending::Stop, Timing { prompt_tokens: 4, generated_tokens: 2, ..Timing::default() }, &mut out);
        writer.end(&mut out);
        let expected = [
            format!(
                r#"{{{head},"choices":[{{"index":0,"delta":{{"role":"assistant","content":""}},"logprobs":null,"finish_reason":null}}],"usage":null,"seed":3}}"#
            ),
            format!(
                r#"{{{head},"choices":[{{"index":0,"delta":{{"content":"Hé"}},"logprobs":null,"finish_reason":null}}],"usage":null}}"#
            ),
        ];
        assert_eq!(out.drain(..2).collect::<Vec<_>>(), expected);
        let finish: Value = serde_json::from_str(&out.pop_front().unwrap()).unwrap();
        assert_eq!(finish["choices"][0]["finish_reason"], "stop");
        assert_eq!(finish["timings"]["prompt_n"], 4);
        let counts: Value = serde_json::from_str(&out.pop_front().unwrap()).unwrap();
        assert_eq!(counts["choices"], Value::Array(vec![]));
        assert_eq!(counts["usage"]["total_tokens"], 6);
        assert!(out.is_empty());
    }
}
