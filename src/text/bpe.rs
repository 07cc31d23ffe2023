//! Byte-level BPE: pairs of tokens are merged in the order in which training found them.

use super::Token;
use super::index::Index;
use super::split::{Pre, split};
use super::vocab::Vocab;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The merges of a byte-level vocabulary.
pub(super) struct Bpe {
    pub(super) pre: &'static Pre,
    /// Left part, right part, result; the most important merge first.
    merges: Vec<[Token; 3]>,
    /// Merges by their two parts.
    index: Index,
    /// The token of each byte, or [`NONE`].
    bytes: [Token; 256],
    /// What a byte without a token becomes.
    unknown: Option<Token>,
}

/// No token, no neighbour.
const NONE: u32 = u32::MAX;

/// A piece longer than this is cut, so that positions fit 32 bits.
const LONGEST_PIECE: usize = 1 << 24;

/// A token in a doubly linked list over the bytes of a piece.
#[derive(Clone, Copy)]
struct Symbol {
    token: Token,
    prev: u32,
    next: u32,
}

/// Memory that is reused from piece to piece.
#[derive(Default)]
pub(super) struct Work {
    symbols: Vec<Symbol>,
    /// Possible merges, rank in the high half, position in the low half: best rank first, then leftmost.
    queue: BinaryHeap<Reverse<u64>>,
    /// Entries taken from the queue, for the tests of its bounds.
    #[cfg(test)]
    pub(super) taken: usize,
}

impl Bpe {
    /// From pairs of names. A merge whose parts or result are no text tokens can never happen and is left out.
    pub(super) fn new<'m>(
        vocab: &Vocab,
        pre: &'static Pre,
        unknown: Option<Token>,
        merges: impl ExactSizeIterator<Item = (&'m str, &'m str)>,
    ) -> Self {
        let total = merges.len();
        let mut index = Index::new(total);
        let mut kept: Vec<[Token; 3]> = Vec::with_capacity(total);
        let mut text = Vec::new();
        for (left, right) in merges {
            let Some(l) = vocab.find_spelled(left, &mut text) else { continue };
            let Some(r) = vocab.find_spelled(right, &mut text) else { continue };
            text.clear();
            text.extend_from_slice(vocab.bytes(l));
            text.extend_from_slice(vocab.bytes(r));
            let Some(result) = vocab.find(&text) else { continue };
            // The first mention of a pair is its rank.
            if index.get(&(l, r), |m| kept[m as usize][..2] == [l, r]).is_none()
                && let Ok(rank) = u32::try_from(kept.len())
            {
                index.insert(&(l, r), rank);
                kept.push([l, r, result]);
            }
        }
        if kept.len() < total {
            log::debug!("{} of {total} merges are repeated or name no tokens", total - kept.len());
        }
        let bytes = std::array::from_fn(|byte| vocab.find(&[byte as u8]).unwrap_or(NONE));
        Self { pre, merges: kept, index, bytes, unknown }
    }

    /// The pairs, most important first.
    pub(super) fn merges(&self) -> impl Iterator<Item = (Token, Token)> {
        self.merges.iter().map(|&[left, right, _]| (left, right))
    }

    /// Appends the tokens of a text without special tokens.
    pub(super) fn encode(&self, vocab: &Vocab, text: &str, work: &mut Work, out: &mut Vec<Token>) {
        split(self.pre.steps, text, &mut |piece| {
            let whole = if self.pre.whole_words { vocab.find(piece.as_bytes()) } else { None };
            match whole {
                Some(token) => out.push(token),
                None => piece.as_bytes().chunks(LONGEST_PIECE).for_each(|part| self.merge(part, work, out)),
            }
        });
    }

    /// Merges the bytes of a piece: O(n log n), since each merge queues at most two new ones.
    fn merge(&self, piece: &[u8], work: &mut Work, out: &mut Vec<Token>) {
        let Work {
            symbols,
            queue,
            #[cfg(test)]
            taken,
            ..
        } = &mut *work;
        symbols.clear();
        queue.clear();
        let last = piece.len() as u32 - 1;
        symbols.extend((0..=last).zip(piece).map(|(at, &byte)| Symbol {
            token: self.bytes[usize::from(byte)],
            prev: at.wrapping_sub(1),
            next: if at == last { NONE } else { at + 1 },
        }));
        // Building the heap at once is linear.
        let mut first = std::mem::take(queue).into_vec();
        first.extend((0..last).filter_map(|at| self.candidate(symbols, at)));
        *queue = first.into();
        while let Some(Reverse(entry)) = queue.pop() {
            #[cfg(test)]
            {
                *taken += 1;
            }
            let (rank, at) = ((entry >> 32) as u32, entry as u32);
            let [left, right, result] = self.merges[rank as usize];
            let Symbol { token, prev, next } = symbols[at as usize];
            // Skip what an earlier merge has changed. A removed symbol's token is NONE.
            if token != left || next == NONE || symbols[next as usize].token != right {
                continue;
            }
            let after = symbols[next as usize].next;
            symbols[next as usize].token = NONE;
            symbols[at as usize] = Symbol { token: result, prev, next: after };
            if after != NONE {
                symbols[after as usize].prev = at;
                queue.extend(self.candidate(symbols, at));
            }
            if prev != NONE {
                queue.extend(self.candidate(symbols, prev));
            }
        }
        let mut at = 0;
        while at != NONE {
            let symbol = symbols[at as usize];
            out.extend(Some(symbol.token).filter(|&t| t != NONE).or(self.unknown));
            at = symbol.next;
        }
    }

    /// The queue entry for merging the symbol at `at` with the next one.
    fn candidate(&self, symbols: &[Symbol], at: u32) -> Option<Reverse<u64>> {
        let left = symbols[at as usize];
        let pair = (left.token, symbols[left.next as usize].token);
        let rank = self.index.get(&pair, |m| {
            let [l, r, _] = self.merges[m as usize];
            (l, r) == pair
        })?;
        Some(Reverse(u64::from(rank) << 32 | u64::from(at)))
    }
}
