//! Files that other programs wrote.

#[path = "../src/testing.rs"]
mod testing;

use locollm::gguf::File;
use locollm::quant::Format;
use testing::shared_data;

#[test]
fn a_vocabulary_of_128256_tokens_loads() {
    let Some(path) = shared_data("vocabs/ggml-vocab-llama-bpe.gguf") else { return };
    let start = std::time::Instant::now();
    let file = File::open(&path).unwrap();
    eprintln!("opened in {:?}", start.elapsed());
    assert_eq!(file.version(), 3);
    assert_eq!(file.str("general.architecture").unwrap(), Some("llama"));
    assert_eq!(file.u64("llama.vocab_size").unwrap(), Some(128_256));
    assert_eq!(file.f32("llama.rope.freq_base").unwrap(), Some(500_000.0));
    let tokens = file.strings("tokenizer.ggml.tokens").unwrap().unwrap();
    assert_eq!((tokens.len(), tokens[128_000].as_str()), (128_256, "<|begin_of_text|>"));
    assert_eq!(file.strings("tokenizer.ggml.merges").unwrap().unwrap().len(), 280_147);
    assert_eq!(file.ints("tokenizer.ggml.token_type").unwrap().unwrap()[128_000], 3);
    assert!(file.tensors().is_empty());
}

#[test]
fn a_version_1_file_loads() {
    let Some(path) = shared_data("weights/tinyllamas-stories-260k-f32.gguf") else { return };
    let file = File::open(&path).unwrap();
    assert_eq!((file.version(), file.tensors().len()), (1, 48));
    assert_eq!(file.strings("tokenizer.ggml.tokens").unwrap().unwrap().len(), 512);
    let embd = file.tensor("token_embd.weight").unwrap();
    assert_eq!((embd.dims.as_slice(), embd.format), ([64, 512].as_slice(), Format::F32));
}

#[test]
fn a_ternary_file_of_bitnet_cpp_loads() {
    let Some(path) = shared_data("demo-early/demo-early-I2_S.gguf") else { return };
    let file = File::open(&path).unwrap();
    assert_eq!(file.tensors().len(), 68);
    let gate = file.tensor("blk.3.ffn_gate.weight").unwrap();
    assert_eq!((gate.dims.as_slice(), gate.format), ([256, 768].as_slice(), Format::I2_S));
    assert_eq!(file.bytes(gate).len(), 256 * 768 / 4 + 32);
}
