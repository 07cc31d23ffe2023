//! The vocabularies and cases of llama.cpp's `test-tokenizer-0`.

use crate::gguf;
use crate::testing::shared_data;
use crate::text::{Encode, Tokenizer};

/// Checks every case of a vocabulary and returns how many there were.
fn check(name: &str) -> Option<usize> {
    let path = shared_data(&format!("vocabs/ggml-vocab-{name}.gguf"))?;
    let beside = |end: &str| std::fs::read_to_string(format!("{}.{end}", path.display())).unwrap();
    let tokenizer = Tokenizer::from_gguf(&gguf::File::open(&path).unwrap()).unwrap();
    let texts = beside("inp");
    let texts: Vec<&str> = texts.split_terminator("\n__ggml_vocab_test__\n").collect();
    let ids = beside("out");
    let ids: Vec<&str> = ids.lines().collect();
    assert_eq!(texts.len(), ids.len());
    for (text, ids) in texts.iter().zip(&ids) {
        let expected: Vec<u32> = ids.split_whitespace().map(|id| id.parse().unwrap()).collect();
        let got = tokenizer.encode(text, Encode { bos: false, special: false });
        assert_eq!(got, expected, "{name}: {text:?}");
        assert_eq!(tokenizer.decode(&got, false), *text, "{name}");
    }
    Some(texts.len())
}

#[test]
fn llama_bpe_agrees_with_llama_cpp() {
    assert!(check("llama-bpe").is_none_or(|n| n > 40));
}

#[test]
fn qwen2_agrees_with_llama_cpp() {
    assert!(check("qwen2").is_none_or(|n| n > 40));
}

#[test]
fn gpt_2_agrees_with_llama_cpp() {
    assert!(check("gpt-2").is_none_or(|n| n > 40));
}

#[test]
fn llama_spm_agrees_with_llama_cpp() {
    assert!(check("llama-spm").is_none_or(|n| n > 40));
}

#[test]
fn falcon_agrees_with_llama_cpp() {
    assert!(check("falcon").is_none_or(|n| n > 40));
}

#[test]
fn starcoder_agrees_with_llama_cpp() {
    assert!(check("starcoder").is_none_or(|n| n > 40));
}
