//! The service as clients see it: bytes on a socket in, bytes out. The base is the demo base.

use locollm::host::{LoadedBase, Options};
use locollm::serve::{Grace, Service, run};
use locollm::{base, engine};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// The demo base's end token: ruled out, an answer goes on to the end of the context.
const ENDLESS: &str = r#""logit_bias": {"1": -100}"#;
const PARIS: &str = "The capital of France is Paris.";

/// A server on a free port, ended with the test's runtime.
struct Server {
    address: SocketAddr,
    service: Arc<Service>,
    stop: Option<oneshot::Sender<()>>,
    done: JoinHandle<Result<(), engine::Error>>,
}

impl Server {
    async fn start() -> Self {
        Self::with(engine::Options::default()).await
    }

    async fn with(engine: engine::Options) -> Self {
        let options = Options { threads: Some(1), engine, ..Options::default() };
        let base = LoadedBase::load(&base::open(Some(base::DEMO)).unwrap(), options).unwrap();
        let defaults = base.default_sampling();
        let service = Service::new(base, defaults);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let grace = Grace { answers: Duration::ZERO, connections: Duration::from_secs(10) };
        let done = tokio::spawn(run(
            Arc::clone(&service),
            listener,
            async {
                stopped.await.ok();
            },
            grace,
        ));
        Self { address, service, stop: Some(stop), done }
    }

    /// Sends bytes and reads until the server closes.
    async fn raw(&self, request: &[u8]) -> Reply {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(request).await.unwrap();
        let mut bytes = Vec::new();
        socket.read_to_end(&mut bytes).await.unwrap();
        Reply::parse(&bytes)
    }

    async fn get(&self, path: &str) -> Reply {
        self.raw(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes()).await
    }

    async fn post(&self, path: &str, body: &str) -> Reply {
        self.raw(&post(path, body)).await
    }

    /// Posts, and leaves the connection open.
    async fn open(&self, path: &str, body: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        socket.write_all(&post(path, body)).await.unwrap();
        socket
    }

    async fn ask(&self, question: &str, fields: &str) -> Reply {
        let comma = if fields.is_empty() { "" } else { ", " };
        let body = format!(r#"{{"messages": [{{"role": "user", "content": {question:?}}}]{comma}{fields}}}"#);
        self.post("/v1/chat/completions", &body).await
    }

    /// Waits until the engine has nothing to do.
    async fn idle(&self) {
        let engine = &self.service.base.engine;
        let wait = async {
            while engine.stats().running + engine.stats().waiting + self.service.live() > 0 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.expect("the engine goes on for nobody");
    }
}

fn post(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}")
        .into()
}

/// An answer, taken apart.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    /// With the chunks of a chunked body put together.
    body: String,
}

impl Reply {
    fn parse(bytes: &[u8]) -> Self {
        let text = std::str::from_utf8(bytes).expect("UTF-8");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        let status = head[9..12].parse().unwrap();
        let head = head.to_lowercase();
        let chunked = head.contains("transfer-encoding: chunked");
        let body = if chunked { unchunk(body) } else { body.to_string() };
        Self { status, head, body }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")))
    }

    /// The messages of a stream of server-sent events, without the final `[DONE]`.
    fn events(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), Some("text/event-stream"));
        let events: Vec<&str> = self.body.strip_suffix("\n\n").expect("whole events").split("\n\n").collect();
        let (done, events) = events.split_last().unwrap();
        assert_eq!(*done, "data: [DONE]");
        events.iter().map(|e| serde_json::from_str(e.strip_prefix("data: ").expect(e)).expect(e)).collect()
    }

    /// The messages of a stream of lines.
    fn lines(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), Some("application/x-ndjson"));
        assert!(self.body.ends_with('\n'));
        self.body.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The message of an error in OpenAI's shape.
    fn error(&self) -> Value {
        let error = self.json()["error"].clone();
        for field in ["message", "type", "param", "code"] {
            assert!(error.get(field).is_some(), "no `{field}` in {self:?}");
        }
        error
    }
}

fn unchunk(mut body: &str) -> String {
    let mut whole = String::new();
    loop {
        let (length, rest) = body.split_once("\r\n").expect("a chunk's length");
        let length = usize::from_str_radix(length, 16).unwrap();
        if length == 0 {
            return whole;
        }
        whole += &rest[..length];
        body = &rest[length + 2..];
    }
}

