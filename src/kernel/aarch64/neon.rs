//! NEON without dot products (Cortex-A72): widening byte products into i16, pairs widened into i32 before they can overflow.

#![allow(unsafe_code)]

use crate::kernel::isa::{Kernel, Panel, PanelSums, SmallPanel, Task};
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
    fn panel<P: Panel, const T: usize>(
        self,
        panel: &[u8],
        q: [&[i8; 256]; T],
        sums: [&[i16; 16]; T],
    ) -> [PanelSums; T] {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { panel_sums::<P, T>(panel, q, sums) }
    }

    #[inline(always)]
    fn small_panel<P: SmallPanel, const T: usize>(
        self,
        codes: &[u8],
        q: [&[i8; 32]; T],
        sums: [i32; T],
    ) -> [[i32; GROUP]; T] {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { small_panel::<P, T>(codes, q, sums) }
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
    fn load_i8(self, bytes: &[u8; 32]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the feature.
        unsafe { load_i8(bytes) }
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
                ];
                for t in 0..T {
                    let x: [i32; 4] = bytemuck::cast(q[t].as_chunks::<STEP>().0[s]);
                    let [low, high] = &mut narrow[t][r];
                    for f in 0..4 {
                        // The same four columns for each of two rows.
                        let x = vreinterpretq_s8_s32(vdupq_n_s32(x[f]));
                        let codes = vreinterpretq_s8_u8(fields[f]);
                        *low = vmlal_s8(*low, vget_low_s8(codes), vget_low_s8(x));
                        *high = vmlal_high_s8(*high, codes, x);
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
fn panel_sums<P: Panel, const T: usize>(panel: &[u8], q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
    let mut out = [PanelSums { scaled: [0; GROUP], offset: [0; GROUP] }; T];
    let scales = &panel[P::SCALES_AT..P::MINS_AT];
    for quad in 0..4 {
        let mut scaled = [vdupq_n_s32(0); T];
        // 16 columns at a time: lanes are (row, column mod 4), and four products of at most 63·127 fit i16.
        for j in 0..16 {
            let (a, b) = (panel_codes::<P>(panel, 2 * j, quad), panel_codes::<P>(panel, 2 * j + 1, quad));
            let scale = four_bytes(scales, if P::FINE { j } else { j / 2 } * GROUP + 4 * quad);
            for t in 0..T {
                let words = q[t].as_chunks::<4>().0;
                let mut narrow = [vdupq_n_s16(0); 2];
                for (i, codes) in [a[0], a[1], b[0], b[1]].into_iter().enumerate() {
                    narrow = add_products_of_four(narrow, codes, &words[4 * j + i]);
                }
                let dot = sums_of_rows(narrow);
                let bias = vdupq_n_s32(P::BIAS.map_or(0, |bias| bias * i32::from(sums[t][j])));
                scaled[t] = vmlaq_s32(scaled[t], vsubq_s32(dot, bias), scale);
            }
        }
        for (out, scaled) in out.iter_mut().zip(scaled) {
            out.scaled[4 * quad..][..4].copy_from_slice(&lanes(scaled));
        }
    }
    if P::BIAS.is_none() {
        panel_offsets(&panel[P::MINS_AT..P::D_AT], sums, &mut out);
    }
    out
}

#[inline]
#[target_feature(enable = "neon")]
fn small_panel<P: SmallPanel, const T: usize>(codes: &[u8], q: [&[i8; 32]; T], sums: [i32; T]) -> [[i32; GROUP]; T] {
    let mut out = [[0; GROUP]; T];
    for quad in 0..4 {
        for t in 0..T {
            let mut dot = vdupq_n_s32(if P::BYTES { 0 } else { -P::BIAS * sums[t] });
            for v in 0..4 {
                // Two products of 128 · 127 fit i16.
                let words = q[t].as_chunks::<4>().0;
                let [a, b] = small_codes::<P>(codes, v, quad);
                let narrow = add_products_of_four([vdupq_n_s16(0); 2], a, &words[2 * v]);
                dot = vaddq_s32(dot, sums_of_rows(add_products_of_four(narrow, b, &words[2 * v + 1])));
            }
            out[t][4 * quad..][..4].copy_from_slice(&lanes(dot));
        }
    }
    out
}

/// Adds the products of four columns of four rows with the four activations of `word`.
#[inline]
#[target_feature(enable = "neon")]
fn add_products_of_four(narrow: [int16x8_t; 2], codes: int8x16_t, word: &[i8; 4]) -> [int16x8_t; 2] {
    let x = vreinterpretq_s8_s32(vdupq_n_s32(bytemuck::cast(*word)));
    [vmlal_s8(narrow[0], vget_low_s8(codes), vget_low_s8(x)), vmlal_high_s8(narrow[1], codes, x)]
}

/// The sums of lanes (row, column mod 4) of four rows.
#[inline]
#[target_feature(enable = "neon")]
fn sums_of_rows(narrow: [int16x8_t; 2]) -> int32x4_t {
    vpaddq_s32(vpaddlq_s16(narrow[0]), vpaddlq_s16(narrow[1]))
}

/// The codes of eight columns from column `8 · v` on, four in each vector, of rows `4 · quad ..`.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn panel_codes<P: Panel>(panel: &[u8], v: usize, quad: usize) -> [int8x16_t; 2] {
    let vectors = panel[..P::SCALES_AT].as_chunks::<16>().0;
    let w = load_u8(&vectors[4 * P::low(v) + quad]);
    let mut codes = [vandq_u8(w, vdupq_n_u8(15)), vshrq_n_u8::<4>(w)];
    match P::HIGH {
        1 => {
            let high = load_u8(&vectors[4 * P::high(v) + quad]);
            let mask = vdupq_n_u8(16);
            let field = match v % 4 {
                0 => [vshlq_n_u8::<4>(high), vshlq_n_u8::<3>(high)],
                1 => [vshlq_n_u8::<2>(high), vshlq_n_u8::<1>(high)],
                2 => [high, vshrq_n_u8::<1>(high)],
                _ => [vshrq_n_u8::<2>(high), vshrq_n_u8::<3>(high)],
            };
            for (codes, field) in codes.iter_mut().zip(field) {
                *codes = vorrq_u8(*codes, vandq_u8(field, mask));
            }
        }
        2 => {
            let high = load_u8(&vectors[4 * P::high(v) + quad]);
            let mask = vdupq_n_u8(48);
            let field = match v % 2 {
                0 => [vshlq_n_u8::<4>(high), vshlq_n_u8::<2>(high)],
                _ => [high, vshrq_n_u8::<2>(high)],
            };
            for (codes, field) in codes.iter_mut().zip(field) {
                *codes = vorrq_u8(*codes, vandq_u8(field, mask));
            }
        }
        _ => {}
    }
    [vreinterpretq_s8_u8(codes[0]), vreinterpretq_s8_u8(codes[1])]
}

/// The same of a panel of small blocks; bytes have lost their bias, as they have room for a sign.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn small_codes<P: SmallPanel>(codes: &[u8], v: usize, quad: usize) -> [int8x16_t; 2] {
    let vectors = codes.as_chunks::<16>().0;
    let codes = if P::BYTES {
        let sign = vdupq_n_u8(0x80);
        [veorq_u8(load_u8(&vectors[8 * v + quad]), sign), veorq_u8(load_u8(&vectors[8 * v + 4 + quad]), sign)]
    } else {
        let w = load_u8(&vectors[4 * v + quad]);
        [vandq_u8(w, vdupq_n_u8(15)), vshrq_n_u8::<4>(w)]
    };
    [vreinterpretq_s8_u8(codes[0]), vreinterpretq_s8_u8(codes[1])]
}

/// Four int8 values from `at` on, as i32.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn four_bytes(bytes: &[u8], at: usize) -> int32x4_t {
    let word = u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let wide = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(word)));
    vmovl_s16(vget_low_s16(wide))
}

