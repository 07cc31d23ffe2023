//! Blocks of a file, taken apart: small integer codes and their scales, one way for all formats.

use crate::quant::{Format, k, q2_0, q4_0, q8_0, tq1_0, tq2_0};
use half::f16;

use crate::kernel::ternary::unpack_tq1_0;

/// 256 weights of a superblock: `code − bias` (or `code`, where offsets are there) times integer scale times `d`.
#[derive(Debug, Clone)]
pub(super) struct Superblock {
    /// 0..=63.
    pub(super) codes: [u8; 256],
    pub(super) d: f16,
    pub(super) dmin: f16,
    /// Per 16 values.
    pub(super) scales: [i8; 16],
    /// Per 32 values, 0..=63; scaled by `dmin` and taken off.
    pub(super) mins: [u8; 8],
}

impl Superblock {
    pub(super) const NEW: Self = Self { codes: [0; 256], d: f16::ZERO, dmin: f16::ZERO, scales: [0; 16], mins: [0; 8] };

    /// Takes a block of one of the superblock formats apart.
    pub(super) fn read(&mut self, format: Format, block: &[u8]) {
        match format {
            Format::Q4_K => self.q4_k(block),
            Format::Q5_K => self.q5_k(block),
            Format::Q6_K => self.q6_k(block),
            Format::TQ1_0 => {
                unpack_tq1_0(&block[..tq1_0::D], &mut self.codes);
                (self.d, self.scales) = (half_at(block, tq1_0::D), [1; 16]);
            }
            Format::TQ2_0 => {
                for (codes, bytes) in self.codes.chunks_exact_mut(128).zip(block[tq2_0::QS].chunks_exact(32)) {
                    for (field, codes) in codes.chunks_exact_mut(32).enumerate() {
                        codes.iter_mut().zip(bytes).for_each(|(code, byte)| *code = byte >> (2 * field) & 3);
                    }
                }
                (self.d, self.scales) = (half_at(block, tq2_0::D), [1; 16]);
            }
            _ => unreachable!("not a superblock format: {format:?}"),
        }
    }

    /// `d` f16, `dmin` f16, 12 bytes of 6-bit scales and mins, 128 bytes of nibbles.
    fn q4_k(&mut self, block: &[u8]) {
        self.nibbles(&block[k::Q4_QS]);
        self.scales_and_mins(block);
    }

    /// As `Q4_K`, with 32 bytes of fifth bits before the nibbles.
    fn q5_k(&mut self, block: &[u8]) {
        self.nibbles(&block[k::Q5_QS]);
        for (j, codes) in self.codes.chunks_exact_mut(32).enumerate() {
            codes.iter_mut().zip(&block[k::Q5_QH]).for_each(|(code, high)| *code |= (high >> j & 1) << 4);
        }
        self.scales_and_mins(block);
    }

    /// Each 32 bytes hold 64 codes, the first 32 in the low nibbles.
    fn nibbles(&mut self, bytes: &[u8]) {
        for (codes, bytes) in self.codes.chunks_exact_mut(64).zip(bytes.chunks_exact(32)) {
            let (low, high) = codes.split_at_mut(32);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(bytes) {
                (*low, *high) = (byte & 15, byte >> 4);
            }
        }
    }

    /// The first 16 bytes of `Q4_K` and `Q5_K`. Eight 6-bit scales and eight mins, per 32 values, in bytes 4..16:
    ///
    /// ```text
    /// bytes 0..4   low 6 bits: scales 0..4   high 2 bits: bits 5-4 of scales 4..8
    /// bytes 4..8   low 6 bits: mins 0..4     high 2 bits: bits 5-4 of mins 4..8
    /// bytes 8..12  low nibble: bits 3-0 of scales 4..8   high nibble: bits 3-0 of mins 4..8
    /// ```
    fn scales_and_mins(&mut self, block: &[u8]) {
        (self.d, self.dmin) = (half_at(block, 0), half_at(block, k::DMIN));
        let packed = &block[k::SCALES];
        for j in 0..4 {
            let (a, b, c) = (packed[j], packed[4 + j], packed[8 + j]);
            for (j, scale) in [(j, a & 63), (4 + j, c & 15 | a >> 6 << 4)] {
                self.scales[2 * j..2 * j + 2].fill(scale as i8);
            }
            (self.mins[j], self.mins[4 + j]) = (b & 63, c >> 4 | b >> 6 << 4);
        }
    }

    /// 128 bytes of low nibbles, 64 of high 2-bit pairs, 16 int8 scales per 16 values, `d` f16; codes are 32 too large.
    fn q6_k(&mut self, block: &[u8]) {
        let halves = self.codes.chunks_exact_mut(128);
        for ((codes, low), high) in halves.zip(block[k::Q6_QL].chunks_exact(64)).zip(block[k::Q6_QH].chunks_exact(32)) {
            for i in 0..32 {
                let (a, b, h) = (low[i], low[32 + i], high[i]);
                codes[i] = a & 15 | (h & 3) << 4;
                codes[32 + i] = b & 15 | (h >> 2 & 3) << 4;
                codes[64 + i] = a >> 4 | (h >> 4 & 3) << 4;
                codes[96 + i] = b >> 4 | (h >> 6 & 3) << 4;
            }
        }
        self.scales = std::array::from_fn(|j| block[k::Q6_SCALES.start + j] as i8);
        self.d = half_at(block, k::Q6_D);
    }
}

/// Codes of a block of 32, 64 or 128 values, each `bias` too large (see `layout`), and its scale.
pub(super) fn small_block(format: Format, block: &[u8], codes: &mut [u8]) -> f16 {
    match format {
        Format::Q8_0 => codes.iter_mut().zip(&block[q8_0::QS]).for_each(|(code, byte)| *code = byte ^ 0x80),
        Format::Q4_0 => {
            let (low, high) = codes.split_at_mut(16);
            for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[q4_0::QS]) {
                (*low, *high) = (byte & 15, byte >> 4);
            }
        }
        Format::Q2_0 | Format::Q2_0_G128 => {
            for (codes, byte) in codes.chunks_exact_mut(4).zip(&block[q2_0::QS..]) {
                codes.copy_from_slice(&[byte & 3, byte >> 2 & 3, byte >> 4 & 3, byte >> 6]);
            }
        }
        _ => unreachable!("not a format of small blocks: {format:?}"),
    }
    half_at(block, 0)
}

fn half_at(block: &[u8], at: usize) -> f16 {
    f16::from_le_bytes([block[at], block[at + 1]])
}
