//! Block formats: rows of small blocks with scales, read as the file stores them, against int8 activation blocks.
//!
//! A format only says how 256 weights unpack into small integers and what their scales are; the integer products
//! are the kernel's. Two families, after the activations they meet:
//!
//! * **Superblocks** (`Q4_K`, `Q5_K`, `Q6_K`, `TQ1_0`, `TQ2_0`) meet [`Form::Block256`]. Of a superblock with codes c ≥ 0,
//!   scales sc and offsets m per 16 values, `i = Σ_j sc_j · Σ c·q` and `o = Σ_j m_j · Σ q` are exact i32. Then, in f32:
//!   `y += (d·dx)·i − (dmin·dx)·o` where the format has its own scale for offsets, else `y += (d·dx)·(i − o)`.
//! * **Small blocks** (`Q8_0`, `Q4_0`, `Q2_0`) meet [`Form::Block32`]: for each 32 values `i = Σ c·q` is exact,
//!   then `y += (d·dx)·i`.
//!
//! Products and sums are separate f32 operations (no fused multiply-add), blocks are added in order of
//! columns, starting from 0: one defined result, whatever the instruction set or the order of rows.

use super::activations::{Form, Quantised, Row};
use super::isa::{Codes, Kernel, Panel, Task};
use super::output::Output;
use super::ternary::{GROUP, unpack_tq1_0};
use crate::gguf::Bytes;
use crate::quant::{self, Format, k, q2_0, q4_0, q8_0, tq1_0, tq2_0};
use std::ops::Range;

/// From how many tokens on superblocks are interleaved before they are multiplied.
const PANEL_TOKENS: usize = 4;

/// A matrix in a block format.
#[derive(Debug)]
pub(super) struct Blocks {
    format: Format,
    rows: usize,
    cols: usize,
    bytes: Bytes,
}

