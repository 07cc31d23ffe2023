//! Finds the names of special tokens in text.

use super::Token;
use super::vocab::Vocab;

/// Marks what is text, whatever it looks like: a code point that is no character and never will be one.
pub(super) const SHIELD: char = '\u{fdd0}';

/// A set of tokens whose names are matched in text, leftmost first and of those the longest.
pub(super) struct Matcher {
    /// Sorted, so that those with a common beginning lie side by side.
    names: Vec<Name>,
    /// Bytes that names begin with.
    starts: [bool; 256],
}

/// The name of a token from byte `from` on.
#[derive(Clone, Copy)]
struct Name {
    token: Token,
    from: usize,
}

impl Name {
    fn bytes(self, vocab: &Vocab) -> &[u8] {
        &vocab.bytes(self.token)[self.from..]
    }
}

impl Matcher {
    /// Longer names are not looked for: they would make the search slow for nothing.
    const LONGEST: usize = 256;

    /// `tokens` must be sorted by name. Names with the mark in them are never found.
    pub(super) fn new(vocab: &Vocab, mut tokens: Vec<Token>) -> Self {
        let is_marked = |name: &[u8]| String::from_utf8_lossy(name).contains(SHIELD);
        tokens.retain(|&t| vocab.bytes(t).len() <= Self::LONGEST && !is_marked(vocab.bytes(t)));
        Self::of(vocab, tokens.into_iter().map(|token| Name { token, from: 0 }).collect())
    }

    /// The ends of these names: what is left of each after one byte or more.
    pub(super) fn ends(&self, vocab: &Vocab) -> Self {
        let shorter = |name: &Name| {
            let token = name.token;
            (1..name.bytes(vocab).len()).map(move |from| Name { token, from })
        };
        let mut ends: Vec<Name> = self.names.iter().flat_map(shorter).collect();
        ends.sort_by_key(|name| name.bytes(vocab));
        ends.dedup_by_key(|name| name.bytes(vocab));
        Self::of(vocab, ends)
    }

    fn of(vocab: &Vocab, names: Vec<Name>) -> Self {
        let mut starts = [false; 256];
        for name in &names {
            starts[usize::from(name.bytes(vocab)[0])] = true;
        }
        Self { names, starts }
    }

    /// The longest name that `text` begins with, and its token.
    pub(super) fn at_start<'v>(&self, vocab: &'v Vocab, text: &[u8]) -> Option<(Token, &'v [u8])> {
        let mut found = None;
        self.walk(vocab, text, |token| found = Some((token, vocab.bytes(token))));
        found
    }

    /// Whether `text` begins with a name.
    pub(super) fn starts(&self, vocab: &Vocab, text: &[u8]) -> bool {
        let mut found = false;
        self.walk(vocab, text, |_| found = true);
        found
    }

    /// Whether `text` is the beginning of a longer name.
    pub(super) fn is_beginning(&self, vocab: &Vocab, text: &[u8]) -> bool {
        self.walk(vocab, text, |_| ())
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
        if !text.first().is_some_and(|&b| self.starts[usize::from(b)]) {
            return false;
        }
        // Names that begin with text[..depth].
        let mut names = &self.names[..];
        for (depth, &byte) in text.iter().enumerate() {
            let first = names.partition_point(|n| n.bytes(vocab).get(depth).is_none_or(|&b| b < byte));
            let end = first + names[first..].partition_point(|n| n.bytes(vocab)[depth] == byte);
            names = &names[first..end];
            match names.first() {
                None => return false,
                Some(name) if name.bytes(vocab).len() == depth + 1 => matched(name.token),
                Some(_) => {}
            }
        }
        // Of names with one beginning the shorter sort first.
        names.last().is_some_and(|n| n.bytes(vocab).len() > text.len())
    }
}
