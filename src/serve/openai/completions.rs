//! `POST /v1/completions`: continues texts as they are, without a chat template.
//!
//! With `echo` and `logprobs` the prompt's tokens are scored too, which is what lm-evaluation-harness's
//! `local-completions` measures with: see `logprobs.rs` for what it relies on.

use super::{CountPrompt, Delivery, Error, FINGERPRINT, Head, MOST_LOGPROBS, Tail, Usage, choices, error, new_id, sse};
use crate::engine::{Request, Scored, Timing};
use crate::host::Knobs;
use crate::serve::answer::{self, Answer, Ending, Timings, Writer, frames, json};
use crate::serve::error::Refusal;
use crate::serve::fields::{Fields, Invalid, kind};
use crate::serve::knobs::tokens;
use crate::serve::logprobs::{Control, Offsets, TextLogprobs};
use crate::serve::router::{Service, seeds};
use crate::serve::{body, clock};
use crate::text::{Encode, Token, Tokenizer};
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::Value;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::SystemTime;

/// Most prompts of a request.
const MOST_PROMPTS: usize = 256;
/// Most choices of a stream: they are all under way at once.
const MOST_STREAMED: usize = 8;

/// A text to continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Prompt {
    /// As text. Names of control tokens in it stand for them: the client does what a template would.
    Text(String),
    /// As tokens, to which nothing is added.
    Tokens(Vec<Token>),
}

/// A request, read.
#[derive(Debug, Clone, PartialEq)]
pub struct CompletionRequest {
    /// Which model; the server's if absent.
    pub model: Option<String>,
    /// Texts to continue.
    pub prompts: Vec<Prompt>,
    /// Whole or streamed.
    pub delivery: Delivery,
    /// Answers per prompt.
    pub n: usize,
    /// Alternatives per token, if log-probabilities are asked for.
    pub logprobs: Option<usize>,
    /// Whether answers begin with the prompt.
    pub echo: Echo,
    /// How to continue.
    pub knobs: Knobs,
}

/// Whether an answer begins with the prompt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Echo {
    /// It does.
    Prompt,
    /// Only the continuation is sent.
    Nothing,
}

/// Reads the body of a request.
pub fn parse_completion(body: &[u8]) -> Result<CompletionRequest, Invalid> {
    let mut fields = Fields::from_body(body)?;
    fields.refuse("suffix", "this server continues texts and fills no gaps")?;
    let n = choices(&mut fields)?;
    if fields.count("best_of", 1)?.is_some_and(|best| best != n) {
        return Err(Invalid::Unsupported { param: "best_of".into(), what: "all `n` answers are sent".into() });
    }
    let prompts = prompts(&mut fields)?;
    let delivery = Delivery::parse(&mut fields)?;
    if delivery != Delivery::Whole && prompts.len() * n > MOST_STREAMED {
        return Err(fields.error("stream", format!("is possible with at most {MOST_STREAMED} answers")));
    }
    let echo = if fields.flag("echo")?.unwrap_or(false) { Echo::Prompt } else { Echo::Nothing };
    Ok(CompletionRequest {
        model: fields.string("model")?,
        prompts,
        delivery,
        n,
        logprobs: logprobs(&mut fields)?,
        echo,
        knobs: Knobs::from_openai(&mut fields)?,
    })
}

/// `logprobs`: a number. (`false` and `true`, from clients that mean the chat endpoint's, are none and 1.)
fn logprobs(fields: &mut Fields) -> Result<Option<usize>, Invalid> {
    match fields.take("logprobs") {
        None | Some(Value::Bool(false)) => Ok(None),
        Some(Value::Bool(true)) => Ok(Some(1)),
        Some(value) => {
            let wanted = crate::serve::fields::whole(&value).filter(|n| (0..=MOST_LOGPROBS).contains(n));
            match wanted.and_then(|n| usize::try_from(n).ok()) {
                Some(n) => Ok(Some(n)),
                None => Err(fields.error("logprobs", format!("must be a whole number from 0 to {MOST_LOGPROBS}"))),
            }
        }
    }
}

