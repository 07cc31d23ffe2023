//! NEON without dot products (Cortex-A72): widening byte products into i16, pairs widened into i32 before they can overflow.

#![allow(unsafe_code)]

use crate::kernel::isa::{Codes, Kernel, Panel, PanelSums, Task};
use crate::kernel::ternary::{GROUP, STEP, STEP_BYTES};
use std::arch::aarch64::*;

/// Proof that the CPU has NEON.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Neon(());

impl Neon {
    /// Asks the CPU.
    pub(in crate::kernel) fn new() -> Option<Self> {
        std::arch::is_aarch64_feature_detected!("neon").then_some(Self(()))
    }
}

impl Kernel for Neon {
    type Lanes = [float32x4_t; 8];

    fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { run(self, task) }
    }

    #[inline(always)]
    fn ternary<const T: usize>(self, group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { ternary(group, q) }
    }

    #[inline(always)]
    fn dot_scaled(self, codes: &Codes, scales: &[i16; 16], q: &[i8; 256]) -> i32 {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { dot_scaled(codes, scales, q) }
    }

    #[inline(always)]
    fn panel<const T: usize>(self, panel: &Panel, q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { panel_sums(panel, q, sums) }
    }

    #[inline(always)]
    fn dots_of_32(self, codes: &Codes, q: &[i8; 256]) -> [i32; 8] {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { dots_of_32(codes, q) }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8; 128]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { load_f32(bytes) }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 64]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { load_f16(bytes) }
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 64]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { load_bf16(bytes) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { [vdupq_n_f32(x); 8] }
    }

    #[inline(always)]
    fn add_products(self, sum: Self::Lanes, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { add_products(sum, a, b) }
    }

    #[inline(always)]
    fn store(self, lanes: Self::Lanes) -> [f32; 32] {
        // SAFETY: both are 128 bytes of plain floats.
        unsafe { std::mem::transmute(lanes) }
    }

    #[inline(always)]
    fn half(self, bits: u16) -> f32 {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { half(bits) }
    }
}

#[target_feature(enable = "neon")]
fn run<T: Task>(kernel: Neon, task: T) -> T::Output {
    task.run(kernel)
}

#[inline]
#[target_feature(enable = "neon")]
fn ternary<const T: usize>(group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
    let mut sums = [[0; GROUP]; T];
    // Registers hold the sums of 16 rows of one token, or of 4 rows of four tokens.
    for (sums, q) in sums.chunks_mut(4).zip(q.chunks(4)) {
        if let [a, b, c, d] = q {
            for quad in 0..4 {
                let four = ternary_tile::<1, 4>(group, quad, [a, b, c, d]);
                for (sums, four) in sums.iter_mut().zip(four) {
                    sums[4 * quad..][..4].copy_from_slice(&four[0]);
                }
            }
        } else {
            for (sums, q) in sums.iter_mut().zip(q) {
                let [all] = ternary_tile::<4, 1>(group, 0, [q]);
                sums.copy_from_slice(all.as_flattened());
            }
        }
    }
    sums
}

