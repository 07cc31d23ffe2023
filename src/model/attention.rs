//! Attention of one token's query heads over the cached keys and values of one key/value head.

use super::cache::Rows;
use super::{KvCache, math};
use crate::kernel::Compute;
use std::ops::Range;

/// Query heads handled in one pass over the keys.
const HEADS: usize = 8;

/// What [`attend`] reads: one key/value head of one sequence in one layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head<'a> {
    pub(super) kv: &'a KvCache,
    pub(super) layer: usize,
    pub(super) head: usize,
    pub(super) head_dim: usize,
    pub(super) blocks: &'a [u32],
}

/// `out = softmax(scale · q·Kᵀ)·V` over `positions`, for the query heads `q` (`[group][head_dim]`,
/// as is `out`) that share this key/value head.
///
/// Block by block with a running maximum and sum (online softmax, arXiv 1805.02867): the keys are read once for
/// all heads, nothing grows with the context, and the order of operations depends on `positions` alone.
pub(super) fn attend(compute: &Compute, head: Head, positions: Range<usize>, scale: f32, q: &[f32], out: &mut [f32]) {
    let width = HEADS * head.head_dim;
    for (q, out) in q.chunks(width).zip(out.chunks_mut(width)) {
        attend_few(compute, head, positions.clone(), scale, q, out);
    }
}

fn attend_few(compute: &Compute, head: Head, positions: Range<usize>, scale: f32, q: &[f32], out: &mut [f32]) {
    const BLOCK: usize = KvCache::BLOCK;
    let mut max = [f32::NEG_INFINITY; HEADS];
    let mut sum = [0.0f32; HEADS];
    out.fill(0.0);
    let mut start = positions.start;
    while start < positions.end {
        let (block, first) = (start / BLOCK, start % BLOCK);
        let slots = first..BLOCK.min(first + positions.end - start);
        let keys = head.kv.keys(head.layer, head.blocks[block], head.head);
        let values = head.kv.values(head.layer, head.blocks[block], head.head);
        let heads = q.chunks(head.head_dim).zip(out.chunks_mut(head.head_dim));
        for ((q, out), (max, sum)) in heads.zip(max.iter_mut().zip(&mut sum)) {
            let mut p = [0.0f32; BLOCK];
            let p = &mut p[..slots.len()];
            scores(compute, q, keys, slots.clone(), p);
            p.iter_mut().for_each(|p| *p *= scale);
            let top = p.iter().fold(*max, |a, &b| a.max(b));
            let shrink = math::exp(*max - top);
            math::exp_all(p, top);
            *max = top;
            *sum = *sum * shrink + p.iter().sum::<f32>();
            out.iter_mut().for_each(|o| *o *= shrink);
            accumulate(compute, p, values, slots.clone(), out);
        }
        start += slots.len();
    }
    for (out, sum) in out.chunks_mut(head.head_dim).zip(sum) {
        out.iter_mut().for_each(|o| *o /= sum);
    }
}

fn scores(compute: &Compute, q: &[f32], keys: Rows, slots: Range<usize>, scores: &mut [f32]) {
    let d = q.len();
    for (slot, score) in slots.zip(scores) {
        let row = slot * d..(slot + 1) * d;
        *score = match keys {
            Rows::F16(keys) => compute.dot_f16(q, &keys[row]),
            Rows::F32(keys) => compute.dot(q, &keys[row]),
        };
    }
}

fn accumulate(compute: &Compute, p: &[f32], values: Rows, slots: Range<usize>, out: &mut [f32]) {
    let d = out.len();
    for (slot, &p) in slots.zip(p) {
        let row = slot * d..(slot + 1) * d;
        match values {
            Rows::F16(values) => compute.axpy_f16(p, &values[row], out),
            Rows::F32(values) => compute.axpy(p, &values[row], out),
        }
    }
}