impl Blocks {
    /// `bytes` has the right length and rows are whole blocks. `None` if `format` is not one of this module's.
    pub(super) fn new(format: Format, rows: usize, cols: usize, bytes: Bytes) -> Option<Blocks> {
        match format {
            Format::Q4_K | Format::Q5_K | Format::Q6_K | Format::TQ1_0 | Format::TQ2_0 => {}
            Format::Q8_0 | Format::Q4_0 | Format::Q2_0 | Format::Q2_0_G128 => {}
            Format::F32 | Format::F16 | Format::BF16 | Format::I2_S => return None,
        }
        Some(Blocks { format, rows, cols, bytes })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn form(&self) -> Form {
        match self.format {
            Format::Q8_0 | Format::Q4_0 | Format::Q2_0 | Format::Q2_0_G128 => Form::Block32,
            _ => Form::Block256,
        }
    }

    #[inline]
    fn row_bytes(&self, r: usize) -> &[u8] {
        let len = self.bytes.len() / self.rows;
        &self.bytes[r * len..][..len]
    }

    pub(super) fn row(&self, r: usize, out: &mut [f32]) {
        assert!(r < self.rows, "row {r} of {}", self.rows);
        quant::dequantize(self.format, self.row_bytes(r), out);
    }
}

/// The product of some rows with all tokens.
pub(super) struct Product<'a> {
    pub(super) weights: &'a Blocks,
    pub(super) rows: Range<usize>,
    pub(super) x: &'a Quantised,
    pub(super) y: Output<'a>,
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        match self.weights.format {
            Format::Q4_K => self.superblocks::<K, Q4K>(kernel),
            Format::Q5_K => self.superblocks::<K, Q5K>(kernel),
            Format::Q6_K => self.superblocks::<K, Q6K>(kernel),
            Format::TQ1_0 => self.superblocks::<K, Tq1>(kernel),
            Format::TQ2_0 => self.superblocks::<K, Tq2>(kernel),
            Format::Q8_0 => self.small_blocks::<K, Q80>(kernel),
            Format::Q4_0 => self.small_blocks::<K, Q40>(kernel),
            Format::Q2_0 => self.small_blocks::<K, Q20<64>>(kernel),
            Format::Q2_0_G128 => self.small_blocks::<K, Q20<128>>(kernel),
            Format::F32 | Format::F16 | Format::BF16 | Format::I2_S => unreachable!("refused by Blocks::new"),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn superblocks<K: Kernel, F: Superblock>(&self, kernel: K) {
        if self.y.tokens() >= PANEL_TOKENS {
            for first in self.rows.clone().step_by(GROUP) {
                self.panels::<K, F>(kernel, first..self.rows.end.min(first + GROUP));
            }
            return;
        }
        for r in self.rows.clone() {
            let mut t = 0;
            while t < self.y.tokens() {
                t += match self.y.tokens() - t {
                    2.. => self.superblock_tile::<K, F, 2>(kernel, r, t),
                    _ => self.superblock_tile::<K, F, 1>(kernel, r, t),
                };
            }
        }
    }

    /// Up to 16 rows with all tokens: each superblock is unpacked once into a panel whose lanes are rows.
    #[inline(always)]
    fn panels<K: Kernel, F: Superblock>(&self, kernel: K, rows: Range<usize>) {
        let mut panel = Panel { codes: [[0; 64]; 64], scales: [[0; 32]; 16], offsets: [[0; 32]; 8] };
        let mut codes = Codes([0; 256]);
        for t in 0..self.y.tokens() {
            self.y.write(t, rows.start, &[0.0; GROUP][..rows.len()]);
        }
        for b in 0..self.weights.cols / 256 {
            let (mut d, mut dmin) = ([0f32; GROUP], [0f32; GROUP]);
            for (i, r) in rows.clone().enumerate() {
                let block = &self.weights.row_bytes(r)[b * F::BYTES..][..F::BYTES];
                let w = F::unpack(kernel, block, &mut codes);
                (d[i], dmin[i]) = (w.d, w.dmin.unwrap_or(0.0));
                for (panel, codes) in panel.codes.iter_mut().zip(codes.0.as_chunks::<4>().0) {
                    panel.as_chunks_mut::<4>().0[i] = *codes;
                }
                for j in 0..16 {
                    panel.scales[j].as_chunks_mut::<2>().0[i] = [w.scales[j]; 2];
                    panel.offsets[j / 2][2 * i + j % 2] = w.offsets[j];
                }
            }
            let block = PanelBlock { b, d, dmin: F::OWN_OFFSETS.then_some(dmin) };
            let mut t = 0;
            while t < self.y.tokens() {
                t += match self.y.tokens() - t {
                    8.. => self.panel_tile::<K, 8>(kernel, &panel, &block, &rows, t),
                    4.. => self.panel_tile::<K, 4>(kernel, &panel, &block, &rows, t),
                    2.. => self.panel_tile::<K, 2>(kernel, &panel, &block, &rows, t),
                    _ => self.panel_tile::<K, 1>(kernel, &panel, &block, &rows, t),
                };
            }
        }
    }

    #[inline(always)]
    fn panel_tile<K: Kernel, const T: usize>(
        &self,
        kernel: K,
        panel: &Panel,
        block: &PanelBlock,
        rows: &Range<usize>,
        t: usize,
    ) -> usize {
        let x: [Row; T] = std::array::from_fn(|i| self.x.row(t + i));
        let q = std::array::from_fn(|i| &x[i].q.as_chunks::<256>().0[block.b]);
        let sums = std::array::from_fn(|i| &x[i].sums.as_chunks::<16>().0[block.b]);
        let out = kernel.panel::<T>(panel, q, sums);
        for (i, out) in out.iter().enumerate() {
            let dx = x[i].scale[block.b];
            let terms: [f32; GROUP] = match &block.dmin {
                Some(dmin) => std::array::from_fn(
                    #[inline(always)]
                    |r| (block.d[r] * dx) * out.scaled[r] as f32 - (dmin[r] * dx) * out.offset[r] as f32,
                ),
                None => std::array::from_fn(
                    #[inline(always)]
                    |r| (block.d[r] * dx) * (out.scaled[r] - out.offset[r]) as f32,
                ),
            };
            self.y.add(t + i, rows.start, &terms[..rows.len()]);
        }
        T
    }

    #[inline(always)]
    fn small_blocks<K: Kernel, F: SmallBlocks>(&self, kernel: K) {
        // A tile shares the unpacking of the row.
        for r in self.rows.clone() {
            let mut t = 0;
            while t < self.y.tokens() {
                t += match self.y.tokens() - t {
                    8.. => self.small_block_tile::<K, F, 8>(kernel, r, t),
                    4.. => self.small_block_tile::<K, F, 4>(kernel, r, t),
                    2.. => self.small_block_tile::<K, F, 2>(kernel, r, t),
                    _ => self.small_block_tile::<K, F, 1>(kernel, r, t),
                };
            }
        }
    }

    #[inline(always)]
    fn superblock_tile<K: Kernel, F: Superblock, const T: usize>(&self, kernel: K, r: usize, t: usize) -> usize {
        let x: [Row; T] = std::array::from_fn(|i| self.x.row(t + i));
        let mut y = [0f32; T];
        let mut codes = Codes([0; 256]);
        for (b, block) in self.weights.row_bytes(r).chunks_exact(F::BYTES).enumerate() {
            let w = F::unpack(kernel, block, &mut codes);
            for (x, y) in x.iter().zip(&mut y) {
                let (q, sums, dx) = (&x.q.as_chunks::<256>().0[b], &x.sums.as_chunks::<16>().0[b], x.scale[b]);
                let i = kernel.dot_scaled(&codes, &w.scales, q);
                let o: i32 = w.offsets.iter().zip(sums).map(|(&o, &sum)| i32::from(o) * i32::from(sum)).sum();
                *y += match w.dmin {
                    Some(dmin) => (w.d * dx) * i as f32 - (dmin * dx) * o as f32,
                    None => (w.d * dx) * (i - o) as f32,
                };
            }
        }
        for (i, y) in y.iter().enumerate() {
            self.y.write(t + i, r, std::slice::from_ref(y));
        }
        T
    }

    #[inline(always)]
    fn small_block_tile<K: Kernel, F: SmallBlocks, const T: usize>(&self, kernel: K, r: usize, t: usize) -> usize {
        let x: [Row; T] = std::array::from_fn(|i| self.x.row(t + i));
        let mut y = [0f32; T];
        let row = self.weights.row_bytes(r);
        let mut codes = Codes([0; 256]);
        // Up to 256 values at a time. The last chunk of a row may be shorter: what its codes lack is not counted.
        for (b, chunk) in row.chunks(256 / F::LEN * F::BYTES).enumerate() {
            let mut d = [0f32; 8];
            for (block, (codes, d)) in
                chunk.chunks_exact(F::BYTES).zip(codes.0.chunks_exact_mut(F::LEN).zip(d.chunks_exact_mut(F::LEN / 32)))
            {
                d.fill(F::unpack(kernel, block, codes));
            }
            let blocks = chunk.len() / F::BYTES * (F::LEN / 32);
            for (x, y) in x.iter().zip(&mut y) {
                let (q, dx) = (&x.q.as_chunks::<256>().0[b], &x.scale.as_chunks::<8>().0[b]);
                let i = kernel.dots_of_32(&codes, q);
                let terms: [f32; 8] = std::array::from_fn(|j| (d[j] * dx[j]) * i[j] as f32);
                for term in &terms[..blocks] {
                    *y += term;
                }
            }
        }
        for (i, y) in y.iter().enumerate() {
            self.y.write(t + i, r, std::slice::from_ref(y));
        }
        T
    }
}

/// The float scales of a panel.
struct PanelBlock {
    /// Which superblock of the rows.
    b: usize,
    d: [f32; GROUP],
    /// Where the format scales its offsets apart.
    dmin: Option<[f32; GROUP]>,
}

/// What a superblock holds beside its codes.
struct Scales {
    d: f32,
    dmin: Option<f32>,
    /// Per 16 values.
    scales: [i16; 16],
    /// Per 16 values.
    offsets: [i16; 16],
}

/// A format of 256 values with integer scales inside.
trait Superblock {
    const BYTES: usize;
    /// Whether [`Scales::dmin`] is there.
    const OWN_OFFSETS: bool;
    /// Fills `codes` with 0..=63.
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut Codes) -> Scales;
}

