//! Attention of query heads over cached positions, which lie in blocks of 32.
//!
//! Keys are stored by element, `[head_dim][32]`: a vector holds one element of 32 positions, their scores grow side by side,
//! and no sum is taken across lanes. `score[p] = Σ_i q[i] · k[i][p]` adds in order of i, `out[i] += p[s] · v[s][i]` in order of
//! positions; both are fused. Weights of a block are added by halves (lane j and j + 16, then + 8, …).

use super::exp::exp;
use super::float::{Element, F16, F32, I8, LANES, load_at, reduce};
use super::isa::{Kernel, Task};
use std::ops::Range;

/// Query heads that share a load.
const TILE: usize = 4;
/// Query heads handled in one pass over the keys.
const HEADS: usize = 8;

/// How a cached number is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// Single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// A whole number that the caller scales.
    I8,
}

impl Number {
    /// Bytes of one.
    pub const fn bytes(self) -> usize {
        match self {
            Number::F32 => 4,
            Number::F16 => 2,
            Number::I8 => 1,
        }
    }
}

/// A block of 32 cached positions of one key/value head.
#[derive(Debug, Clone, Copy)]
pub struct Cached<'a> {
    /// `[head_dim][32]`
    pub keys: &'a [u8],
    /// What the keys of each position are multiplied by; empty: nothing.
    pub key_scales: &'a [f32],
    /// `[32][head_dim]`
    pub values: &'a [u8],
    /// As `key_scales`.
    pub value_scales: &'a [f32],
}

/// What query heads that share a key/value head see in some positions: `out / sum` is their attention, if there are no others.
#[derive(Debug)]
pub struct Attention<'a> {
    /// `Σ_p e^(score − peak) · value`, `[heads][head_dim]`.
    pub out: &'a mut [f32],
    /// Each head's highest score.
    pub peak: &'a mut [f32],
    /// Each head's `Σ_p e^(score − peak)`.
    pub sum: &'a mut [f32],
}

impl Attention<'_> {
    /// Adds what was seen in later positions.
    pub fn merge(&mut self, later: &Attention) {
        let d = self.out.len() / self.peak.len();
        for h in 0..self.peak.len() {
            let peak = self.peak[h].max(later.peak[h]);
            let [a, b] = [self.peak[h], later.peak[h]].map(|old| exp(old - peak));
            self.peak[h] = peak;
            self.sum[h] = self.sum[h] * a + later.sum[h] * b;
            let out = &mut self.out[h * d..(h + 1) * d];
            out.iter_mut().zip(&later.out[h * d..]).for_each(|(x, y)| *x = *x * a + *y * b);
        }
    }

    /// Makes `out` the attention.
    pub fn finish(&mut self) {
        let d = self.out.len() / self.peak.len();
        for (out, sum) in self.out.chunks_mut(d).zip(&*self.sum) {
            out.iter_mut().for_each(|x| *x /= sum);
        }
    }
}

/// Fills an [`Attention`] over `positions`, block by block with a running maximum and sum (online softmax, arXiv 1805.02867): keys are
/// read once for all heads, nothing grows with the context, and the order of operations depends on `positions` alone.
pub(super) struct Attend<'a, 'b, B> {
    pub(super) number: Number,
    /// Block b holds positions `32b..32b + 32`.
    pub(super) block: B,
    pub(super) positions: Range<usize>,
    /// What dot products of queries and keys are multiplied by.
    pub(super) scale: f32,
    /// `[heads][head_dim]`
    pub(super) q: &'a [f32],
    pub(super) to: &'a mut Attention<'b>,
}

impl<'c, B: Fn(usize) -> Cached<'c>> Task for Attend<'_, '_, B> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        match self.number {
            Number::F32 => self.all::<K, F32>(kernel),
            Number::F16 => self.all::<K, F16>(kernel),
            Number::I8 => self.all::<K, I8>(kernel),
        }
    }
}

impl<'c, B: Fn(usize) -> Cached<'c>> Attend<'_, '_, B> {
    #[inline(always)]
    fn all<K: Kernel, E: Element>(self, kernel: K) {
        let heads = self.to.peak.len();
        let d = self.q.len() / heads;
        assert_eq!((self.q.len(), self.to.out.len(), self.to.sum.len()), (heads * d, heads * d, heads), "heads fit");
        self.to.out.fill(0.0);
        self.to.peak.fill(f32::NEG_INFINITY);
        self.to.sum.fill(0.0);
        for first in (0..heads).step_by(HEADS) {
            let some = first..heads.min(first + HEADS);
            let wide = some.start * d..some.end * d;
            let mut part = Attention {
                out: &mut self.to.out[wide.clone()],
                peak: &mut self.to.peak[some.clone()],
                sum: &mut self.to.sum[some],
            };
            let mut start = self.positions.start;
            while start < self.positions.end {
                let (b, from) = (start / LANES, start % LANES);
                let slots = from..LANES.min(from + self.positions.end - start);
                start += slots.len();
                see::<K, E>(kernel, (self.block)(b), slots, self.scale, &self.q[wide.clone()], d, &mut part);
            }
        }
    }
}

