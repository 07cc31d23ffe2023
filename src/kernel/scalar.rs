//! The plain twin of every kernel: the oracle of the tests, and what runs on a CPU without the others.

use super::isa::{Kernel, Panel, PanelSums, SmallPanel, Task};
use super::ternary::{GROUP, STEP, STEP_BYTES};
use super::vectors::{TRITS, Vectors};

/// Needs nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scalar;

impl Kernel for Scalar {
    type Lanes = [f32; 32];

    fn run<T: Task>(self, task: T) -> T::Output {
        task.run(self)
    }

    #[inline(always)]
    fn ternary<const T: usize>(self, group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
        let mut sums = [[0; GROUP]; T];
        for (step, bytes) in group.as_chunks::<STEP_BYTES>().0.iter().enumerate() {
            for (t, sums) in sums.iter_mut().enumerate() {
                let q = &q[t][step * STEP..][..STEP];
                for (i, byte) in bytes.iter().enumerate() {
                    for field in 0..4 {
                        let code = i32::from(byte >> (2 * field) & 3);
                        sums[i / 4] += code * i32::from(q[4 * field + i % 4]);
                    }
                }
            }
        }
        sums
    }

    #[inline(always)]
    fn panel<P: Panel, const T: usize>(
        self,
        panel: &[u8],
        q: [&[i8; 256]; T],
        sums: [&[i16; 16]; T],
    ) -> [PanelSums; T] {
        let mut out = [PanelSums { scaled: [0; GROUP], offset: [0; GROUP] }; T];
        let width = if P::FINE { 16 } else { 32 };
        for r in 0..GROUP {
            for k in 0..256 {
                let code = i32::from(panel_code::<P>(panel, r, k)) - P::BIAS.unwrap_or(0);
                let scale = i32::from(panel[P::SCALES_AT + k / width * GROUP + r] as i8);
                for (out, q) in out.iter_mut().zip(q) {
                    out.scaled[r] += scale * code * i32::from(q[k]);
                }
            }
            if P::BIAS.is_none() {
                for j in 0..8 {
                    let min = i32::from(panel[P::MINS_AT + j / 2 * 2 * GROUP + 2 * r + j % 2]);
                    for (out, sums) in out.iter_mut().zip(sums) {
                        out.offset[r] += min * (i32::from(sums[2 * j]) + i32::from(sums[2 * j + 1]));
                    }
                }
            }
        }
        out
    }

    #[inline(always)]
    fn small_panel<P: SmallPanel, const T: usize>(
        self,
        codes: &[u8],
        q: [&[i8; 32]; T],
        _: [i32; T],
    ) -> [[i32; GROUP]; T] {
        let mut out = [[0; GROUP]; T];
        for r in 0..GROUP {
            for k in 0..32 {
                let code = if P::BYTES { codes[k / 4 * 64 + 4 * r + k % 4] } else { nibble(codes, r, k) };
                for (out, q) in out.iter_mut().zip(q) {
                    out[r] += (i32::from(code) - P::BIAS) * i32::from(q[k]);
                }
            }
        }
        out
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8; 128]) -> [f32; 32] {
        let numbers = bytes.as_chunks::<4>().0;
        std::array::from_fn(|i| f32::from_le_bytes(numbers[i]))
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 64]) -> [f32; 32] {
        let numbers = bytes.as_chunks::<2>().0;
        std::array::from_fn(|i| self.half(u16::from_le_bytes(numbers[i])))
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 64]) -> [f32; 32] {
        let numbers = bytes.as_chunks::<2>().0;
        std::array::from_fn(|i| f32::from_bits(u32::from(u16::from_le_bytes(numbers[i])) << 16))
    }

    #[inline(always)]
    fn load_i8(self, bytes: &[u8; 32]) -> [f32; 32] {
        bytes.map(|byte| f32::from(byte as i8))
    }

    #[inline(always)]
    fn splat(self, x: f32) -> [f32; 32] {
        [x; 32]
    }

    #[inline(always)]
    fn add_products(self, sum: [f32; 32], a: [f32; 32], b: [f32; 32]) -> [f32; 32] {
        std::array::from_fn(|i| a[i].mul_add(b[i], sum[i]))
    }

    #[inline(always)]
    fn store(self, lanes: [f32; 32]) -> [f32; 32] {
        lanes
    }

    #[inline(always)]
    fn half(self, bits: u16) -> f32 {
        half::f16::from_bits(bits).to_f32_const()
    }
}

