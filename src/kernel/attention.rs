//! Attention of query heads over one block of 32 cached positions.
//!
//! Keys are stored by element, `[head_dim][32]`: a vector holds one element of 32 positions, their scores grow side by side,
//! and no sum is taken across lanes. `score[p] = Σ_i q[i] · k[i][p]` adds in order of i, `out[i] += p[s] · v[s][i]` in order of
//! positions; products are not fused.

use super::float::{Element, F16, F32, I8, LANES, load_at};
use super::isa::{Kernel, Task};
use std::ops::Range;

/// Query heads that share a load.
const TILE: usize = 4;

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

/// `out[h][p] = Σ_i q[h][i] · k[i][p]`
pub(super) struct Scores<'a> {
    pub(super) number: Number,
    /// `[head_dim][32]`
    pub(super) keys: &'a [u8],
    /// `[heads][head_dim]`
    pub(super) q: &'a [f32],
    /// `[heads][32]`
    pub(super) out: &'a mut [[f32; LANES]],
}

impl Task for Scores<'_> {
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

impl Scores<'_> {
    #[inline(always)]
    fn all<K: Kernel, E: Element>(self, kernel: K) {
        let d = self.keys.len() / (LANES * E::BYTES);
        assert_eq!(self.q.len(), self.out.len() * d, "queries for as many heads as scores");
        for (q, out) in self.q.chunks(TILE * d).zip(self.out.chunks_mut(TILE)) {
            match out {
                [a, b, c, e] => {
                    let all = scores::<K, E, TILE>(kernel, self.keys, std::array::from_fn(|h| &q[h * d..(h + 1) * d]));
                    [*a, *b, *c, *e] = all;
                }
                _ => {
                    for (q, out) in q.chunks(d).zip(out) {
                        [*out] = scores::<K, E, 1>(kernel, self.keys, [q]);
                    }
                }
            }
        }
    }
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

/// `out[h][i] += Σ_s p[h][s] · v[s][i]` over `slots`
pub(super) struct Accumulate<'a> {
    pub(super) number: Number,
    /// `[32][head_dim]`
    pub(super) values: &'a [u8],
    pub(super) slots: Range<usize>,
    /// `[heads][32]`
    pub(super) p: &'a [[f32; LANES]],
    /// `[heads][head_dim]`
    pub(super) out: &'a mut [f32],
}

impl Task for Accumulate<'_> {
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

impl Accumulate<'_> {
    #[inline(always)]
    fn all<K: Kernel, E: Element>(self, kernel: K) {
        let Self { values, slots, p, out, .. } = self;
        let d = values.len() / (LANES * E::BYTES);
        assert_eq!(out.len(), p.len() * d, "room for as many heads as there are weights");
        let values = &values[slots.start * d * E::BYTES..slots.end * d * E::BYTES];
        for (p, out) in p.chunks(TILE).zip(out.chunks_mut(TILE * d)) {
            let part = |h: usize| &p[h][slots.clone()];
            match p.len() {
                TILE => accumulate::<K, E, TILE>(kernel, values, std::array::from_fn(part), d, out),
                heads => {
                    for (h, out) in (0..heads).zip(out.chunks_mut(d)) {
                        accumulate::<K, E, 1>(kernel, values, [part(h)], d, out);
                    }
                }
            }
        }
    }
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
        let mut sums: [K::Lanes; H] = std::array::from_fn(|h| {
            load_at::<K, F32>(kernel, bytemuck::cast_slice(&out[h * d + at..h * d + at + width]), 0)
        });
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
