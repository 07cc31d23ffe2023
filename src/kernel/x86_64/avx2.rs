//! AVX2: 256-bit byte products (`vpmaddubsw`: unsigned × signed bytes, pairs summed in i16).
//!
//! The i16 pairs saturate at ±32767. For ternary codes a pair is within ±512, and sums of pairs are widened before they can
//! leave i16. For 6-bit codes a pair is within 2·63·127 = 16002; for int8 codes within 2·128·127 = 32512.

#![allow(unsafe_code)]

use crate::kernel::isa::{Codes, Kernel, Panel, PanelSums, Task};
use crate::kernel::ternary::{GROUP, STEP, STEP_BYTES};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX2 and F16C.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Avx2(());

impl Avx2 {
    /// Asks the CPU.
    pub(in crate::kernel) fn new() -> Option<Self> {
        (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c")).then_some(Self(()))
    }
}

impl Kernel for Avx2 {
    type Lanes = [__m256; 4];

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
    fn dot_scaled(self, codes: &Codes, scales: &[i16; 16], q: &[i8; 256]) -> i32 {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { dot_scaled(codes, scales, q) }
    }

    #[inline(always)]
    fn panel<const T: usize>(self, panel: &Panel, q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { panel_sums(panel, q, sums) }
    }

    #[inline(always)]
    fn dots_of_32(self, codes: &Codes, q: &[i8; 256]) -> [i32; 8] {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { dots_of_32(codes, q) }
    }

    #[inline(always)]
    fn load_f32(self, bytes: &[u8; 128]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { load_f32(bytes) }
    }

    #[inline(always)]
    fn load_f16(self, bytes: &[u8; 64]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { load_f16(bytes) }
    }

    #[inline(always)]
    fn load_bf16(self, bytes: &[u8; 64]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { load_bf16(bytes) }
    }

    #[inline(always)]
    fn splat(self, x: f32) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { [_mm256_set1_ps(x); 4] }
    }

    #[inline(always)]
    fn add_products(self, sum: Self::Lanes, a: Self::Lanes, b: Self::Lanes) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { add_products(sum, a, b) }
    }

    #[inline(always)]
    fn store(self, lanes: Self::Lanes) -> [f32; 32] {
        // SAFETY: both are 128 bytes of plain floats.
        unsafe { std::mem::transmute(lanes) }
    }

    #[inline(always)]
    fn half(self, bits: u16) -> f32 {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { half(bits) }
    }
}

