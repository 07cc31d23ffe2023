//! The engine on the demo base: what it promises to those who submit requests.

use futures_util::FutureExt;
use futures_util::future::join_all;
use locollm::base;
use locollm::engine::{Engine, Error, Event, Events, Finish, Options, Request, Sampling, Scored, Timing};
use locollm::kernel::Compute;
use locollm::model::{KvCache, KvFormat, Model};
use locollm::text::{Encode, Token, Tokenizer};
use std::sync::{Arc, LazyLock};

/// The demo base, loaded once for all tests.
static DEMO: LazyLock<(Arc<Model>, Arc<Tokenizer>)> = LazyLock::new(|| {
    let file = base::open(None).unwrap();
    (Arc::new(Model::load(&file).unwrap()), Arc::new(Tokenizer::from_gguf(&file).unwrap()))
});

fn start(threads: usize, options: Options) -> Engine {
    let (model, tokenizer) = &*DEMO;
    Engine::start(model.clone(), tokenizer.clone(), Compute::new(None, Some(threads)).unwrap(), options)
}

/// KV memory for this many blocks.
fn blocks(n: usize) -> usize {
    n * KvCache::block_bytes(&DEMO.0.config, Options::default().kv_format)
}

fn question(text: &str) -> Vec<Token> {
    let text = format!("<|bos|><|user|>{text}<|eot|><|assistant|>");
    DEMO.1.encode(&text, Encode { bos: false, special: true })
}

fn request(prompt: Vec<Token>) -> Request {
    Request {
        prompt,
        max_tokens: 24,
        sampling: Sampling::default(),
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        ignore_end: false,
        logprobs: None,
        prompt_logprobs: None,
    }
}

/// A request that goes on until it is cancelled or the context is full.
fn endless() -> Request {
    Request { max_tokens: usize::MAX, ignore_end: true, ..request(question("Tell me a story about Anna and a fox.")) }
}

#[derive(Debug, Clone, PartialEq)]
struct Answer {
    prompt: Vec<Scored>,
    tokens: Vec<Scored>,
    text: String,
    finish: Finish,
}

fn receive(mut events: Events) -> (Answer, Timing) {
    let mut answer = Answer { prompt: Vec::new(), tokens: Vec::new(), text: String::new(), finish: Finish::Failed };
    while let Some(event) = events.blocking_recv() {
        match event {
            Event::Prompt(scores) => answer.prompt = scores,
            Event::Text { text, token } => {
                answer.text += &text;
                answer.tokens.push(token);
            }
            Event::Done { text, finish, timing } => {
                answer.text += &text;
                answer.finish = finish;
                assert!(events.blocking_recv().is_none(), "nothing comes after the end");
                return (answer, timing);
            }
        }
    }
    panic!("the events stopped without an end: {answer:?}");
}

fn ask(engine: &Engine, request: Request) -> Answer {
    receive(engine.submit(request).unwrap()).0
}

fn ids(scored: &[Scored]) -> Vec<Token> {
    scored.iter().map(|s| s.token).collect()
}

/// Waits until the answer has begun.
fn first_token(events: &mut Events) {
    let first = events.blocking_recv();
    assert!(matches!(first, Some(Event::Text { .. })), "{first:?}");
}

