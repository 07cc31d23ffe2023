//! Round trips, and long texts: work must not grow with the square of the length. Counted, not timed.

use super::{demo, ours};
use crate::text::{Encode, Tokenizer, bpe, spm};
use proptest::prelude::*;
use std::sync::LazyLock;

static DEMO: LazyLock<Tokenizer> = LazyLock::new(demo);
const TEXT: Encode = Encode { bos: false, special: false };

/// Texts that made tokenizers slow before.
fn long_texts() -> Vec<String> {
    let word = "supercalifragilistic".repeat(5_000);
    let mixed: String = (0..30_000u32).filter_map(|n| char::from_u32(0x61 + n * n % 1_900)).collect();
    vec![
        "a".repeat(200_000),
        " ".repeat(10_000),
        word,
        "\n \t".repeat(20_000),
        "1".repeat(50_000),
        "ab".repeat(50_000),
        mixed,
    ]
}

#[test]
fn merging_takes_at_most_three_queue_entries_per_byte() {
    let (vocab, bpe) = (&DEMO.vocab, DEMO.bpe().unwrap());
    for text in long_texts() {
        let mut work = bpe::Work::default();
        let mut out = Vec::new();
        bpe.encode(vocab, &text, &mut work, &mut out);
        assert!(work.taken <= 3 * text.len(), "{} entries for {} bytes", work.taken, text.len());
        assert_eq!(DEMO.decode(&out, false), text);
    }
}

#[test]
fn joining_takes_at_most_three_queue_entries_per_character() {
    let gemma = Tokenizer::from_json(&ours("tests/golden/text/gemma.json")).unwrap();
    let (vocab, spm) = (&gemma.vocab, gemma.spm().unwrap());
    for text in long_texts() {
        let mut work = spm::Work::default();
        spm.encode(vocab, &text, true, &mut work, &mut Vec::new());
        assert!(work.taken <= 3 * text.len(), "{} entries for {} bytes", work.taken, text.len());
    }
}

proptest! {
    #[test]
    fn decoding_gives_the_text_back(text in "\\PC{0,40}|[ \\t\\r\\n'a-e0-9<|>!]{0,60}|.{0,30}") {
        prop_assert_eq!(DEMO.decode(&DEMO.encode(&text, TEXT), false), text);
    }

    #[test]
    fn text_never_gives_control_tokens(parts in proptest::collection::vec(prop_oneof![
        Just("<|eot|>"), Just("<|user|>"), Just("<|"), Just("|>"), Just("eot"), Just("<"), Just("\u{fdd0}"), Just(" a"),
    ], 0..12)) {
        let text = parts.concat();
        prop_assert!(DEMO.encode(&text, TEXT).iter().all(|&t| !DEMO.is_control(t)));
        let shielded = DEMO.encode(&DEMO.shield(&text), Encode { bos: false, special: true });
        prop_assert!(shielded.iter().all(|&t| !DEMO.is_control(t)));
        prop_assert_eq!(shielded, DEMO.encode(&text.replace('\u{fdd0}', ""), TEXT));
    }
}
