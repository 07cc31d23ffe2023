//! NEON with dot products (Cortex-A76 and later): `sdot` adds four signed byte products to each of four i32 lanes.
//!
//! The compiler's intrinsic for it is not stable, so it is written as one-instruction assembly. `sdot` by element takes its four
//! activations from one 32-bit lane of a register: 16 bytes of activations serve all four fields of a step.

#![allow(unsafe_code)]

use super::neon::{self, lanes, load, load_u8};
use crate::kernel::isa::{Kernel, Panel, PanelSums, SmallPanel, Task};
use crate::kernel::ternary::{GROUP, STEP, STEP_BYTES};
use std::arch::aarch64::*;
use std::arch::asm;

/// Proof that the CPU has NEON with dot products.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct NeonDot(());

impl NeonDot {
    /// Asks the CPU.
    pub(in crate::kernel) fn new() -> Option<Self> {
        let all = std::arch::is_aarch64_feature_detected!("neon") && std::arch::is_aarch64_feature_detected!("dotprod");
        all.then_some(Self(()))
    }
}

impl Kernel for NeonDot {
    type Lanes = [float32x4_t; 8];

    fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { run(self, task) }
    }

    #[inline(always)]
    fn ternary<const T: usize>(self, group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { ternary(group, q) }
    }

    #[inline(always)]
    fn panel<P: Panel, const T: usize>(
        self,
        panel: &[u8],
        q: [&[i8; 256]; T],
        sums: [&[i16; 16]; T],
    ) -> [PanelSums; T] {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { panel_sums::<P, T>(panel, q, sums) }
    }

    #[inline(always)]
    fn small_panel<P: SmallPanel, const T: usize>(
        self,
        codes: &[u8],
        q: [&[i8; 32]; T],
        sums: [i32; T],
    ) -> [[i32; GROUP]; T] {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { small_panel::<P, T>(codes, q, sums) }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8; 128]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { neon::load_f32(bytes) }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 64]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { neon::load_f16(bytes) }
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 64]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { neon::load_bf16(bytes) }
    }

    #[inline(always)]
    fn load_i8(self, bytes: &[u8; 32]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { neon::load_i8(bytes) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { [vdupq_n_f32(x); 8] }
    }

    #[inline(always)]
    fn add_products(self, sum: Self::Lanes, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { neon::add_products(sum, a, b) }
    }

    #[inline(always)]
    fn store(self, lanes: Self::Lanes) -> [f32; 32] {
        // SAFETY: both are 128 bytes of plain floats.
        unsafe { std::mem::transmute(lanes) }
    }

    #[inline(always)]
    fn half(self, bits: u16) -> f32 {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { neon::half(bits) }
    }
}

#[target_feature(enable = "neon,dotprod")]
fn run<T: Task>(kernel: NeonDot, task: T) -> T::Output {
    task.run(kernel)
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn ternary<const T: usize>(group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
    if T == 1 {
        return [ternary_one(group, q[0]); T];
    }
    let mut sums = [[0; GROUP]; T];
    // Registers hold the sums of 16 rows of up to four tokens, or of 8 rows of eight.
    match T {
        8 => {
            for first in [0, 2] {
                for (sums, eight) in sums.iter_mut().zip(ternary_tile::<2, T>(group, first, q)) {
                    sums[4 * first..][..8].copy_from_slice(eight.as_flattened());
                }
            }
        }
        _ => {
            for (sums, all) in sums.iter_mut().zip(ternary_tile::<4, T>(group, 0, q)) {
                sums.copy_from_slice(all.as_flattened());
            }
        }
    }
    sums
}

/// One token: the memory is the limit, so two instructions per 16 weights must do: a mask and an `sdot`. Fields are not shifted;
/// fields 1 and 2 then count 4 and 16 times and have their own sums. Field 3 would not fit a signed byte and is shifted down.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn ternary_one(group: &[u8], q: &[i8]) -> [i32; GROUP] {
    let masks = [vdupq_n_u8(3), vdupq_n_u8(12), vdupq_n_u8(48)];
    let steps = group.as_chunks::<STEP_BYTES>().0;
    let q = &q.as_chunks::<STEP>().0[..steps.len()];
    let mut sums = [[vdupq_n_s32(0); 4]; 4];
    for (step, q) in steps.iter().zip(q) {
        let x = load(q);
        for (sums, bytes) in sums.iter_mut().zip(step.as_chunks::<16>().0) {
            let w = load_u8(bytes);
            sums[0] = sdot_lane::<0>(sums[0], vreinterpretq_s8_u8(vandq_u8(w, masks[0])), x);
            sums[1] = sdot_lane::<1>(sums[1], vreinterpretq_s8_u8(vandq_u8(w, masks[1])), x);
            sums[2] = sdot_lane::<2>(sums[2], vreinterpretq_s8_u8(vandq_u8(w, masks[2])), x);
            sums[3] = sdot_lane::<3>(sums[3], vreinterpretq_s8_u8(vshrq_n_u8::<6>(w)), x);
        }
    }
    let rows =
        sums.map(|[a, b, c, d]| lanes(vaddq_s32(vaddq_s32(a, d), vaddq_s32(vshrq_n_s32::<2>(b), vshrq_n_s32::<4>(c)))));
    std::array::from_fn(|r| rows[r / 4][r % 4])
}

