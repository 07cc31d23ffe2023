//! Attention of one token's query heads over the cached keys and values of one key/value head.

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
    let number = head.kv.format().number();
    let heads = q.len() / head.head_dim;
    let mut max = [f32::NEG_INFINITY; HEADS];
    let mut sum = [0.0f32; HEADS];
    let mut scores = [[0.0f32; BLOCK]; HEADS];
    let scores = &mut scores[..heads];
    out.fill(0.0);
    let mut start = positions.start;
    while start < positions.end {
        let (block, first) = (start / BLOCK, start % BLOCK);
        let slots = first..BLOCK.min(first + positions.end - start);
        let keys = head.kv.keys(head.layer, head.blocks[block], head.head);
        let values = head.kv.values(head.layer, head.blocks[block], head.head);
        compute.scores(number, keys.bytes, q, scores);
        let all = scores.iter_mut().zip(out.chunks_mut(head.head_dim)).zip(max.iter_mut().zip(&mut sum));
        for ((p, out), (max, sum)) in all {
            scale_by(p, keys.scales);
            let p_slots = &mut p[slots.clone()];
            p_slots.iter_mut().for_each(|p| *p *= scale);
            let top = p_slots.iter().fold(*max, |a, &b| a.max(b));
            let shrink = math::exp(*max - top);
            math::exp_all(p_slots, top);
            *max = top;
            *sum = *sum * shrink + p_slots.iter().sum::<f32>();
            out.iter_mut().for_each(|o| *o *= shrink);
            scale_by(p, values.scales);
        }
        compute.accumulate(number, values.bytes, slots.clone(), scores, out);
        start += slots.len();
    }
    for (out, sum) in out.chunks_mut(head.head_dim).zip(sum) {
        out.iter_mut().for_each(|o| *o /= sum);
    }
}

/// Multiplies by the scale of each position, where there are scales.
fn scale_by(p: &mut [f32], scales: &[f32]) {
    p.iter_mut().zip(scales).for_each(|(p, scale)| *p *= scale);
}