/// A format of 32, 64 or 128 values with one scale.
trait SmallBlocks {
    const LEN: usize;
    const BYTES: usize;
    /// Fills `codes` and returns the scale.
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut [i8]) -> f32;
}

#[inline(always)]
fn half_at<K: Kernel>(kernel: K, block: &[u8], at: usize) -> f32 {
    kernel.half(u16::from_le_bytes([block[at], block[at + 1]]))
}

// Small fields are unpacked eight bytes at a time in u64 words: compilers turn this into vector code where they have
// trouble with loops over bytes. Fields do not reach into the next byte once they are masked.
const LOW_1: u64 = 0x0101_0101_0101_0101;
const LOW_2: u64 = 0x0303_0303_0303_0303;
const LOW_4: u64 = 0x0f0f_0f0f_0f0f_0f0f;

#[inline(always)]
fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let words = bytes.as_chunks::<8>().0;
    std::array::from_fn(|i| u64::from_le_bytes(words[i]))
}

/// Writes 32 codes from `at` on.
#[inline(always)]
fn put(codes: &mut Codes, at: usize, word: impl Fn(usize) -> u64) {
    for (i, codes) in codes.0[at..at + 32].as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *codes = word(i).to_le_bytes().map(|code| code as i8);
    }
}

/// `d` f16, `dmin` f16, 12 bytes of 6-bit scales and mins, 128 bytes of nibbles.
struct Q4K;
impl Superblock for Q4K {
    const BYTES: usize = k::Q4_BYTES;
    const OWN_OFFSETS: bool = true;
    #[inline(always)]
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut Codes) -> Scales {
        for (j, nibbles) in block[k::Q4_QS].as_chunks::<32>().0.iter().enumerate() {
            let w = words(nibbles);
            put(codes, 64 * j, |i| w[i] & LOW_4);
            put(codes, 64 * j + 32, |i| w[i] >> 4 & LOW_4);
        }
        scales_and_mins(kernel, block)
    }
}