/// `R` times four rows from `4 · quad` on, `T` tokens.
#[inline]
#[target_feature(enable = "neon")]
fn ternary_tile<const R: usize, const T: usize>(group: &[u8], quad: usize, q: [&[i8]; T]) -> [[[i32; 4]; R]; T] {
    /// A step adds at most 4 · 2 · 128 to an i16.
    const STEPS_IN_I16: usize = 31;
    let mask = vdupq_n_u8(3);
    let mut sums = [[[vdupq_n_s32(0); 2]; R]; T];
    for (i, steps) in group.chunks(STEPS_IN_I16 * STEP_BYTES).enumerate() {
        let q = q.map(|q| &q[i * STEPS_IN_I16 * STEP..]);
        let mut narrow = [[[vdupq_n_s16(0); 2]; R]; T];
        for (s, step) in steps.as_chunks::<STEP_BYTES>().0.iter().enumerate() {
            let step = step.as_chunks::<16>().0;
            for r in 0..R {
                let w = load_u8(&step[quad + r]);
                let fields = [
                    vandq_u8(w, mask),
                    vandq_u8(vshrq_n_u8::<2>(w), mask),
                    vandq_u8(vshrq_n_u8::<4>(w), mask),
                    vshrq_n_u8::<6>(w),
                ]
                .map(|codes| vreinterpretq_s8_u8(codes));
                for t in 0..T {
                    let x = q[t][s * STEP..][..STEP].as_chunks::<4>().0;
                    let [low, high] = &mut narrow[t][r];
                    for f in 0..4 {
                        // The same four columns for each of two rows.
                        let x = i32::from_le_bytes(x[f].map(|x| x as u8));
                        let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
                        *low = vmlal_s8(*low, vget_low_s8(fields[f]), vget_low_s8(x));
                        *high = vmlal_high_s8(*high, fields[f], x);
                    }
                }
            }
        }
        for t in 0..T {
            for r in 0..R {
                for half in 0..2 {
                    sums[t][r][half] = vpadalq_s16(sums[t][r][half], narrow[t][r][half]);
                }
            }
        }
    }
    sums.map(|sums| sums.map(|[low, high]| lanes(vpaddq_s32(low, high))))
}

#[inline]
#[target_feature(enable = "neon")]
fn dot_scaled(codes: &Codes, scales: &[i16; 16], q: &[i8; 256]) -> i32 {
    let mut sum = vdupq_n_s32(0);
    let groups = codes.0.as_chunks::<16>().0.iter().zip(q.as_chunks::<16>().0);
    for ((codes, q), &scale) in groups.zip(scales) {
        sum = vmlaq_n_s32(sum, vpaddlq_s16(products(codes, q)), i32::from(scale));
    }
    vaddvq_s32(sum)
}

#[inline]
#[target_feature(enable = "neon")]
fn panel_sums<const T: usize>(panel: &Panel, q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
    let mut out = [PanelSums { scaled: [0; GROUP], offset: [0; GROUP] }; T];
    for quad in 0..4 {
        for t in 0..T {
            let mut scaled = [vdupq_n_s32(0); 2];
            for (j, scales) in panel.scales.iter().enumerate() {
                // Lanes are (row, column mod 4): four products of at most 63·127 fit i16.
                let mut narrow = [vdupq_n_s16(0); 2];
                for k in 4 * j..4 * j + 4 {
                    let codes = load(&panel.codes[k].as_chunks::<16>().0[quad]);
                    let x = i32::from_le_bytes(q[t].as_chunks::<4>().0[k].map(|q| q as u8));
                    let x = vreinterpretq_s8_s32(vdupq_n_s32(x));
                    narrow[0] = vmlal_s8(narrow[0], vget_low_s8(codes), vget_low_s8(x));
                    narrow[1] = vmlal_high_s8(narrow[1], codes, x);
                }
                // Two lanes per row, as the scales are there twice.
                let scales = load_i16(&scales.as_chunks::<8>().0[quad]);
                scaled[0] = vmlaq_s32(scaled[0], vpaddlq_s16(narrow[0]), vmovl_s16(vget_low_s16(scales)));
                scaled[1] = vmlaq_s32(scaled[1], vpaddlq_s16(narrow[1]), vmovl_high_s16(scales));
            }
            out[t].scaled[4 * quad..][..4].copy_from_slice(&lanes(vpaddq_s32(scaled[0], scaled[1])));
        }
    }
    panel_offsets(panel, sums, &mut out);
    out
}

