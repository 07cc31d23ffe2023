//! Logits against other people's answers: transformers on tiny checkpoints of the true architectures, a float64
//! computation of the same integer arithmetic, and the demo base's own reference values.

#[path = "golden_cases/expected.rs"]
mod expected;
mod golden_cases;
#[path = "../src/testing.rs"]
mod testing;

use expected::{CASES, Expected, argmax, difference};
use golden_cases::import_case;
use locollm::convert::import::{Floats, Options};
use locollm::gguf::File;
use locollm::kernel::Compute;
use locollm::model::{CompactHead, KvCache, KvFormat, Model, OutputHead, Packing, Span, State, Want};
use locollm::score::{self, Bos, Scorer, Windows, perplexity};
use locollm::text::Token;
use std::sync::{Arc, Mutex};
use testing::shared_data;

/// The golden files were computed in f32, whose sums in another order differ by a few 1e-7.
const TOLERANCE: f64 = 5e-6;

fn load(case: &str, floats: Floats) -> Model {
    let temporary = tempfile::tempdir().unwrap();
    let path = temporary.path().join(format!("{case}.gguf"));
    import_case(case, &path, &Options { floats, name: None });
    Model::load(&File::open(&path).unwrap()).unwrap_or_else(|e| panic!("{case}: {e}"))
}

fn compute() -> Compute {
    Compute::new(None, Some(2)).unwrap()
}

/// Logits at all positions, `[tokens][vocab]`.
fn logits(model: &Model, compute: &Compute, ids: &[Token]) -> Vec<f32> {
    let mut all = Vec::new();
    let mut scorer = Scorer::new(model, compute, KvFormat::F32, ids.len());
    let each = |_, logits: &[f32]| {
        all.extend_from_slice(logits);
        Ok::<(), score::Error>(())
    };
    scorer.each(ids, |_| true, each).unwrap();
    all
}

/// The residual stream after the embedding and after each layer: (name in the golden files, `[tokens][dim]`).
fn hidden(model: &Model, compute: &Compute, ids: &[Token]) -> Vec<(String, Vec<f32>)> {
    let taps = Arc::new(Mutex::new(Vec::new()));
    let mut scorer = Scorer::new(model, compute, KvFormat::F32, ids.len());
    let sink = taps.clone();
    scorer.state().tap = Some(Box::new(move |name, layer, values| match name {
        "embedding" => sink.lock().unwrap().push(("embedding".to_string(), values.to_vec())),
        "layer" => sink.lock().unwrap().push((format!("layer.{layer}"), values.to_vec())),
        _ => {}
    }));
    scorer.each(ids, |_| false, |_, _| Ok::<(), score::Error>(())).unwrap();
    drop(scorer);
    Arc::into_inner(taps).unwrap().into_inner().unwrap()
}

/// Fails with the first residual stream that is off, if the golden file has them for this sequence.
fn compare_layers(case: &str, kind: &str, model: &Model, compute: &Compute, expected: &Expected, ids: &[Token]) {
    for (name, values) in hidden(model, compute, ids) {
        let expected = expected.get(&format!("{kind}.{name}")).unwrap_or_else(|| panic!("{case}: no {kind}.{name}"));
        let off = difference(&values, &expected.values);
        assert!(
            off <= TOLERANCE,
            "{case}: the residual stream is first off at `{name}`: {off:.1e} of its largest value"
        );
    }
}

#[test]
fn logits_equal_those_of_transformers() {
    let compute = compute();
    for case in CASES {
        let model = load(case, Floats::Auto);
        let expected = Expected::open(case);
        let ids = expected.tokens("ids.1");
        compare_layers(case, "hidden.1", &model, &compute, &expected, &ids);
        for sequence in 0..2 {
            let ids = expected.tokens(&format!("ids.{sequence}"));
            let want = expected.floats(&format!("logits.{sequence}"));
            let got = logits(&model, &compute, &ids);
            let off = difference(&got, &want);
            println!("{case}, sequence {sequence}: {off:.1e}");
            assert!(off <= TOLERANCE, "{case}, sequence {sequence}: off by {off:.1e} of the largest logit");
            let rows = got.chunks_exact(model.config.vocab).zip(want.chunks_exact(model.config.vocab));
            for (position, (got, want)) in rows.enumerate() {
                assert_eq!(argmax(got), argmax(want), "{case}, sequence {sequence}, position {position}");
            }
        }
    }
}