/// As `Q4_K`, with 32 bytes of fifth bits before the nibbles.
struct Q5K;
impl Superblock for Q5K {
    const BYTES: usize = k::Q5_BYTES;
    const OWN_OFFSETS: bool = true;
    #[inline(always)]
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut Codes) -> Scales {
        let high = words(&block[k::Q5_QH].as_chunks().0[0]);
        for (j, nibbles) in block[k::Q5_QS].as_chunks::<32>().0.iter().enumerate() {
            let w = words(nibbles);
            put(codes, 64 * j, |i| w[i] & LOW_4 | (high[i] >> (2 * j) & LOW_1) << 4);
            put(codes, 64 * j + 32, |i| w[i] >> 4 & LOW_4 | (high[i] >> (2 * j + 1) & LOW_1) << 4);
        }
        scales_and_mins(kernel, block)
    }
}

/// The first 16 bytes of `Q4_K` and `Q5_K`. Eight 6-bit scales and eight mins, per 32 values, in bytes 4..16:
///
/// ```text
/// bytes 0..4   low 6 bits: scales 0..4   high 2 bits: bits 5-4 of scales 4..8
/// bytes 4..8   low 6 bits: mins 0..4     high 2 bits: bits 5-4 of mins 4..8
/// bytes 8..12  low nibble: bits 3-0 of scales 4..8   high nibble: bits 3-0 of mins 4..8
/// ```
#[inline(always)]
fn scales_and_mins<K: Kernel>(kernel: K, block: &[u8]) -> Scales {
    let word = |at: usize| u32::from_le_bytes([block[at], block[at + 1], block[at + 2], block[at + 3]]);
    let at = k::SCALES.start;
    let (a, b, c) = (word(at), word(at + 4), word(at + 8));
    let low_six = 0x3f3f_3f3f;
    let low_four = 0x0f0f_0f0f;
    let top_two = |x: u32| (x >> 6 & 0x0303_0303) << 4;
    let scales = [(a & low_six).to_le_bytes(), (c & low_four | top_two(a)).to_le_bytes()];
    let mins = [(b & low_six).to_le_bytes(), (c >> 4 & low_four | top_two(b)).to_le_bytes()];
    Scales {
        d: half_at(kernel, block, 0),
        dmin: Some(half_at(kernel, block, k::DMIN)),
        scales: std::array::from_fn(|j| i16::from(scales.as_flattened()[j / 2])),
        offsets: std::array::from_fn(|j| i16::from(mins.as_flattened()[j / 2])),
    }
}