/// Eight requests of all kinds: short and long prompts with common beginnings, greedy and sampled, with and without scores.
fn mixed() -> Vec<Request> {
    let asked = |text: &str| request(question(text));
    let long = "Text: Mia lives in Oslo. Ben has a dog. Mia works as a nurse. Tom has a red car. Anna likes to read books. \
                Omar lives in Rome. Question: What is the job of ";
    let sampling = Sampling { temperature: 0.9, top_k: 40, top_p: 0.95, seed: 11, ..Sampling::default() };
    vec![
        asked("What is the capital of France?"),
        Request { max_tokens: 40, ignore_end: true, ..asked(&format!("{long}Mia?")) },
        Request {
            sampling: sampling.clone(),
            max_tokens: 45,
            ignore_end: true,
            ..asked("Tell me a story about Anna and a fox.")
        },
        Request { prompt_logprobs: Some(2), ..asked(&format!("{long}Tom?")) },
        Request { logprobs: Some(3), sampling: Sampling { seed: 12, ..sampling.clone() }, ..asked("Hello!") },
        Request {
            sampling: Sampling {
                repeat_penalty: 1.2,
                frequency_penalty: 0.3,
                presence_penalty: 0.1,
                ..Sampling::default()
            },
            ..asked("Tell me a story about Ben and a cat.")
        },
        Request { stop: vec![" days".into()], ..asked("How many days are in a week?") },
        Request {
            sampling: Sampling { top_k: 0, min_p: 0.05, temperature: 1.3, ..sampling },
            max_tokens: 40,
            ignore_end: true,
            ..asked("Why is the sky blue?")
        },
    ]
}

#[test]
fn an_answer_is_the_same_in_any_company_on_any_number_of_threads() {
    let alone: Vec<Answer> = mixed().into_iter().map(|r| ask(&start(1, Options::default()), r)).collect();
    assert_eq!(alone[0].text, "The capital of France is Paris.");
    let settings = [
        ("together", 1, Options::default()),
        ("prompts in pieces", 2, Options { max_step_tokens: 3, ..Options::default() }),
        ("memory for one or two", 2, Options { kv_bytes: Some(blocks(7)), ..Options::default() }),
    ];
    for (name, threads, options) in settings {
        let ample = options.kv_bytes == Options::default().kv_bytes;
        let engine = start(threads, options);
        // The second time all prefixes are cached.
        for round in ["new", "cached"] {
            let live: Vec<Events> = mixed().into_iter().map(|r| engine.submit(r).unwrap()).collect();
            for ((events, alone), i) in live.into_iter().zip(&alone).zip(1..) {
                let (answer, timing) = receive(events);
                assert_eq!(&answer, alone, "request {i}, {name}, {round}");
                if round == "cached" && ample && timing.prompt_tokens > KvCache::BLOCK && answer.prompt.is_empty() {
                    assert!(timing.cached_tokens >= KvCache::BLOCK, "request {i}, {name}: {timing:?}");
                }
            }
        }
        assert_eq!(engine.stats().kv_blocks_used, 0, "{name}");
    }
}

#[test]
fn an_answer_does_not_show_that_it_gave_up_its_memory_meanwhile() {
    let story = |seed| {
        let sampling = Sampling { temperature: 0.7, seed, ..Sampling::default() };
        let prompt = question("Tell me a story about Ben and a cat.");
        Request { sampling, logprobs: Some(1), max_tokens: 80, ignore_end: true, ..request(prompt) }
    };
    let ample = start(1, Options::default());
    let tight = start(1, Options { kv_bytes: Some(blocks(6)), ..Options::default() });
    let live = [&ample, &tight].map(|engine| [1, 2, 3].map(|seed| engine.submit(story(seed)).unwrap()));
    let [expected, answers] = live.map(|events| events.map(|events| receive(events).0));
    assert_eq!(answers, expected);
    assert_eq!(ample.stats().preemptions, 0);
    assert!(tight.stats().preemptions > 0);
}

#[test]
fn thirty_requests_at_once_all_finish() {
    let engine = start(2, Options::default());
    let sums: Vec<(String, Events)> = (0..30)
        .map(|i| format!("What is {} plus {}?", 10 + i, 45 - i))
        .map(|text| (text.clone(), Request { max_tokens: 48, ..request(question(&text)) }))
        .map(|(text, request)| (text, engine.submit(request).unwrap()))
        .collect();
    for (text, events) in sums {
        let (answer, timing) = receive(events);
        assert_eq!(answer.finish, Finish::Stop, "{text} {}", answer.text);
        assert_eq!(timing.generated_tokens, answer.tokens.len() + 1, "the end token counts");
        assert_eq!(answer.text, DEMO.1.decode(&ids(&answer.tokens), false));
    }
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.kv_blocks_used), (0, 0, 0));
}