/// The margin is how near an activation came to the middle between two int8 values: no tie can excuse a difference here.
#[test]
fn ternary_logits_equal_exact_arithmetic() {
    let compute = compute();
    for case in ["bitnet-packed", "bitnet-online", "falcon-e"] {
        let model = load(case, Floats::Auto);
        assert!(model.is_ternary(), "{case}");
        let expected = Expected::open(case);
        compare_layers(case, "exact.1", &model, &compute, &expected, &expected.tokens("ids.1"));
        for sequence in 0..2 {
            let ids = expected.tokens(&format!("ids.{sequence}"));
            let off = difference(&logits(&model, &compute, &ids), &expected.floats(&format!("exact.{sequence}")));
            let margin = expected.floats(&format!("margin.{sequence}"))[0];
            println!("{case}, sequence {sequence}: {off:.1e}, margin {margin:.1e}");
            assert!(
                off <= TOLERANCE,
                "{case}, sequence {sequence}: off by {off:.1e}; nearest rounding tie {margin:.1e}"
            );
        }
    }
}

#[test]
fn greedy_continuations_equal_those_of_transformers() {
    let compute = compute();
    for case in CASES {
        let model = load(case, Floats::Auto);
        let expected = Expected::open(case);
        for sequence in 0..2 {
            let prompt = expected.tokens(&format!("ids.{sequence}"));
            let prompt = &prompt[..prompt.len() / 2];
            let greedy = expected.tokens(&format!("greedy.{sequence}"));
            assert!(greedy.len() >= 8, "{case}: too few tokens to mean anything");
            assert_eq!(decode(&model, &compute, prompt, greedy.len()), greedy, "{case}, sequence {sequence}");
        }
    }
}

/// Greedy decoding, one token per step.
fn decode(model: &Model, compute: &Compute, prompt: &[Token], count: usize) -> Vec<Token> {
    let positions = prompt.len() + count;
    let mut kv = KvCache::new(&model.config, KvFormat::F32, positions.div_ceil(KvCache::BLOCK));
    let blocks: Vec<u32> = (0..kv.blocks() as u32).collect();
    let mut state = State::new(&model.config, positions);
    let mut logits = vec![0.0; model.config.vocab];
    let (mut tokens, mut answer) = (prompt.to_vec(), Vec::new());
    let mut start = 0;
    for _ in 0..count {
        let span = Span { tokens: &tokens, start, blocks: &blocks, want: Want::Last };
        let hidden = model.forward(compute, &mut state, &mut kv, &[span]);
        model.head(compute, &mut Default::default(), hidden, &mut logits);
        start += tokens.len();
        tokens = vec![argmax(&logits) as Token];
        answer.extend(&tokens);
    }
    answer
}

#[test]
fn decoding_gives_the_bits_of_prefill() {
    let compute = compute();
    for case in ["bitnet-packed", "falcon-e", "llama-scaled", "qwen3-untied", "gemma3"] {
        let model = load(case, Floats::Auto);
        let ids = Expected::open(case).tokens("ids.0");
        let prefill = logits(&model, &compute, &ids);
        let mut kv = KvCache::new(&model.config, KvFormat::F32, 1);
        let mut state = State::new(&model.config, 1);
        let mut row = vec![0.0; model.config.vocab];
        for (start, token) in ids.iter().enumerate() {
            let span = Span { tokens: &[*token], start, blocks: &[0], want: Want::Last };
            let hidden = model.forward(&compute, &mut state, &mut kv, &[span]);
            model.head(&compute, &mut Default::default(), hidden, &mut row);
            assert_eq!(row, prefill[start * row.len()..][..row.len()], "{case}, position {start}");
        }
    }
}

