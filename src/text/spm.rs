//! SentencePiece's BPE: neighbours are joined to the token with the best score until nothing joins.

use super::Token;
use super::vocab::{Kind, SPACE, Vocab};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The scores of a SentencePiece vocabulary.
pub(super) struct Spm {
    scores: Vec<f32>,
    /// Put a space before the first word, as before all others.
    pub(super) add_space_prefix: bool,
    /// The token of each byte, for characters without a token of their own.
    bytes: [Option<Token>; 256],
    /// Stands for characters that the vocabulary cannot express.
    unknown: Option<Token>,
}

/// No neighbour.
const NONE: u32 = u32::MAX;

/// A text longer than this is cut, so that positions fit 32 bits.
const LONGEST_TEXT: usize = 1 << 24;

/// Longer tokens are not made by joining: looking for them would make long texts slow.
const LONGEST_TOKEN: usize = 1024;

/// Part of the text in a doubly linked list; empty once joined to its left neighbour.
#[derive(Clone, Copy)]
struct Symbol {
    start: u32,
    len: u32,
    prev: u32,
    next: u32,
}

/// A possible join: best score first, then leftmost. `len` tells stale entries from live ones.
type Candidate = (u32, Reverse<u32>, u32);

/// Memory that is reused from text to text.
#[derive(Default)]
pub(super) struct Work {
    symbols: Vec<Symbol>,
    queue: BinaryHeap<Candidate>,
    text: String,
    /// Entries taken from the queue, for the tests of its bounds.
    #[cfg(test)]
    pub(super) taken: usize,
}

/// A number that orders as the score does; what is not a number comes last.
fn order(score: f32) -> u32 {
    let bits = score.to_bits();
    match score.is_nan() {
        true => 0,
        false if bits >> 31 == 1 => !bits,
        false => bits | 1 << 31,
    }
}

impl Spm {
    /// `scores` has one entry per token.
    pub(super) fn new(vocab: &Vocab, scores: Vec<f32>, add_space_prefix: bool, unknown: Option<Token>) -> Self {
        let mut bytes = [None; 256];
        for token in (0..vocab.len() as Token).rev().filter(|&t| vocab.kind(t) == Kind::Byte) {
            if let [byte] = vocab.bytes(token) {
                bytes[usize::from(*byte)] = Some(token);
            }
        }
        Self { scores, add_space_prefix, bytes, unknown }
    }

    /// A token's score.
    pub(super) fn scores(&self) -> &[f32] {
        &self.scores
    }

    /// Appends the tokens of a text without special tokens. `prefix`: it begins the text, or follows a special token.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, prefix: bool, work: &mut Work, out: &mut Vec<Token>) {
        if text.is_empty() {
            return;
        }
        let mut whole = std::mem::take(&mut work.text);
        whole.clear();
        if prefix && self.add_space_prefix {
            whole.push(' ');
        }
        // In these vocabularies U+2581 is a space, however it came about.
        whole.extend(text.chars().map(|c| if c == SPACE { ' ' } else { c }));
        let mut rest = whole.as_str();
        while !rest.is_empty() {
            let (part, after) = rest.split_at(rest.floor_char_boundary(LONGEST_TEXT));
            self.join(vocab, part, work, out);
            rest = after;
        }
        work.text = whole;
    }

    /// Joins the characters of a text: O(n log n), since each join queues at most two new ones.
    fn join(&self, vocab: &Vocab, text: &str, work: &mut Work, out: &mut Vec<Token>) {
        let Work {
            symbols,
            queue,
            #[cfg(test)]
            taken,
            ..
        } = &mut *work;
        symbols.clear();
        queue.clear();
        for (at, c) in (0u32..).zip(text.char_indices()) {
            let (start, len) = (c.0 as u32, c.1.len_utf8() as u32);
            symbols.push(Symbol { start, len, prev: at.wrapping_sub(1), next: at + 1 });
        }
        if let Some(last) = symbols.last_mut() {
            last.next = NONE;
        }
        let longest = vocab.longest().min(LONGEST_TOKEN);
        let candidate = |symbols: &[Symbol], at: u32| -> Option<Candidate> {
            let left = symbols[at as usize];
            let right = symbols.get(left.next as usize)?;
            let len = left.len + right.len;
            if len as usize > longest {
                return None;
            }
            let token = vocab.find(&text.as_bytes()[left.start as usize..(left.start + len) as usize])?;
            Some((order(self.scores[token as usize]), Reverse(at), len))
        };
        let mut first = std::mem::take(queue).into_vec();
        first.extend((0..symbols.len() as u32).filter_map(|at| candidate(symbols, at)));
        *queue = first.into();
        while let Some((_, Reverse(at), len)) = queue.pop() {
            #[cfg(test)]
            {
                *taken += 1;
            }
            let left = symbols[at as usize];
            // The same start and length is the same text: such an entry holds, whoever queued it.
            let Some(&right) = symbols.get(left.next as usize) else { continue };
            if left.len == 0 || left.len + right.len != len {
                continue;
            }
            symbols[left.next as usize].len = 0;
            symbols[at as usize] = Symbol { len, next: right.next, ..left };
            if right.next != NONE {
                symbols[right.next as usize].prev = at;
            }
            queue.extend(candidate(symbols, at));
            if left.prev != NONE {
                queue.extend(candidate(symbols, left.prev));
            }
        }
        let (mut at, mut was_unknown) = (0, false);
        while let Some(symbol) = symbols.get(at as usize) {
            let piece = &text.as_bytes()[symbol.start as usize..(symbol.start + symbol.len) as usize];
            let bytes = || piece.iter().map(|&b| self.bytes[usize::from(b)]);
            let is_unknown = match vocab.find(piece) {
                Some(token) => {
                    out.push(token);
                    false
                }
                None if bytes().all(|token| token.is_some()) => {
                    out.extend(bytes().flatten());
                    false
                }
                None => true,
            };
            // Unknown characters in a row are one unknown token.
            if is_unknown && !was_unknown {
                out.extend(self.unknown);
            }
            was_unknown = is_unknown;
            at = symbol.next;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::order;

    #[test]
    fn scores_keep_their_order_as_integers() {
        let sorted = [f32::NAN, f32::NEG_INFINITY, -1e9, -2.0, -0.5, 0.0, 1e-9, 3.0, f32::INFINITY];
        assert!(sorted.windows(2).all(|w| order(w[0]) < order(w[1])));
    }
}