/// The text of a stream of chat chunks, for one choice.
fn chat_text(events: &[Value], index: u64) -> String {
    events
        .iter()
        .filter_map(|event| event["choices"].as_array()?.iter().find(|c| c["index"] == index))
        .filter_map(|choice| choice["delta"]["content"].as_str())
        .collect()
}

#[tokio::test]
async fn models_are_listed_and_found_by_name() {
    let server = Server::start().await;
    let list = server.get("/v1/models").await.json();
    assert_eq!((&list["object"], &list["data"][0]["id"]), (&"list".into(), &"demo".into()));
    assert_eq!(list["data"][0]["meta"]["ternary"], true);
    assert_eq!(server.get("/v1/models/demo").await.json(), list["data"][0]);
    let unknown = server.get("/v1/models/gpt-5").await;
    assert_eq!((unknown.status, &unknown.error()["code"]), (404, &"model_not_found".into()));
    let tags = server.get("/api/tags").await.json();
    assert_eq!(tags["models"][0]["model"], "demo:latest");
    assert_eq!(tags["models"][0]["details"]["quantization_level"], "I2_S");
    assert!(server.get("/api/version").await.json()["version"].is_string());
}

#[tokio::test]
async fn a_question_is_answered_whole() {
    let server = Server::start().await;
    let reply = server.ask("What is the capital of France?", r#""model": "demo", "seed": 7"#).await;
    let answer = reply.json();
    assert_eq!(answer["choices"][0]["message"], json!({"role": "assistant", "content": PARIS, "refusal": null}));
    assert_eq!(answer["choices"][0]["finish_reason"], "stop");
    assert_eq!((&answer["object"], &answer["model"]), (&"chat.completion".into(), &"demo".into()));
    let usage = &answer["usage"];
    let (prompt, completion) = (usage["prompt_tokens"].as_u64().unwrap(), usage["completion_tokens"].as_u64().unwrap());
    assert!(prompt > 5 && completion > 5, "{usage}");
    assert_eq!(usage["total_tokens"], prompt + completion);
    assert_eq!((&answer["seed"], &answer["timings"]["predicted_n"]), (&7.into(), &completion.into()));
}

#[tokio::test]
async fn a_stream_says_the_same_as_a_whole_answer() {
    let server = Server::start().await;
    let fields = r#""stream": true, "stream_options": {"include_usage": true}"#;
    let events = server.ask("What is the capital of France?", fields).await.events();
    assert_eq!(chat_text(&events, 0), PARIS);
    assert_eq!(events[0]["choices"][0]["delta"]["role"], "assistant");
    let (last, pieces) = events.split_last().unwrap();
    assert_eq!((&last["choices"], &last["usage"]["prompt_tokens_details"]["cached_tokens"]), (&json!([]), &0.into()));
    assert!(pieces.iter().all(|p| p["usage"].is_null() && p["id"] == last["id"]));
    assert_eq!(pieces.last().unwrap()["choices"][0]["finish_reason"], "stop");
    assert!(pieces.len() > 5, "{} pieces are not a stream", pieces.len());

    let plain = server.ask("What is the capital of France?", r#""stream": true"#).await.events();
    assert!(plain.iter().all(|p| p.get("usage").is_none()));
}

#[tokio::test]
async fn ollama_clients_get_lines() {
    let server = Server::start().await;
    let body = r#"{"model": "demo", "messages": [{"role": "user", "content": "What is the capital of France?"}]}"#;
    let lines = server.post("/api/chat", body).await.lines();
    let text: String = lines.iter().map(|line| line["message"]["content"].as_str().unwrap()).collect();
    assert_eq!(text, PARIS);
    let (last, pieces) = lines.split_last().unwrap();
    assert!(pieces.len() > 5 && pieces.iter().all(|line| line["done"] == false));
    assert_eq!((&last["done"], &last["done_reason"]), (&true.into(), &"stop".into()));
    for duration in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
        assert!(last[duration].is_u64(), "{duration}: {last}");
    }
    let body = r#"{"model": "demo:latest", "prompt": "What is the capital of France?", "stream": false}"#;
    let whole = server.post("/api/generate", body).await.json();
    assert_eq!(
        (&whole["response"], &whole["done"], &whole["model"]),
        (&PARIS.into(), &true.into(), &"demo:latest".into())
    );
    let load = server.post("/api/generate", r#"{"model": "demo"}"#).await.json();
    assert_eq!((&load["done_reason"], &load["response"]), (&"load".into(), &"".into()));
}

#[tokio::test]
async fn raw_prompts_are_continued_without_a_template() {
    let server = Server::start().await;
    let prompt = "<|user|>What is the capital of France?<|eot|><|assistant|>";
    let body = json!({"model": "demo", "prompt": prompt, "raw": true, "stream": false}).to_string();
    assert_eq!(server.post("/api/generate", &body).await.json()["response"], PARIS);
    let body = json!({"prompt": prompt, "temperature": 0}).to_string();
    assert_eq!(server.post("/v1/completions", &body).await.json()["choices"][0]["text"], PARIS);
}

#[tokio::test]
async fn control_tokens_in_a_question_are_text() {
    let server = Server::start().await;
    let count = async |question: &str| {
        server.ask(question, r#""max_tokens": 1"#).await.json()["usage"]["prompt_tokens"].as_u64().unwrap()
    };
    let plain = count("Hi").await;
    assert!(count("Hi<|eot|>").await >= plain + 3, "a control token's name must not become one token");
}

#[tokio::test]
async fn a_stop_text_ends_the_answer_and_is_not_part_of_it() {
    let server = Server::start().await;
    for stop in [r#"" is""#, r#"["zzz", " is"]"#] {
        let reply = server.ask("What is the capital of France?", &format!(r#""stop": {stop}"#)).await.json();
        assert_eq!(reply["choices"][0]["message"]["content"], "The capital of France");
        assert_eq!(reply["choices"][0]["finish_reason"], "stop");
    }
    let fields = r#""stop": " is", "stream": true"#;
    let events = server.ask("What is the capital of France?", fields).await.events();
    assert_eq!(chat_text(&events, 0), "The capital of France");
    let short = server.ask("What is the capital of France?", r#""max_tokens": 3"#).await.json();
    assert_eq!(short["choices"][0]["finish_reason"], "length");
    assert_eq!(short["usage"]["completion_tokens"], 3);
}

#[tokio::test]
async fn the_same_seed_gives_the_same_text_and_choices_have_successive_seeds() {
    let server = Server::start().await;
    let tell = async |fields: &str| {
        let fields = format!(r#""temperature": 1.5, "max_tokens": 40, {fields}"#);
        let reply = server.ask("Tell me a story about Anna and a fox.", &fields).await.json();
        let text = |c: &Value| c["message"]["content"].as_str().unwrap().to_string();
        (reply["choices"].as_array().unwrap().iter().map(text).collect::<Vec<_>>(), reply["seed"].as_u64().unwrap())
    };
    let (three, _) = tell(r#""seed": 5, "n": 3"#).await;
    assert_eq!(three.len(), 3);
    assert!(three[0] != three[1] && three[1] != three[2], "{three:?}");
    assert_eq!(tell(r#""seed": 6"#).await.0[0], three[1]);
    let (random, seed) = tell(r#""n": 1"#).await;
    assert_eq!(tell(&format!(r#""seed": {seed}"#)).await.0, random);
}

#[tokio::test]
async fn eight_streams_at_once_say_what_each_says_alone() {
    let server = Server::start().await;
    let questions =
        ["What is the capital of France?", "What is 27 plus 45?", "Who are you?", "How many days are in a week?"];
    let mut alone = Vec::new();
    for question in questions {
        alone.push(chat_text(&server.ask(question, r#""stream": true"#).await.events(), 0));
    }
    let together = futures_util::future::join_all(
        questions.iter().cycle().take(8).map(|question| server.ask(question, r#""stream": true"#)),
    );
    for (i, reply) in together.await.iter().enumerate() {
        assert_eq!(chat_text(&reply.events(), 0), alone[i % 4], "{}", questions[i % 4]);
    }
}

#[tokio::test]
async fn choices_of_one_stream_are_told_apart() {
    let server = Server::start().await;
    let events = server.ask("What is the capital of France?", r#""stream": true, "n": 3"#).await.events();
    for index in 0..3 {
        assert_eq!(chat_text(&events, index), PARIS);
    }
    assert_eq!(events[0]["choices"].as_array().unwrap().len(), 3);
}

#[tokio::test]
async fn a_harness_gets_prompt_scores_equal_to_the_engines_to_the_float() {
    let server = Server::start().await;
    let prompts = [vec![0, 2, 861, 6, 1, 3, 861, 6], vec![0, 451, 340, 346]];
    let body = json!({"model": "demo", "prompt": prompts, "temperature": 0, "max_tokens": 1, "logprobs": 1,
        "seed": 1234, "echo": true});
    let reply = server.post("/v1/completions", &body.to_string()).await.json();
    for (i, prompt) in prompts.iter().enumerate() {
        let choice = &reply["choices"][i];
        assert_eq!(choice["index"], i);
        let logprobs = &choice["logprobs"];
        let own = logprobs["token_logprobs"].as_array().unwrap();
        let top = logprobs["top_logprobs"].as_array().unwrap();
        for list in ["tokens", "token_logprobs", "top_logprobs", "text_offset"] {
            assert_eq!(logprobs[list].as_array().unwrap().len(), prompt.len() + 1, "{list}");
        }
        assert!(own[0].is_null() && top[0].is_null());

        let mut events = server.service.base.engine.submit(engine::Request {
            prompt: prompt.clone(),
            max_tokens: 0,
            sampling: engine::Sampling::default(),
            stop: vec![],
            stop_tokens: vec![],
            ignore_end: false,
            logprobs: None,
            prompt_logprobs: Some(1),
        });
        let Some(engine::Event::Prompt(scores)) = events.as_mut().unwrap().recv().await else { panic!("no scores") };
        for (j, scored) in scores.iter().enumerate().skip(1) {
            let logprob = own[j].as_f64().unwrap();
            // As f32: this JSON reader may be off by the last bit of an f64.
            assert_eq!(Some(logprob as f32), scored.logprob);
            let greatest = top[j].as_object().unwrap().values().filter_map(Value::as_f64).fold(f64::MIN, f64::max);
            assert_eq!(greatest == logprob, Some(scored.top[0].1) == scored.logprob, "the test for \"greedy\"");
        }
    }
    // The demo base answers "Hello!" to "Hello!": these two tokens are its own choice.
    let top = &reply["choices"][0]["logprobs"]["top_logprobs"][6];
    assert_eq!(top.as_object().unwrap().len(), 1);
    // A text that is at its end still has its one generated token, or the scores would be off by one.
    let ended = json!({"prompt": [[0, 2, 861, 6, 1, 3, 861, 6, 349, 421, 327, 489, 337, 36]], "temperature": 0,
        "max_tokens": 1, "logprobs": 1, "echo": true});
    let reply = server.post("/v1/completions", &ended.to_string()).await.json();
    assert_eq!(reply["choices"][0]["logprobs"]["tokens"].as_array().unwrap().len(), 15);
    assert_eq!(reply["choices"][0]["logprobs"]["tokens"][14], "<|eot|>");
}

#[tokio::test]
async fn an_echo_is_the_prompt_and_offsets_point_into_the_text() {
    let server = Server::start().await;
    let body = json!({"prompt": "The café is", "echo": true, "logprobs": 2, "max_tokens": 4, "temperature": 0});
    let choice = server.post("/v1/completions", &body.to_string()).await.json()["choices"][0].clone();
    let text: Vec<char> = choice["text"].as_str().unwrap().chars().collect();
    assert!(text.iter().collect::<String>().starts_with("The café is"));
    let tokens = choice["logprobs"]["tokens"].as_array().unwrap();
    let offsets = choice["logprobs"]["text_offset"].as_array().unwrap();
    for (token, offset) in tokens.iter().zip(offsets).skip(1) {
        let (token, offset) = (token.as_str().unwrap(), usize::try_from(offset.as_u64().unwrap()).unwrap());
        if !token.starts_with("bytes:") && !token.starts_with("<|") {
            assert!(text[offset..].iter().collect::<String>().starts_with(token), "{token:?} at {offset} of {text:?}");
        }
    }
    let streamed = {
        let mut body = body.clone();
        body["stream"] = true.into();
        server.post("/v1/completions", &body.to_string()).await.events()
    };
    let text: String = streamed.iter().filter_map(|e| e["choices"][0]["text"].as_str()).collect();
    assert_eq!(text, choice["text"]);
    let joined: Vec<&Value> =
        streamed.iter().filter_map(|e| e["choices"][0]["logprobs"]["text_offset"].as_array()).flatten().collect();
    assert_eq!(joined, offsets.iter().collect::<Vec<_>>());
}

#[tokio::test]
async fn chat_logprobs_describe_the_tokens_of_the_message() {
    let server = Server::start().await;
    let reply = server.ask("What is the capital of France?", r#""logprobs": true, "top_logprobs": 3"#).await.json();
    let content = reply["choices"][0]["logprobs"]["content"].as_array().unwrap();
    let text: String = content.iter().map(|token| token["token"].as_str().unwrap()).collect();
    assert_eq!(text, PARIS);
    for token in content {
        assert_eq!(token["top_logprobs"].as_array().unwrap().len(), 3);
        assert_eq!(token["top_logprobs"][0]["logprob"], token["logprob"], "the demo base is greedy");
    }
}

#[tokio::test]
async fn what_is_wrong_is_told_in_each_apis_shape() {
    let server = Server::start().await;
    let chat = "/v1/chat/completions";
    for (path, body, status, code) in [
        (chat, "{\"messages\": [", 400, "invalid_json"),
        (chat, "{}", 400, "invalid_value"),
        (chat, r#"{"model": "gpt-5", "messages": [{"role": "user", "content": ""}]}"#, 404, "model_not_found"),
        (chat, r#"{"messages": [{"role": "user", "content": ""}], "tools": [{}]}"#, 400, "unsupported_parameter"),
        ("/v1/completions", r#"{"prompt": "a", "suffix": "b"}"#, 400, "unsupported_parameter"),
        ("/v1/completions", r#"{"prompt": [4000000]}"#, 400, "invalid_value"),
        ("/v1/completions", r#"{"prompt": []}"#, 400, "invalid_value"),
        ("/v1/models", "", 405, "method_not_allowed"),
        ("/v1/embeddings", "{}", 404, "unknown_path"),
    ] {
        let reply = server.post(path, body).await;
        assert_eq!(reply.status, status, "{reply:?}");
        assert_eq!(reply.error()["code"], code, "{reply:?}");
    }
    for (path, body, status) in [
        ("/api/chat", "{", 400),
        ("/api/chat", r#"{"messages": []}"#, 400),
        ("/api/chat", r#"{"model": "llama3"}"#, 404),
        ("/api/generate", r#"{"model": "demo", "prompt": "a", "suffix": "b"}"#, 400),
        ("/api/pull", r#"{"model": "llama3"}"#, 404),
        ("/api/tags", "{}", 405),
    ] {
        let reply = server.post(path, body).await;
        assert_eq!(reply.status, status, "{reply:?}");
        let error = reply.json();
        assert!(error["error"].is_string() && error.as_object().unwrap().len() == 1, "{error}");
    }
}

#[tokio::test]
async fn a_conversation_that_is_too_long_is_refused_or_shortened_as_asked() {
    let server = Server::start().await;
    let mut messages: Vec<Value> = (0..60)
        .flat_map(|i| {
            [
                json!({"role": "user", "content": format!("What is {i} plus {i}?")}),
                json!({"role": "assistant", "content": format!("{i}+{i}={}", i + i)}),
            ]
        })
        .collect();
    messages.push(json!({"role": "user", "content": "What is the capital of France?"}));
    let chat = "/v1/chat/completions";
    let refused = server.post(chat, &json!({"messages": messages}).to_string()).await;
    assert_eq!((refused.status, &refused.error()["code"]), (400, &"context_length_exceeded".into()));
    let short = server.post(chat, &json!({"messages": messages, "truncation": "auto"}).to_string()).await.json();
    assert_eq!(short["choices"][0]["finish_reason"], "stop");
    let dropped = short["truncated_messages"].as_u64().unwrap();
    assert!(dropped > 0 && dropped.is_multiple_of(2) && dropped < 120, "{dropped}");
    let ollama = json!({"model": "demo", "messages": messages, "stream": false}).to_string();
    assert_eq!(server.post("/api/chat", &ollama).await.status, 200);
}

#[tokio::test]
async fn a_body_that_is_too_long_is_refused_and_the_server_goes_on() {
    let server = Server::start().await;
    let long = format!(r#"{{"prompt": "{}"}}"#, "a".repeat(3 << 20));
    let openai = server.post("/v1/completions", &long).await;
    assert_eq!((openai.status, &openai.error()["code"]), (413, &"body_too_large".into()));
    assert_eq!(server.post("/api/generate", &long).await.status, 413);
    assert_eq!(server.get("/health").await.json()["status"], "ok");
}

#[tokio::test]
async fn garbage_on_the_socket_harms_nobody() {
    let server = Server::start().await;
    for garbage in [&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], b"GET\r\n\r\n", b"POST / HTTP/9.9\r\n\r\n"] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        socket.write_all(garbage).await.unwrap();
        socket.shutdown().await.unwrap();
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer).await.ok();
        assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"), "{:?}", String::from_utf8_lossy(&answer));
    }
    let invalid = [
        &b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 14\r\n\r\n"[..],
        b"{\"prompt\":\"\xff\"}",
    ];
    assert_eq!(server.raw(&invalid.concat()).await.error()["code"], "invalid_json");
}

#[tokio::test]
async fn a_client_that_leaves_frees_the_engine() {
    let server = Server::start().await;
    for (path, stream) in
        [("/v1/chat/completions", true), ("/v1/chat/completions", false), ("/api/chat", true), ("/api/chat", false)]
    {
        let before = server.service.base.engine.stats().generated_tokens;
        let body = format!(
            r#"{{"model": "demo", "stream": {stream}, "messages": [{{"role": "user", "content": "Hi"}}], {ENDLESS},
               "options": {{"stop": ["no such text"], "temperature": 1.9, "seed": 1}}}}"#
        );
        let mut socket = server.open(path, &body).await;
        if stream {
            let mut some = [0; 64];
            assert!(socket.read(&mut some).await.unwrap() > 0);
        } else {
            while server.service.base.engine.stats().generated_tokens == before {
                tokio::task::yield_now().await;
            }
        }
        drop(socket);
        server.idle().await;
        let generated = server.service.base.engine.stats().generated_tokens - before;
        assert!(generated < 400, "{path} went on to {generated} tokens after its client had left");
    }
}

#[tokio::test]
async fn a_full_queue_says_so_and_when_to_come_back() {
    let options = engine::Options { max_sequences: 1, max_waiting: 1, ..engine::Options::default() };
    let server = Server::with(options).await;
    let body = format!(r#"{{"prompt": "Anna", "stream": true, {ENDLESS}}}"#);
    let mut running = server.open("/v1/completions", &body).await;
    let mut some = [0; 512];
    while !String::from_utf8_lossy(&some).contains("data: ") {
        assert!(running.read(&mut some).await.unwrap() > 0);
    }
    while server.service.base.engine.stats().running == 0 {
        tokio::task::yield_now().await;
    }
    let _waiting = server.open("/v1/completions", &body).await;
    while server.service.base.engine.stats().waiting == 0 {
        tokio::task::yield_now().await;
    }
    let refused = server.post("/v1/completions", r#"{"prompt": "Anna"}"#).await;
    assert_eq!((refused.status, &refused.error()["type"]), (429, &"rate_limit_error".into()));
    assert!(refused.header("retry-after").unwrap().parse::<u32>().unwrap() > 0);
}

#[tokio::test]
async fn a_request_is_admitted_once_and_its_further_choices_wait() {
    let options = engine::Options { max_sequences: 1, max_waiting: 1, ..engine::Options::default() };
    let server = Server::with(options).await;
    let whole = server.ask("What is the capital of France?", r#""n": 8"#).await.json();
    let choices = whole["choices"].as_array().unwrap();
    assert_eq!(choices.len(), 8, "{whole}");
    assert!(choices.iter().all(|choice| choice["message"]["content"] == PARIS));
    let streamed = server.ask("What is the capital of France?", r#""n": 8, "stream": true"#).await.events();
    let ended = streamed.iter().filter(|e| e["choices"][0]["finish_reason"] == "stop").count();
    assert_eq!(ended, 8);
}

/// A list with a prompt that can never be served is refused before the others are computed.
#[tokio::test]
async fn a_list_of_prompts_is_refused_as_a_whole() {
    let server = Server::start().await;
    for stream in [false, true] {
        let body = json!({"prompt": ["Anna", "word ".repeat(3000)], "stream": stream}).to_string();
        let refused = server.post("/v1/completions", &body).await;
        assert_eq!((refused.status, &refused.error()["code"]), (400, &"context_length_exceeded".into()));
    }
    assert_eq!(server.service.base.engine.stats().generated_tokens, 0);
}

#[tokio::test]
async fn a_server_whose_engine_ends_ends_with_an_error() {
    let mut server = Server::start().await;
    server.service.base.engine.shutdown();
    let ended = tokio::time::timeout(Duration::from_secs(20), &mut server.done).await.expect("the server ends");
    assert_eq!(ended.unwrap(), Err(engine::Error::Closed));
}

/// Time stands still but for the timers, so nobody waits.
#[tokio::test(start_paused = true)]
async fn a_head_that_never_ends_is_given_up() {
    let server = Server::start().await;
    let since = tokio::time::Instant::now();
    let mut socket = TcpStream::connect(server.address).await.unwrap();
    socket.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\n").await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 408"), "{:?}", String::from_utf8_lossy(&answer));
    assert!(since.elapsed() >= Duration::from_secs(15), "{:?}", since.elapsed());
}

#[tokio::test]
async fn other_sites_pages_are_refused() {
    let server = Server::start().await;
    let request = |host: &str, origin: &str| {
        let body = r#"{"prompt": "Anna", "max_tokens": 1}"#;
        format!(
            "POST /v1/completions HTTP/1.1\r\nHost: {host}\r\nOrigin: {origin}\r\nContent-Type: text/plain\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    };
    for (host, origin, code) in [
        ("evil.example", "http://evil.example", "foreign_host"),
        ("localhost:8080", "http://evil.example", "foreign_origin"),
    ] {
        let refused = server.raw(request(host, origin).as_bytes()).await;
        assert_eq!((refused.status, &refused.error()["code"]), (403, &code.into()));
    }
    assert_eq!(server.raw(request("localhost:8080", "http://localhost:8080").as_bytes()).await.status, 200);
}

#[tokio::test]
async fn a_shutdown_tells_live_streams_and_ends() {
    let mut server = Server::start().await;
    let openai = format!(r#"{{"prompt": "Anna", "stream": true, {ENDLESS}}}"#);
    let mut stream = server.open("/v1/completions", &openai).await;
    let mut begun = Vec::new();
    while !begun.windows(6).any(|w| w == b"data: ") {
        assert!(stream.read_buf(&mut begun).await.unwrap() > 0);
    }
    let mut idle = TcpStream::connect(server.address).await.unwrap();
    server.stop.take().unwrap().send(()).unwrap();
    stream.read_to_end(&mut begun).await.unwrap();
    let events = Reply::parse(&begun).events();
    assert_eq!(events.last().unwrap()["error"]["code"], "shutting_down");
    assert_eq!(idle.read(&mut [0; 16]).await.unwrap_or(0), 0, "an idle connection is closed");
    tokio::time::timeout(Duration::from_secs(20), &mut server.done).await.expect("the server ends").unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is free");
}

#[tokio::test]
async fn the_page_is_for_browsers_and_ollamas_greeting_for_its_clients() {
    let server = Server::start().await;
    assert_eq!(server.get("/").await.body, "Ollama is running");
    let browser = |extra: &str| {
        format!("GET / HTTP/1.1\r\nHost: localhost\r\nAccept: text/html,*/*;q=0.8\r\nConnection: close\r\n{extra}\r\n")
    };
    let page = server.raw(browser("").as_bytes()).await;
    assert!(page.body.starts_with("<!doctype html>"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'self'"));
    let etag = page.header("etag").unwrap();
    let again = server.raw(browser(&format!("If-None-Match: {etag}\r\n")).as_bytes()).await;
    assert_eq!((again.status, again.body.as_str()), (304, ""));
    for path in ["/app.js", "/style.css", "/icon.svg"] {
        let file = server.get(path).await;
        assert_eq!(file.status, 200, "{path}");
        assert!(!file.body.contains("http://") || path == "/icon.svg", "{path} asks somebody else");
    }
    // No way to put HTML into the page, and nothing inline for the policy to forbid.
    let script = server.get("/app.js").await.body;
    assert!(!script.contains("innerHTML") && !script.contains("insertAdjacentHTML"));
    assert!(!page.body.contains("style=") && !page.body.contains("<style") && !page.body.contains("onclick"));
}
