//! The worker with a network that gives itself away: its logits are a hash of all tokens up to a position,
//! read from the KV blocks. One token in a wrong block, or overwritten too early, and the answer is another.

use super::super::blocks::BLOCK;
use super::super::sample::Sampler;
use super::super::{Event, Events, Request, Sampling, Scored, Timing, logprobs};
use super::*;
use crate::gguf;
use crate::text::Token;
use proptest::prelude::*;

const VOCAB: usize = 96;

fn mix(x: u64) -> u64 {
    let x = (x ^ (x >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    x ^ (x >> 29)
}

/// The two heads disagree about everything.
fn logits_of(head: OutputHead, hash: u64, logits: &mut [f32]) {
    let hash = if head == OutputHead::Exact { hash } else { mix(hash + 1) };
    for (id, logit) in (1..).zip(logits) {
        *logit = (mix(hash ^ mix(id)) >> 40) as f32 / (1 << 21) as f32;
    }
}

/// Its KV cache holds the tokens themselves; a hidden state is the hash in four pieces.
struct Hash {
    kv: Vec<[Token; BLOCK]>,
    hidden: Vec<f32>,
    step_tokens: usize,
    steps_until_panic: usize,
}

impl Network for Hash {
    fn dim(&self) -> usize {
        4
    }
    fn vocab(&self) -> usize {
        VOCAB
    }
    fn forward(&mut self, spans: &[Span]) -> &[f32] {
        assert!(self.steps_until_panic > 0, "a network that fails");
        self.steps_until_panic -= 1;
        assert!(spans.iter().map(|span| span.tokens.len()).sum::<usize>() <= self.step_tokens);
        for span in spans {
            for (position, &token) in (span.start..).zip(span.tokens) {
                self.kv[span.blocks[position / BLOCK] as usize][position % BLOCK] = token;
            }
        }
        self.hidden.clear();
        for span in spans {
            let end = span.start + span.tokens.len();
            let first = match span.want {
                Want::Nothing => end,
                Want::Last => end - 1,
                Want::All => span.start,
            };
            let mut hash = 0;
            for position in 0..end {
                let token = self.kv[span.blocks[position / BLOCK] as usize][position % BLOCK];
                hash = mix(hash ^ u64::from(token));
                if position >= first {
                    self.hidden.extend((0..4).map(|i| (hash >> (16 * i)) as u16 as f32));
                }
            }
        }
        &self.hidden
    }
    fn head(&mut self, head: OutputHead, hidden: &[f32], logits: &mut [f32]) {
        for (state, logits) in hidden.chunks_exact(4).zip(logits.chunks_exact_mut(VOCAB)) {
            logits_of(head, (0..4).map(|i| (state[i] as u64) << (16 * i)).sum(), logits);
        }
    }
}

fn demo() -> gguf::File {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/loco-demo-1.58.gguf");
    gguf::File::open(std::path::Path::new(path)).unwrap()
}

fn hashing(limits: Limits, blocks: usize) -> Worker<Hash> {
    let tokenizer = Arc::new(Tokenizer::from_gguf(&demo()).unwrap());
    let step_tokens = limits.step_tokens();
    let kv = vec![[Token::MAX; BLOCK]; blocks];
    let network = Hash { kv, hidden: Vec::new(), step_tokens, steps_until_panic: usize::MAX };
    Worker::new(network, tokenizer, Arc::new(Board::new(usize::MAX)), limits, blocks)
}

fn submit<N: Network>(worker: &mut Worker<N>, request: &Request, context: usize) -> Events {
    let (sequence, events) = Sequence::new(request.clone(), context, worker.board.place().unwrap());
    worker.scheduler.add(sequence);
    events
}

/// A prompt of `len` tokens; prompts of the same family are prefixes of each other.
fn request(family: u32, len: usize) -> Request {
    Request {
        prompt: (0..len as u32).map(|i| (i * 31 + i / 7 + family * 13) % VOCAB as u32).collect(),
        max_tokens: 40,
        sampling: Sampling::default(),
        stop: Vec::new(),
        stop_tokens: Vec::new(),
        ignore_end: true,
        logprobs: None,
        prompt_logprobs: None,
    }
}

#[derive(Debug, PartialEq, Default)]
struct Answer {
    prompt: Option<Vec<Scored>>,
    tokens: Vec<Scored>,
    finish: Option<Finish>,
}

fn received(events: &mut Events) -> (Answer, Timing) {
    let (mut answer, mut timing) = (Answer::default(), Timing::default());
    while let Ok(event) = events.try_recv() {
        assert_eq!(answer.finish, None, "nothing comes after the end");
        match event {
            Event::Prompt(scores) => answer.prompt = Some(scores),
            Event::Text { token, .. } => answer.tokens.push(token),
            Event::Done { finish, timing: t, .. } => (answer.finish, timing) = (Some(finish), t),
        }
    }
    (answer, timing)
}

/// What the request's answer is by definition: no blocks, no batch, one token after the other.
fn expected(request: &Request, context: usize) -> Answer {
    let mut answer = Answer::default();
    let mut scores = vec![Scored { token: request.prompt[0], logprob: None, top: Vec::new() }];
    let mut tokens: Vec<Token> = Vec::new();
    let (mut hash, mut logits) = (0, vec![0.0; VOCAB]);
    for &token in &request.prompt {
        if let (Some(n), false) = (request.prompt_logprobs, tokens.is_empty()) {
            logits_of(OutputHead::Exact, hash, &mut logits);
            scores.push(logprobs::score(&logits, token, n).unwrap());
        }
        hash = mix(hash ^ u64::from(token));
        tokens.push(token);
    }
    answer.prompt = request.prompt_logprobs.map(|_| scores);
    // Log-probabilities are the file's own, and so are then the tokens.
    let asked = request.logprobs.is_some() || request.prompt_logprobs.is_some();
    let head = if asked { OutputHead::Exact } else { OutputHead::Compact };
    let mut sampler = Sampler::new(request.sampling.clone());
    let prompt = tokens.len();
    while tokens.len() < context && tokens.len() < prompt + request.max_tokens {
        logits_of(head, hash, &mut logits);
        let token = sampler.sample(&logits, &tokens, prompt, &mut Scratch::new(VOCAB)).unwrap();
        if request.stop_tokens.contains(&token) {
            answer.finish = Some(Finish::Stop);
            return answer;
        }
        answer.tokens.push(match request.logprobs {
            Some(n) => logprobs::score(&logits, token, n).unwrap(),
            None => Scored { token, logprob: None, top: Vec::new() },
        });
        hash = mix(hash ^ u64::from(token));
        tokens.push(token);
    }
    answer.finish = Some(Finish::Length);
    answer
}

fn finish_all<N: Network>(worker: &mut Worker<N>) {
    while !worker.scheduler.is_idle() {
        worker.step();
        worker.scheduler.check();
    }
}

#[derive(Debug, Clone)]
enum Op {
    Submit(Box<Request>),
    Cancel(usize),
    Steps(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let sampling = prop_oneof![
        Just(Sampling::default()),
        any::<u64>().prop_map(|seed| Sampling {
            temperature: 0.8,
            top_p: 0.9,
            repeat_penalty: 1.2,
            seed,
            ..Sampling::default()
        }),
    ];
    let counts = (0u32..3, 1..4 * BLOCK, 0usize..50, prop::option::of(0usize..3), prop::option::of(0usize..3));
    let submit = (counts, sampling).prop_map(|((family, len, max_tokens, logprobs, prompt_logprobs), sampling)| {
        let stop_tokens = vec![5, 6];
        Op::Submit(Box::new(Request {
            max_tokens,
            sampling,
            stop_tokens,
            logprobs,
            prompt_logprobs,
            ..request(family, len)
        }))
    });
    prop_oneof![3 => submit, 1 => (0usize..8).prop_map(Op::Cancel), 3 => (1usize..20).prop_map(Op::Steps)]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, ..ProptestConfig::default() })]

    /// Whatever else runs, is cancelled or preempted, in whatever pieces prompts are read and whatever
    /// is reused: each answer is the one by definition, and no block is lost.
    #[test]
    fn answers_do_not_depend_on_company(
        (sequences, prompt_tokens, blocks) in (1usize..5, 1usize..60, 4usize..10),
        ops in prop::collection::vec(op(), 1..40),
    ) {
        let mut worker = hashing(Limits { sequences, prompt_tokens }, blocks);
        let context = 4 * BLOCK;
        let mut live = Vec::new();
        for op in ops {
            match op {
                Op::Submit(request) => live.push((submit(&mut worker, &request, context), request)),
                Op::Cancel(i) if i < live.len() => drop(live.swap_remove(i)),
                Op::Cancel(_) => {}
                Op::Steps(n) => for _ in 0..n {
                    worker.step();
                    worker.scheduler.check();
                },
            }
        }
        finish_all(&mut worker);
        prop_assert_eq!(worker.scheduler.pool().available(), blocks);
        prop_assert_eq!(worker.board.waiting(), 0);
        for (mut events, request) in live {
            let (answer, timing) = received(&mut events);
            prop_assert_eq!(timing.prompt_tokens, request.prompt.len());
            let ended = usize::from(answer.finish == Some(Finish::Stop));
            prop_assert_eq!(timing.generated_tokens, answer.tokens.len() + ended);
            prop_assert_eq!(answer, expected(&request, context));
        }
    }
}

