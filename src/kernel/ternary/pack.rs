//! Where each layout has its codes, and how they get there.
//!
//! # Panels
//!
//! 16 rows form a *group*; a group is a sequence of *steps* of 16 columns, 64 bytes each:
//!
//! ```text
//!            byte 4r   byte 4r+1  byte 4r+2  byte 4r+3      r = 0..16, one 32-bit lane per row
//! bits 1-0   k+0       k+1        k+2        k+3            k = 16 · step
//! bits 3-2   k+4       k+5        k+6        k+7
//! bits 5-4   k+8       k+9        k+10       k+11
//! bits 7-6   k+12      k+13       k+14       k+15
//! ```
//!
//! One load brings 16 rows × 16 columns. A mask leaves one field, four consecutive columns of each row in
//! that row's lane; `vpdpbusd` or `sdot` against four activations that all lanes share adds them to the
//! row's sum. So no sum is ever taken across lanes, activations are loaded once per 16 rows, and a group is
//! one sequential stream.
//!
//! # Trits
//!
//! The same groups and lanes, in units of 96 columns and 320 bytes. Numbers `n = c₀ + 3c₁ + 9c₂` below 27 hold three codes in five bits:
//! vector i of eight has in byte 4r+j the number of columns `12i + j`, `12i + 4 + j` and `12i + 8 + j` of row r. A first
//! 64-byte vector carries their fifth bits (bit i of vector i), four more the low four bits (of vector 2v in their low, of 2v+1 in their
//! high halves). A table look-up makes three 2-bit fields of a number.
//!
//! # Rows
//!
//! Row after row, 256 columns in 64 bytes: byte b holds columns `b`, `64 + b`, `128 + b` and `192 + b`, the first in the low bits.
//!
//! # Columns
//!
//! Blocks of 256 rows; in a block, column after column, 64 bytes each: byte b holds rows `b`, `64 + b`, `128 + b` and `192 + b`. A column
//! of a block is a cache line. Four columns, interleaved by bytes, are lanes as above.

use super::Layout;
use crate::kernel::memory::{Aligned, spread};

/// Rows per group.
pub(in crate::kernel) const GROUP: usize = 16;
/// Columns per step.
pub(in crate::kernel) const STEP: usize = 16;
/// Bytes per step.
pub(in crate::kernel) const STEP_BYTES: usize = GROUP * STEP / 4;
/// Columns per unit of trits.
pub(super) const UNIT: usize = 96;
/// Bytes per unit.
pub(super) const UNIT_BYTES: usize = 320;
/// Columns in a 64-byte vector of [`Layout::Rows`].
pub(super) const ROW_STEP: usize = 256;
/// Rows in a block of [`Layout::Columns`].
pub(super) const COLUMN_BLOCK: usize = 256;

/// Rows that are packed together.
pub(super) fn block_rows(layout: Layout) -> usize {
    match layout {
        Layout::Panels | Layout::Trits => GROUP,
        Layout::Rows => 1,
        Layout::Columns => COLUMN_BLOCK,
    }
}

pub(super) fn blocks(layout: Layout, rows: usize) -> usize {
    rows.div_ceil(block_rows(layout))
}

/// Bytes of a block of rows.
pub(super) fn block_bytes(layout: Layout, cols: usize) -> usize {
    match layout {
        Layout::Panels => cols.div_ceil(STEP) * STEP_BYTES,
        Layout::Trits => cols.div_ceil(UNIT) * UNIT_BYTES,
        Layout::Rows => cols.div_ceil(ROW_STEP) * 64,
        // Whole words of four columns.
        Layout::Columns => cols.next_multiple_of(4) * 64,
    }
}

/// Rows to be packed; `row(r, codes)` writes the codes of row `r`.
pub(super) struct Packer<F> {
    pub(super) rows: usize,
    pub(super) cols: usize,
    pub(super) layout: Layout,
    pub(super) row: F,
}

impl<F: Fn(usize, &mut [u8]) + Sync> Packer<F> {
    /// All blocks one after the other; they are shared out among threads.
    pub(super) fn pack(&self) -> Aligned {
        let (bytes, blocks) = (block_bytes(self.layout, self.cols), blocks(self.layout, self.rows));
        let mut packed = Aligned::zeroed(blocks * bytes);
        spread(&mut packed, bytes, &|first, part| {
            // Columns beyond the matrix are weights 0.
            let mut codes = vec![1; self.cols.next_multiple_of(ROW_STEP).next_multiple_of(UNIT)];
            for (b, block) in part.chunks_exact_mut(bytes.max(1)).enumerate() {
                self.block(first + b, block, &mut codes);
            }
        });
        packed
    }

    fn block(&self, b: usize, block: &mut [u8], codes: &mut [u8]) {
        let each = block_rows(self.layout);
        for r in 0..each.min(self.rows - b * each) {
            (self.row)(b * each + r, &mut codes[..self.cols]);
            match self.layout {
                Layout::Panels => put_in_panels(r, codes, block),
                Layout::Trits => put_in_trits(r, codes, block),
                Layout::Rows => put_row(codes, block),
                Layout::Columns => {
                    let (field, byte) = (r / 64, r % 64);
                    for (code, column) in codes[..self.cols].iter().zip(block.as_chunks_mut::<64>().0) {
                        column[byte] |= code << (2 * field);
                    }
                }
            }
        }
    }
}

fn put_in_panels(r: usize, codes: &[u8], group: &mut [u8]) {
    for (codes, bytes) in codes.as_chunks::<STEP>().0.iter().zip(group.as_chunks_mut::<STEP_BYTES>().0) {
        let lane = &mut bytes[r * 4..][..4];
        for (j, byte) in lane.iter_mut().enumerate() {
            *byte = codes[j] | codes[4 + j] << 2 | codes[8 + j] << 4 | codes[12 + j] << 6;
        }
    }
}

fn put_in_trits(r: usize, codes: &[u8], group: &mut [u8]) {
    for (codes, unit) in codes.as_chunks::<UNIT>().0.iter().zip(group.as_chunks_mut::<UNIT_BYTES>().0) {
        for (i, codes) in codes.as_chunks::<12>().0.iter().enumerate() {
            for j in 0..4 {
                let number = codes[j] + 3 * codes[4 + j] + 9 * codes[8 + j];
                unit[64 + i / 2 * 64 + 4 * r + j] |= (number & 15) << (4 * (i % 2));
                unit[4 * r + j] |= number >> 4 << i;
            }
        }
    }
}

fn put_row(codes: &[u8], row: &mut [u8]) {
    for (codes, bytes) in codes.as_chunks::<ROW_STEP>().0.iter().zip(row.as_chunks_mut::<64>().0) {
        for (b, byte) in bytes.iter_mut().enumerate() {
            *byte = codes[b] | codes[64 + b] << 2 | codes[128 + b] << 4 | codes[192 + b] << 6;
        }
    }
}
