//! AVX-512 with VNNI: `vpdpbusd` adds four unsigned × signed byte products to each of 16 i32 lanes, without saturation.

#![allow(unsafe_code)]

use crate::kernel::isa::{Codes, Kernel, Panel, PanelSums, Task};
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
fn dot_scaled(codes: &Codes, scales: &[i16; 16], q: &[i8; 256]) -> i32 {
    // SAFETY: 32 bytes are read from an array of 32 bytes; an unaligned load.
    let scales = _mm512_castsi256_si512(unsafe { _mm256_loadu_si256(scales.as_ptr().cast()) });
    // 64 codes are four groups of 16: pairs 0..8 take the scale 4v, pairs 8..16 the scale 4v + 1, and so on.
    let first = _mm512_set_epi64(
        0x0003_0003_0003_0003,
        0x0003_0003_0003_0003,
        0x0002_0002_0002_0002,
        0x0002_0002_0002_0002,
        0x0001_0001_0001_0001,
        0x0001_0001_0001_0001,
        0,
        0,
    );
    let mut sum = _mm512_setzero_si512();
    let parts = codes.0.as_chunks::<64>().0.iter().zip(q.as_chunks::<64>().0);
    for (v, (codes, q)) in parts.enumerate() {
        // Within 2·63·127: no saturation.
        let pairs = _mm512_maddubs_epi16(load(bytemuck::cast_ref(codes)), load(bytemuck::cast_ref(q)));
        let at = _mm512_add_epi16(first, _mm512_set1_epi16(4 * v as i16));
        sum = _mm512_dpwssd_epi32(sum, pairs, _mm512_permutexvar_epi16(at, scales));
    }
    _mm512_reduce_add_epi32(sum)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn panel_sums<const T: usize>(panel: &Panel, q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
    let zero = _mm512_setzero_si512();
    let mut scaled = [zero; T];
    for (j, scales) in panel.scales.iter().enumerate() {
        // Each scale is there twice: one of the two as i32.
        let scales = _mm512_srai_epi32::<16>(load(bytemuck::cast_ref(scales)));
        for t in 0..T {
            let x = columns(&q[t].as_chunks().0[j]);
            let mut dot = zero;
            for (codes, x) in panel.codes[4 * j..4 * j + 4].iter().zip(x) {
                dot = _mm512_dpbusd_epi32(dot, load(bytemuck::cast_ref(codes)), _mm512_set1_epi32(x));
            }
            scaled[t] = _mm512_add_epi32(scaled[t], _mm512_mullo_epi32(dot, scales));
        }
    }
    let mut offset = [zero; T];
    for (j, offsets) in panel.offsets.iter().enumerate() {
        let offsets = load(bytemuck::cast_ref(offsets));
        for t in 0..T {
            let pair: [i16; 2] = sums[t].as_chunks().0[j];
            offset[t] = _mm512_dpwssd_epi32(offset[t], offsets, _mm512_set1_epi32(bytemuck::cast(pair)));
        }
    }
    std::array::from_fn(
        #[inline(always)]
        |t| PanelSums { scaled: lanes(scaled[t]), offset: lanes(offset[t]) },
    )
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512vnni,avx2,f16c")]
fn dots_of_32(codes: &Codes, q: &[i8; 256]) -> [i32; 8] {
    let zero = _mm512_setzero_si512();
    let mut d = [zero; 4];
    let parts = codes.0.as_chunks::<64>().0.iter().zip(q.as_chunks::<64>().0);
    for (d, (codes, q)) in d.iter_mut().zip(parts) {
        // c·q = |c| · (q with the sign of c)
        let (codes, q) = (load(bytemuck::cast_ref(codes)), load(bytemuck::cast_ref(q)));
        let q = _mm512_mask_sub_epi8(q, _mm512_movepi8_mask(codes), zero, q);
        *d = _mm512_dpbusd_epi32(zero, _mm512_abs_epi8(codes), q);
    }
    // d[v] holds block 2v in its low half and block 2v + 1 in its high half. Two rounds of adding neighbours leave in each
    // quarter the sums of four of d[0], d[1], d[2], d[3]; then quarters 0 + 1 are the even blocks and 2 + 3 the odd ones.
    let pairs = |a, b| _mm512_add_epi32(_mm512_unpacklo_epi32(a, b), _mm512_unpackhi_epi32(a, b));
    let (a, b) = (pairs(d[0], d[1]), pairs(d[2], d[3]));
    let fours = _mm512_add_epi32(_mm512_unpacklo_epi64(a, b), _mm512_unpackhi_epi64(a, b));
    let s = lanes(_mm512_add_epi32(fours, _mm512_shuffle_i64x2::<0b10_11_00_01>(fours, fours)));
    [s[0], s[8], s[1], s[9], s[2], s[10], s[3], s[11]]
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