/// `R` times four rows from `4 · first` on, `T` tokens.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn ternary_tile<const R: usize, const T: usize>(group: &[u8], first: usize, q: [&[i8]; T]) -> [[[i32; 4]; R]; T] {
    let mask = vdupq_n_u8(3);
    let steps = group.as_chunks::<STEP_BYTES>().0;
    let q = q.map(|q| &q.as_chunks::<STEP>().0[..steps.len()]);
    let mut sums = [[vdupq_n_s32(0); R]; T];
    for (s, step) in steps.iter().enumerate() {
        let mut x = [vdupq_n_s8(0); T];
        for t in 0..T {
            x[t] = load(&q[t][s]);
        }
        for (r, bytes) in step.as_chunks::<16>().0[first..first + R].iter().enumerate() {
            let w = load_u8(bytes);
            let fields = [
                vandq_u8(w, mask),
                vandq_u8(vshrq_n_u8::<2>(w), mask),
                vandq_u8(vshrq_n_u8::<4>(w), mask),
                vshrq_n_u8::<6>(w),
            ];
            let fields = [
                vreinterpretq_s8_u8(fields[0]),
                vreinterpretq_s8_u8(fields[1]),
                vreinterpretq_s8_u8(fields[2]),
                vreinterpretq_s8_u8(fields[3]),
            ];
            // Field by field, so that consecutive instructions add to different sums.
            for t in 0..T {
                sums[t][r] = sdot_lane::<0>(sums[t][r], fields[0], x[t]);
            }
            for t in 0..T {
                sums[t][r] = sdot_lane::<1>(sums[t][r], fields[1], x[t]);
            }
            for t in 0..T {
                sums[t][r] = sdot_lane::<2>(sums[t][r], fields[2], x[t]);
            }
            for t in 0..T {
                sums[t][r] = sdot_lane::<3>(sums[t][r], fields[3], x[t]);
            }
        }
    }
    sums.map(|sums| sums.map(lanes))
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn panel_sums<P: Panel, const T: usize>(panel: &[u8], q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
    let mut out = [PanelSums { scaled: [0; GROUP], offset: [0; GROUP] }; T];
    let scales = &panel[P::SCALES_AT..P::MINS_AT];
    for quad in 0..4 {
        let mut scaled = [vdupq_n_s32(0); T];
        // 16 columns at a time.
        for j in 0..16 {
            let a = neon::panel_codes::<P>(panel, 2 * j, quad);
            let b = neon::panel_codes::<P>(panel, 2 * j + 1, quad);
            let scale = neon::four_bytes(scales, if P::FINE { j } else { j / 2 } * GROUP + 4 * quad);
            for t in 0..T {
                let x = load(&q[t].as_chunks::<16>().0[j]);
                let dot = vdupq_n_s32(P::BIAS.map_or(0, |bias| -bias * i32::from(sums[t][j])));
                let dot = sdot_lane::<0>(dot, a[0], x);
                let dot = sdot_lane::<1>(dot, a[1], x);
                let dot = sdot_lane::<2>(dot, b[0], x);
                let dot = sdot_lane::<3>(dot, b[1], x);
                scaled[t] = vmlaq_s32(scaled[t], dot, scale);
            }
        }
        for (out, scaled) in out.iter_mut().zip(scaled) {
            out.scaled[4 * quad..][..4].copy_from_slice(&lanes(scaled));
        }
    }
    if P::BIAS.is_none() {
        neon::panel_offsets(&panel[P::MINS_AT..P::D_AT], sums, &mut out);
    }
    out
}

#[inline]
#[target_feature(enable = "neon,dotprod")]
fn small_panel<P: SmallPanel, const T: usize>(codes: &[u8], q: [&[i8; 32]; T], sums: [i32; T]) -> [[i32; GROUP]; T] {
    let mut out = [[0; GROUP]; T];
    for quad in 0..4 {
        let codes = [
            neon::small_codes::<P>(codes, 0, quad),
            neon::small_codes::<P>(codes, 1, quad),
            neon::small_codes::<P>(codes, 2, quad),
            neon::small_codes::<P>(codes, 3, quad),
        ];
        for t in 0..T {
            let x = q[t].as_chunks::<16>().0;
            let mut dot = vdupq_n_s32(if P::BYTES { 0 } else { -P::BIAS * sums[t] });
            for half in 0..2 {
                let (a, b, x) = (codes[2 * half], codes[2 * half + 1], load(&x[half]));
                dot = sdot_lane::<0>(dot, a[0], x);
                dot = sdot_lane::<1>(dot, a[1], x);
                dot = sdot_lane::<2>(dot, b[0], x);
                dot = sdot_lane::<3>(dot, b[1], x);
            }
            out[t][4 * quad..][..4].copy_from_slice(&lanes(dot));
        }
    }
    out
}

/// `sum[i] += a[4i..4i+4] · b[4·LANE..4·LANE+4]`
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn sdot_lane<const LANE: u32>(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers, of a feature that this function requires.
    unsafe {
        asm!("sdot {sum:v}.4s, {a:v}.16b, {b:v}.4b[{lane}]", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
             lane = const LANE, options(pure, nomem, nostack, preserves_flags));
    }
    sum
}

/// `sum[i] += Σ_j a[4i + j] · b[4i + j]`
#[inline]
#[target_feature(enable = "neon,dotprod")]
pub(super) fn sdot(mut sum: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    // SAFETY: one instruction on registers, of a feature that this function requires.
    unsafe {
        asm!("sdot {sum:v}.4s, {a:v}.16b, {b:v}.16b", sum = inout(vreg) sum, a = in(vreg) a, b = in(vreg) b,
             options(pure, nomem, nostack, preserves_flags));
    }
    sum
}
