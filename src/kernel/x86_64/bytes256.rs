//! Byte vectors of 32 bytes: AVX2.

#![allow(unsafe_code)]

use super::avx2::Avx2;
use crate::kernel::vectors::{TRITS, Vectors};
use std::arch::x86_64::*;

/// The value of operations of the instruction set.
macro_rules! on {
    ($value:expr) => {{
        // SAFETY: a value of `Avx2` proves that the CPU has the features.
        unsafe { $value }
    }};
}

impl Vectors for Avx2 {
    const WIDTH: usize = 32;
    const SCALED_TRITS: bool = true;
    type Bytes = __m256i;
    type Sums = __m256i;

    #[inline(always)]
    fn load(self, bytes: &[u8]) -> __m256i {
        let bytes: &[u8; 32] = bytes.first_chunk().expect("32 bytes");
        on!(_mm256_loadu_si256(bytes.as_ptr().cast()))
    }

    #[inline(always)]
    fn store_bytes(self, bytes: __m256i, out: &mut [u8]) {
        let out: &mut [u8; 32] = out.first_chunk_mut().expect("32 bytes");
        on!(_mm256_storeu_si256(out.as_mut_ptr().cast(), bytes));
    }

    #[inline(always)]
    fn word(self, word: &[u8; 4]) -> __m256i {
        on!(_mm256_set1_epi32(i32::from_le_bytes(*word)))
    }

    #[inline(always)]
    fn nibbles(self, w: __m256i) -> [__m256i; 2] {
        on!({
            let low = _mm256_set1_epi8(15);
            [_mm256_and_si256(w, low), _mm256_and_si256(_mm256_srli_epi16::<4>(w), low)]
        })
    }

    #[inline(always)]
    fn fields(self, w: __m256i) -> [__m256i; 4] {
        on!({
            let mask = _mm256_set1_epi8(3);
            [
                _mm256_and_si256(w, mask),
                _mm256_and_si256(_mm256_srli_epi16::<2>(w), mask),
                _mm256_and_si256(_mm256_srli_epi16::<4>(w), mask),
                _mm256_and_si256(_mm256_srli_epi16::<6>(w), mask),
            ]
        })
    }

    /// The uppermost field is shifted: two products of 128 would not fit the i16 of [`Vectors::dot`].
    #[inline(always)]
    fn scaled_fields(self, w: __m256i) -> [__m256i; 4] {
        on!({
            [
                _mm256_and_si256(w, _mm256_set1_epi8(3)),
                _mm256_and_si256(w, _mm256_set1_epi8(12)),
                _mm256_and_si256(w, _mm256_set1_epi8(48)),
                _mm256_and_si256(_mm256_srli_epi16::<6>(w), _mm256_set1_epi8(3)),
            ]
        })
    }

    #[inline(always)]
    fn unscale(self, field: usize, sums: __m256i) -> __m256i {
        on!(match field {
            1 => _mm256_srai_epi32::<2>(sums),
            2 => _mm256_srai_epi32::<4>(sums),
            _ => sums,
        })
    }

    #[inline(always)]
    fn trits(self, nibbles: __m256i, fifths: __m256i, bit: usize) -> [__m256i; 3] {
        on!({
            let low = _mm256_broadcastsi128_si256(_mm_loadu_si128(TRITS.as_ptr().cast()));
            let high = _mm256_broadcastsi128_si256(_mm_loadu_si128(TRITS[16..].as_ptr().cast()));
            let bit = _mm256_set1_epi8((1u8 << bit).cast_signed());
            let above = _mm256_cmpeq_epi8(_mm256_and_si256(fifths, bit), bit);
            let trits =
                _mm256_blendv_epi8(_mm256_shuffle_epi8(low, nibbles), _mm256_shuffle_epi8(high, nibbles), above);
            [
                _mm256_and_si256(trits, _mm256_set1_epi8(3)),
                _mm256_and_si256(trits, _mm256_set1_epi8(12)),
                _mm256_and_si256(trits, _mm256_set1_epi8(48)),
            ]
        })
    }

    #[inline(always)]
    fn interleave(self, [a, b, c, d]: [__m256i; 4]) -> [__m256i; 4] {
        on!({
            let (ab, cd) = (_mm256_unpacklo_epi8(a, b), _mm256_unpacklo_epi8(c, d));
            let (ab_high, cd_high) = (_mm256_unpackhi_epi8(a, b), _mm256_unpackhi_epi8(c, d));
            [
                _mm256_unpacklo_epi16(ab, cd),
                _mm256_unpackhi_epi16(ab, cd),
                _mm256_unpacklo_epi16(ab_high, cd_high),
                _mm256_unpackhi_epi16(ab_high, cd_high),
            ]
        })
    }

    #[inline(always)]
    fn no_sums(self) -> __m256i {
        on!(_mm256_setzero_si256())
    }

    #[inline(always)]
    fn dot(self, sums: __m256i, codes: __m256i, q: __m256i) -> __m256i {
        on!({
            let pairs = _mm256_maddubs_epi16(codes, q);
            _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
        })
    }

    #[inline(always)]
    fn add(self, a: __m256i, b: __m256i) -> __m256i {
        on!(_mm256_add_epi32(a, b))
    }

    #[inline(always)]
    fn store_sums(self, sums: __m256i, out: &mut [i32]) {
        let out: &mut [i32; 8] = out.first_chunk_mut().expect("8 sums");
        on!(_mm256_storeu_si256(out.as_mut_ptr().cast(), sums));
    }

    #[inline(always)]
    fn totals(self, [a, b, c, d]: [__m256i; 4]) -> [i32; 4] {
        on!({
            let all = _mm256_hadd_epi32(_mm256_hadd_epi32(a, b), _mm256_hadd_epi32(c, d));
            let all = _mm_add_epi32(_mm256_castsi256_si128(all), _mm256_extracti128_si256::<1>(all));
            std::mem::transmute::<__m128i, [i32; 4]>(all)
        })
    }

    #[inline(always)]
    fn prefetch(self, bytes: &[u8]) {
        on!(_mm_prefetch::<_MM_HINT_T0>(bytes.as_ptr().cast()));
    }
}