/// f16 and bf16 hold the tiny models' weights only nearly; the logits must still be near.
#[test]
fn smaller_floats_change_logits_a_little() {
    let compute = compute();
    for (floats, tolerance) in [(Floats::F16, 2e-3), (Floats::Bf16, 2e-2)] {
        let model = load("llama-untied", floats);
        let expected = Expected::open("llama-untied");
        let off = difference(&logits(&model, &compute, &expected.tokens("ids.0")), &expected.floats("logits.0"));
        assert!(off > TOLERANCE, "{floats:?}: no difference at all ({off:.1e})");
        assert!(off < tolerance, "{floats:?}: {off:.1e}");
    }
}

#[test]
fn perplexity_equals_that_of_transformers() {
    let model = load("llama-untied", Floats::Auto);
    let compute = compute();
    let expected = Expected::open("llama-untied");
    let ids = expected.tokens("perplexity.ids");
    let (context, stride) = match expected.tokens("perplexity.windows")[..] {
        [context, stride] => (context as usize, stride as usize),
        _ => unreachable!(),
    };
    let mut scorer = Scorer::new(&model, &compute, KvFormat::F32, context);
    let windows = Windows { context, stride, bos: Bos::AsGiven };
    let result = perplexity(&mut scorer, &ids, windows, &mut |_, _| {}).unwrap();
    let loss = expected.floats("perplexity.loss")[0];
    assert_eq!(result.scored, ids.len() - 1);
    assert!((result.nll - loss).abs() < 1e-6 * loss, "{} instead of {loss}", result.nll);
    let interval = result.interval.unwrap();
    assert!(interval.low < loss && loss < interval.high, "{interval:?}");

    // With the first token before each window and as the only text in the first one, the first window scores the same.
    let each = Windows { context, stride, bos: Bos::EachWindow(ids[0]) };
    let short = perplexity(&mut scorer, &ids[1..context], each, &mut |_, _| {}).unwrap();
    let given = perplexity(&mut scorer, &ids[..context], windows, &mut |_, _| {}).unwrap();
    assert_eq!(short, given);
}

#[test]
fn tokens_that_cannot_be_scored_are_refused() {
    let model = load("llama-untied", Floats::Auto);
    let compute = compute();
    let mut scorer = Scorer::new(&model, &compute, KvFormat::F32, 32);
    let mut run =
        |ids: &[Token]| scorer.each(ids, |_| true, |_, _| Ok::<(), score::Error>(())).unwrap_err().to_string();
    assert_eq!(run(&[]), "there are no tokens");
    assert_eq!(run(&[1, 131]), "token 131 at position 1 is not in the vocabulary of 131");
    assert_eq!(run(&[1; 33]), "33 tokens do not fit in 32 positions");
}

mod demo {
    //! The embedded demo base against the program that trained it (models/demo).

    use super::*;
    use serde_json::Value;

    fn model() -> Model {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/loco-demo-1.58.gguf");
        Model::load(&File::open(path.as_ref()).unwrap()).unwrap()
    }

