//! Ternary matrices: 2-bit codes, int8 activations per token, exact i32 sums.
//!
//! `y = ((Σ code·q − Σ q) as f32) / s · scale`, in this order, in f32. Codes are 0, 1, 2 for the weights −1, 0, 1: unsigned,
//! as the byte-product instructions want them, and the 1 that is too much in each code is taken out once per row as `Σ q`.
//!
//! # Layout
//!
//! 16 rows form a *group*; a group is a sequence of *steps* of 16 columns, 64 bytes each (rows and columns
//! beyond the matrix are filled with code 1, the weight 0):
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

use super::activations::{Quantised, Row};
use super::isa::{Kernel, Task};
use super::output::Output;
use super::{Error, shape};
use crate::quant::{Format, i2_s, q2_0, tq1_0, tq2_0};
use half::f16;
use std::ops::Range;

/// Rows per group.
pub(super) const GROUP: usize = 16;
/// Columns per step.
pub(super) const STEP: usize = 16;
/// Bytes per step.
pub(super) const STEP_BYTES: usize = GROUP * STEP / 4;
/// So that no i32 overflows in any kernel: the largest partial sum is 64 · 2 · 128 per four columns.
const MAX_COLS: usize = 1 << 18;
/// Four weights 0.
const ZEROS: u8 = 0b01_01_01_01;

/// A packed ternary matrix.
#[derive(Debug)]
pub(super) struct Ternary {
    rows: usize,
    cols: usize,
    scale: f32,
    packed: Vec<u8>,
}

impl Ternary {
    /// Packs rows that `row(r, codes)` writes as codes 0..=2.
    fn pack(rows: usize, cols: usize, scale: f32, mut row: impl FnMut(usize, &mut [u8])) -> Ternary {
        let steps = cols.div_ceil(STEP);
        let mut packed = vec![ZEROS; rows.div_ceil(GROUP) * steps * STEP_BYTES];
        let mut codes = vec![1; steps * STEP];
        for r in 0..rows {
            row(r, &mut codes[..cols]);
            let group = &mut packed[r / GROUP * steps * STEP_BYTES..][..steps * STEP_BYTES];
            for (codes, bytes) in codes.as_chunks::<STEP>().0.iter().zip(group.as_chunks_mut::<STEP_BYTES>().0) {
                let lane = &mut bytes[r % GROUP * 4..][..4];
                for (j, byte) in lane.iter_mut().enumerate() {
                    *byte = codes[j] | codes[4 + j] << 2 | codes[8 + j] << 4 | codes[12 + j] << 6;
                }
            }
        }
        Ternary { rows, cols, scale, packed }
    }

    /// See [`super::Matrix::ternary`].
    pub(super) fn from_codes(codes: &[i8], rows: usize, cols: usize, scale: f32) -> Ternary {
        assert_eq!(codes.len(), rows * cols, "codes of a {rows} × {cols} matrix");
        assert!(cols <= MAX_COLS, "{cols} columns, at most {MAX_COLS}");
        Self::pack(rows, cols, scale, |r, out| {
            for (out, code) in out.iter_mut().zip(&codes[r * cols..]) {
                assert!((-1..=1).contains(code), "ternary code {code}");
                *out = (code + 1) as u8;
            }
        })
    }

