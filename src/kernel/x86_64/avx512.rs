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
            && is_x86_feature_detected!("f16c")
            && is_x86_feature_detected!("fma");
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
        unsafe {
            match T {
                0..=4 => ternary_few(group, q),
                5..=8 => ternary_many::<T, 2>(group, q),
                _ => ternary_many::<T, 1>(group, q),
            }
        }
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

#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn run<T: Task>(kernel: Avx512Vnni, task: T) -> T::Output {
    task.run(kernel)
}

/// How far ahead of the products bytes are asked for.
const AHEAD: usize = 4096;

/// Few tokens: the memory is the limit, so fields are only masked, not shifted. Field f then counts 4ᶠ times; each has
/// its own sums, which are whole multiples of 4ᶠ.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn ternary_few<const T: usize>(group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
    let masks =
        [_mm512_set1_epi8(3), _mm512_set1_epi8(12), _mm512_set1_epi8(48), _mm512_set1_epi8(192u8.cast_signed())];
    let steps = group.as_chunks::<STEP_BYTES>().0;
    let mut columns_of = [&[][..]; T];
    for t in 0..T {
        columns_of[t] = &q[t].as_chunks::<STEP>().0[..steps.len()];
    }
    let mut sums = [[_mm512_setzero_si512(); 4]; T];
    for (s, step) in steps.iter().enumerate() {
        let w = load(step);
        // The memory's own prefetcher stops at the end of a page; a hint changes nothing, whatever the address.
        _mm_prefetch::<_MM_HINT_T0>(step.as_ptr().wrapping_add(AHEAD).cast());
        let fields = [
            _mm512_and_si512(w, masks[0]),
            _mm512_and_si512(w, masks[1]),
            _mm512_and_si512(w, masks[2]),
            _mm512_and_si512(w, masks[3]),
        ];
        for t in 0..T {
            let x = columns(&columns_of[t][s]);
            for f in 0..4 {
                sums[t][f] = _mm512_dpbusd_epi32(sums[t][f], fields[f], _mm512_set1_epi32(x[f]));
            }
        }
    }
    let mut out = [[0; GROUP]; T];
    for t in 0..T {
        let [a, b, c, d] = sums[t];
        let ab = _mm512_add_epi32(a, _mm512_srai_epi32::<2>(b));
        let cd = _mm512_add_epi32(_mm512_srai_epi32::<4>(c), _mm512_srai_epi32::<6>(d));
        out[t] = lanes(_mm512_add_epi32(ab, cd));
    }
    out
}