/// The sums of offsets of a panel.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn panel_offsets<const T: usize>(panel: &Panel, sums: [&[i16; 16]; T], out: &mut [PanelSums; T]) {
    for quad in 0..4 {
        let mut offset = [vdupq_n_s32(0); T];
        for (j, offsets) in panel.offsets.iter().enumerate() {
            let pairs = load_i16(&offsets.as_chunks::<8>().0[quad]);
            let even = vget_low_s16(vuzp1q_s16(pairs, pairs));
            let odd = vget_low_s16(vuzp2q_s16(pairs, pairs));
            for t in 0..T {
                offset[t] = vmlal_n_s16(offset[t], even, sums[t][2 * j]);
                offset[t] = vmlal_n_s16(offset[t], odd, sums[t][2 * j + 1]);
            }
        }
        for (out, offset) in out.iter_mut().zip(offset) {
            out.offset[4 * quad..][..4].copy_from_slice(&lanes(offset));
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_i16(values: &[i16; 8]) -> int16x8_t {
    // SAFETY: 16 bytes are read from an array of 16 bytes.
    unsafe { vld1q_s16(values.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn dots_of_32(codes: &Codes, q: &[i8; 256]) -> [i32; 8] {
    let mut d = [vdupq_n_s32(0); 8];
    let blocks = codes.0.as_chunks::<32>().0.iter().zip(q.as_chunks::<32>().0);
    for (d, (codes, q)) in d.iter_mut().zip(blocks) {
        let (codes, q) = (codes.as_chunks::<16>().0, q.as_chunks::<16>().0);
        *d = vpadalq_s16(vpaddlq_s16(products(&codes[0], &q[0])), products(&codes[1], &q[1]));
    }
    sums_of_eight(d)
}

/// Products of 16 bytes; lane i holds the sum of products i and i + 8, at most 2·128·127 = 32512.
#[inline]
#[target_feature(enable = "neon")]
fn products(codes: &[i8; 16], q: &[i8; 16]) -> int16x8_t {
    let (codes, q) = (load(codes), load(q));
    vmlal_high_s8(vmull_s8(vget_low_s8(codes), vget_low_s8(q)), codes, q)
}

/// The sum of each of eight vectors.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn sums_of_eight(d: [int32x4_t; 8]) -> [i32; 8] {
    let four = |d: &[int32x4_t]| lanes(vpaddq_s32(vpaddq_s32(d[0], d[1]), vpaddq_s32(d[2], d[3])));
    let ([a, b, c, d_], [e, f, g, h]) = (four(&d[..4]), four(&d[4..]));
    [a, b, c, d_, e, f, g, h]
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_f32(bytes: &[u8; 128]) -> [float32x4_t; 8] {
    let mut lanes = [vdupq_n_f32(0.0); 8];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<16>().0) {
        // SAFETY: 16 bytes are read from an array of 16 bytes; NEON loads need no alignment.
        *lanes = unsafe { vld1q_f32(part.as_ptr().cast()) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_f16(bytes: &[u8; 64]) -> [float32x4_t; 8] {
    let mut lanes = [vdupq_n_f32(0.0); 8];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<8>().0) {
        // SAFETY: 8 bytes are read from an array of 8 bytes; NEON loads need no alignment.
        *lanes = unsafe { vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(part.as_ptr().cast()))) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_bf16(bytes: &[u8; 64]) -> [float32x4_t; 8] {
    let mut lanes = [vdupq_n_f32(0.0); 8];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<8>().0) {
        // SAFETY: 8 bytes are read from an array of 8 bytes; NEON loads need no alignment.
        *lanes = unsafe { vreinterpretq_f32_u32(vshll_n_u16::<16>(vld1_u16(part.as_ptr().cast()))) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add_products(sum: [float32x4_t; 8], a: [float32x4_t; 8], b: [float32x4_t; 8]) -> [float32x4_t; 8] {
    let mut sum = sum;
    for i in 0..8 {
        sum[i] = vaddq_f32(sum[i], vmulq_f32(a[i], b[i]));
    }
    sum
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn half(bits: u16) -> f32 {
    vgetq_lane_f32::<0>(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(bits))))
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load(bytes: &[i8; 16]) -> int8x16_t {
    // SAFETY: 16 bytes are read from an array of 16 bytes; NEON loads need no alignment.
    unsafe { vld1q_s8(bytes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn load_u8(bytes: &[u8; 16]) -> uint8x16_t {
    // SAFETY: 16 bytes are read from an array of 16 bytes; NEON loads need no alignment.
    unsafe { vld1q_u8(bytes.as_ptr()) }
}

#[inline(always)]
pub(super) fn lanes(v: int32x4_t) -> [i32; 4] {
    // SAFETY: both are 16 bytes of plain integers.
    unsafe { std::mem::transmute::<int32x4_t, [i32; 4]>(v) }
}
