//! The same bits everywhere: on every instruction set here, and on every machine that runs this test.

use locollm::base;
use locollm::kernel::{Activations, Compute, Isa};
use locollm::model::{KvCache, KvFormat, Model, Span, State, Want};
use sha2::{Digest, Sha256};

/// Any tokens of the demo base; what they mean does not matter here.
const TOKENS: [u32; 24] =
    [0, 2, 320, 282, 294, 401, 303, 2205, 36, 1, 3, 304, 401, 303, 2205, 282, 1042, 19, 1, 2, 451, 340, 346, 36];
/// SHA-256 of all their logits as little-endian f32. It changes when the demo base or the arithmetic does; then all
/// machines must agree on the new one.
const DIGEST: &str = "6aaf11316d682bd4d691e52bc988ab2a22b8339bb05837f11f47b6f07c37ba97";

/// Logits of all positions, in steps of `chunk` tokens.
fn logits(model: &Model, isa: Isa, threads: usize, chunk: usize) -> Vec<f32> {
    let compute = Compute::new(Some(isa), Some(threads)).unwrap();
    let mut state = State::new(&model.config, chunk);
    let mut kv = KvCache::new(&model.config, KvFormat::F16, 1);
    let mut input = Activations::default();
    let mut all = Vec::new();
    for (i, tokens) in TOKENS.chunks(chunk).enumerate() {
        let span = Span { tokens, start: i * chunk, blocks: &[0], want: Want::All };
        let hidden = model.forward(&compute, &mut state, &mut kv, &[span]);
        let mut logits = vec![0.0; tokens.len() * model.config.vocab];
        model.head(&compute, &mut input, hidden, &mut logits);
        all.extend(logits);
    }
    all
}

#[test]
fn logits_are_the_same_bits_on_every_machine() {
    let model = Model::load(&base::open(None).unwrap()).unwrap();
    for isa in Compute::available() {
        for (threads, chunk) in [(1, 24), (2, 24), (2, 5), (1, 1)] {
            let mut hash = Sha256::new();
            for logit in logits(&model, isa, threads, chunk) {
                hash.update(logit.to_le_bytes());
            }
            let digest: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
            assert_eq!(digest, DIGEST, "{isa} with {threads} threads, {chunk} tokens at a time");
        }
    }
}