#[test]
fn a_small_pool_preempts_and_the_answers_stay() {
    let mut worker = hashing(Limits { sequences: 4, prompt_tokens: 64 }, 5);
    let requests: Vec<_> = (0..4).map(|family| Request { max_tokens: 60, ..request(family, 20) }).collect();
    let mut live: Vec<_> = requests.iter().map(|r| submit(&mut worker, r, 4 * BLOCK)).collect();
    finish_all(&mut worker);
    assert!(worker.scheduler.preemptions() > 0);
    for (events, request) in live.iter_mut().zip(&requests) {
        assert_eq!(received(events).0, expected(request, 4 * BLOCK));
    }
}

#[test]
fn a_next_turn_reuses_the_turns_before_it() {
    let mut worker = hashing(Limits { sequences: 2, prompt_tokens: 64 }, 20);
    let first = request(0, 50);
    let mut events = submit(&mut worker, &first, 10 * BLOCK);
    finish_all(&mut worker);
    let (answer, timing) = received(&mut events);
    assert_eq!(timing.cached_tokens, 0);
    let mut second = request(0, 50);
    second.prompt.extend(answer.tokens.iter().map(|t| t.token));
    second.prompt.extend([1, 2, 3]);
    let mut events = submit(&mut worker, &second, 10 * BLOCK);
    finish_all(&mut worker);
    let (answer, timing) = received(&mut events);
    // 50 + 40 tokens, of which 89 have keys and values, make two full blocks.
    assert_eq!(timing.cached_tokens, 2 * BLOCK);
    assert_eq!(answer, expected(&second, 10 * BLOCK));
}