#[test]
fn a_conversation_reuses_the_keys_and_values_of_its_earlier_turns() {
    let engine = start(1, Options::default());
    let mut prompt = question("Tell me a story about Anna and a fox.");
    let (answer, first) = receive(engine.submit(Request { max_tokens: 60, ..request(prompt.clone()) }).unwrap());
    assert_eq!(first.cached_tokens, 0);
    prompt.extend(ids(&answer.tokens));
    let known = prompt.len() - 1;
    let next = "<|eot|><|user|>What is 27 plus 45?<|eot|><|assistant|>";
    prompt.extend(DEMO.1.encode(next, Encode { bos: false, special: true }));
    let (answer, second) = receive(engine.submit(request(prompt.clone())).unwrap());
    assert_eq!(second.cached_tokens, known / KvCache::BLOCK * KvCache::BLOCK);
    assert_eq!(answer, ask(&start(1, Options::default()), request(prompt)));
}

#[test]
fn cancelled_requests_give_their_blocks_back_wherever_they_are() {
    let engine = start(1, Options { max_sequences: 2, max_step_tokens: 2, ..Options::default() });
    let mut decoding = engine.submit(endless()).unwrap();
    first_token(&mut decoding);
    let prefilling = engine.submit(request(vec![5; 400])).unwrap();
    let waiting = engine.submit(endless()).unwrap();
    drop((decoding, prefilling, waiting));
    // Whoever comes next is served, and by then the others are gone.
    ask(&engine, request(question("Hello!")));
    let stats = engine.stats();
    assert_eq!((stats.running, stats.waiting, stats.kv_blocks_used), (0, 0, 0));
}

#[test]
fn a_full_queue_is_busy_until_somebody_leaves_it() {
    let engine = start(1, Options { max_sequences: 1, max_waiting: 2, ..Options::default() });
    let mut running = engine.submit(endless()).unwrap();
    first_token(&mut running);
    let waiting = [engine.submit(endless()).unwrap(), engine.submit(endless()).unwrap()];
    assert_eq!(engine.submit(endless()).unwrap_err(), Error::Busy(2));
    drop((running, waiting));
    let next = loop {
        match engine.submit(request(question("Hello!"))) {
            Ok(events) => break events,
            Err(e) => assert_eq!(e, Error::Busy(2)),
        }
    };
    assert_eq!(receive(next).0.finish, Finish::Stop);
}

#[test]
fn who_may_wait_for_a_place_is_never_busy() {
    let engine = start(1, Options { max_sequences: 1, max_waiting: 1, ..Options::default() });
    let hello = || request(question("Hello!"));
    let alone = ask(&engine, hello());
    let first = engine.submit(hello()).unwrap();
    let others = join_all((0..7).map(|_| engine.submit_when_free(hello())));
    let others = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(others);
    for events in std::iter::once(first).chain(others.into_iter().map(Result::unwrap)) {
        assert_eq!(receive(events).0, alone);
    }
}

#[test]
fn a_stop_text_ends_the_answer_and_is_not_part_of_it() {
    let engine = start(1, Options::default());
    let france = || request(question("What is the capital of France?"));
    let whole = "The capital of France is Paris.";
    for stop in ["F", "cap", "tal of Fr", " ", "is Paris.", "."] {
        let answer = ask(&engine, Request { stop: vec![stop.into()], ..france() });
        assert_eq!(answer.text, whole.split(stop).next().unwrap(), "stop text {stop:?}");
        assert_eq!(answer.finish, Finish::Stop);
    }
    // What only begins like a stop text is given back.
    let answer = ask(&engine, Request { stop: vec!["Paris!".into(), "s..".into()], ..france() });
    assert_eq!(answer.text, whole);
    let of = answer.tokens[2].token;
    let answer = ask(&engine, Request { stop_tokens: vec![of], ..france() });
    assert_eq!((answer.tokens.len(), answer.finish), (2, Finish::Stop));
}