#[target_feature(enable = "avx2,f16c")]
fn run<T: Task>(kernel: Avx2, task: T) -> T::Output {
    task.run(kernel)
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn ternary<const T: usize>(group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
    let mut sums = [[0; GROUP]; T];
    // Four tokens at a time, as there are 16 registers.
    for (sums, q) in sums.chunks_mut(4).zip(q.chunks(4)) {
        match q {
            [a, b, c, d] => sums.copy_from_slice(&ternary_tile(group, [a, b, c, d])),
            _ => {
                for (sums, q) in sums.iter_mut().zip(q) {
                    [*sums] = ternary_tile(group, [q]);
                }
            }
        }
    }
    sums
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn ternary_tile<const T: usize>(group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
    /// A step adds at most 4 · 512 to an i16.
    const STEPS_IN_I16: usize = 15;
    let mask = _mm256_set1_epi8(3);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; T];
    let run = STEPS_IN_I16 * STEP_BYTES;
    for (i, steps) in group.chunks(run).enumerate() {
        let q = q.map(|q| &q[i * STEPS_IN_I16 * STEP..]);
        let mut narrow = [[_mm256_setzero_si256(); 2]; T];
        for (s, step) in steps.as_chunks::<STEP_BYTES>().0.iter().enumerate() {
            for (half, bytes) in step.as_chunks::<32>().0.iter().enumerate() {
                let w = load(bytes);
                let fields = [
                    _mm256_and_si256(w, mask),
                    _mm256_and_si256(_mm256_srli_epi16::<2>(w), mask),
                    _mm256_and_si256(_mm256_srli_epi16::<4>(w), mask),
                    _mm256_and_si256(_mm256_srli_epi16::<6>(w), mask),
                ];
                for t in 0..T {
                    let x = q[t][s * STEP..][..STEP].as_chunks::<4>().0;
                    for f in 0..4 {
                        let x = _mm256_set1_epi32(i32::from_le_bytes(x[f].map(|x| x as u8)));
                        let pairs = _mm256_maddubs_epi16(fields[f], x);
                        narrow[t][half] = _mm256_add_epi16(narrow[t][half], pairs);
                    }
                }
            }
        }
        for (sums, narrow) in sums.iter_mut().zip(narrow) {
            for (sum, narrow) in sums.iter_mut().zip(narrow) {
                *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(narrow, ones));
            }
        }
    }
    // SAFETY: both are 64 bytes of plain integers.
    sums.map(|sums| unsafe { std::mem::transmute::<[__m256i; 2], [i32; GROUP]>(sums) })
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn dot_scaled(codes: &Codes, scales: &[i16; 16], q: &[i8; 256]) -> i32 {
    let scales = load(bytemuck::cast_ref(scales));
    // Scales 0..8 in both halves, scales 8..16 in both halves.
    let scales = [_mm256_permute4x64_epi64::<0b01_00_01_00>(scales), _mm256_permute4x64_epi64::<0b11_10_11_10>(scales)];
    let mut sum = _mm256_setzero_si256();
    let parts = codes.0.as_chunks::<32>().0.iter().zip(q.as_chunks::<32>().0);
    for (v, (codes, q)) in parts.enumerate() {
        let pairs = _mm256_maddubs_epi16(load(bytemuck::cast_ref(codes)), load(bytemuck::cast_ref(q)));
        // The 32 codes are two groups of 16: the scale 2v in the low half, 2v + 1 in the high half.
        let at = 4 * (v as i8 % 4);
        let low = _mm_set1_epi16(i16::from_le_bytes([at as u8, at as u8 + 1]));
        let high = _mm_set1_epi16(i16::from_le_bytes([at as u8 + 2, at as u8 + 3]));
        let scale = _mm256_shuffle_epi8(scales[v / 4], _mm256_set_m128i(high, low));
        sum = _mm256_add_epi32(sum, _mm256_madd_epi16(pairs, scale));
    }
    let sum = _mm_add_epi32(_mm256_castsi256_si128(sum), _mm256_extracti128_si256::<1>(sum));
    let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b01_00_11_10>(sum));
    let sum = _mm_add_epi32(sum, _mm_shuffle_epi32::<0b10_11_00_01>(sum));
    _mm_cvtsi128_si32(sum)
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn panel_sums<const T: usize>(panel: &Panel, q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
    let mut out = [PanelSums { scaled: [0; GROUP], offset: [0; GROUP] }; T];
    // Eight rows at a time.
    for half in 0..2 {
        let mut scaled = [_mm256_setzero_si256(); T];
        for (j, scales) in panel.scales.iter().enumerate() {
            let scales = load(&bytemuck::cast_ref::<_, [[u8; 32]; 2]>(scales)[half]);
            for k in 4 * j..4 * j + 4 {
                let codes = load(&bytemuck::cast_ref::<_, [[u8; 32]; 2]>(&panel.codes[k])[half]);
                for t in 0..T {
                    let x = i32::from_le_bytes(q[t].as_chunks::<4>().0[k].map(|q| q as u8));
                    let pairs = _mm256_maddubs_epi16(codes, _mm256_set1_epi32(x));
                    scaled[t] = _mm256_add_epi32(scaled[t], _mm256_madd_epi16(pairs, scales));
                }
            }
        }
        let mut offset = [_mm256_setzero_si256(); T];
        for (j, offsets) in panel.offsets.iter().enumerate() {
            let offsets = load(&bytemuck::cast_ref::<_, [[u8; 32]; 2]>(offsets)[half]);
            for t in 0..T {
                let pair: [i16; 2] = sums[t].as_chunks().0[j];
                let products = _mm256_madd_epi16(offsets, _mm256_set1_epi32(bytemuck::cast(pair)));
                offset[t] = _mm256_add_epi32(offset[t], products);
            }
        }
        for (t, out) in out.iter_mut().enumerate() {
            out.scaled[8 * half..][..8].copy_from_slice(&lanes(scaled[t]));
            out.offset[8 * half..][..8].copy_from_slice(&lanes(offset[t]));
        }
    }
    out
}

#[inline(always)]
fn lanes(v: __m256i) -> [i32; 8] {
    // SAFETY: both are 32 bytes of plain integers.
    unsafe { std::mem::transmute::<__m256i, [i32; 8]>(v) }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn dots_of_32(codes: &Codes, q: &[i8; 256]) -> [i32; 8] {
    let ones = _mm256_set1_epi16(1);
    let mut d = [_mm256_setzero_si256(); 8];
    let parts = codes.0.as_chunks::<32>().0.iter().zip(q.as_chunks::<32>().0);
    for (d, (codes, q)) in d.iter_mut().zip(parts) {
        // c·q = |c| · (q with the sign of c)
        let (codes, q) = (load(bytemuck::cast_ref(codes)), load(bytemuck::cast_ref(q)));
        let pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(q, codes));
        *d = _mm256_madd_epi16(pairs, ones);
    }
    // Sums of four within each half of d0..d3 and of d4..d7, then the halves.
    let a = _mm256_hadd_epi32(_mm256_hadd_epi32(d[0], d[1]), _mm256_hadd_epi32(d[2], d[3]));
    let b = _mm256_hadd_epi32(_mm256_hadd_epi32(d[4], d[5]), _mm256_hadd_epi32(d[6], d[7]));
    let sums = _mm256_add_epi32(_mm256_permute2x128_si256::<0x20>(a, b), _mm256_permute2x128_si256::<0x31>(a, b));
    lanes(sums)
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_f32(bytes: &[u8; 128]) -> [__m256; 4] {
    let mut lanes = [_mm256_setzero_ps(); 4];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<32>().0) {
        // SAFETY: 32 bytes are read from an array of 32 bytes; an unaligned load.
        *lanes = unsafe { _mm256_loadu_ps(part.as_ptr().cast()) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_f16(bytes: &[u8; 64]) -> [__m256; 4] {
    let mut lanes = [_mm256_setzero_ps(); 4];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<16>().0) {
        // SAFETY: 16 bytes are read from an array of 16 bytes; an unaligned load.
        *lanes = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(part.as_ptr().cast())) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_bf16(bytes: &[u8; 64]) -> [__m256; 4] {
    let mut lanes = [_mm256_setzero_ps(); 4];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<16>().0) {
        // SAFETY: 16 bytes are read from an array of 16 bytes; an unaligned load.
        *lanes = unsafe {
            _mm256_castsi256_ps(_mm256_slli_epi32::<16>(_mm256_cvtepu16_epi32(_mm_loadu_si128(part.as_ptr().cast()))))
        };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn add_products(sum: [__m256; 4], a: [__m256; 4], b: [__m256; 4]) -> [__m256; 4] {
    let mut sum = sum;
    for i in 0..4 {
        sum[i] = _mm256_add_ps(sum[i], _mm256_mul_ps(a[i], b[i]));
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn half(bits: u16) -> f32 {
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are read from an array of 32 bytes; an unaligned load.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}
