//! The plain twin of every kernel: the oracle of the tests, and what runs on a CPU without the others.

use super::isa::{Codes, Kernel, Panel, PanelSums, Task};
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
    fn dot_scaled(self, codes: &Codes, scales: &[i16; 16], q: &[i8; 256]) -> i32 {
        let groups = codes.0.as_chunks::<16>().0.iter().zip(q.as_chunks::<16>().0);
        groups.zip(scales).map(|((codes, q), &scale)| i32::from(scale) * dot(codes, q)).sum()
    }

    #[inline(always)]
    fn panel<const T: usize>(self, panel: &Panel, q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
        let mut out = [PanelSums { scaled: [0; GROUP], offset: [0; GROUP] }; T];
        for (t, out) in out.iter_mut().enumerate() {
            for (step, (codes, q)) in panel.codes.iter().zip(q[t].as_chunks::<4>().0).enumerate() {
                let scales = &panel.scales[step / 4];
                for (r, codes) in codes.as_chunks::<4>().0.iter().enumerate() {
                    out.scaled[r] += i32::from(scales[2 * r]) * dot(codes, q);
                }
            }
            for (offsets, sums) in panel.offsets.iter().zip(sums[t].as_chunks::<2>().0) {
                for (r, pair) in offsets.as_chunks::<2>().0.iter().enumerate() {
                    out.offset[r] += i32::from(pair[0]) * i32::from(sums[0]) + i32::from(pair[1]) * i32::from(sums[1]);
                }
            }
        }
        out
    }

    #[inline(always)]
    fn dots_of_32(self, codes: &Codes, q: &[i8; 256]) -> [i32; 8] {
        std::array::from_fn(|j| dot(&codes.0[32 * j..][..32], &q[32 * j..][..32]))
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

#[inline(always)]
fn dot(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}