/// Adds one block.
#[inline(always)]
fn see<K: Kernel, E: Element>(
    kernel: K,
    block: Cached,
    slots: Range<usize>,
    scale: f32,
    q: &[f32],
    d: usize,
    to: &mut Attention,
) {
    assert!(block.keys.len() == LANES * d * E::BYTES && block.values.len() == block.keys.len(), "a block of {d}");
    let heads = to.peak.len();
    let mut all = [[0.0; LANES]; HEADS];
    let all = &mut all[..heads];
    for (q, out) in q.chunks(TILE * d).zip(all.chunks_mut(TILE)) {
        match out {
            [a, b, c, e] => {
                let q = [&q[..d], &q[d..2 * d], &q[2 * d..3 * d], &q[3 * d..4 * d]];
                [*a, *b, *c, *e] = scores::<K, E, TILE>(kernel, block.keys, q);
            }
            _ => {
                for (q, out) in q.chunks(d).zip(out) {
                    [*out] = scores::<K, E, 1>(kernel, block.keys, [q]);
                }
            }
        }
    }
    let outside = |p: usize| p < slots.start || p >= slots.end;
    for (h, p) in all.iter_mut().enumerate() {
        scale_by(p, block.key_scales);
        for (i, p) in p.iter_mut().enumerate() {
            *p = if outside(i) { f32::NEG_INFINITY } else { *p * scale };
        }
        let top = to.peak[h].max(largest(*p));
        if top > to.peak[h] {
            let shrink = exp(to.peak[h] - top);
            to.peak[h] = top;
            to.sum[h] *= shrink;
            to.out[h * d..(h + 1) * d].iter_mut().for_each(|x| *x *= shrink);
        }
        for p in p.iter_mut() {
            *p = exp(*p - top);
        }
        to.sum[h] += reduce(*p);
        scale_by(p, block.value_scales);
    }
    let values = &block.values[slots.start * d * E::BYTES..slots.end * d * E::BYTES];
    for (p, out) in all.chunks(TILE).zip(to.out.chunks_mut(TILE * d)) {
        match p {
            [a, b, c, e] => {
                let p = [&a[slots.clone()], &b[slots.clone()], &c[slots.clone()], &e[slots.clone()]];
                accumulate::<K, E, TILE>(kernel, values, p, d, out);
            }
            _ => {
                for (p, out) in p.iter().zip(out.chunks_mut(d)) {
                    accumulate::<K, E, 1>(kernel, values, [&p[slots.clone()]], d, out);
                }
            }
        }
    }
}

/// Multiplies by the scale of each position, where there are scales.
#[inline(always)]
fn scale_by(p: &mut [f32; LANES], scales: &[f32]) {
    if let Some(scales) = scales.first_chunk::<LANES>() {
        p.iter_mut().zip(scales).for_each(|(p, scale)| *p *= scale);
    }
}

#[inline(always)]
fn largest(mut p: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for j in 0..half {
            p[j] = p[j].max(p[j + half]);
        }
        half /= 2;
    }
    p[0]
}

#[inline(always)]
fn scores<K: Kernel, E: Element, const H: usize>(kernel: K, keys: &[u8], q: [&[f32]; H]) -> [[f32; LANES]; H] {
    let mut sums = [kernel.splat(0.0); H];
    for (i, k) in keys.chunks_exact(LANES * E::BYTES).enumerate() {
        let k = E::load(kernel, k);
        for h in 0..H {
            sums[h] = kernel.add_products(sums[h], kernel.splat(q[h][i]), k);
        }
    }
    sums.map(|sums| kernel.store(sums))
}

#[inline(always)]
fn accumulate<K: Kernel, E: Element, const H: usize>(
    kernel: K,
    values: &[u8],
    p: [&[f32]; H],
    d: usize,
    out: &mut [f32],
) {
    for at in (0..d).step_by(LANES) {
        let width = LANES.min(d - at);
        let mut sums = [kernel.splat(0.0); H];
        for h in 0..H {
            sums[h] = load_at::<K, F32>(kernel, bytemuck::cast_slice(&out[h * d + at..h * d + at + width]), 0);
        }
        for (s, row) in values.chunks_exact(d * E::BYTES).enumerate() {
            let v = load_at::<K, E>(kernel, row, at);
            for h in 0..H {
                sums[h] = kernel.add_products(sums[h], kernel.splat(p[h][s]), v);
            }
        }
        for (h, sums) in sums.into_iter().enumerate() {
            out[h * d + at..h * d + at + width].copy_from_slice(&kernel.store(sums)[..width]);
        }
    }
}