/// 128 bytes of low nibbles, 64 of high 2-bit pairs, 16 int8 scales per 16 values, `d` f16; codes are 32 too large.
struct Q6K;
impl Superblock for Q6K {
    const BYTES: usize = k::Q6_BYTES;
    const OWN_OFFSETS: bool = false;
    #[inline(always)]
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut Codes) -> Scales {
        let low = block[k::Q6_QL].as_chunks::<32>().0;
        let high = block[k::Q6_QH].as_chunks::<32>().0;
        for half in 0..2 {
            let (a, b, h) = (words(&low[2 * half]), words(&low[2 * half + 1]), words(&high[half]));
            put(codes, 128 * half, |i| a[i] & LOW_4 | (h[i] & LOW_2) << 4);
            put(codes, 128 * half + 32, |i| b[i] & LOW_4 | (h[i] >> 2 & LOW_2) << 4);
            put(codes, 128 * half + 64, |i| a[i] >> 4 & LOW_4 | (h[i] >> 4 & LOW_2) << 4);
            put(codes, 128 * half + 96, |i| b[i] >> 4 & LOW_4 | (h[i] >> 6 & LOW_2) << 4);
        }
        let scales: [i16; 16] = std::array::from_fn(|j| i16::from(block[k::Q6_SCALES.start + j] as i8));
        Scales { d: half_at(kernel, block, k::Q6_D), dmin: None, scales, offsets: scales.map(|s| 32 * s) }
    }
}

struct Tq2;
impl Superblock for Tq2 {
    const BYTES: usize = tq2_0::BYTES;
    const OWN_OFFSETS: bool = false;
    #[inline(always)]
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut Codes) -> Scales {
        for (j, bytes) in block[tq2_0::QS].as_chunks::<32>().0.iter().enumerate() {
            let w = words(bytes);
            for field in 0..4 {
                put(codes, 128 * j + 32 * field, |i| w[i] >> (2 * field) & LOW_2);
            }
        }
        Scales { d: half_at(kernel, block, tq2_0::D), dmin: None, scales: [1; 16], offsets: [1; 16] }
    }
}

struct Tq1;
impl Superblock for Tq1 {
    const BYTES: usize = tq1_0::BYTES;
    const OWN_OFFSETS: bool = false;
    #[inline(always)]
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut Codes) -> Scales {
        unpack_tq1_0(&block[..tq1_0::D], bytemuck::cast_slice_mut(&mut codes.0));
        Scales { d: half_at(kernel, block, tq1_0::D), dmin: None, scales: [1; 16], offsets: [1; 16] }
    }
}

/// `d` f16, 32 int8 values.
struct Q80;
impl SmallBlocks for Q80 {
    const LEN: usize = q8_0::LEN;
    const BYTES: usize = q8_0::BYTES;
    #[inline(always)]
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut [i8]) -> f32 {
        codes.copy_from_slice(bytemuck::cast_slice(&block[q8_0::QS]));
        half_at(kernel, block, 0)
    }
}

/// `d` f16, 16 bytes: low nibbles are the values 0..16, high nibbles 16..32, all 8 too large.
struct Q40;
impl SmallBlocks for Q40 {
    const LEN: usize = q4_0::LEN;
    const BYTES: usize = q4_0::BYTES;
    #[inline(always)]
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut [i8]) -> f32 {
        let (low, high) = codes.split_at_mut(16);
        for ((low, high), byte) in low.iter_mut().zip(high).zip(&block[q4_0::QS]) {
            *low = (byte & 15) as i8 - 8;
            *high = (byte >> 4) as i8 - 8;
        }
        half_at(kernel, block, 0)
    }
}

/// `d` f16, four values a byte, the first in the low bits, all 1 too large.
struct Q20<const N: usize>;
impl<const N: usize> SmallBlocks for Q20<N> {
    const LEN: usize = N;
    const BYTES: usize = q2_0::QS + N / 4;
    #[inline(always)]
    fn unpack<K: Kernel>(kernel: K, block: &[u8], codes: &mut [i8]) -> f32 {
        for (codes, byte) in codes.as_chunks_mut::<4>().0.iter_mut().zip(&block[q2_0::QS..]) {
            *codes = [byte & 3, byte >> 2 & 3, byte >> 4 & 3, byte >> 6].map(|code| code as i8 - 1);
        }
        half_at(kernel, block, 0)
    }
}