#[test]
fn prompt_scores_are_complete_although_the_prefix_is_cached() {
    let mut worker = hashing(Limits { sequences: 2, prompt_tokens: 16 }, 20);
    let mut warm = submit(&mut worker, &request(0, 3 * BLOCK), 10 * BLOCK);
    finish_all(&mut worker);
    received(&mut warm);
    let scored = Request { prompt_logprobs: Some(2), max_tokens: 0, ..request(0, 3 * BLOCK) };
    let mut events = submit(&mut worker, &scored, 10 * BLOCK);
    finish_all(&mut worker);
    let (answer, timing) = received(&mut events);
    assert_eq!(timing.cached_tokens, 0);
    assert_eq!(answer.prompt.as_ref().unwrap().len(), 3 * BLOCK);
    assert_eq!(answer, expected(&scored, 10 * BLOCK));
}

#[test]
fn a_full_context_ends_the_answer() {
    let mut worker = hashing(Limits { sequences: 2, prompt_tokens: 64 }, 4);
    for (len, generated) in [(2 * BLOCK, 0), (2 * BLOCK - 1, 1), (2 * BLOCK - 5, 5)] {
        let mut events = submit(&mut worker, &request(1, len), 2 * BLOCK);
        finish_all(&mut worker);
        let (answer, _) = received(&mut events);
        assert_eq!((answer.tokens.len(), answer.finish), (generated, Some(Finish::Length)));
    }
}

