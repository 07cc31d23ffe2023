//! AVX-512 with VNNI: `vpdpbusd` adds four unsigned × signed byte products to each of 16 i32 lanes, without saturation.

#![allow(unsafe_code)]

use crate::kernel::isa::{Kernel, Panel, PanelSums, SmallPanel, Task};
use crate::kernel::ternary::{GROUP, STEP, STEP_BYTES};
use std::arch::x86_64::*;

/// Proof that the CPU has AVX-512 F, BW, VL and VNNI.
#[derive(Debug, Clone, Copy)]
pub(in crate::kernel) struct Avx512Vnni(());

impl Avx512Vnni {
    /// Asks the CPU.
    pub(in crate::kernel) fn new() -> Option<Self> {
        let all = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512vnni")
            && is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("f16c");
        all.then_some(Self(()))
    }
}

impl Kernel for Avx512Vnni {
    type Lanes = [__m512; 2];

    fn run<T: Task>(self, task: T) -> T::Output {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { run(self, task) }
    }

    #[inline(always)]
    fn ternary<const T: usize>(self, group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
        // SAFETY: `self` proves that the CPU has the features.
        unsafe { if T <= 4 { ternary_few(group, q) } else { ternary_many(group, q) } }
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
        unsafe { [_mm512_set1_ps(x); 2] }
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn run<T: Task>(kernel: Avx512Vnni, task: T) -> T::Output {
    task.run(kernel)
}

/// Few tokens: the memory is the limit, so fields are only masked, not shifted. Field f then counts 4ᶠ times; each has
/// its own sums, which are whole multiples of 4ᶠ.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn ternary_few<const T: usize>(group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
    let masks = [3, 12, 48, 192].map(|mask: u8| _mm512_set1_epi8(mask as i8));
    let steps = group.as_chunks::<STEP_BYTES>().0;
    let q = q.map(|q| &q.as_chunks::<STEP>().0[..steps.len()]);
    let mut sums = [[_mm512_setzero_si512(); 4]; T];
    for (s, step) in steps.iter().enumerate() {
        let w = load(step);
        let fields = masks.map(|mask| _mm512_and_si512(w, mask));
        for t in 0..T {
            let x = columns(&q[t][s]);
            for f in 0..4 {
                sums[t][f] = _mm512_dpbusd_epi32(sums[t][f], fields[f], _mm512_set1_epi32(x[f]));
            }
        }
    }
    sums.map(|[a, b, c, d]| {
        let ab = _mm512_add_epi32(a, _mm512_srai_epi32::<2>(b));
        let cd = _mm512_add_epi32(_mm512_srai_epi32::<4>(c), _mm512_srai_epi32::<6>(d));
        lanes(_mm512_add_epi32(ab, cd))
    })
}

/// Many tokens: the byte products are the limit; two sums per token, as one could not keep both multipliers busy.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn ternary_many<const T: usize>(group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
    let mask = _mm512_set1_epi8(3);
    let steps = group.as_chunks::<STEP_BYTES>().0;
    let q = q.map(|q| &q.as_chunks::<STEP>().0[..steps.len()]);
    let mut sums = [[_mm512_setzero_si512(); 2]; T];
    for (s, step) in steps.iter().enumerate() {
        let w = load(step);
        let fields = [
            _mm512_and_si512(w, mask),
            _mm512_and_si512(_mm512_srli_epi16::<2>(w), mask),
            _mm512_and_si512(_mm512_srli_epi16::<4>(w), mask),
            _mm512_and_si512(_mm512_srli_epi16::<6>(w), mask),
        ];
        for t in 0..T {
            let x = columns(&q[t][s]);
            for f in 0..4 {
                sums[t][f % 2] = _mm512_dpbusd_epi32(sums[t][f % 2], fields[f], _mm512_set1_epi32(x[f]));
            }
        }
    }
    sums.map(|[a, b]| lanes(_mm512_add_epi32(a, b)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn panel_sums<P: Panel, const T: usize>(panel: &[u8], q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
    let zero = _mm512_setzero_si512();
    let vectors = panel[..P::SCALES_AT].as_chunks::<64>().0;
    let scales = panel[P::SCALES_AT..P::MINS_AT].as_chunks::<16>().0;
    let mut scaled = [zero; T];
    for j in 0..8 {
        // Sums of the two halves of 32 columns: with a scale for each, or together.
        let mut dots = [[zero; 2]; T];
        for v in 0..4 {
            let codes = panel_codes::<P>(vectors, 4 * j + v);
            for t in 0..T {
                let x = q[t].as_chunks::<8>().0[4 * j + v];
                dots[t][v / 2] = _mm512_dpbusd_epi32(dots[t][v / 2], codes[0], word(&x, 0));
                dots[t][v / 2] = _mm512_dpbusd_epi32(dots[t][v / 2], codes[1], word(&x, 1));
            }
        }
        for t in 0..T {
            let bias = |sum: i32| _mm512_set1_epi32(P::BIAS.unwrap_or(0) * sum);
            let [a, b] = [i32::from(sums[t][2 * j]), i32::from(sums[t][2 * j + 1])];
            if P::FINE {
                for (half, sum) in [a, b].into_iter().enumerate() {
                    let scale = _mm512_cvtepi8_epi32(load16(&scales[2 * j + half]));
                    let dot = _mm512_sub_epi32(dots[t][half], bias(sum));
                    scaled[t] = _mm512_add_epi32(scaled[t], _mm512_mullo_epi32(dot, scale));
                }
            } else {
                let scale = _mm512_cvtepi8_epi32(load16(&scales[j]));
                let mut dot = _mm512_add_epi32(dots[t][0], dots[t][1]);
                if P::BIAS.is_some() {
                    dot = _mm512_sub_epi32(dot, bias(a + b));
                }
                scaled[t] = _mm512_add_epi32(scaled[t], _mm512_mullo_epi32(dot, scale));
            }
        }
    }
    let mut offset = [zero; T];
    if P::BIAS.is_none() {
        for (j, mins) in panel[P::MINS_AT..P::D_AT].as_chunks::<32>().0.iter().enumerate() {
            // SAFETY: 32 bytes are read from an array of 32 bytes; an unaligned load.
            let mins = _mm512_cvtepu8_epi16(unsafe { _mm256_loadu_si256(mins.as_ptr().cast()) });
            for t in 0..T {
                let [a, b, c, d] = sums[t].as_chunks::<4>().0[j];
                let pair = _mm512_set1_epi32(bytemuck::cast([a + b, c + d]));
                offset[t] = _mm512_dpwssd_epi32(offset[t], mins, pair);
            }
        }
    }
    std::array::from_fn(
        #[inline(always)]
        |t| PanelSums { scaled: lanes(scaled[t]), offset: lanes(offset[t]) },
    )
}

/// The codes of eight columns from column `8 · v` on: four in each vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn panel_codes<P: Panel>(vectors: &[[u8; 64]], v: usize) -> [__m512i; 2] {
    let low = _mm512_set1_epi8(15);
    let w = load(&vectors[v]);
    let mut codes = [_mm512_and_si512(w, low), _mm512_and_si512(_mm512_srli_epi16::<4>(w), low)];
    match P::HIGH {
        1 => {
            // Fields 2v and 2v + 1 of eight.
            let high = load(&vectors[32 + v / 4]);
            let mask = _mm512_set1_epi8(16);
            let field = match v % 4 {
                0 => [_mm512_slli_epi16::<4>(high), _mm512_slli_epi16::<3>(high)],
                1 => [_mm512_slli_epi16::<2>(high), _mm512_slli_epi16::<1>(high)],
                2 => [high, _mm512_srli_epi16::<1>(high)],
                _ => [_mm512_srli_epi16::<2>(high), _mm512_srli_epi16::<3>(high)],
            };
            for (codes, field) in codes.iter_mut().zip(field) {
                *codes = _mm512_or_si512(*codes, _mm512_and_si512(field, mask));
            }
        }
        2 => {
            let high = load(&vectors[32 + v / 2]);
            let mask = _mm512_set1_epi8(48);
            let field = match v % 2 {
                0 => [_mm512_slli_epi16::<4>(high), _mm512_slli_epi16::<2>(high)],
                _ => [high, _mm512_srli_epi16::<2>(high)],
            };
            for (codes, field) in codes.iter_mut().zip(field) {
                *codes = _mm512_or_si512(*codes, _mm512_and_si512(field, mask));
            }
        }
        _ => {}
    }
    codes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn small_panel<P: SmallPanel, const T: usize>(codes: &[u8], q: [&[i8; 32]; T], sums: [i32; T]) -> [[i32; GROUP]; T] {
    let low = _mm512_set1_epi8(15);
    let zero = _mm512_setzero_si512();
    let vectors = codes[..P::CODES].as_chunks::<64>().0;
    let mut dots = [[zero; 2]; T];
    for v in 0..4 {
        let codes = if P::BYTES {
            [load(&vectors[2 * v]), load(&vectors[2 * v + 1])]
        } else {
            let w = load(&vectors[v]);
            [_mm512_and_si512(w, low), _mm512_and_si512(_mm512_srli_epi16::<4>(w), low)]
        };
        for t in 0..T {
            let x = q[t].as_chunks::<8>().0[v];
            for i in 0..2 {
                dots[t][i] = _mm512_dpbusd_epi32(dots[t][i], codes[i], word(&x, i));
            }
        }
    }
    std::array::from_fn(
        #[inline(always)]
        |t| {
            let dot = _mm512_add_epi32(dots[t][0], dots[t][1]);
            lanes(_mm512_sub_epi32(dot, _mm512_set1_epi32(P::BIAS * sums[t])))
        },
    )
}

/// Four activations for all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn word(q: &[i8; 8], i: usize) -> __m512i {
    _mm512_set1_epi32(i32::from_le_bytes(q.as_chunks::<4>().0[i].map(|q| q as u8)))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn load16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are read from an array of 16 bytes; an unaligned load.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn load_f32(bytes: &[u8; 128]) -> [__m512; 2] {
    let mut lanes = [_mm512_setzero_ps(); 2];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<64>().0) {
        // SAFETY: 64 bytes are read from an array of 64 bytes; an unaligned load.
        *lanes = unsafe { _mm512_loadu_ps(part.as_ptr().cast()) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn load_f16(bytes: &[u8; 64]) -> [__m512; 2] {
    let mut lanes = [_mm512_setzero_ps(); 2];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<32>().0) {
        // SAFETY: 32 bytes are read from an array of 32 bytes; an unaligned load.
        *lanes = unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(part.as_ptr().cast())) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn load_bf16(bytes: &[u8; 64]) -> [__m512; 2] {
    let mut lanes = [_mm512_setzero_ps(); 2];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<32>().0) {
        // SAFETY: 32 bytes are read from an array of 32 bytes; an unaligned load.
        *lanes = unsafe {
            _mm512_castsi512_ps(_mm512_slli_epi32::<16>(_mm512_cvtepu16_epi32(_mm256_loadu_si256(
                part.as_ptr().cast(),
            ))))
        };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn load_i8(bytes: &[u8; 32]) -> [__m512; 2] {
    let mut lanes = [_mm512_setzero_ps(); 2];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<16>().0) {
        *lanes = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load16(part)));
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn add_products(sum: [__m512; 2], a: [__m512; 2], b: [__m512; 2]) -> [__m512; 2] {
    let mut sum = sum;
    for i in 0..2 {
        sum[i] = _mm512_add_ps(sum[i], _mm512_mul_ps(a[i], b[i]));
    }
    sum
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn half(bits: u16) -> f32 {
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of 64 bytes; an unaligned load.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Four columns a word.
#[inline(always)]
fn columns(q: &[i8; STEP]) -> [i32; 4] {
    let words = q.as_chunks::<4>().0;
    [0, 1, 2, 3].map(|f| i32::from_le_bytes(words[f].map(|q: i8| q as u8)))
}

#[inline(always)]
fn lanes(v: __m512i) -> [i32; 16] {
    // SAFETY: both are 64 bytes of plain integers.
    unsafe { std::mem::transmute::<__m512i, [i32; 16]>(v) }
}
