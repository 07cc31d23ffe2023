//! Metadata that no honest file has: an error or a tokenizer that works, never a panic.

use super::{bpe, load, strings, text};
use crate::gguf::{Array, Value};
use crate::text::{ChatTemplate, Encode, Error, Message};
use proptest::prelude::*;

const BOTH: Encode = Encode { bos: true, special: true };
const TEXT: Encode = Encode { bos: false, special: false };

#[test]
fn merges_may_be_nonsense() {
    let merges = ["a b", "b a", "ab a", "a b", "a", "", " ", "x y", "a  b", "a zz", "ab ab", "中 a", " a"];
    let tokenizer = bpe(&["a", "b", "ab", "ba", "aba", ""], &merges, vec![]).unwrap();
    assert_eq!(tokenizer.encode("abab", TEXT), [2, 2]);
    // Bytes without a token are lost, as no token stands for them.
    assert_eq!(tokenizer.encode("aéb", TEXT), [0, 1]);
    assert_eq!(tokenizer.bytes(99), b"");
    assert_eq!(tokenizer.decode(&[0, 99, 5, u32::MAX], true), "a");
}

#[test]
fn the_first_of_two_tokens_with_one_name_counts() {
    let tokenizer = bpe(&["a", "a", "b"], &[], vec![]).unwrap();
    assert_eq!(tokenizer.encode("aab", TEXT), [0, 0, 2]);
    assert_eq!(tokenizer.decode(&[1, 2], false), "ab");
    assert_eq!(tokenizer.id("a"), Some(0));
}

#[test]
fn special_ids_out_of_range_are_ignored() {
    let more = vec![
        ("tokenizer.ggml.bos_token_id", Value::U64(u64::MAX)),
        ("tokenizer.ggml.eos_token_id", Value::U32(7)),
        ("tokenizer.ggml.eot_token_id", Value::U32(1)),
    ];
    let tokenizer = bpe(&["a", "<stop>"], &[], more).unwrap();
    assert_eq!((tokenizer.bos(), tokenizer.eos()), (None, None));
    assert!(tokenizer.ends_answer(1) && tokenizer.is_control(1));
    assert!(!tokenizer.ends_answer(7));
}

