//! Byte vectors of 64 bytes: AVX-512 BW and VNNI.

#![allow(unsafe_code)]

use super::avx512::Avx512Vnni;
use crate::kernel::vectors::{TRITS, Vectors};
use std::arch::x86_64::*;

/// The value of operations of the instruction set.
macro_rules! on {
    ($value:expr) => {{
        // SAFETY: a value of `Avx512Vnni` proves that the CPU has the features.
        unsafe { $value }
    }};
}

impl Vectors for Avx512Vnni {
    const WIDTH: usize = 64;
    const SCALED_TRITS: bool = true;
    type Bytes = __m512i;
    type Sums = __m512i;

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> __m512i {
        let bytes: &[u8; 64] = bytes.first_chunk().expect("64 bytes");
        on!(_mm512_loadu_si512(bytes.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_bytes(self, bytes: __m512i, out: &mut [u8]) {
        let out: &mut [u8; 64] = out.first_chunk_mut().expect("64 bytes");
        on!(_mm512_storeu_si512(out.as_mut_ptr().cast(), bytes));
    }

    #[inline(always)]
    fn word(self, word: &[u8; 4]) -> __m512i {
        on!(_mm512_set1_epi32(i32::from_le_bytes(*word)))
    }

    #[inline(always)]
    fn nibbles(self, w: __m512i) -> [__m512i; 2] {
        on!({
            let low = _mm512_set1_epi8(15);
            [_mm512_and_si512(w, low), _mm512_and_si512(_mm512_srli_epi16::<4>(w), low)]
        })
    }

    #[inline(always)]
    fn fields(self, w: __m512i) -> [__m512i; 4] {
        on!({
            let mask = _mm512_set1_epi8(3);
            [
                _mm512_and_si512(w, mask),
                _mm512_and_si512(_mm512_srli_epi16::<2>(w), mask),
                _mm512_and_si512(_mm512_srli_epi16::<4>(w), mask),
                _mm512_and_si512(_mm512_srli_epi16::<6>(w), mask),
            ]
        })
    }

    #[inline(always)]
    fn scaled_fields(self, w: __m512i) -> [__m512i; 4] {
        on!([
            _mm512_and_si512(w, _mm512_set1_epi8(3)),
            _mm512_and_si512(w, _mm512_set1_epi8(12)),
            _mm512_and_si512(w, _mm512_set1_epi8(48)),
            _mm512_and_si512(w, _mm512_set1_epi8(192u8.cast_signed())),
        ])
    }

    #[inline(always)]
    fn unscale(self, field: usize, sums: __m512i) -> __m512i {
        on!(match field {
            0 => sums,
            1 => _mm512_srai_epi32::<2>(sums),
            2 => _mm512_srai_epi32::<4>(sums),
            _ => _mm512_srai_epi32::<6>(sums),
        })
    }

    #[inline(always)]
    fn trits(self, nibbles: __m512i, fifths: __m512i, bit: usize) -> [__m512i; 3] {
        on!({
            let low = _mm512_broadcast_i32x4(_mm_loadu_si128(TRITS.as_ptr().cast()));
            let high = _mm512_broadcast_i32x4(_mm_loadu_si128(TRITS[16..].as_ptr().cast()));
            let above = _mm512_test_epi8_mask(fifths, _mm512_set1_epi8((1u8 << bit).cast_signed()));
            let trits = _mm512_shuffle_epi8(low, nibbles);
            let trits = _mm512_mask_shuffle_epi8(trits, above, high, nibbles);
            [
                _mm512_and_si512(trits, _mm512_set1_epi8(3)),
                _mm512_and_si512(trits, _mm512_set1_epi8(12)),
                _mm512_and_si512(trits, _mm512_set1_epi8(48)),
            ]
        })
    }

    #[inline(always)]
    fn interleave(self, [a, b, c, d]: [__m512i; 4]) -> [__m512i; 4] {
        on!({
            let (ab, cd) = (_mm512_unpacklo_epi8(a, b), _mm512_unpacklo_epi8(c, d));
            let (ab_high, cd_high) = (_mm512_unpackhi_epi8(a, b), _mm512_unpackhi_epi8(c, d));
            [
                _mm512_unpacklo_epi16(ab, cd),
                _mm512_unpackhi_epi16(ab, cd),
                _mm512_unpacklo_epi16(ab_high, cd_high),
                _mm512_unpackhi_epi16(ab_high, cd_high),
            ]
        })
    }

    #[inline(always)]
    fn no_sums(self) -> __m512i {
        on!(_mm512_setzero_si512())
    }

    #[inline(always)]
    fn dot(self, sums: __m512i, codes: __m512i, q: __m512i) -> __m512i {
        on!(_mm512_dpbusd_epi32(sums, codes, q))
    }

    #[inline(always)]
    fn add(self, a: __m512i, b: __m512i) -> __m512i {
        on!(_mm512_add_epi32(a, b))
    }

    #[inline(always)]
    fn store_sums(self, sums: __m512i, out: &mut [i32]) {
        let out: &mut [i32; 16] = out.first_chunk_mut().expect("16 sums");
        on!(_mm512_storeu_si512(out.as_mut_ptr().cast(), sums));
    }

    #[inline(always)]
    fn totals(self, [a, b, c, d]: [__m512i; 4]) -> [i32; 4] {
        on!({
            let [a, b, c, d] = [quarter(a), quarter(b), quarter(c), quarter(d)];
            let all = _mm_hadd_epi32(_mm_hadd_epi32(a, b), _mm_hadd_epi32(c, d));
            std::mem::transmute::<__m128i, [i32; 4]>(all)
        })
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8]) {
        on!(_mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()));
    }
}

/// The four 128-bit parts together.
#[inline]
#[target_feature(enable = "avx512f,avx2")]
fn quarter(sums: __m512i) -> __m128i {
    let half = _mm256_add_epi32(_mm512_castsi512_si256(sums), _mm512_extracti64x4_epi64::<1>(sums));
    _mm_add_epi32(_mm256_castsi256_si128(half), _mm256_extracti128_si256::<1>(half))
}