/// `prompt`: a string, strings, tokens, or lists of tokens.
fn prompts(fields: &mut Fields) -> Result<Vec<Prompt>, Invalid> {
    let prompts = match fields.take("prompt") {
        Some(Value::String(text)) => vec![Prompt::Text(text)],
        Some(Value::Array(items)) if items.first().is_some_and(Value::is_number) => {
            vec![Prompt::Tokens(tokens("prompt", &items)?)]
        }
        Some(Value::Array(items)) => items
            .into_iter()
            .enumerate()
            .map(|(i, item)| match item {
                Value::String(text) => Ok(Prompt::Text(text)),
                Value::Array(ids) => Ok(Prompt::Tokens(tokens(&format!("prompt[{i}]"), &ids)?)),
                other => Err(fields.error(&format!("prompt[{i}]"), format!("must not be {}", kind(&other)))),
            })
            .collect::<Result<_, _>>()?,
        Some(other) => return Err(fields.error("prompt", format!("must not be {}", kind(&other)))),
        None => return Err(fields.error("prompt", "is missing")),
    };
    if prompts.is_empty() || prompts.len() > MOST_PROMPTS {
        return Err(fields.error("prompt", format!("must have from 1 to {MOST_PROMPTS} entries")));
    }
    Ok(prompts)
}

/// A prompt as the engine takes it and as an answer echoes it.
#[derive(Debug, Clone)]
struct Encoded {
    tokens: Vec<Token>,
    /// What the answer begins with: the prompt, or nothing.
    echoed: String,
    /// Whether control tokens are part of `echoed`.
    control: Control,
}

impl Encoded {
    fn new(tokenizer: &Tokenizer, prompt: Prompt, echo: Echo) -> Self {
        let (tokens, text, control) = match prompt {
            Prompt::Text(text) => (tokenizer.encode(&text, Encode { bos: true, special: true }), text, Control::Hidden),
            Prompt::Tokens(tokens) => {
                let text = if echo == Echo::Prompt { tokenizer.decode(&tokens, true) } else { String::new() };
                (tokens, text, Control::Shown)
            }
        };
        let echoed = if echo == Echo::Prompt { text } else { String::new() };
        Self { tokens, echoed, control }
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
}

/// A choice, or a piece of one.
#[derive(Debug, Serialize)]
struct Choice {
    text: String,
    index: usize,
    logprobs: Option<TextLogprobs>,
    finish_reason: Option<&'static str>,
}

/// A piece of a streamed answer.
#[derive(Debug, Serialize)]
struct Chunk<'a> {
    #[serde(flatten)]
    head: &'a Head,
    choices: &'a [Choice],
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<Option<Usage>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timings: Option<Timings>,
    #[serde(skip_serializing_if = "Option::is_none")]
    seed: Option<u64>,
}

