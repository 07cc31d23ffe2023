//! What a model file declares and the engine cannot honour is an error that names it.

use locollm::gguf::{File, Value, Writer};
use locollm::model::Model;
use locollm::quant::Format;

/// A tiny network of one layer whose metadata and tensors can be changed before it is written.
struct Tiny {
    keys: Vec<(String, Value)>,
    tensors: Vec<(String, Vec<usize>)>,
}

impl Tiny {
    /// 2 heads of width 4, feed-forward width 16, 10 tokens.
    fn new(arch: &str) -> Self {
        let key = |name: &str, value: Value| (format!("{arch}.{name}"), value);
        let keys = vec![
            ("general.architecture".into(), arch.into()),
            key("context_length", 64u32.into()),
            key("embedding_length", 8u32.into()),
            key("block_count", 1u32.into()),
            key("feed_forward_length", 16u32.into()),
            key("attention.head_count", 2u32.into()),
            key("attention.head_count_kv", 1u32.into()),
            key("attention.layer_norm_rms_epsilon", 1e-5f32.into()),
            key("rope.freq_base", 10_000f32.into()),
        ];
        let tensor = |name: &str, dims: &[usize]| (name.to_string(), dims.to_vec());
        let tensors = vec![
            tensor("token_embd.weight", &[8, 10]),
            tensor("output_norm.weight", &[8]),
            tensor("blk.0.attn_norm.weight", &[8]),
            tensor("blk.0.attn_q.weight", &[8, 8]),
            tensor("blk.0.attn_k.weight", &[8, 4]),
            tensor("blk.0.attn_v.weight", &[8, 4]),
            tensor("blk.0.attn_output.weight", &[8, 8]),
            tensor("blk.0.ffn_norm.weight", &[8]),
            tensor("blk.0.ffn_gate.weight", &[8, 16]),
            tensor("blk.0.ffn_up.weight", &[8, 16]),
            tensor("blk.0.ffn_down.weight", &[16, 8]),
        ];
        Self { keys, tensors }
    }

    fn key(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.retain(|(k, _)| k != key);
        self.keys.push((key.into(), value.into()));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.keys.retain(|(k, _)| k != name);
        self.tensors.retain(|(t, _)| t != name);
        self
    }

    fn tensor(mut self, name: &str, dims: &[usize]) -> Self {
        self = self.without(name);
        self.tensors.push((name.into(), dims.to_vec()));
        self
    }

    fn load(self, value: f32) -> Result<Model, locollm::model::Error> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tiny.gguf");
        let mut writer = Writer::new(&path);
        for (key, value) in self.keys {
            writer.metadata(&key, value);
        }
        for (name, dims) in &self.tensors {
            writer.tensor(name, dims, Format::F32);
        }
        let mut body = writer.begin().unwrap();
        for (name, dims) in &self.tensors {
            let bytes = value.to_le_bytes().repeat(dims.iter().product());
            body.write_tensor(name, &bytes).unwrap();
        }
        body.finish().unwrap();
        Model::load(&File::open(&path).unwrap())
    }

    /// Why it is refused.
    fn refusal(self) -> String {
        self.load(0.5).expect_err("this must not load").to_string()
    }
}

fn assert_names(refusal: String, names: &[&str]) {
    for name in names.iter().chain(&["tiny.gguf"]) {
        assert!(refusal.contains(name), "`{refusal}` does not name `{name}`");
    }
}

#[test]
fn the_unchanged_network_loads() {
    let model = Tiny::new("llama").load(0.5).unwrap();
    assert_eq!((model.config.head_dim, model.config.kv_dim()), (4, 4));
    assert!(!model.is_ternary());
}

#[test]
fn an_unknown_architecture_is_named() {
    assert_names(Tiny::new("mamba").refusal(), &["mamba", "gemma3"]);
}