    fn prompts() -> Vec<Value> {
        let path = golden_cases::folder("demo").join("reference.jsonl");
        std::fs::read_to_string(path).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    fn ids(prompt: &Value, key: &str) -> Vec<Token> {
        prompt[key].as_array().unwrap().iter().map(|t| t.as_u64().unwrap() as Token).collect()
    }

    /// One int8 rounding tie moves the logits by some 1e-3 of the largest. So the golden file has the exact logits for all
    /// ways of rounding the activations that lie within f32 rounding of a tie, and one of them must be met.
    #[test]
    fn hidden_states_and_logits_equal_the_reference() {
        let (model, compute) = (model(), compute());
        let expected = Expected::open("demo");
        let prompts = prompts();
        let streams = expected.get("hidden.0").unwrap();
        let size: usize = streams.shape[1..].iter().product();
        let taps = hidden(&model, &compute, &ids(&prompts[0], "prompt_ids"));
        assert_eq!(taps.len(), streams.shape[0]);
        for ((name, values), expected) in taps.iter().zip(streams.values.chunks_exact(size)) {
            let off = difference(values, expected);
            assert!(off <= TOLERANCE, "the residual stream is first off at `{name}`: {off:.1e}");
        }
        for prompt in [0, 1, 2, 8, 9] {
            let got = logits(&model, &compute, &ids(&prompts[prompt], "prompt_ids"));
            let last = &got[got.len() - model.config.vocab..];
            let off = difference(last, &expected.floats(&format!("logits.{prompt}")));

            let exact = expected.get(&format!("exact.{prompt}")).unwrap();
            let sample: Vec<f32> = last.iter().step_by(last.len() / exact.shape[1]).copied().collect();
            let variants = exact.values.chunks_exact(exact.shape[1]).map(|variant| difference(&sample, variant));
            let nearest = variants.fold(f64::INFINITY, f64::min);
            println!("prompt {prompt}: {off:.1e} from the training program, {nearest:.1e} from exact arithmetic");
            assert!(nearest <= TOLERANCE, "prompt {prompt}: off by {nearest:.1e} however near ties are rounded");
        }
    }
}

/// A compact head rounds its weights and its input; the file's own stays what it is.
#[test]
fn a_compact_head_is_near_the_files_own_and_leaves_it_alone() {
    let compute = compute();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo/loco-demo-1.58.gguf");
    let file = File::open(path.as_ref()).unwrap();
    let ids: Vec<Token> = (0..40).map(|i| i * 71 % 3000).collect();
    let exact = logits(&Model::load(&file).unwrap(), &compute, &ids);
    for (head, most) in [(CompactHead::Q8_0, 0.03), (CompactHead::Q6_K, 0.07), (CompactHead::Q4_K, 0.2)] {
        let model = Model::load_with(&file, Packing { head, ..Packing::default() }).unwrap();
        assert!(model.bytes_per_token(OutputHead::Compact) < model.bytes_per_token(OutputHead::Exact));
        assert_eq!(logits(&model, &compute, &ids), exact, "{head:?}");
        let mut compact = Vec::new();
        let mut scorer = Scorer::new(&model, &compute, KvFormat::F32, ids.len());
        scorer.set_head(OutputHead::Compact);
        let each = |_, logits: &[f32]| {
            compact.extend_from_slice(logits);
            Ok::<(), score::Error>(())
        };
        scorer.each(&ids, |_| true, each).unwrap();
        let reference: Vec<f64> = exact.iter().map(|&l| f64::from(l)).collect();
        let off = difference(&compact, &reference);
        println!("{head:?}: {off:.1e}");
        assert!(off > 1e-5 && off < most, "{head:?}: off by {off:.1e} of the largest logit");
    }
}

/// int8 keys and values round; f16 rounds less.
#[test]
fn smaller_keys_and_values_change_logits_a_little() {
    let compute = compute();
    let model = load("llama-untied", Floats::Auto);
    let expected = Expected::open("llama-untied");
    let ids = expected.tokens("ids.0");
    let mut before = TOLERANCE;
    for (format, most) in [(KvFormat::F16, 2e-3), (KvFormat::Q8, 3e-2)] {
        let mut all = Vec::new();
        let mut scorer = Scorer::new(&model, &compute, format, ids.len());
        let each = |_, logits: &[f32]| {
            all.extend_from_slice(logits);
            Ok::<(), score::Error>(())
        };
        scorer.each(&ids, |_| true, each).unwrap();
        let off = difference(&all, &expected.floats("logits.0"));
        println!("{format:?}: {off:.1e}");
        assert!(off > before && off < most, "{format:?}: {off:.1e}");
        before = off;
    }
}

/// A real Llama of 260,000 parameters by Andrej Karpathy, in llama.cpp's conversion.
#[test]
fn stories260k_tells_the_published_story() {
    let Some(path) = shared_data("weights/tinyllamas-stories-260k-f32.gguf") else { return };
    let file = File::open(&path).unwrap();
    let model = Model::load(&file).unwrap();
    let tokenizer = locollm::text::Tokenizer::from_gguf(&file).unwrap();
    let bos = tokenizer.bos().unwrap();
    let story = tokenizer.decode(&decode(&model, &compute(), &[bos], 60), false);
    let published = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park.";
    assert!(story.trim_start().starts_with(published), "{story}");
}
