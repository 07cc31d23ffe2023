//! Attention of all tokens of a step, shared out among the threads.

use super::{KvCache, Span};
use crate::kernel::{Attention, Cached, Compute};
use std::cell::RefCell;
use std::ops::Range;

/// Positions that are seen in one piece. Longer contexts are seen piece by piece and merged in order, by one thread or by several: the
/// arithmetic is the same.
const PIECE: usize = 1024;

/// One key/value head of a layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer<'a> {
    pub(super) kv: &'a KvCache,
    pub(super) layer: usize,
    pub(super) kv_heads: usize,
    /// Of the query heads that share a key/value head.
    pub(super) group: usize,
    pub(super) head_dim: usize,
    pub(super) scale: f32,
    /// How many positions are seen, a token's own included.
    pub(super) window: usize,
}

thread_local! {
    /// Room for a piece, kept from call to call.
    static PIECES: RefCell<Vec<f32>> = const { RefCell::new(Vec::new()) };
}

impl Layer<'_> {
    /// `out = softmax(scale · q·Kᵀ)·V` of each token over its own sequence's positions up to itself: `q` and `out` are
    /// `[tokens][heads][head_dim]`, `places` has each token's span and position. `scratch` is kept from call to call.
    pub(super) fn attend(
        &self,
        compute: &Compute,
        spans: &[Span],
        places: &[(usize, usize)],
        q: &[f32],
        scratch: &mut Vec<f32>,
        out: &mut [f32],
    ) {
        let width = self.group * self.head_dim;
        let longest = places.iter().map(|&(_, position)| self.pieces(position).len()).max().unwrap_or(0);
        let heads = places.len() * self.kv_heads;
        // With few heads the threads share the pieces of each; else each thread sees all pieces of a head.
        if longest < 2 || heads >= 4 * compute.threads() {
            compute.for_each_chunk(out, width, &|i, out| self.whole(compute, spans, places, i, &q[i * width..], out));
            return;
        }
        let room = self.room();
        scratch.resize(heads * longest * room, 0.0);
        compute.for_each_chunk(scratch, room, &|item, piece| {
            let (i, nth) = (item / longest, item % longest);
            let (span, position) = places[i / self.kv_heads];
            if let Some(piece_of) = self.pieces(position).nth(nth) {
                let blocks = spans[span].blocks;
                let mut seen = self.parts(piece);
                self.see(
                    compute,
                    blocks,
                    i % self.kv_heads,
                    self.positions(position, piece_of),
                    &q[i * width..],
                    &mut seen,
                );
            }
        });
        for (i, (out, pieces)) in out.chunks_mut(width).zip(scratch.chunks_mut(longest * room)).enumerate() {
            let (_, position) = places[i / self.kv_heads];
            let mut pieces = pieces.chunks_mut(room).take(self.pieces(position).len());
            let Some(first) = pieces.next() else { continue };
            let mut all = self.parts(first);
            pieces.for_each(|piece| all.merge(&self.parts(piece)));
            all.finish();
            out.copy_from_slice(all.out);
        }
    }

    /// One token's query heads of key/value head `i % kv_heads`.
    fn whole(
        &self,
        compute: &Compute,
        spans: &[Span],
        places: &[(usize, usize)],
        i: usize,
        q: &[f32],
        out: &mut [f32],
    ) {
        let (span, position) = places[i / self.kv_heads];
        let room = self.room();
        let mut scratch = PIECES.take();
        scratch.resize(2 * room, 0.0);
        let (first, second) = scratch.split_at_mut(room);
        let mut all = self.parts(first);
        for (nth, piece) in self.pieces(position).enumerate() {
            let positions = self.positions(position, piece);
            let (blocks, head) = (spans[span].blocks, i % self.kv_heads);
            if nth == 0 {
                self.see(compute, blocks, head, positions, q, &mut all);
            } else {
                let mut later = self.parts(second);
                self.see(compute, blocks, head, positions, q, &mut later);
                all.merge(&later);
            }
        }
        all.finish();
        out.copy_from_slice(all.out);
        PIECES.set(scratch);
    }

    fn see(
        &self,
        compute: &Compute,
        blocks: &[u32],
        head: usize,
        positions: Range<usize>,
        q: &[f32],
        to: &mut Attention,
    ) {
        let block = |b: usize| {
            let keys = self.kv.keys(self.layer, blocks[b], head);
            let values = self.kv.values(self.layer, blocks[b], head);
            Cached { keys: keys.bytes, key_scales: keys.scales, values: values.bytes, value_scales: values.scales }
        };
        let q = &q[..self.group * self.head_dim];
        compute.attend(self.kv.format().number(), block, positions, self.scale, q, to);
    }

    /// Numbers of the pieces that a token at `position` sees something of.
    fn pieces(&self, position: usize) -> Range<usize> {
        (position + 1).saturating_sub(self.window) / PIECE..position / PIECE + 1
    }

    /// What it sees of a piece.
    fn positions(&self, position: usize, piece: usize) -> Range<usize> {
        let first = (position + 1).saturating_sub(self.window);
        first.max(piece * PIECE)..(position + 1).min((piece + 1) * PIECE)
    }

    /// Floats of an [`Attention`].
    fn room(&self) -> usize {
        self.group * (self.head_dim + 2)
    }

    fn parts<'p>(&self, room: &'p mut [f32]) -> Attention<'p> {
        let (out, rest) = room.split_at_mut(self.group * self.head_dim);
        let (peak, sum) = rest.split_at_mut(self.group);
        Attention { out, peak, sum }
    }
}