/// Many tokens: the byte products are the limit; `C` sums per token, so many that no product waits for the one before.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn ternary_many<const T: usize, const C: usize>(group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
    let mask = _mm512_set1_epi8(3);
    let steps = group.as_chunks::<STEP_BYTES>().0;
    let mut columns_of = [&[][..]; T];
    for t in 0..T {
        columns_of[t] = &q[t].as_chunks::<STEP>().0[..steps.len()];
    }
    let mut sums = [[_mm512_setzero_si512(); C]; T];
    for (s, step) in steps.iter().enumerate() {
        let w = load(step);
        let fields = [
            _mm512_and_si512(w, mask),
            _mm512_and_si512(_mm512_srli_epi16::<2>(w), mask),
            _mm512_and_si512(_mm512_srli_epi16::<4>(w), mask),
            _mm512_and_si512(_mm512_srli_epi16::<6>(w), mask),
        ];
        for t in 0..T {
            let x = columns(&columns_of[t][s]);
            for f in 0..4 {
                sums[t][f % C] = _mm512_dpbusd_epi32(sums[t][f % C], fields[f], _mm512_set1_epi32(x[f]));
            }
        }
    }
    let mut out = [[0; GROUP]; T];
    for t in 0..T {
        let mut all = _mm512_setzero_si512();
        for &part in &sums[t] {
            all = _mm512_add_epi32(all, part);
        }
        out[t] = lanes(all);
    }
    out
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn panel_sums<P: Panel, const T: usize>(panel: &[u8], q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
    let zero = _mm512_setzero_si512();
    let vectors = panel[..P::SCALES_AT].as_chunks::<64>().0;
    let scales = panel[P::SCALES_AT..P::MINS_AT].as_chunks::<16>().0;
    let mut scaled = [zero; T];
    // A loop that the compiler does not unroll: it would load one line of each 256 bytes first, and the memory's own prefetcher follows
    // nothing but a stream.
    for j in 0..std::hint::black_box(8).min(8) {
        let mut dots = [zero; T];
        half_panel::<P, T, 0>(vectors, j, &q, &mut dots);
        if P::FINE {
            add_scaled::<P, T>(&mut scaled, &dots, load16(&scales[2 * j]), |t| sums[t][2 * j].into());
            dots = [zero; T];
        }
        half_panel::<P, T, 2>(vectors, j, &q, &mut dots);
        if P::FINE {
            add_scaled::<P, T>(&mut scaled, &dots, load16(&scales[2 * j + 1]), |t| sums[t][2 * j + 1].into());
        } else {
            let both = |t: usize| i32::from(sums[t][2 * j]) + i32::from(sums[t][2 * j + 1]);
            add_scaled::<P, T>(&mut scaled, &dots, load16(&scales[j]), both);
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
    let mut out = [PanelSums { scaled: [0; GROUP], offset: [0; GROUP] }; T];
    for t in 0..T {
        out[t] = PanelSums { scaled: lanes(scaled[t]), offset: lanes(offset[t]) };
    }
    out
}

/// `scaled += (dots − bias · sum) · scale`
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn add_scaled<P: Panel, const T: usize>(
    scaled: &mut [__m512i; T],
    dots: &[__m512i; T],
    scale: __m128i,
    sum: impl Fn(usize) -> i32,
) {
    let scale = _mm512_cvtepi8_epi32(scale);
    for t in 0..T {
        let dot = match P::BIAS {
            Some(bias) => _mm512_sub_epi32(dots[t], _mm512_set1_epi32(bias * sum(t))),
            None => dots[t],
        };
        scaled[t] = _mm512_add_epi32(scaled[t], _mm512_mullo_epi32(dot, scale));
    }
}

/// Adds the products of vectors `4j + V` and the next one: 16 columns.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn half_panel<P: Panel, const T: usize, const V: usize>(
    vectors: &[[u8; 64]],
    j: usize,
    q: &[&[i8; 256]; T],
    dots: &mut [__m512i; T],
) {
    let (a, b) = (panel_codes::<P>(vectors, j, V), panel_codes::<P>(vectors, j, V + 1));
    for t in 0..T {
        let x: [i32; 4] = bytemuck::cast(q[t].as_chunks::<16>().0[2 * j + V / 2]);
        let dot = _mm512_dpbusd_epi32(dots[t], a[0], _mm512_set1_epi32(x[0]));
        let dot = _mm512_dpbusd_epi32(dot, a[1], _mm512_set1_epi32(x[1]));
        let dot = _mm512_dpbusd_epi32(dot, b[0], _mm512_set1_epi32(x[2]));
        dots[t] = _mm512_dpbusd_epi32(dot, b[1], _mm512_set1_epi32(x[3]));
    }
}

/// The codes of columns `32j + 8v .. 32j + 8v + 8`, v = 0..4: four in each vector.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn panel_codes<P: Panel>(vectors: &[[u8; 64]], j: usize, v: usize) -> [__m512i; 2] {
    let low = _mm512_set1_epi8(15);
    let w = load(&vectors[P::low(4 * j + v)]);
    let mut codes = [_mm512_and_si512(w, low), _mm512_and_si512(_mm512_srli_epi16::<4>(w), low)];
    match P::HIGH {
        1 => {
            // Fields 2v and 2v + 1 of eight.
            let high = load(&vectors[P::high(4 * j + v)]);
            let mask = _mm512_set1_epi8(16);
            let field = match v {
                0 => [_mm512_slli_epi16::<4>(high), _mm512_slli_epi16::<3>(high)],
                1 => [_mm512_slli_epi16::<2>(high), _mm512_slli_epi16::<1>(high)],
                2 => [high, _mm512_srli_epi16::<1>(high)],
                _ => [_mm512_srli_epi16::<2>(high), _mm512_srli_epi16::<3>(high)],
            };
            codes[0] = _mm512_or_si512(codes[0], _mm512_and_si512(field[0], mask));
            codes[1] = _mm512_or_si512(codes[1], _mm512_and_si512(field[1], mask));
        }
        2 => {
            let high = load(&vectors[P::high(4 * j + v)]);
            let mask = _mm512_set1_epi8(48);
            let field = match v % 2 {
                0 => [_mm512_slli_epi16::<4>(high), _mm512_slli_epi16::<2>(high)],
                _ => [high, _mm512_srli_epi16::<2>(high)],
            };
            codes[0] = _mm512_or_si512(codes[0], _mm512_and_si512(field[0], mask));
            codes[1] = _mm512_or_si512(codes[1], _mm512_and_si512(field[1], mask));
        }
        _ => {}
    }
    codes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
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
    let mut out = [[0; GROUP]; T];
    for t in 0..T {
        let dot = _mm512_add_epi32(dots[t][0], dots[t][1]);
        out[t] = lanes(_mm512_sub_epi32(dot, _mm512_set1_epi32(P::BIAS * sums[t])));
    }
    out
}

