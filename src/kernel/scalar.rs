//! The plain twin of every kernel: the oracle of the tests, and what runs on a CPU without the others.

use super::isa::{Kernel, Panel, PanelSums, SmallPanel, Task};
use super::ternary::{GROUP, STEP, STEP_BYTES};

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
        std::array::from_fn(|i| sum[i] + a[i] * b[i])
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

/// The nibble of row `r` and column `k`.
#[inline(always)]
fn nibble(codes: &[u8], r: usize, k: usize) -> u8 {
    codes[k / 8 * 64 + 4 * r + k % 4] >> (k / 4 % 2 * 4) & 15
}

/// The code of row `r` and column `k`.
#[inline(always)]
fn panel_code<P: Panel>(panel: &[u8], r: usize, k: usize) -> u8 {
    let (place, fields) = (4 * r + k % 4, 8 / P::HIGH.max(1));
    let high = match P::HIGH {
        0 => 0,
        bits => {
            let byte = panel[P::HIGH_AT + k / (4 * fields) * 64 + place];
            byte >> (k / 4 % fields * bits) & ((1 << bits) - 1)
        }
    };
    nibble(panel, r, k) | high << 4
}
