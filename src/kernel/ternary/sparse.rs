//! Products that leave out what is multiplied by zero: rows that nobody wants, columns whose input is zero.
//!
//! A squared-ReLU layer computes `gate` for all neurons. Where that is not positive the neuron's value is exactly 0, so neither
//! its row of `up` nor its column of `down` is needed. Sums are of integers, so leaving terms out that are 0 changes no bit.

use super::Ternary;
use super::bytes::{ROWS, group_sums, keep_scratch, keep_sums, parts, row_sums, take_scratch, take_sums};
use super::pack::{COLUMN_BLOCK, GROUP, ROW_STEP};
use super::product::finish;
use crate::kernel::activations::Quantised;
use crate::kernel::isa::{Kernel, Task};
use crate::kernel::output::Output;
use std::ops::Range;

/// Products of rows in [`super::Layout::Rows`]: of all tokens with rows `rows`, or of one token with `wanted[rows]`.
pub(in crate::kernel) struct RowProduct<'a> {
    pub(in crate::kernel) weights: &'a Ternary,
    pub(in crate::kernel) wanted: Option<&'a [u32]>,
    pub(in crate::kernel) rows: Range<usize>,
    pub(in crate::kernel) x: &'a Quantised,
    pub(in crate::kernel) y: Output<'a>,
}

impl Task for RowProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        if self.wanted.is_none() && self.y.tokens() > 1 {
            return self.many(kernel);
        }
        let row = |i: usize| self.wanted.map_or(i, |wanted| wanted[i] as usize);
        let mut i = self.rows.start;
        while i < self.rows.end {
            for next in (i + ROWS_AHEAD..i + ROWS_AHEAD + ROWS).take_while(|&next| next < self.rows.end) {
                for line in self.weights.block(row(next)).as_chunks::<64>().0 {
                    kernel.prefetch(line);
                }
            }
            // Four rows share the loads of activations, and none waits for another's sums.
            if i + ROWS <= self.rows.end {
                self.some(kernel, [row(i), row(i + 1), row(i + 2), row(i + 3)]);
                i += ROWS;
            } else {
                self.some(kernel, [row(i)]);
                i += 1;
            }
        }
    }
}

impl RowProduct<'_> {
    /// One token with some rows.
    #[inline(always)]
    fn some<K: Kernel, const R: usize>(&self, kernel: K, rows: [usize; R]) {
        let x = self.x.row(0);
        let q = bytemuck::cast_slice::<i8, u8>(x.q).as_chunks::<ROW_STEP>().0;
        let steps = self.weights.cols.div_ceil(ROW_STEP);
        let mut w: [&[[u8; 64]]; R] = [&[]; R];
        for r in 0..R {
            w[r] = &self.weights.block(rows[r]).as_chunks().0[..steps];
        }
        let mut sums = [[kernel.no_sums(); 4]; R];
        for (s, q) in q[..steps].iter().enumerate() {
            for at in parts::<K>() {
                let x = [
                    kernel.load(&q[at..]),
                    kernel.load(&q[64 + at..]),
                    kernel.load(&q[128 + at..]),
                    kernel.load(&q[192 + at..]),
                ];
                for r in 0..R {
                    let fields = kernel.scaled_fields(kernel.load(&w[r][s][at..]));
                    for f in 0..4 {
                        sums[r][f] = kernel.dot(sums[r][f], fields[f], x[f]);
                    }
                }
            }
        }
        let mut all = [kernel.no_sums(); ROWS];
        for r in 0..R {
            for (f, &sums) in sums[r].iter().enumerate() {
                all[r] = kernel.add(all[r], kernel.unscale(f, sums));
            }
        }
        let y = finish(x, self.weights.scale, &kernel.totals(all));
        for r in 0..R {
            self.y.write(0, rows[r], &y[r..=r]);
        }
    }

    #[inline(always)]
    fn many<K: Kernel>(&self, kernel: K) {
        let cols = self.weights.cols.next_multiple_of(ROW_STEP);
        let mut codes = take_scratch(ROWS * cols);
        for first in self.rows.clone().step_by(ROWS) {
            let rows = ROWS.min(self.rows.end - first);
            for (r, codes) in codes.chunks_exact_mut(cols).take(rows).enumerate() {
                unpack_row(kernel, self.weights.block(first + r), codes);
            }
            let q = |t: usize| -> &[u8] { bytemuck::cast_slice(self.x.row(t).q) };
            let put = |t: usize, sums: &[i32; ROWS]| {
                let y = finish(self.x.row(t), self.weights.scale, sums);
                self.y.write_some(t, first, &y, rows);
            };
            row_sums(kernel, &codes[..ROWS * cols], self.y.tokens(), q, put);
        }
        keep_scratch(codes);
    }
}

#[inline(always)]
fn unpack_row<K: Kernel>(kernel: K, row: &[u8], codes: &mut [u8]) {
    for (step, codes) in row.as_chunks::<64>().0.iter().zip(codes.as_chunks_mut::<ROW_STEP>().0) {
        for at in parts::<K>() {
            let fields = kernel.fields(kernel.load(&step[at..]));
            for f in 0..4 {
                kernel.store_bytes(fields[f], &mut codes[64 * f + at..]);
            }
        }
    }
}