/// The handler.
pub(super) async fn create(State(service): State<Arc<Service>>, body: Body) -> Result<Response, Error> {
    let request = parse_completion(&body::read(body).await?)?;
    if let Some(model) = &request.model {
        service.check_model(model)?;
    }
    let live = service.enter();
    let (delivery, n, logprobs, echo) = (request.delivery, request.n, request.logprobs, request.echo);
    let seeds = seeds(&request.knobs, n);
    let tokenizer = Arc::clone(service.base.engine.tokenizer());
    // A long text takes a while; others' streams go on meanwhile.
    let encoding = tokio::task::spawn_blocking({
        let tokenizer = Arc::clone(&tokenizer);
        move || request.prompts.into_iter().map(|p| Encoded::new(&tokenizer, p, echo)).collect::<Vec<_>>()
    });
    let prompts = encoding.await.map_err(|_| Refusal::Lost)?;
    let requests: Vec<Request> = prompts
        .iter()
        .flat_map(|prompt| seeds.iter().map(move |&seed| (prompt, seed)))
        .map(|(prompt, seed)| {
            let mut one = service.request(prompt.tokens.clone(), &request.knobs, seed);
            one.logprobs = logprobs;
            one.prompt_logprobs = logprobs.filter(|_| echo == Echo::Prompt);
            // Who scores a prompt counts on exactly one entry after it, also where the text would end.
            one.ignore_end = one.prompt_logprobs.is_some() && one.max_tokens == 1;
            one
        })
        .collect();
    let head = Head {
        id: new_id("cmpl"),
        object: "text_completion",
        created: clock::unix(SystemTime::now()),
        model: service.base.id.clone(),
        system_fingerprint: FINGERPRINT,
    };
    let logprobs_with = logprobs.map(|_| tokenizer);
    let admitted = answer::admit(&service.base.engine, requests, live)?;
    if delivery == Delivery::Whole {
        let answers = answer::all(admitted).await?;
        let tail = Tail { usage: Usage::of(&answers, n), timings: Timings::of_all(&answers), seed: seeds[0] };
        let choice = |(i, answer)| whole_choice(logprobs_with.as_deref(), i, &prompts[i / n], answer);
        let choices = answers.into_iter().enumerate().map(choice).collect();
        return Ok(Json(Completion { head, choices, tail }).into_response());
    }
    let writer = ChunkWriter {
        head,
        logprobs_with,
        offsets: (0..admitted.len()).map(|_| Offsets::default()).collect(),
        prompts,
        n,
        usage: (delivery == Delivery::StreamWithUsage).then(Usage::default),
        seed: seeds[0],
    };
    Ok(sse(frames(admitted, writer)))
}

/// A whole answer's choice; with log-probabilities if there is a tokenizer to name tokens with.
fn whole_choice(logprobs_with: Option<&Tokenizer>, index: usize, prompt: &Encoded, answer: Answer) -> Choice {
    let logprobs = logprobs_with.map(|tokenizer| {
        let mut logprobs = TextLogprobs::default();
        let mut offsets = Offsets::default();
        logprobs.extend(tokenizer, &answer.prompt, &mut offsets, prompt.control);
        logprobs.extend(tokenizer, &answer.tokens, &mut offsets, Control::Hidden);
        logprobs
    });
    let text = prompt.echoed.clone() + &answer.text;
    Choice { text, index, logprobs, finish_reason: Some(answer.ending.word()) }
}

/// Writes a streamed answer.
struct ChunkWriter {
    head: Head,
    /// Names tokens, if log-probabilities are asked for.
    logprobs_with: Option<Arc<Tokenizer>>,
    /// Of each choice.
    offsets: Vec<Offsets>,
    prompts: Vec<Encoded>,
    /// Choices per prompt.
    n: usize,
    /// Counts so far, if they are asked for.
    usage: Option<Usage>,
    seed: u64,
}

impl ChunkWriter {
    fn chunk(&self, choice: Choice, timings: Option<Timings>, seed: Option<u64>) -> String {
        let usage = self.usage.map(|_| None);
        json(&Chunk { head: &self.head, choices: &[choice], usage, timings, seed })
    }

    /// A piece of text with its tokens.
    fn piece(&mut self, index: usize, text: String, scores: &[Scored], control: Control) -> Choice {
        let logprobs = self.logprobs_with.as_deref().map(|tokenizer| {
            let mut logprobs = TextLogprobs::default();
            logprobs.extend(tokenizer, scores, &mut self.offsets[index], control);
            logprobs
        });
        Choice { text, index, logprobs, finish_reason: None }
    }
}

impl Writer for ChunkWriter {
    fn start(&mut self, out: &mut VecDeque<String>) {
        for index in 0..self.offsets.len() {
            // With log-probabilities the echo waits for the prompt's scores.
            let prompt = &self.prompts[index / self.n];
            let text = if self.logprobs_with.is_some() { String::new() } else { prompt.echoed.clone() };
            let first = Choice { text, index, logprobs: None, finish_reason: None };
            out.push_back(self.chunk(first, None, (index == 0).then_some(self.seed)));
        }
    }

    fn prompt(&mut self, index: usize, scores: Vec<Scored>, out: &mut VecDeque<String>) {
        let prompt = &self.prompts[index / self.n];
        let (text, control) = (prompt.echoed.clone(), prompt.control);
        let echo = self.piece(index, text, &scores, control);
        out.push_back(self.chunk(echo, None, None));
    }