/// The sums of offsets of a panel.
#[inline]
#[target_feature(enable = "neon")]
pub(super) fn panel_offsets<const T: usize>(mins: &[u8], sums: [&[i16; 16]; T], out: &mut [PanelSums; T]) {
    for quad in 0..4 {
        let mut offset = [vdupq_n_s32(0); T];
        for j in 0..4 {
            // SAFETY: 8 bytes are read from an array of 8 bytes; NEON loads need no alignment.
            let pairs = unsafe { vld1_u8(mins.as_chunks::<8>().0[4 * j + quad].as_ptr()) };
            let pairs = vreinterpretq_s16_u16(vmovl_u8(pairs));
            let even = vget_low_s16(vuzp1q_s16(pairs, pairs));
            let odd = vget_low_s16(vuzp2q_s16(pairs, pairs));
            for t in 0..T {
                let [a, b, c, d] = sums[t].as_chunks::<4>().0[j];
                offset[t] = vmlal_n_s16(offset[t], even, a + b);
                offset[t] = vmlal_n_s16(offset[t], odd, c + d);
            }
        }
        for (out, offset) in out.iter_mut().zip(offset) {
            out.offset[4 * quad..][..4].copy_from_slice(&lanes(offset));
        }
    }
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
pub(super) fn load_i8(bytes: &[u8; 32]) -> [float32x4_t; 8] {
    let mut lanes = [vdupq_n_f32(0.0); 8];
    for (lanes, part) in lanes.as_chunks_mut::<4>().0.iter_mut().zip(bytes.as_chunks::<16>().0) {
        let bytes = vreinterpretq_s8_u8(load_u8(part));
        let (low, high) = (vmovl_s8(vget_low_s8(bytes)), vmovl_high_s8(bytes));
        *lanes = [
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(low))),
            vcvtq_f32_s32(vmovl_high_s16(low)),
            vcvtq_f32_s32(vmovl_s16(vget_low_s16(high))),
            vcvtq_f32_s32(vmovl_high_s16(high)),
        ];
    }
    lanes
}

#[inline]
#[target_feature(enable = "neon")]
pub(super) fn add_products(sum: [float32x4_t; 8], a: [float32x4_t; 8], b: [float32x4_t; 8]) -> [float32x4_t; 8] {
    let mut sum = sum;
    for i in 0..8 {
        sum[i] = vfmaq_f32(sum[i], a[i], b[i]);
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
