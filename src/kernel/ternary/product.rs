//! Products in which every weight is read: panels and trits.

use super::bytes::{group_sums, keep_scratch, parts, take_scratch};
use super::pack::{GROUP, STEP, STEP_BYTES, UNIT, UNIT_BYTES};
use super::{Layout, Ternary};
use crate::kernel::activations::{Quantised, Row};
use crate::kernel::isa::{Kernel, Task};
use crate::kernel::output::Output;
use std::ops::Range;

/// The product of some row groups with all tokens.
pub(in crate::kernel) struct Product<'a> {
    pub(in crate::kernel) weights: &'a Ternary,
    pub(in crate::kernel) groups: Range<usize>,
    pub(in crate::kernel) x: &'a Quantised,
    pub(in crate::kernel) y: Output<'a>,
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        match self.weights.layout {
            Layout::Trits if self.y.tokens() == 1 => self.trits(kernel),
            Layout::Trits => self.unpacked(kernel, UNIT, unpack_trits::<K>),
            // Registers of 16 bytes are too few to unpack for many tokens at once.
            _ if K::WIDTH == 16 && self.y.tokens() >= 16 => self.unpacked(kernel, STEP, unpack_panels::<K>),
            _ => self.panels(kernel),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn panels<K: Kernel>(&self, kernel: K) {
        for g in self.groups.clone() {
            // Many tokens share one unpacking of the weights; the rest goes by smaller tiles.
            let mut t = 0;
            while t < self.y.tokens() {
                t += match self.y.tokens() - t {
                    // 32 registers of 64 bytes have room for the sums of 16 tokens.
                    16.. if K::WIDTH == 64 => self.tile::<K, 16>(kernel, g, t),
                    8.. => self.tile::<K, 8>(kernel, g, t),
                    4.. => self.tile::<K, 4>(kernel, g, t),
                    2.. => self.tile::<K, 2>(kernel, g, t),
                    _ => self.tile::<K, 1>(kernel, g, t),
                };
            }
        }
    }

    #[inline(always)]
    fn tile<K: Kernel, const T: usize>(&self, kernel: K, g: usize, t: usize) -> usize {
        let x: [Row; T] = std::array::from_fn(|i| self.x.row(t + i));
        let sums = kernel.ternary::<T>(self.weights.block(g), x.map(|x| x.q));
        for (i, sums) in sums.iter().enumerate() {
            self.write(t + i, g, sums);
        }
        T
    }

    #[inline(always)]
    fn trits<K: Kernel>(&self, kernel: K) {
        let q: &[u8] = bytemuck::cast_slice(self.x.row(0).q);
        for g in self.groups.clone() {
            let group = self.weights.block(g);
            let sums = match K::WIDTH {
                // Two sums a field where there would be only three chains of products.
                64 => trit_sums::<K, 1, 2>(kernel, group, q),
                32 => trit_sums::<K, 2, 1>(kernel, group, q),
                _ => trit_sums::<K, 4, 1>(kernel, group, q),
            };
            self.write(0, g, &sums);
        }
    }

    /// Groups that `unpack` makes bytes of, some columns at a time, for all tokens.
    #[inline(always)]
    fn unpacked<K: Kernel>(&self, kernel: K, columns: usize, unpack: impl Fn(K, &[u8], &mut [u8])) {
        let vectors = self.weights.cols.div_ceil(4);
        let mut codes = take_scratch(self.weights.cols.next_multiple_of(columns) * GROUP);
        for g in self.groups.clone() {
            unpack(kernel, self.weights.block(g), &mut codes);
            let q = |t: usize| -> &[u8] { bytemuck::cast_slice(self.x.row(t).q) };
            let put = |t: usize, sums: &[i32; GROUP]| self.write(t, g, sums);
            group_sums(kernel, &codes[..vectors * 64], self.y.tokens(), q, put);
        }
        keep_scratch(codes);
    }

    #[inline(always)]
    fn write(&self, t: usize, g: usize, sums: &[i32; GROUP]) {
        let first = g * GROUP;
        let rows = GROUP.min(self.weights.rows - first);
        let y = finish(self.x.row(t), self.weights.scale, sums);
        self.y.write_some(t, first, &y, rows);
    }
}