/// The words of a vector, in a layout's byte order.
impl Vectors for Scalar {
    const WIDTH: usize = 16;
    const SCALED_TRITS: bool = false;
    type Bytes = [u8; 16];
    type Sums = [i32; 4];

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> [u8; 16] {
        std::array::from_fn(|i| bytes[i])
    }

    #[inline(always)]
    fn store_bytes(self, bytes: [u8; 16], out: &mut [u8]) {
        out[..16].copy_from_slice(&bytes);
    }

    #[inline(always)]
    fn word(self, word: &[u8; 4]) -> [u8; 16] {
        std::array::from_fn(|i| word[i % 4])
    }

    #[inline(always)]
    fn nibbles(self, w: [u8; 16]) -> [[u8; 16]; 2] {
        [w.map(|b| b & 15), w.map(|b| b >> 4)]
    }

    #[inline(always)]
    fn fields(self, w: [u8; 16]) -> [[u8; 16]; 4] {
        [w.map(|b| b & 3), w.map(|b| b >> 2 & 3), w.map(|b| b >> 4 & 3), w.map(|b| b >> 6)]
    }

    #[inline(always)]
    fn scaled_fields(self, w: [u8; 16]) -> [[u8; 16]; 4] {
        self.fields(w)
    }

    #[inline(always)]
    fn unscale(self, _: usize, sums: [i32; 4]) -> [i32; 4] {
        sums
    }

    #[inline(always)]
    fn trits(self, nibbles: [u8; 16], fifths: [u8; 16], bit: usize) -> [[u8; 16]; 3] {
        let trits: [u8; 16] = std::array::from_fn(|i| TRITS[usize::from(nibbles[i] | (fifths[i] >> bit & 1) << 4)]);
        let [a, b, c, _] = self.fields(trits);
        [a, b, c]
    }

    #[inline(always)]
    fn interleave(self, w: [[u8; 16]; 4]) -> [[u8; 16]; 4] {
        std::array::from_fn(|v| std::array::from_fn(|i| w[i % 4][4 * v + i / 4]))
    }

    #[inline(always)]
    fn no_sums(self) -> [i32; 4] {
        [0; 4]
    }

    #[inline(always)]
    fn dot(self, sums: [i32; 4], codes: [u8; 16], q: [u8; 16]) -> [i32; 4] {
        let product = |i: usize| i32::from(codes[i]) * i32::from(q[i].cast_signed());
        std::array::from_fn(|i| sums[i] + (4 * i..4 * i + 4).map(product).sum::<i32>())
    }

    #[inline(always)]
    fn add(self, a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
        std::array::from_fn(|i| a[i] + b[i])
    }

    #[inline(always)]
    fn store_sums(self, sums: [i32; 4], out: &mut [i32]) {
        out[..4].copy_from_slice(&sums);
    }

    #[inline(always)]
    fn totals(self, sums: [[i32; 4]; 4]) -> [i32; 4] {
        sums.map(|sums| sums.iter().sum())
    }

    #[inline(always)]
    fn prefetch(self, _: &[u8]) {}
}

/// The nibble of row `r` and column `k` of small blocks.
#[inline(always)]
fn nibble(codes: &[u8], r: usize, k: usize) -> u8 {
    codes[k / 8 * 64 + 4 * r + k % 4] >> (k / 4 % 2 * 4) & 15
}

/// The code of row `r` and column `k`.
#[inline(always)]
fn panel_code<P: Panel>(panel: &[u8], r: usize, k: usize) -> u8 {
    let place = 4 * r + k % 4;
    let low = panel[P::low(k / 8) * 64 + place] >> (k / 4 % 2 * 4) & 15;
    let high = match P::HIGH {
        0 => 0,
        bits => panel[P::high(k / 8) * 64 + place] >> (k / 4 % (8 / bits) * bits) & ((1 << bits) - 1),
    };
    low | high << 4
}