/// Four activations for all lanes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn word(q: &[i8; 8], i: usize) -> __m512i {
    _mm512_set1_epi32(bytemuck::cast::<[i8; 8], [i32; 2]>(*q)[i])
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn load16(bytes: &[u8; 16]) -> __m128i {
    // SAFETY: 16 bytes are read from an array of 16 bytes; an unaligned load.
    unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn load_f32(bytes: &[u8; 128]) -> [__m512; 2] {
    let mut lanes = [_mm512_setzero_ps(); 2];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<64>().0) {
        // SAFETY: 64 bytes are read from an array of 64 bytes; an unaligned load.
        *lanes = unsafe { _mm512_loadu_ps(part.as_ptr().cast()) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn load_f16(bytes: &[u8; 64]) -> [__m512; 2] {
    let mut lanes = [_mm512_setzero_ps(); 2];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<32>().0) {
        // SAFETY: 32 bytes are read from an array of 32 bytes; an unaligned load.
        *lanes = unsafe { _mm512_cvtph_ps(_mm256_loadu_si256(part.as_ptr().cast())) };
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
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
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn load_i8(bytes: &[u8; 32]) -> [__m512; 2] {
    let mut lanes = [_mm512_setzero_ps(); 2];
    for (lanes, part) in lanes.iter_mut().zip(bytes.as_chunks::<16>().0) {
        *lanes = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(load16(part)));
    }
    lanes
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn add_products(sum: [__m512; 2], a: [__m512; 2], b: [__m512; 2]) -> [__m512; 2] {
    let mut sum = sum;
    for i in 0..2 {
        sum[i] = _mm512_fmadd_ps(a[i], b[i], sum[i]);
    }
    sum
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn half(bits: u16) -> f32 {
    _mm_cvtss_f32(_mm_cvtph_ps(_mm_cvtsi32_si128(i32::from(bits))))
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c,fma")]
fn load(bytes: &[u8; 64]) -> __m512i {
    // SAFETY: 64 bytes are read from an array of 64 bytes; an unaligned load.
    unsafe { _mm512_loadu_si512(bytes.as_ptr().cast()) }
}

/// Four columns a word.
#[inline(always)]
fn columns(q: &[i8; STEP]) -> [i32; 4] {
    bytemuck::cast(*q)
}

#[inline(always)]
fn lanes(v: __m512i) -> [i32; 16] {
    // SAFETY: both are 64 bytes of plain integers.
    unsafe { std::mem::transmute::<__m512i, [i32; 16]>(v) }
}
