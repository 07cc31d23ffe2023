//! Pre-tokenizers: where a text is cut before byte pairs are merged.
//!
//! Model makers give these as regular expressions with look-ahead. Here each is a hand-written
//! scanner that looks at every character a fixed number of times, so that no input makes it slow.
//! A pre-tokenizer is a sequence of [`Step`]s; each cuts the pieces of the one before, and sees
//! nothing beyond the piece it was given.

use super::unicode::{Class, class};

/// One cut of a pre-tokenizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// GPT-2's `'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`.
    Gpt2,
    /// Llama 3's `(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}|
    /// ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+` with at most this many digits in a piece.
    Llama3(usize),
    /// Each `\p{N}` on its own.
    EachNumber,
    /// Each `\p{N}+` on its own.
    Numbers,
    /// Each `[0-9][0-9][0-9]` on its own.
    ThreeDigits,
    /// Runs of punctuation on their own, also `$+<=>^|~` and the backquote.
    Punctuation,
    /// The same without the backquote: llama.cpp's fallback.
    PunctuationButBackquote,
}

/// What `tokenizer.ggml.pre` says about a byte-level vocabulary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pre {
    /// The name in GGUF files.
    pub(super) name: &'static str,
    /// How texts are cut.
    pub(super) steps: &'static [Step],
    /// A piece that is a token as it stands is taken whole, whatever the merges say.
    pub(super) whole_words: bool,
    /// Whether a text begins with BOS where the file does not say.
    pub(super) add_bos: bool,
}

const fn pre(name: &'static str, steps: &'static [Step], whole_words: bool, add_bos: bool) -> Pre {
    Pre { name, steps, whole_words, add_bos }
}

use Step::{EachNumber, Gpt2, Llama3, Numbers, PunctuationButBackquote, ThreeDigits};
const FALCON: &[Step] = &[Step::Punctuation, Gpt2, ThreeDigits];

/// All known pre-tokenizers. Where several have the same properties, the first is the one to write.
/// Source: llama.cpp `src/llama-vocab.cpp`; `falcon_e` as in the llama.cpp of bitnet.cpp.
static KNOWN: &[Pre] = &[
    pre("llama-bpe", &[Llama3(3)], true, true),
    pre("llama3", &[Llama3(3)], true, true),
    pre("llama-v3", &[Llama3(3)], true, true),
    pre("falcon3", &[Llama3(3)], true, true),
    pre("falcon_e", &[Llama3(3)], true, true),
    pre("falcon-h1", &[Llama3(3)], true, true),
    pre("lfm2", &[Llama3(3)], true, true),
    pre("smaug-bpe", &[Llama3(3)], false, false),
    pre("dbrx", &[Llama3(3)], false, false),
    pre("qwen2", &[Llama3(1)], false, false),
    pre("deepseek-r1-qwen", &[Llama3(1)], false, false),
    pre("stablelm2", &[Llama3(1)], false, false),
    pre("megrez", &[Llama3(1)], false, false),
    pre("gpt-2", &[Gpt2], false, false),
    pre("phi-2", &[Gpt2], false, false),
    pre("mpt", &[Gpt2], false, false),
    pre("olmo", &[Gpt2], false, false),
    pre("smollm", &[EachNumber, Gpt2], false, false),
    pre("starcoder", &[EachNumber, Gpt2], false, false),
    pre("refact", &[EachNumber, Gpt2], false, false),
    pre("command-r", &[EachNumber, Gpt2], false, false),
    pre("codeshell", &[EachNumber, Gpt2], false, false),
    pre("exaone", &[EachNumber, Gpt2], false, false),
    pre("falcon", FALCON, false, false),
    pre("default", &[PunctuationButBackquote, Gpt2, Numbers, ThreeDigits], false, false),
];

impl Pre {
    /// The pre-tokenizer of this name in GGUF files.
    pub(super) fn by_name(name: &str) -> Option<&'static Pre> {
        KNOWN.iter().find(|p| p.name == name)
    }

    /// A pre-tokenizer with these properties.
    pub(super) fn by_steps(steps: &[Step], whole_words: bool) -> Option<&'static Pre> {
        KNOWN.iter().find(|p| p.steps == steps && p.whole_words == whole_words)
    }
}