    /// Repacks a ternary tensor. `None` if its blocks carry several scales or it has codes that are not ternary but
    /// legal in its format (`Q2_0`): then it stays in its block format. `bytes` has the right length, rows are whole blocks,
    /// f16 scales are finite.
    pub(super) fn from_format(
        format: Format,
        rows: usize,
        cols: usize,
        bytes: &[u8],
    ) -> Result<Option<Ternary>, Error> {
        let Some(source) = Source::of(format) else { return Ok(None) };
        if cols > MAX_COLS {
            return Err(shape(format!("{format:?} rows of {cols} values, at most {MAX_COLS}")));
        }
        let values = rows * cols;
        let blocks = &bytes[..values / source.len * source.bytes];
        if source.scale_at.is_none() {
            let at = values / 4;
            let scale = f32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
            if !scale.is_finite() {
                return Err(shape(format!("{format:?} tensor has the scale {scale}")));
            }
            return source.repack(rows, cols, scale, blocks).map(Some);
        }
        match source.one_scale(blocks) {
            Some(scale) => source.repack(rows, cols, scale, blocks).map(Some),
            None if format == Format::TQ2_0 => {
                // It stays in blocks, but its codes must be ternary all the same.
                let has_three = blocks
                    .chunks_exact(source.bytes)
                    .any(|b| b[source.codes.clone()].iter().any(|&b| b & b >> 1 & 0x55 != 0));
                if has_three { Err(code_three(format)) } else { Ok(None) }
            }
            None => Ok(None),
        }
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn bytes(&self) -> usize {
        self.packed.len()
    }

    pub(super) fn groups(&self) -> usize {
        self.rows.div_ceil(GROUP)
    }

    fn group(&self, g: usize) -> &[u8] {
        let len = self.cols.div_ceil(STEP) * STEP_BYTES;
        &self.packed[g * len..][..len]
    }
}

/// Unpacks the codes of a block.
type Unpack = fn(&[u8], &mut [u8]);

/// How a file stores 2-bit or base-3 codes.
struct Source {
    format: Format,
    /// Values per block.
    len: usize,
    /// Bytes per block.
    bytes: usize,
    /// Where in the block its f16 scale is.
    scale_at: Option<usize>,
    /// Where in the block its codes are.
    codes: Range<usize>,
    /// Unpacks the codes of a block.
    unpack: Unpack,
}

impl Source {
    fn of(format: Format) -> Option<Source> {
        let (scale_at, codes, unpack): (_, _, Unpack) = match format {
            Format::I2_S => (None, 0..i2_s::BYTES, unpack_i2_s),
            Format::TQ2_0 => (Some(tq2_0::D), tq2_0::QS, unpack_tq2_0),
            Format::TQ1_0 => (Some(tq1_0::D), 0..tq1_0::D, unpack_tq1_0),
            Format::Q2_0 => (Some(0), q2_0::QS..q2_0::BYTES, unpack_q2_0),
            Format::Q2_0_G128 => (Some(0), q2_0::QS..q2_0::BYTES_G128, unpack_q2_0),
            _ => return None,
        };
        Some(Source { format, len: format.block_len(), bytes: format.block_bytes(), scale_at, codes, unpack })
    }

    /// The scale that all blocks share. A block whose weights are all 0 agrees with any scale: quantisers give it the scale 0.
    fn one_scale(&self, blocks: &[u8]) -> Option<f32> {
        let at = self.scale_at?;
        let mut shared = None;
        let mut codes = [0; 256];
        for block in blocks.chunks_exact(self.bytes) {
            let bits = u16::from_le_bytes([block[at], block[at + 1]]);
            if shared == Some(bits) {
                continue;
            }
            let codes = &mut codes[..self.len];
            (self.unpack)(&block[self.codes.clone()], codes);
            let all_zero = codes.iter().all(|&c| c == 1);
            match shared {
                _ if all_zero => {}
                None => shared = Some(bits),
                Some(_) => return None,
            }
        }
        let scale = f16::from_bits(shared.unwrap_or(0)).to_f32();
        let has_three = matches!(self.format, Format::Q2_0 | Format::Q2_0_G128)
            && blocks.chunks_exact(self.bytes).any(|b| b[self.codes.clone()].iter().any(|&b| b & b >> 1 & 0x55 != 0));
        (!has_three).then_some(scale)
    }