    fn text(&mut self, index: usize, text: String, token: Option<Scored>, out: &mut VecDeque<String>) {
        if text.is_empty() && (token.is_none() || self.logprobs_with.is_none()) {
            return;
        }
        let piece = self.piece(index, text, token.as_slice(), Control::Hidden);
        out.push_back(self.chunk(piece, None, None));
    }

    fn done(&mut self, index: usize, ending: Ending, timing: Timing, out: &mut VecDeque<String>) {
        if let Some(usage) = &mut self.usage {
            usage.add(&timing, CountPrompt::of(index, self.n));
        }
        let last = Choice { text: String::new(), index, logprobs: None, finish_reason: Some(ending.word()) };
        out.push_back(self.chunk(last, Some(Timings::of(&timing)), None));
    }

    fn end(&mut self, out: &mut VecDeque<String>) {
        if let Some(usage) = self.usage {
            let chunk = Chunk { head: &self.head, choices: &[], usage: Some(Some(usage)), timings: None, seed: None };
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

    fn parse(json: &str) -> Result<CompletionRequest, Invalid> {
        parse_completion(json.as_bytes())
    }

    fn prompts_of(json: &str) -> Result<Vec<Prompt>, Invalid> {
        parse(&format!(r#"{{"prompt": {json}}}"#)).map(|request| request.prompts)
    }

    #[test]
    fn prompts_come_in_four_shapes() {
        let text = |t: &str| Prompt::Text(t.into());
        assert_eq!(prompts_of(r#""a""#).unwrap(), [text("a")]);
        assert_eq!(prompts_of(r#"["a", "b"]"#).unwrap(), [text("a"), text("b")]);
        assert_eq!(prompts_of("[1, 2]").unwrap(), [Prompt::Tokens(vec![1, 2])]);
        assert_eq!(prompts_of("[[1, 2], [3]]").unwrap(), [Prompt::Tokens(vec![1, 2]), Prompt::Tokens(vec![3])]);
    }

    #[test]
    fn prompts_of_no_shape_are_refused_with_their_place() {
        for (json, param) in [
            ("[]", "prompt"),
            ("null", "prompt"),
            ("3", "prompt"),
            ("[1, \"a\"]", "prompt"),
            ("[1.5]", "prompt"),
            ("[-1]", "prompt"),
            ("[4294967296]", "prompt"),
            ("[\"a\", 1]", "prompt[1]"),
            ("[[1], [\"a\"]]", "prompt[1]"),
        ] {
            assert_eq!(prompts_of(json).unwrap_err().param(), Some(param), "{json}");
        }
    }

    #[test]
    fn the_request_of_lm_evaluation_harness_is_read() {
        let request = parse(
            r#"{"model": "demo", "prompt": [[0, 5, 6]], "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": true}"#,
        )
        .unwrap();
        assert_eq!((request.logprobs, request.echo, request.n), (Some(1), Echo::Prompt, 1));
        assert_eq!((request.knobs.max_tokens, request.knobs.seed), (Some(1), Some(1234)));
    }

    #[test]
    fn gaps_are_not_filled_and_best_of_is_not_chosen() {
        let unsupported = |json| matches!(parse(json), Err(Invalid::Unsupported { .. }));
        assert!(unsupported(r#"{"prompt": "a", "suffix": "b"}"#));
        assert!(unsupported(r#"{"prompt": "a", "best_of": 2}"#));
        assert!(parse(r#"{"prompt": "a", "suffix": null, "best_of": 1}"#).is_ok());
        assert!(parse(r#"{"prompt": "a", "n": 3, "best_of": 3}"#).is_ok());
    }

    #[test]
    fn a_stream_has_only_as_many_answers_as_are_computed_at_once() {
        assert!(parse(r#"{"prompt": ["a", "b"], "n": 4, "stream": true}"#).is_ok());
        let e = parse(r#"{"prompt": ["a", "b", "c"], "n": 3, "stream": true}"#).unwrap_err();
        assert_eq!(e.param(), Some("stream"));
    }
}
