//! Finds the names of special tokens in text.

use super::Token;
use super::vocab::Vocab;

/// Marks what is text, whatever it looks like: a code point that is no character and never will be one.
pub(super) const SHIELD: char = '\u{fdd0}';

/// A set of tokens whose names are matched in text, leftmost first and of those the longest.
pub(super) struct Matcher {
    /// Sorted by name, so that those with a common beginning lie side by side.
    tokens: Vec<Token>,
    /// Bytes that names begin with.
    starts: [bool; 256],
}

impl Matcher {
    /// Longer names are not looked for: they would make the search slow for nothing.
    const LONGEST: usize = 256;

    /// `tokens` must be sorted by name. Names with the mark in them are never found.
    pub(super) fn new(vocab: &Vocab, mut tokens: Vec<Token>) -> Self {
        let is_marked = |name: &[u8]| String::from_utf8_lossy(name).contains(SHIELD);
        tokens.retain(|&t| vocab.bytes(t).len() <= Self::LONGEST && !is_marked(vocab.bytes(t)));
        let mut starts = [false; 256];
        for &token in &tokens {
            starts[usize::from(vocab.bytes(token)[0])] = true;
        }
        Self { tokens, starts }
    }

    /// The longest name that `text` begins with, and its token.
    pub(super) fn at_start<'v>(&self, vocab: &'v Vocab, text: &[u8]) -> Option<(Token, &'v [u8])> {
        let mut found = None;
        self.walk(vocab, text, |token| found = Some((token, vocab.bytes(token))));
        found
    }

    /// Whether `text` begins with a name, or is the beginning of one.
    pub(super) fn may_start(&self, vocab: &Vocab, text: &[u8]) -> bool {
        let mut found = false;
        text.first().is_some_and(|&b| self.starts[usize::from(b)])
            && (self.walk(vocab, text, |_| found = true) || found)
    }

    /// The first place at or after `from` where a name stands: its token and bytes.
    pub(super) fn next(&self, vocab: &Vocab, text: &str, from: usize) -> Option<(Token, std::ops::Range<usize>)> {
        let bytes = text.as_bytes();
        let mut at = from;
        loop {
            at += bytes[at..].iter().position(|&b| self.starts[usize::from(b)])?;
            if let Some((token, name)) = self.at_start(vocab, &bytes[at..]) {
                return Some((token, at..at + name.len()));
            }
            at += 1;
        }
    }

    /// Calls `matched` with each token that `text` begins with, shortest name first. Says whether the
    /// whole text is the beginning of a longer name.
    fn walk(&self, vocab: &Vocab, text: &[u8], mut matched: impl FnMut(Token)) -> bool {
        // Names that begin with text[..depth].
        let mut names = &self.tokens[..];
        for (depth, &byte) in text.iter().enumerate() {
            let first = names.partition_point(|&t| vocab.bytes(t).get(depth).is_none_or(|&b| b < byte));
            let end = first + names[first..].partition_point(|&t| vocab.bytes(t)[depth] == byte);
            names = &names[first..end];
            match names.first() {
                None => return false,
                Some(&token) if vocab.bytes(token).len() == depth + 1 => matched(token),
                Some(_) => {}
            }
        }
        names.iter().any(|&t| vocab.bytes(t).len() > text.len())
    }
}