/// Cuts `text` by all `steps` and hands the pieces to `piece` in order.
pub(super) fn split<'t>(steps: &[Step], text: &'t str, piece: &mut dyn FnMut(&'t str)) {
    let Some((step, then)) = steps.split_first() else {
        if !text.is_empty() {
            piece(text);
        }
        return;
    };
    let mut rest = text;
    while !rest.is_empty() {
        let (first, after) = rest.split_at(step.first(rest));
        split(then, first, piece);
        rest = after;
    }
}

impl Step {
    /// Bytes of the first piece of a text that is not empty.
    fn first(self, text: &str) -> usize {
        match self {
            Step::Gpt2 => gpt2(text),
            Step::Llama3(digits) => llama3(text, digits),
            Step::EachNumber => match text.chars().next() {
                Some(c) if class(c) == Class::Number => c.len_utf8(),
                _ => run(text, |c| class(c) != Class::Number),
            },
            Step::Numbers => apart(text, |c| class(c) == Class::Number),
            Step::Punctuation => apart(text, is_punctuation),
            Step::PunctuationButBackquote => apart(text, |c| c != '`' && is_punctuation(c)),
            Step::ThreeDigits => match text.as_bytes().windows(3).position(|w| w.iter().all(u8::is_ascii_digit)) {
                Some(0) => 3,
                Some(at) => at,
                None => text.len(),
            },
        }
    }
}

fn is_punctuation(c: char) -> bool {
    c.is_ascii_punctuation() || class(c) == Class::Punctuation
}

/// Bytes of the longest beginning of `text` in which `wanted` holds.
fn run(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    text.find(|c| !wanted(c)).unwrap_or(text.len())
}

/// Bytes of the first run of characters that are all `wanted` or all not.
fn apart(text: &str, wanted: impl Fn(char) -> bool) -> usize {
    match run(text, &wanted) {
        0 => run(text, |c| !wanted(c)),
        n => n,
    }
}

fn is_symbol(c: char) -> bool {
    matches!(class(c), Class::Punctuation | Class::Other)
}

fn is_newline(c: char) -> bool {
    matches!(c, '\r' | '\n')
}

fn gpt2(text: &str) -> usize {
    if let Some(n) = contraction(text, |c| c) {
        return n;
    }
    let space = usize::from(text.starts_with(' '));
    let word = &text[space..];
    let Some(first) = word.chars().next() else { return text.len() };
    match class(first) {
        Class::Letter => space + run(word, |c| class(c) == Class::Letter),
        Class::Number => space + run(word, |c| class(c) == Class::Number),
        Class::Punctuation | Class::Other => space + run(word, is_symbol),
        Class::Space => spaces(text),
    }
}

fn llama3(text: &str, digits: usize) -> usize {
    if let Some(n) = contraction(text, fold) {
        return n;
    }
    let mut chars = text.chars();
    let Some(first) = chars.next() else { return 0 };
    let second = chars.next();
    let is_letter = |c: char| class(c) == Class::Letter;
    // [^\r\n\p{L}\p{N}]?\p{L}+
    let leads = !is_newline(first) && class(first) != Class::Number && second.is_some_and(is_letter);
    if is_letter(first) || leads {
        return first.len_utf8() + run(&text[first.len_utf8()..], is_letter);
    }
    // \p{N}{1,n}
    if class(first) == Class::Number {
        return text.chars().take(digits).take_while(|&c| class(c) == Class::Number).map(char::len_utf8).sum();
    }
    //  ?[^\s\p{L}\p{N}]+[\r\n]*
    let space = usize::from(first == ' ');
    let symbols = run(&text[space..], is_symbol);
    if symbols > 0 {
        let end = space + symbols;
        return end + run(&text[end..], is_newline);
    }
    // \s*[\r\n]+
    let all = run(text, |c| class(c) == Class::Space);
    match text[..all].rfind(is_newline) {
        Some(last) => last + 1,
        None => spaces(text),
    }
}