#[test]
fn what_cannot_be_honoured_is_an_error_that_names_it() {
    let add = ("tokenizer.ggml.add_bos_token", Value::Bool(true));
    let types = |n| ("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1; n])));
    for (tokenizer, word) in [
        (bpe(&["a"], &[], vec![add]), "BOS"),
        (bpe(&["a"], &[], vec![types(2)]), "token types"),
        (bpe(&[], &[], vec![]), "0 tokens"),
        (load(vec![]), "tokenizer.ggml.model"),
        (load(vec![("tokenizer.ggml.model", text("t5")), ("tokenizer.ggml.tokens", strings(&["a"]))]), "`t5`"),
        (bpe(&["a"], &[], vec![("tokenizer.ggml.pre", text("quantum"))]), "quantum"),
    ] {
        let error = tokenizer.unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn scores_may_be_nonsense() {
    let tokens = ["<unk>", "<s>", "</s>", "<0x61>", "▁", "a", "b", "ab", "▁a", "▁▁", "ba", "bab"];
    for score in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 0.0] {
        let tokenizer = load(vec![
            ("tokenizer.ggml.model", text("llama")),
            ("tokenizer.ggml.tokens", strings(&tokens)),
            ("tokenizer.ggml.scores", Value::Array(Array::F32(vec![score; tokens.len()]))),
        ])
        .unwrap();
        assert_eq!(tokenizer.encode("", BOTH), [1]);
        let ids = tokenizer.encode("abab  ba中é", TEXT);
        assert_eq!(tokenizer.decode(&ids, false), "abab  ba", "{score}");
        assert_eq!(tokenizer.encode("</s><s>", TEXT).iter().filter(|&&t| t != 0 && t != 4).count(), 0);
    }
}

#[test]
fn long_names_do_not_make_texts_slow() {
    let long = "a".repeat(100_000);
    let types = ("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1, 3, 4])));
    let tokenizer = bpe(&["a", &format!("{long}b"), &long], &["a a"], vec![types]).unwrap();
    assert_eq!(tokenizer.encode(&long, BOTH).len(), long.len());
    assert_eq!(tokenizer.shield(&long), long);
}

#[test]
fn a_control_token_of_one_letter_can_be_shielded() {
    let types = ("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1, 1, 3])));
    let tokenizer = bpe(&["x", "y", "X"], &[], vec![types]).unwrap();
    assert_eq!(tokenizer.encode("xXy", BOTH), [0, 2, 1]);
    assert_eq!(tokenizer.encode(&tokenizer.shield("xXy"), BOTH), [0, 1]);
    assert_eq!(tokenizer.encode("xXy", TEXT), [0, 1]);
}

#[test]
fn a_whole_word_is_never_a_control_token() {
    let more = vec![
        ("tokenizer.ggml.pre", text("llama-bpe")),
        ("tokenizer.ggml.token_type", Value::Array(Array::I32(vec![1, 1, 3, 4]))),
    ];
    let tokenizer = bpe(&["a", "b", "ab", "bb"], &["a b"], more).unwrap();
    assert_eq!(tokenizer.encode("ab", TEXT), [0, 1]);
    assert_eq!(tokenizer.encode("abb", TEXT), [0, 3]);
    assert_eq!(tokenizer.encode("ab", BOTH), [2]);
}

#[test]
fn a_broken_template_is_an_error() {
    let tokenizer = bpe(&["a"], &[], vec![("tokenizer.chat_template", text("{% for x in"))]).unwrap();
    assert!(matches!(ChatTemplate::of(&tokenizer), Err(Error::Template(_))));
}

/// Parts of names and texts that mean something somewhere.
fn scrap() -> impl Strategy<Value = String> {
    let scraps = [
        "", "a", "b", "ab", " ", "Ġ", "Ċ", "▁", "<0x61>", "<0xZZ>", "<", "|>", "<|x|>", "</s>", "é", "中", "\u{fdd0}",
        "1", "\n",
    ];
    proptest::collection::vec(proptest::sample::select(scraps.to_vec()), 0..4).prop_map(|parts| parts.concat())
}

fn score() -> impl Strategy<Value = f32> {
    prop_oneof![any::<f32>(), Just(f32::NAN), Just(0.0), -9.0f32..9.0]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_metadata_give_an_error_or_a_tokenizer_that_works(
        tokens in proptest::collection::vec((scrap(), -1i32..8, score()), 0..24),
        merges in proptest::collection::vec((scrap(), scrap()), 0..24),
        model in proptest::sample::select(vec!["gpt2", "llama"]),
        pre in proptest::sample::select(vec!["default", "gpt-2", "llama-bpe", "smollm", "falcon", "qwen2"]),
        ids in proptest::collection::vec(0u32..30, 3),
        flags in proptest::collection::vec(any::<bool>(), 3),
        texts in proptest::collection::vec(scrap(), 0..6),
    ) {
        let merges = merges.iter().map(|(l, r)| format!("{l} {r}")).collect();
        let built = load(vec![
            ("tokenizer.ggml.model", text(model)),
            ("tokenizer.ggml.pre", text(pre)),
            ("tokenizer.ggml.tokens", Value::Array(Array::String(tokens.iter().map(|t| t.0.clone()).collect()))),
            ("tokenizer.ggml.token_type", Value::Array(Array::I32(tokens.iter().map(|t| t.1).collect()))),
            ("tokenizer.ggml.scores", Value::Array(Array::F32(tokens.iter().map(|t| t.2).collect()))),
            ("tokenizer.ggml.merges", Value::Array(Array::String(merges))),
            ("tokenizer.ggml.bos_token_id", Value::U32(ids[0])),
            ("tokenizer.ggml.eos_token_id", Value::U32(ids[1])),
            ("tokenizer.ggml.unknown_token_id", Value::U32(ids[2])),
            ("tokenizer.ggml.add_bos_token", Value::Bool(flags[0])),
            ("tokenizer.ggml.add_space_prefix", Value::Bool(flags[1])),
        ]);
        let Ok(tokenizer) = built else { return Ok(()) };
        let content = texts.concat();
        let how = Encode { bos: true, special: flags[2] };
        let found = tokenizer.encode(&content, how);
        prop_assert!(found.iter().all(|&t| (t as usize) < tokenizer.vocab_size()));
        tokenizer.decode(&found, true);
        // Only BOS, and an unknown token for what has no other, may come from plain text.
        let plain = tokenizer.encode(&tokenizer.shield(&content), Encode { bos: false, special: true });
        prop_assert!(plain.iter().all(|&t| !tokenizer.is_control(t) || t == ids[2]));
        let message = Message { role: "user".to_owned(), content };
        ChatTemplate::of(&tokenizer).unwrap().encode(&tokenizer, &[message]).unwrap();
        load(tokenizer.gguf_metadata().iter().map(|(k, v)| (k.as_str(), v.clone())).collect()).unwrap();
    }
}