#[test]
fn probabilities_sum_to_one_and_the_greedy_token_is_the_best() {
    let engine = start(1, Options::default());
    let vocab = engine.model().config.vocab;
    let answer = ask(&engine, Request { logprobs: Some(vocab), ..request(question("What is the capital of France?")) });
    assert_eq!(answer.text, "The capital of France is Paris.");
    for scored in &answer.tokens {
        let sum: f64 = scored.top.iter().map(|&(_, p)| f64::from(p).exp()).sum();
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
        assert!(scored.top.is_sorted_by(|a, b| a.1 >= b.1));
        assert_eq!((scored.top[0].0, Some(scored.top[0].1)), (scored.token, scored.logprob));
    }
}

#[test]
fn scores_of_a_prompt_equal_those_of_its_generation_to_the_bit() {
    let prompt = question("Tell me a story about Ben and a cat.");
    for (threads, max_step_tokens) in [(1, 128), (2, 3), (1, 33)] {
        let engine = start(threads, Options { max_step_tokens, ..Options::default() });
        let answer = ask(&engine, Request { logprobs: Some(4), ..request(prompt.clone()) });
        let whole = [prompt.clone(), ids(&answer.tokens)].concat();
        let echo = Request { prompt_logprobs: Some(4), max_tokens: 0, ..request(whole.clone()) };
        let echo = ask(&engine, echo);
        assert_eq!(ids(&echo.prompt), whole);
        assert_eq!((echo.prompt[0].logprob, echo.prompt[0].top.len()), (None, 0));
        assert_eq!(echo.prompt[prompt.len()..], answer.tokens);
        assert!(echo.tokens.is_empty());
        assert_eq!(echo.finish, Finish::Length);
    }
}

#[test]
fn a_shutdown_ends_every_answer() {
    let engine = start(1, Options { max_sequences: 1, ..Options::default() });
    let mut running = engine.submit(endless()).unwrap();
    first_token(&mut running);
    let waiting = engine.submit(endless()).unwrap();
    assert!(engine.is_alive());
    engine.clone().shutdown();
    assert!(!engine.is_alive());
    assert_eq!(engine.ended().now_or_never(), Some(Error::Closed));
    assert_eq!(receive(running).0.finish, Finish::Cancelled);
    assert_eq!(receive(waiting).0.finish, Finish::Cancelled);
    assert_eq!(engine.submit(endless()).unwrap_err(), Error::Closed);
    assert_eq!(engine.submit_when_free(endless()).now_or_never().unwrap().unwrap_err(), Error::Closed);
    engine.shutdown();
}

#[test]
fn dropping_the_last_handle_ends_the_engine() {
    let engine = start(1, Options::default());
    let other = engine.clone();
    drop(engine);
    let mut events = other.submit(endless()).unwrap();
    first_token(&mut events);
    drop(other);
    assert_eq!(receive(events).0.finish, Finish::Cancelled);
}

#[test]
fn absurd_sizes_are_cut_to_what_the_engine_is_made_for() {
    let (least, most) = (0, usize::MAX);
    for n in [least, most] {
        let engine = start(1, Options { max_sequences: n, max_step_tokens: n, max_waiting: n, ..Options::default() });
        assert_eq!(ask(&engine, request(question("Hello!"))).finish, Finish::Stop);
    }
    // More memory than all sequences of this base can use is not taken.
    let engine = start(1, Options { context: Some(most), kv_bytes: Some(most), ..Options::default() });
    assert_eq!(engine.context(), engine.model().config.context);
    let each = engine.context().div_ceil(KvCache::BLOCK) + 1;
    assert_eq!(engine.stats().kv_blocks, 2 * Options::default().max_sequences * each);
}