/// `\s+(?!\S)|\s+`: all white space, but its last character is left to the word that follows.
fn spaces(text: &str) -> usize {
    let all = run(text, |c| class(c) == Class::Space);
    let last = text[..all].chars().next_back().map_or(0, char::len_utf8);
    match all < text.len() && all > last {
        true => all - last,
        false => all,
    }
}

/// Lower case of the letters in contractions; `ſ` is an `s` to a caseless regular expression.
fn fold(c: char) -> char {
    match c {
        'ſ' => 's',
        _ => c.to_ascii_lowercase(),
    }
}

/// `'s|'t|'re|'ve|'m|'ll|'d` at the beginning.
fn contraction(text: &str, fold: impl Fn(char) -> char) -> Option<usize> {
    let rest = text.strip_prefix('\'')?;
    let mut chars = rest.chars();
    let first = chars.next()?;
    match (fold(first), chars.next().map(fold)) {
        ('s' | 't' | 'm' | 'd', _) => Some(1 + first.len_utf8()),
        ('r' | 'v', Some('e')) | ('l', Some('l')) => Some(3),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::unicode::LOOKS;

    fn pieces<'t>(name: &str, text: &'t str) -> Vec<&'t str> {
        let mut out = Vec::new();
        split(Pre::by_name(name).unwrap().steps, text, &mut |p| out.push(p));
        out
    }

    #[test]
    fn gpt2_keeps_a_space_with_the_word_that_follows() {
        assert_eq!(
            pieces("gpt-2", "Hello  world's 12 end!!\n\n x  "),
            ["Hello", " ", " world", "'s", " 12", " end", "!!", "\n\n", " x", "  "]
        );
        assert_eq!(pieces("gpt-2", "it'S \u{a0}\u{a0}y"), ["it", "'", "S", " \u{a0}", "\u{a0}", "y"]);
    }

    #[test]
    fn llama3_takes_three_digits_and_newlines_after_symbols() {
        assert_eq!(pieces("llama-bpe", "1234567 ab\t\tcd"), ["123", "456", "7", " ab", "\t", "\tcd"]);
        assert_eq!(
            pieces("llama-bpe", "I'LL go.\n\nNow  \n  x"),
            ["I", "'LL", " go", ".\n\n", "Now", "  \n", " ", " x"]
        );
        assert_eq!(pieces("qwen2", "a12"), ["a", "1", "2"]);
        assert_eq!(pieces("llama-bpe", "that'ſ"), ["that", "'ſ"]);
    }

    #[test]
    fn smollm_leaves_the_space_before_a_digit_alone() {
        assert_eq!(pieces("smollm", " 12 ab½"), [" ", "1", "2", " ab", "½"]);
    }

    #[test]
    fn falcon_and_default_differ_in_the_backquote() {
        assert_eq!(pieces("falcon", "a`b 12345"), ["a", "`", "b", " ", "123", "45"]);
        assert_eq!(pieces("default", " (`x)+1"), [" ", "(", "`", "x", ")+", "1"]);
        assert_eq!(pieces("default", "x ` y"), ["x", " `", " y"]);
    }

    #[test]
    fn every_character_is_looked_at_a_few_times_only() {
        for unit in ["a", " ", "1", "\n", "\n ", "!", "'", "' ", "\u{3000}", "a1", "12 ", "`", "\r\n\t"] {
            let text = unit.repeat(3_000);
            for known in KNOWN {
                let before = LOOKS.get();
                pieces(known.name, &text);
                let looks = LOOKS.get() - before;
                assert!(looks <= 20 * text.len(), "{}: {looks} for {} bytes of {unit:?}", known.name, text.len());
            }
        }
    }

    #[test]
    fn pieces_are_the_whole_text() {
        let text = "  \r\n \u{3000}\u{85}'ve'RE 3\u{664}5 ²x \u{301}e\u{301}\n\t. \n\n ... 🦙🦙 '' don't\u{feff}";
        for known in KNOWN {
            assert_eq!(pieces(known.name, text).concat(), text, "{}", known.name);
            assert!(pieces(known.name, "").is_empty());
        }
    }
}
