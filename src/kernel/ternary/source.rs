//! How files store ternary codes.

use super::{Layout, MAX_COLS, Ternary};
use crate::kernel::{Error, shape};
use crate::quant::{Format, i2_s, q2_0, tq1_0, tq2_0};
use half::f16;
use std::ops::Range;
use std::sync::atomic::{AtomicU8, Ordering};

impl Ternary {
    /// Repacks a ternary tensor. `None` if its blocks carry several scales or it has codes that are not ternary but
    /// legal in its format (`Q2_0`): then it stays in its block format. `bytes` has the right length, rows are whole blocks,
    /// f16 scales are finite.
    pub(in crate::kernel) fn from_format(
        format: Format,
        rows: usize,
        cols: usize,
        bytes: &[u8],
        layout: Layout,
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
            return source.repack(rows, cols, scale, blocks, layout).map(Some);
        }
        match source.one_scale(blocks) {
            Some(scale) => source.repack(rows, cols, scale, blocks, layout).map(Some),
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

    fn repack(&self, rows: usize, cols: usize, scale: f32, blocks: &[u8], layout: Layout) -> Result<Ternary, Error> {
        let row_bytes = cols / self.len * self.bytes;
        let largest = AtomicU8::new(0);
        let packed = Ternary::pack(rows, cols, scale, layout, |r, out| {
            let row = &blocks[r * row_bytes..][..row_bytes];
            for (block, out) in row.chunks_exact(self.bytes).zip(out.chunks_exact_mut(self.len)) {
                (self.unpack)(&block[self.codes.clone()], out);
                let three = out.iter().fold(0, |a: u8, &b| a.max(b));
                if three > 2 {
                    largest.store(three, Ordering::Relaxed);
                }
            }
        });
        if largest.into_inner() > 2 { Err(code_three(self.format)) } else { Ok(packed) }
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
pub(in crate::kernel) fn unpack_tq1_0(bytes: &[u8], out: &mut [u8]) {
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