/// Products of blocks of 256 rows in [`super::Layout::Columns`].
pub(in crate::kernel) struct ColumnProduct<'a> {
    pub(in crate::kernel) weights: &'a Ternary,
    pub(in crate::kernel) parts: Range<usize>,
    pub(in crate::kernel) x: &'a Quantised,
    pub(in crate::kernel) y: Output<'a>,
}

/// Columns that are unpacked at once for many tokens.
const STEP_COLUMNS: usize = 256;

/// How many rows ahead of the products their cache lines are asked for.
const ROWS_AHEAD: usize = 4;
/// The same of columns.
const AHEAD: usize = 32;

impl Task for ColumnProduct<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        for part in self.parts.clone() {
            if self.y.tokens() == 1 {
                self.one(kernel, part);
            } else {
                self.many(kernel, part);
            }
        }
    }
}

impl ColumnProduct<'_> {
    #[inline(always)]
    fn one<K: Kernel>(&self, kernel: K, b: usize) {
        let columns = self.weights.block(b).as_chunks::<64>().0;
        let (places, words) = self.x.nonzero();
        let mut all = [0; COLUMN_BLOCK];
        for at in parts::<K>() {
            // Vector v of interleaved columns, field f.
            let mut sums = [[kernel.no_sums(); 4]; 4];
            for (i, (four, word)) in places.as_chunks::<4>().0.iter().zip(words.as_chunks::<4>().0).enumerate() {
                if at == 0 {
                    for &next in places.iter().skip(4 * i + AHEAD).take(4) {
                        kernel.prefetch(&columns[next as usize]);
                    }
                }
                let w = [
                    kernel.load(&columns[four[0] as usize][at..]),
                    kernel.load(&columns[four[1] as usize][at..]),
                    kernel.load(&columns[four[2] as usize][at..]),
                    kernel.load(&columns[four[3] as usize][at..]),
                ];
                let (w, x) = (kernel.interleave(w), kernel.word(word));
                for v in 0..4 {
                    let fields = kernel.scaled_fields(w[v]);
                    for f in 0..4 {
                        sums[v][f] = kernel.dot(sums[v][f], fields[f], x);
                    }
                }
            }
            for (v, fields) in sums.iter().enumerate() {
                for (f, &sums) in fields.iter().enumerate() {
                    let mut lanes = [0; GROUP];
                    kernel.store_sums(kernel.unscale(f, sums), &mut lanes);
                    for (l, lanes) in lanes[..K::WIDTH / 4].as_chunks::<4>().0.iter().enumerate() {
                        all[64 * f + at + 16 * l + 4 * v..][..4].copy_from_slice(lanes);
                    }
                }
            }
        }
        let first = b * COLUMN_BLOCK;
        let rows = COLUMN_BLOCK.min(self.weights.rows - first);
        let y = finish(self.x.row(0), self.weights.scale, &all);
        self.y.write_some(0, first, &y, rows);
    }

    /// A block with all tokens, some columns at a time: unpacked codes that stay in the cache.
    #[inline(always)]
    fn many<K: Kernel>(&self, kernel: K, b: usize) {
        let columns = self.weights.block(b).as_chunks::<64>().0;
        let tokens = self.y.tokens();
        let mut codes = take_scratch(STEP_COLUMNS * COLUMN_BLOCK);
        // `[tokens][group][16]`
        let mut sums = take_sums(tokens * COLUMN_BLOCK);
        sums[..tokens * COLUMN_BLOCK].fill(0);
        for (step, columns) in columns.chunks(STEP_COLUMNS).enumerate() {
            let vectors = columns.len() / 4;
            for (i, four) in columns.as_chunks::<4>().0.iter().enumerate() {
                for at in parts::<K>() {
                    let w = kernel.interleave([
                        kernel.load(&four[0][at..]),
                        kernel.load(&four[1][at..]),
                        kernel.load(&four[2][at..]),
                        kernel.load(&four[3][at..]),
                    ]);
                    for v in 0..4 {
                        let fields = kernel.fields(w[v]);
                        for f in 0..4 {
                            kernel.store_bytes(fields[f], &mut codes[((4 * f + v) * vectors + i) * 64 + at..]);
                        }
                    }
                }
            }
            for group in 0..GROUP {
                let q = |t: usize| -> &[u8] { &bytemuck::cast_slice(self.x.row(t).q)[step * STEP_COLUMNS..] };
                let put = |t: usize, more: &[i32; GROUP]| {
                    let sums = &mut sums[t * COLUMN_BLOCK + group * GROUP..][..GROUP];
                    sums.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
                };
                group_sums(kernel, &codes[group * vectors * 64..][..vectors * 64], tokens, q, put);
            }
        }
        let first = b * COLUMN_BLOCK;
        let rows = COLUMN_BLOCK.min(self.weights.rows - first);
        for t in 0..tokens {
            let mut all = [0; COLUMN_BLOCK];
            for (group, lanes) in sums[t * COLUMN_BLOCK..].as_chunks::<GROUP>().0[..GROUP].iter().enumerate() {
                let (f, v) = (group / 4, group % 4);
                for (l, lanes) in lanes.as_chunks::<4>().0.iter().enumerate() {
                    all[64 * f + 16 * l + 4 * v..][..4].copy_from_slice(lanes);
                }
            }
            let y = finish(self.x.row(t), self.weights.scale, &all);
            self.y.write_some(t, first, &y, rows);
        }
        keep_scratch(codes);
        keep_sums(sums);
    }
}