/// Outputs of rows whose sums of `code·q` are given.
#[inline(always)]
pub(super) fn finish<const N: usize>(x: Row, scale: f32, sums: &[i32; N]) -> [f32; N] {
    let s = x.scale[0];
    let mut y = [0f32; N];
    for (y, sum) in y.iter_mut().zip(sums) {
        *y = (sum - x.total) as f32 / s * scale;
    }
    y
}

/// How many units ahead of the products their cache lines are asked for.
const AHEAD: usize = 12;

/// One token: `P` parts are all of a 64-byte vector, each field has `C` sums.
#[inline(always)]
fn trit_sums<K: Kernel, const P: usize, const C: usize>(kernel: K, group: &[u8], q: &[u8]) -> [i32; GROUP] {
    let mut sums = [[[kernel.no_sums(); 3]; C]; P];
    let units = group.as_chunks::<UNIT_BYTES>().0;
    let (whole, rest) = q.as_chunks::<UNIT>();
    // The activations end within the last unit, or behind it.
    let mut padded = [0; UNIT];
    padded[..rest.len()].copy_from_slice(rest);
    for (u, unit) in units.iter().enumerate() {
        // What comes next is asked for early: unpacking leaves the loads too few places to wait in.
        for line in units.get(u + AHEAD).unwrap_or(unit).as_chunks::<64>().0 {
            kernel.prefetch(line);
        }
        let q = whole.get(u).unwrap_or(&padded);
        for v in 0..4 {
            for p in 0..P {
                let fifths = kernel.load(&unit[p * K::WIDTH..]);
                let nibbles = kernel.nibbles(kernel.load(&unit[64 + v * 64 + p * K::WIDTH..]));
                for i in 0..2 {
                    let at = 12 * (2 * v + i);
                    let trits = kernel.trits(nibbles[i], fifths, 2 * v + i);
                    for f in 0..3 {
                        let word = kernel.word(&q.as_chunks::<4>().0[at / 4 + f]);
                        sums[p][i % C][f] = kernel.dot(sums[p][i % C][f], trits[f], word);
                    }
                }
            }
        }
    }
    let mut all = [0; GROUP];
    for (p, sums) in sums.iter().enumerate() {
        let mut total = kernel.no_sums();
        for fields in sums {
            for (f, &sums) in fields.iter().enumerate() {
                total = kernel.add(total, if K::SCALED_TRITS { kernel.unscale(f, sums) } else { sums });
            }
        }
        kernel.store_sums(total, &mut all[p * K::WIDTH / 4..]);
    }
    all
}

/// `codes` becomes `[columns / 4][16][4]`.
#[inline(always)]
fn unpack_trits<K: Kernel>(kernel: K, group: &[u8], codes: &mut [u8]) {
    for (unit, codes) in group.as_chunks::<UNIT_BYTES>().0.iter().zip(codes.as_chunks_mut::<{ UNIT * GROUP }>().0) {
        for at in parts::<K>() {
            let fifths = kernel.load(&unit[at..]);
            for v in 0..4 {
                let nibbles = kernel.nibbles(kernel.load(&unit[64 + v * 64 + at..]));
                for i in 0..2 {
                    let trits = kernel.plain_trits(nibbles[i], fifths, 2 * v + i);
                    for f in 0..3 {
                        kernel.store_bytes(trits[f], &mut codes[(3 * (2 * v + i) + f) * 64 + at..]);
                    }
                }
            }
        }
    }
}

/// The same of panels.
#[inline(always)]
fn unpack_panels<K: Kernel>(kernel: K, group: &[u8], codes: &mut [u8]) {
    for (step, codes) in group.as_chunks::<STEP_BYTES>().0.iter().zip(codes.as_chunks_mut::<{ STEP * GROUP }>().0) {
        for at in parts::<K>() {
            let fields = kernel.fields(kernel.load(&step[at..]));
            for f in 0..4 {
                kernel.store_bytes(fields[f], &mut codes[64 * f + at..]);
            }
        }
    }
}