/// The twin that a ternary base is compared with has BitNet's blocks, and its weights are what the file says.
#[test]
fn the_full_precision_twin_needs_sub_norms_and_is_not_ternary() {
    let twin = || Tiny::new("bitnet-fp").tensor("blk.0.ffn_sub_norm.weight", &[16]);
    assert_names(twin().refusal(), &["blk.0.attn_sub_norm.weight", "missing"]);
    let twin = twin().tensor("blk.0.attn_sub_norm.weight", &[8]).load(0.5).unwrap();
    assert!(twin.config.sub_norms && !twin.config.bit_linear && !twin.is_ternary());
    let base = Tiny::new("bitnet-b1.58").tensor("blk.0.ffn_sub_norm.weight", &[16]);
    assert!(base.tensor("blk.0.attn_sub_norm.weight", &[8]).load(0.5).unwrap().is_ternary());
}

#[test]
fn unknown_rope_scaling_is_named() {
    let yarn = Tiny::new("llama").key("llama.rope.scaling.type", "yarn").key("llama.rope.scaling.factor", 4f32);
    assert_names(yarn.refusal(), &["yarn", "4"]);
}

#[test]
fn numbers_that_would_give_nan_are_refused() {
    for bad in [0.0, -1.0, f32::NAN, f32::INFINITY] {
        assert_names(Tiny::new("llama").key("llama.rope.freq_base", bad).refusal(), &["llama.rope.freq_base"]);
    }
    let eps = "llama.attention.layer_norm_rms_epsilon";
    assert_names(Tiny::new("llama").key(eps, 0f32).refusal(), &[eps]);
    let divisors = Tiny::new("llama").tensor("rope_freqs.weight", &[2]).load(0.0).unwrap_err();
    assert_names(divisors.to_string(), &["rope_freqs.weight"]);
    let norms = Tiny::new("llama").load(f32::NAN).unwrap_err();
    assert_names(norms.to_string(), &["NaN"]);
}

#[test]
fn absurd_sizes_are_refused() {
    for key in ["block_count", "embedding_length", "attention.head_count", "context_length"] {
        let key = format!("llama.{key}");
        assert_names(Tiny::new("llama").key(&key, u64::MAX).refusal(), &[&key]);
        assert_names(Tiny::new("llama").key(&key, 0u32).refusal(), &[&key]);
        assert_names(Tiny::new("llama").without(&key).refusal(), &[&key, "missing"]);
    }
    assert_names(Tiny::new("llama").key("llama.attention.head_count_kv", 3u32).refusal(), &["2 heads", "3"]);
    assert_names(Tiny::new("llama").key("llama.rope.dimension_count", 3u32).refusal(), &["3 of 4"]);
}

#[test]
fn a_missing_or_misshapen_tensor_is_named() {
    assert_names(Tiny::new("llama").without("blk.0.ffn_up.weight").refusal(), &["blk.0.ffn_up.weight", "missing"]);
    assert_names(Tiny::new("qwen3").refusal(), &["blk.0.attn_q_norm.weight", "missing"]);
    let wide = Tiny::new("llama").tensor("blk.0.attn_k.weight", &[8, 8]);
    assert_names(wide.refusal(), &["blk.0.attn_k.weight", "[8, 8]", "[8, 4]"]);
}

#[test]
fn a_tensor_without_a_place_in_the_network_is_refused() {
    let biased = Tiny::new("llama").tensor("blk.0.attn_q.bias", &[8]);
    assert_names(biased.refusal(), &["blk.0.attn_q.bias", "llama"]);
}

#[test]
fn experts_and_capped_attention_are_refused() {
    assert_names(Tiny::new("llama").key("llama.expert_count", 8u32).refusal(), &["8 experts"]);
    assert_names(Tiny::new("llama").key("llama.attn_logit_softcapping", 50f32).refusal(), &["50"]);
}

#[test]
fn the_window_pattern_counts_as_in_llama_cpp() {
    let windowed = |pattern: Option<u32>| {
        let tiny = Tiny::new("llama").key("llama.attention.sliding_window", 4u32);
        let tiny = match pattern {
            Some(n) => tiny.key("llama.attention.sliding_window_pattern", n),
            None => tiny,
        };
        tiny.load(0.5).unwrap().config.windowed
    };
    assert_eq!(windowed(None), [true]);
    assert_eq!(windowed(Some(0)), [true]);
    assert_eq!(windowed(Some(1)), [false]);
    assert_eq!(windowed(Some(2)), [true]);
}
