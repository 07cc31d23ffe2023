//! AVX2: 256-bit byte products (`vpmaddubsw`: unsigned × signed bytes, pairs summed in i16).
//!
//! The i16 pairs saturate at ±32767. For ternary codes a pair is within ±512, and sums of pairs are widened before they can
//! leave i16. For 6-bit codes a pair is within 2·63·127 = 16002; for int8 codes within 2·128·127 = 32512.

#![allow(unsafe_code)]

use crate::kernel::isa::{Kernel, Panel, PanelSums, SmallPanel, Task};
use crate::kernel::ternary::{GROUP, STEP, STEP_BYTES};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX2, F16C and FMA.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Avx2(());

impl Avx2 {
    /// Asks the CPU.
    pub(in crate::kernel) fn new() -> Option<Self> {
        let all =
            is_x86_feature_detected!("avx2") && is_x86_feature_detected!("f16c") && is_x86_feature_detected!("fma");
        all.then_some(Self(()))
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
    fn load_i8(self, bytes: &[u8; 32]) -> Self::Lanes {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { load_i8(bytes) }
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

#[target_feature(enable = "avx2,f16c,fma")]
fn run<T: Task>(kernel: Avx2, task: T) -> T::Output {
    task.run(kernel)
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
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
#[target_feature(enable = "avx2,f16c,fma")]
fn ternary_tile<const T: usize>(group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
    /// A step adds at most 4 · 512 to an i16.
    const STEPS_IN_I16: usize = 15;
    let mask = _mm256_set1_epi8(3);
    let ones = _mm256_set1_epi16(1);
    let mut sums = [[_mm256_setzero_si256(); 2]; T];
    let run = STEPS_IN_I16 * STEP_BYTES;
    for (i, steps) in group.chunks(run).enumerate() {
        let mut part = [&[][..]; T];
        for t in 0..T {
            part[t] = &q[t][i * STEPS_IN_I16 * STEP..];
        }
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
                    let x: [i32; 4] = bytemuck::cast(part[t].as_chunks::<STEP>().0[s]);
                    for f in 0..4 {
                        let x = _mm256_set1_epi32(x[f]);
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
    let mut out = [[0; GROUP]; T];
    for t in 0..T {
        // SAFETY: both are 64 bytes of plain integers.
        out[t] = unsafe { std::mem::transmute::<[__m256i; 2], [i32; GROUP]>(sums[t]) };
    }
    out
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn panel_sums<P: Panel, const T: usize>(panel: &[u8], q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
    let mut out = [PanelSums { scaled: [0; GROUP], offset: [0; GROUP] }; T];
    // Four tokens and eight rows at a time, as there are 16 registers.
    for (out, (q, sums)) in out.chunks_mut(4).zip(q.chunks(4).zip(sums.chunks(4))) {
        for half in 0..2 {
            match (q, sums) {
                ([a, b, c, d], [e, f, g, h]) => panel_tile::<P, 4>(panel, half, [a, b, c, d], [e, f, g, h], out),
                _ => {
                    for ((out, q), sums) in out.chunks_mut(1).zip(q).zip(sums) {
                        panel_tile::<P, 1>(panel, half, [q], [sums], out);
                    }
                }
            }
        }
    }
    out
}

/// Rows `8 · half ..` of a panel.
#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn panel_tile<P: Panel, const T: usize>(
    panel: &[u8],
    half: usize,
    q: [&[i8; 256]; T],
    sums: [&[i16; 16]; T],
    out: &mut [PanelSums],
) {
    let zero = _mm256_setzero_si256();
    let vectors = panel[..P::SCALES_AT].as_chunks::<32>().0;
    let scales = panel[P::SCALES_AT..P::MINS_AT].as_chunks::<8>().0;
    let mut scaled = [zero; T];
    // A pair of products is within 2 · 63 · 127, and 16 columns of six bits, or 32 of four, stay within i16 …
    let width = if P::HIGH == 0 && !P::FINE { 4 } else { 2 };
    // Not unrolled, so that lines are read in their order: the memory's own prefetcher follows nothing but a stream.
    for j in 0..std::hint::black_box(16 / (width / 2)).min(16 / (width / 2)) {
        let mut pairs = [[zero; 2]; T];
        for v in 0..width {
            let codes = panel_codes::<P>(vectors, width * j + v, half);
            for t in 0..T {
                let x = &q[t].as_chunks::<8>().0[width * j + v];
                for (i, &codes) in codes.iter().enumerate() {
                    // … if six-bit codes are summed up in two parts: 2 · 2 · 63 · 127 = 32004 and 8 · 2 · 15 · 127 = 30480.
                    let part = if P::HIGH == 0 { 0 } else { i };
                    pairs[t][part] = _mm256_add_epi16(pairs[t][part], _mm256_maddubs_epi16(codes, word(x, i)));
                }
            }
        }
        let every = if P::FINE { 1 } else { 4 / width };
        let scale = _mm256_cvtepi8_epi32(load8(&scales[2 * (j / every) + half]));
        let twice = _mm256_or_si256(_mm256_slli_epi32::<16>(scale), _mm256_and_si256(scale, _mm256_set1_epi32(0xffff)));
        for t in 0..T {
            let parts = if P::HIGH == 0 { &pairs[t][..1] } else { &pairs[t][..] };
            for &pairs in parts {
                scaled[t] = _mm256_add_epi32(scaled[t], _mm256_madd_epi16(pairs, twice));
            }
            if let Some(bias) = P::BIAS {
                let columns = &sums[t][width / 2 * j..width / 2 * (j + 1)];
                let mut sum = 0;
                for &column in columns {
                    sum += i32::from(column);
                }
                let off = _mm256_mullo_epi32(scale, _mm256_set1_epi32(bias * sum));
                scaled[t] = _mm256_sub_epi32(scaled[t], off);
            }
        }
    }
    let mut offset = [zero; T];
    if P::BIAS.is_none() {
        let mins = panel[P::MINS_AT..P::D_AT].as_chunks::<16>().0;
        for j in 0..4 {
            // SAFETY: 16 bytes are read from an array of 16 bytes; an unaligned load.
            let mins = _mm256_cvtepu8_epi16(unsafe { _mm_loadu_si128(mins[2 * j + half].as_ptr().cast()) });
            for t in 0..T {
                let [a, b, c, d] = sums[t].as_chunks::<4>().0[j];
                let pair = _mm256_set1_epi32(bytemuck::cast([a + b, c + d]));
                offset[t] = _mm256_add_epi32(offset[t], _mm256_madd_epi16(mins, pair));
            }
        }
    }
    for (t, out) in out.iter_mut().enumerate() {
        out.scaled[8 * half..][..8].copy_from_slice(&lanes(scaled[t]));
        out.offset[8 * half..][..8].copy_from_slice(&lanes(offset[t]));
    }
}

/// The codes of eight columns from column `8 · v` on, four in each vector, of eight rows. `vectors` are halves of the layout's.
#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn panel_codes<P: Panel>(vectors: &[[u8; 32]], v: usize, half: usize) -> [__m256i; 2] {
    let low = _mm256_set1_epi8(15);
    let w = load(&vectors[2 * P::low(v) + half]);
    let mut codes = [_mm256_and_si256(w, low), _mm256_and_si256(_mm256_srli_epi16::<4>(w), low)];
    match P::HIGH {
        1 => {
            let high = load(&vectors[2 * P::high(v) + half]);
            let mask = _mm256_set1_epi8(16);
            let field = match v % 4 {
                0 => [_mm256_slli_epi16::<4>(high), _mm256_slli_epi16::<3>(high)],
                1 => [_mm256_slli_epi16::<2>(high), _mm256_slli_epi16::<1>(high)],
                2 => [high, _mm256_srli_epi16::<1>(high)],
                _ => [_mm256_srli_epi16::<2>(high), _mm256_srli_epi16::<3>(high)],
            };
            for (codes, field) in codes.iter_mut().zip(field) {
                *codes = _mm256_or_si256(*codes, _mm256_and_si256(field, mask));
            }
        }
        2 => {
            let high = load(&vectors[2 * P::high(v) + half]);
            let mask = _mm256_set1_epi8(48);
            let field = match v % 2 {
                0 => [_mm256_slli_epi16::<4>(high), _mm256_slli_epi16::<2>(high)],
                _ => [high, _mm256_srli_epi16::<2>(high)],
            };
            for (codes, field) in codes.iter_mut().zip(field) {
                *codes = _mm256_or_si256(*codes, _mm256_and_si256(field, mask));
            }
        }
        _ => {}
    }
    codes
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn small_panel<P: SmallPanel, const T: usize>(codes: &[u8], q: [&[i8; 32]; T], sums: [i32; T]) -> [[i32; GROUP]; T] {
    let (low, ones) = (_mm256_set1_epi8(15), _mm256_set1_epi16(1));
    let vectors = codes[..P::CODES].as_chunks::<32>().0;
    let mut dots = [[_mm256_setzero_si256(); 2]; T];
    for half in 0..2 {
        for v in 0..4 {
            let codes = if P::BYTES {
                // Signed again: 255 · 127 · 2 would not fit an i16.
                let sign = _mm256_set1_epi8(-128);
                [
                    _mm256_xor_si256(load(&vectors[4 * v + half]), sign),
                    _mm256_xor_si256(load(&vectors[4 * v + 2 + half]), sign),
                ]
            } else {
                let w = load(&vectors[2 * v + half]);
                [_mm256_and_si256(w, low), _mm256_and_si256(_mm256_srli_epi16::<4>(w), low)]
            };
            for t in 0..T {
                for (i, &codes) in codes.iter().enumerate() {
                    let x = word(&q[t].as_chunks::<8>().0[v], i);
                    let pairs = if P::BYTES {
                        // c·q = |c| · (q with the sign of c)
                        _mm256_maddubs_epi16(_mm256_abs_epi8(codes), _mm256_sign_epi8(x, codes))
                    } else {
                        _mm256_maddubs_epi16(codes, x)
                    };
                    dots[t][half] = _mm256_add_epi32(dots[t][half], _mm256_madd_epi16(pairs, ones));
                }
            }
        }
    }
    let mut out = [[0; GROUP]; T];
    for t in 0..T {
        let bias = if P::BYTES { 0 } else { P::BIAS * sums[t] };
        for half in 0..2 {
            let dot = _mm256_sub_epi32(dots[t][half], _mm256_set1_epi32(bias));
            out[t][8 * half..][..8].copy_from_slice(&lanes(dot));
        }
    }
    out
}

/// Four activations for all lanes.
#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn word(q: &[i8; 8], i: usize) -> __m256i {
    _mm256_set1_epi32(bytemuck::cast::<[i8; 8], [i32; 2]>(*q)[i])
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn load8(bytes: &[u8; 8]) -> __m128i {
    _mm_cvtsi64_si128(i64::from_le_bytes(*bytes))
}

#[inline(always)]
fn lanes(v: __m256i) -> [i32; 8] {
    // SAFETY: both are 32 bytes of plain integers.
    unsafe { std::mem::transmute::<__m256i, [i32; 8]>(v) }
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn load_f32(bytes: &[u8; 128]) -> [__m256; 4] {
    let mut lanes = [_mm256_setzero_ps(); 4];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<32>().0) {
        // SAFETY: 32 bytes are read from an array of 32 bytes; an unaligned load.
        *lanes = unsafe { _mm256_loadu_ps(part.as_ptr().cast()) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn load_f16(bytes: &[u8; 64]) -> [__m256; 4] {
    let mut lanes = [_mm256_setzero_ps(); 4];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<16>().0) {
        // SAFETY: 16 bytes are read from an array of 16 bytes; an unaligned load.
        *lanes = unsafe { _mm256_cvtph_ps(_mm_loadu_si128(part.as_ptr().cast())) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
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
#[target_feature(enable = "avx2,f16c,fma")]
fn load_i8(bytes: &[u8; 32]) -> [__m256; 4] {
    let mut lanes = [_mm256_setzero_ps(); 4];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<8>().0) {
        *lanes = _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(load8(part)));
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn add_products(sum: [__m256; 4], a: [__m256; 4], b: [__m256; 4]) -> [__m256; 4] {
    let mut sum = sum;
    for i in 0..4 {
        sum[i] = _mm256_fmadd_ps(a[i], b[i], sum[i]);
    }
    sum
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn half(bits: u16) -> f32 {
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

#[inline]
#[target_feature(enable = "avx2,f16c,fma")]
fn load(bytes: &[u8; 32]) -> __m256i {
    // SAFETY: 32 bytes are read from an array of 32 bytes; an unaligned load.
    unsafe { _mm256_loadu_si256(bytes.as_ptr().cast()) }
}