#[test]
fn a_choice_of_nothing_fails_the_request_and_no_other() {
    let mut worker = hashing(Limits { sequences: 2, prompt_tokens: 64 }, 8);
    let ban = (0..VOCAB as Token).map(|id| (id, -100.0)).collect();
    let banned = Request { sampling: Sampling { logit_bias: ban, ..Sampling::default() }, ..request(0, 5) };
    let mut fails = submit(&mut worker, &banned, 4 * BLOCK);
    let mut works = submit(&mut worker, &request(1, 5), 4 * BLOCK);
    finish_all(&mut worker);
    assert_eq!(received(&mut fails).0.finish, Some(Finish::Failed));
    assert_eq!(received(&mut works).0, expected(&request(1, 5), 4 * BLOCK));
}

#[test]
fn a_panic_is_shown_before_the_event_streams_close() {
    let mut worker = hashing(Limits { sequences: 1, prompt_tokens: 64 }, 8);
    worker.network.steps_until_panic = 3;
    let board = worker.board.clone();
    let mut running = submit(&mut worker, &request(0, 5), 4 * BLOCK);
    let mut waiting = submit(&mut worker, &request(1, 5), 4 * BLOCK);
    let (late, _events) = Sequence::new(request(0, 5), 4 * BLOCK, board.place().unwrap());
    let (requests, thread) = spawn(worker);
    while let Some(event) = running.blocking_recv() {
        assert!(matches!(event, Event::Text { .. }), "{event:?}");
    }
    assert_eq!(board.place().unwrap_err(), Error::Failed);
    assert!(!board.serves());
    assert_eq!(waiting.blocking_recv(), None);
    thread.join().unwrap();
    assert!(requests.send(Box::new(late)).is_err());
    assert_eq!(board.waiting(), 0);
}

#[test]
fn what_was_sent_before_the_end_is_cancelled_not_lost() {
    let worker = hashing(Limits { sequences: 1, prompt_tokens: 64 }, 8);
    let board = worker.board.clone();
    let (requests, thread) = spawn(worker);
    let sent = (0..20).map(|family| {
        let endless = Request { max_tokens: usize::MAX, ..request(family, 5) };
        let (sequence, events) = Sequence::new(endless, 4 * BLOCK, board.place().unwrap());
        requests.send(Box::new(sequence)).unwrap();
        events
    });
    let sent: Vec<_> = sent.collect();
    drop(requests);
    thread.join().unwrap();
    for mut events in sent {
        assert!(received(&mut events).0.finish.is_some(), "a silent close");
    }
}

/// The demo base in place of the hash, all of it on this thread so that every allocation is seen.
#[test]
fn decoding_allocates_nothing_but_what_it_sends() {
    let file = demo();
    let limits = Limits { sequences: 4, prompt_tokens: 32 };
    let model = Arc::new(Model::load(&file).unwrap());
    let base = Base {
        compute: Compute::new(None, Some(1)).unwrap(),
        state: State::new(&model.config, limits.step_tokens()),
        head: Activations::default(),
        kv: KvCache::new(&model.config, Default::default(), 64),
        model,
    };
    let tokenizer = Arc::new(Tokenizer::from_gguf(&file).unwrap());
    let mut worker = Worker::new(base, tokenizer, Arc::new(Board::new(9)), limits, 64);
    let sampling = Sampling { temperature: 0.9, top_k: 40, top_p: 0.9, repeat_penalty: 1.1, ..Sampling::default() };
    let requests = [Sampling::default(), sampling.clone(), Sampling { top_k: 0, seed: 3, ..sampling }]
        .map(|sampling| Request { sampling, max_tokens: 200, ..request(0, 20) });
    let _live = requests.map(|request| submit(&mut worker, &request, 512));
    // The prompts, and the longest attention span there will be, so that all buffers have their size.
    (0..20).for_each(|_| worker.step());
    let before = worker.stats.generated_tokens;
    let steps = allocation_counter::measure(|| (0..100).for_each(|_| worker.step()));
    let tokens = worker.stats.generated_tokens - before;
    assert_eq!(tokens, 300);
    // A text for each token, a block of the channel for every 32 messages or fewer.
    let sent = tokens + 3 * (100 / 16 + 1);
    assert!(steps.count_total <= sent, "{} allocations for {tokens} tokens", steps.count_total);
}