    fn repack(&self, rows: usize, cols: usize, scale: f32, blocks: &[u8]) -> Result<Ternary, Error> {
        let row_bytes = cols / self.len * self.bytes;
        let mut largest = 0;
        let packed = Ternary::pack(rows, cols, scale, |r, out| {
            let row = &blocks[r * row_bytes..][..row_bytes];
            for (block, out) in row.chunks_exact(self.bytes).zip(out.chunks_exact_mut(self.len)) {
                (self.unpack)(&block[self.codes.clone()], out);
                largest = out.iter().fold(largest, |a: u8, &b| a.max(b));
            }
        });
        if largest > 2 { Err(code_three(self.format)) } else { Ok(packed) }
    }
}

fn code_three(format: Format) -> Error {
    shape(format!("{format:?} data holds the code 3, which is no ternary weight"))
}

/// Byte j of 32 holds the values j, 32 + j, 64 + j, 96 + j, the first in the high bits.
fn unpack_i2_s(bytes: &[u8], out: &mut [u8]) {
    for (field, out) in out.chunks_exact_mut(32).enumerate() {
        for (out, byte) in out.iter_mut().zip(bytes) {
            *out = byte >> (6 - 2 * field) & 3;
        }
    }
}

/// Byte j of each 32 holds the values j, 32 + j, 64 + j, 96 + j, the first in the low bits.
fn unpack_tq2_0(bytes: &[u8], out: &mut [u8]) {
    for (bytes, out) in bytes.chunks_exact(32).zip(out.chunks_exact_mut(128)) {
        for (field, out) in out.chunks_exact_mut(32).enumerate() {
            for (out, byte) in out.iter_mut().zip(bytes) {
                *out = byte >> (2 * field) & 3;
            }
        }
    }
}

/// Five base-3 digits a byte, the first on top: bytes 0..32 hold the values m + 32n, bytes 32..48 the values
/// 160 + m + 16n, and the last four, with four digits each, 240 + m + 4n. A byte is ⌈256 · 0.ddddd₃⌉, so
/// multiplying by 3ⁿ modulo 256 drops n digits, and one more ×3 carries the next one out on top.
#[inline(always)]
pub(super) fn unpack_tq1_0(bytes: &[u8], out: &mut [u8]) {
    let mut part = |bytes: &[u8], at: usize, digits: usize| {
        let mut power = 1u8;
        for n in 0..digits {
            for (out, byte) in out[at + n * bytes.len()..].iter_mut().zip(bytes) {
                *out = ((u16::from(byte.wrapping_mul(power)) * 3) >> 8) as u8;
            }
            power = power.wrapping_mul(3);
        }
    };
    part(&bytes[..32], 0, 5);
    part(&bytes[32..48], 160, 5);
    part(&bytes[48..52], 240, 4);
}

/// Four values a byte in order, the first in the low bits.
fn unpack_q2_0(bytes: &[u8], out: &mut [u8]) {
    for (out, byte) in out.as_chunks_mut::<4>().0.iter_mut().zip(bytes) {
        *out = [byte & 3, byte >> 2 & 3, byte >> 4 & 3, byte >> 6];
    }
}

/// The product of some row groups with all tokens.
pub(super) struct Product<'a> {
    pub(super) weights: &'a Ternary,
    pub(super) groups: Range<usize>,
    pub(super) x: &'a Quantised,
    pub(super) y: Output<'a>,
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        for g in self.groups.clone() {
            // Many tokens share one unpacking of the weights; the rest goes by smaller tiles.
            let mut t = 0;
            while t < self.y.tokens() {
                t += match self.y.tokens() - t {
                    8.. => self.tile::<K, 8>(kernel, g, t),
                    4.. => self.tile::<K, 4>(kernel, g, t),
                    2.. => self.tile::<K, 2>(kernel, g, t),
                    _ => self.tile::<K, 1>(kernel, g, t),
                };
            }
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn tile<K: Kernel, const T: usize>(&self, kernel: K, g: usize, t: usize) -> usize {
        let x: [Row; T] = std::array::from_fn(|i| self.x.row(t + i));
        let sums = kernel.ternary::<T>(self.weights.group(g), x.map(|x| x.q));
        let first = g * GROUP;
        let rows = GROUP.min(self.weights.rows - first);
        for i in 0..T {
            let ones: i32 = x[i].sums.iter().map(|&s| i32::from(s)).sum();
            let s = x[i].scale[0];
            let mut y = [0f32; GROUP];
            for (y, sum) in y.iter_mut().zip(sums[i]) {
                *y = (sum - ones) as f32 / s * self.weights.scale;
            }
            self.y.write(t + i, first, &y[..rows]);
        }
        T
    }
}