#[test]
fn requests_that_cannot_be_served_are_refused() {
    let engine = start(1, Options { kv_bytes: Some(blocks(2)), ..Options::default() });
    let context = 2 * KvCache::BLOCK;
    assert_eq!(engine.context(), context, "the context is what fits into memory");
    let refused = |request| engine.submit(request).unwrap_err();
    assert_eq!(refused(request(Vec::new())), Error::EmptyPrompt);
    assert_eq!(refused(request(vec![7; context + 1])), Error::TooLong { tokens: context + 1, context });
    let vocab = engine.model().config.vocab as Token;
    assert_eq!(refused(request(vec![0, vocab])), Error::Token(vocab));
    assert_eq!(refused(Request { stop_tokens: vec![Token::MAX], ..request(vec![0]) }), Error::Token(Token::MAX));
    let name = |request| match refused(request) {
        Error::Parameter { name, .. } => name,
        other => panic!("{other}"),
    };
    assert_eq!(name(Request { stop: vec![String::new()], ..request(vec![0]) }), "stop");
    assert_eq!(name(Request { stop: vec!["x".repeat(5000)], ..request(vec![0]) }), "stop");
    let long = refused(Request { stop: vec!["x".repeat(2000)], ..request(vec![0]) }).to_string();
    assert_eq!(long, "`stop` must have texts of at most 1024 bytes, not 2000");
    let many = refused(Request { stop: vec!["x".into(); 65], ..request(vec![0]) }).to_string();
    assert_eq!(many, "`stop` must have at most 64 texts, not 65");
    assert_eq!(name(Request { logprobs: Some(usize::MAX), ..request(vec![0]) }), "logprobs");
    let sampling = Sampling { temperature: f32::NAN, ..Sampling::default() };
    assert_eq!(name(Request { sampling, ..request(vec![0]) }), "temperature");
    // The whole context may be scored, and the longest answer ends where it ends.
    assert_eq!(ask(&engine, Request { prompt_logprobs: Some(0), ..request(vec![7; context]) }).prompt.len(), context);
    let full = ask(&engine, Request { ignore_end: true, max_tokens: usize::MAX, ..request(vec![7; 10]) });
    assert_eq!((full.tokens.len(), full.finish), (context - 10, Finish::Length));
}

/// How far apart two logits may be where an activation lies within f32 rounding of the middle between two int8 values: either is
/// right, and the other one can move a logit by this much.
const TIE: f64 = 0.5;

/// 500 greedy answers by the program that trained the base (models/demo), all asked at once. `min_gap` is the smallest distance
/// of the two best logits on an answer's way.
#[test]
fn greedy_answers_equal_those_of_the_trainer() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/demo/reference.jsonl");
    let lines = std::fs::read_to_string(path).unwrap();
    let engine = start(2, Options { max_waiting: 500, kv_format: KvFormat::F32, ..Options::default() });
    let list = |v: &serde_json::Value| -> Vec<Token> { serde_json::from_value(v.clone()).unwrap() };
    // An emulated machine takes minutes for all of them.
    let every = if std::env::var_os("LOCO_RUNNER").is_some() { 20 } else { 1 };
    let live: Vec<_> = (lines
        .lines()
        .step_by(every)
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()))
    .map(|case| (engine.submit(Request { max_tokens: 48, ..request(list(&case["prompt_ids"])) }).unwrap(), case))
    .collect();
    let asked = live.len();
    assert_eq!(asked, 500 / every);
    let mut different = Vec::new();
    for (events, case) in live {
        let mut expected = list(&case["greedy_ids"]);
        expected.retain(|&id| !DEMO.1.ends_answer(id));
        if ids(&receive(events).0.tokens) != expected {
            different.push(case);
        }
    }
    println!("{} of {asked} answers are the same", asked - different.len());
    assert!(different.len() * 100 <= asked, "{} of {asked} answers differ: {different:?}", different.len());
    for case in different {
        assert!(case["min_gap"].as_f64().unwrap() < TIE, "no rounding tie explains {case}");
    }
}
