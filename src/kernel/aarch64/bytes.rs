//! Byte vectors of 16 bytes: NEON, with and without dot products.

#![allow(unsafe_code)]

use super::dotprod::{NeonDot, sdot};
use super::neon::{Neon, lanes};
use crate::kernel::vectors::{TRITS, Vectors};
use std::arch::aarch64::*;

/// The value of operations of the instruction set.
macro_rules! on {
    ($value:expr) => {{
        // SAFETY: a value of `Neon` or `NeonDot` proves that the CPU has the features.
        unsafe { $value }
    }};
}

/// All but the dot product is the same with and without the instructions for it.
macro_rules! vectors {
    ($kernel:ty, |$sums:ident, $codes:ident, $q:ident| $dot:expr) => {
        impl Vectors for $kernel {
            const WIDTH: usize = 16;
            const SCALED_TRITS: bool = true;
            type Bytes = uint8x16_t;
            type Sums = int32x4_t;

            #[inline(always)]
            fn load(self, bytes: &[u8]) -> uint8x16_t {
                let bytes: &[u8; 16] = bytes.first_chunk().expect("16 bytes");
                on!(vld1q_u8(bytes.as_ptr()))
            }

            #[inline(always)]
            fn store_bytes(self, bytes: uint8x16_t, out: &mut [u8]) {
                let out: &mut [u8; 16] = out.first_chunk_mut().expect("16 bytes");
                on!(vst1q_u8(out.as_mut_ptr(), bytes));
            }

            #[inline(always)]
            fn word(self, word: &[u8; 4]) -> uint8x16_t {
                on!(vreinterpretq_u8_u32(vdupq_n_u32(u32::from_le_bytes(*word))))
            }

            #[inline(always)]
            fn nibbles(self, w: uint8x16_t) -> [uint8x16_t; 2] {
                on!([vandq_u8(w, vdupq_n_u8(15)), vshrq_n_u8::<4>(w)])
            }

            #[inline(always)]
            fn fields(self, w: uint8x16_t) -> [uint8x16_t; 4] {
                on!({
                    let mask = vdupq_n_u8(3);
                    [
                        vandq_u8(w, mask),
                        vandq_u8(vshrq_n_u8::<2>(w), mask),
                        vandq_u8(vshrq_n_u8::<4>(w), mask),
                        vshrq_n_u8::<6>(w),
                    ]
                })
            }

            /// The uppermost field is shifted: it would not fit a signed byte.
            #[inline(always)]
            fn scaled_fields(self, w: uint8x16_t) -> [uint8x16_t; 4] {
                on!([
                    vandq_u8(w, vdupq_n_u8(3)),
                    vandq_u8(w, vdupq_n_u8(12)),
                    vandq_u8(w, vdupq_n_u8(48)),
                    vshrq_n_u8::<6>(w),
                ])
            }

            #[inline(always)]
            fn unscale(self, field: usize, sums: int32x4_t) -> int32x4_t {
                on!(match field {
                    1 => vshrq_n_s32::<2>(sums),
                    2 => vshrq_n_s32::<4>(sums),
                    _ => sums,
                })
            }

            #[inline(always)]
            fn trits(self, nibbles: uint8x16_t, fifths: uint8x16_t, bit: usize) -> [uint8x16_t; 3] {
                on!({
                    // A test in place of a shift, as both pipes of a Cortex-A76 can test; two small tables, as one of two registers
                    // makes the compiler copy them.
                    let above = vtstq_u8(fifths, vdupq_n_u8(1 << bit));
                    let low = vqtbl1q_u8(vld1q_u8(TRITS.as_ptr()), nibbles);
                    let high = vqtbl1q_u8(vld1q_u8(TRITS[16..].as_ptr()), nibbles);
                    let trits = vbslq_u8(above, high, low);
                    [
                        vandq_u8(trits, vdupq_n_u8(3)),
                        vandq_u8(trits, vdupq_n_u8(12)),
                        vandq_u8(trits, vdupq_n_u8(48)),
                    ]
                })
            }

            #[inline(always)]
            fn interleave(self, [a, b, c, d]: [uint8x16_t; 4]) -> [uint8x16_t; 4] {
                on!({
                    let (ab, cd) = (vreinterpretq_u16_u8(vzip1q_u8(a, b)), vreinterpretq_u16_u8(vzip1q_u8(c, d)));
                    let (ab_high, cd_high) =
                        (vreinterpretq_u16_u8(vzip2q_u8(a, b)), vreinterpretq_u16_u8(vzip2q_u8(c, d)));
                    [
                        vreinterpretq_u8_u16(vzip1q_u16(ab, cd)),
                        vreinterpretq_u8_u16(vzip2q_u16(ab, cd)),
                        vreinterpretq_u8_u16(vzip1q_u16(ab_high, cd_high)),
                        vreinterpretq_u8_u16(vzip2q_u16(ab_high, cd_high)),
                    ]
                })
            }

            #[inline(always)]
            fn no_sums(self) -> int32x4_t {
                on!(vdupq_n_s32(0))
            }

            #[inline(always)]
            fn dot(self, $sums: int32x4_t, codes: uint8x16_t, q: uint8x16_t) -> int32x4_t {
                on!({
                    let ($codes, $q) = (vreinterpretq_s8_u8(codes), vreinterpretq_s8_u8(q));
                    $dot
                })
            }

            #[inline(always)]
            fn add(self, a: int32x4_t, b: int32x4_t) -> int32x4_t {
                on!(vaddq_s32(a, b))
            }

            #[inline(always)]
            fn store_sums(self, sums: int32x4_t, out: &mut [i32]) {
                let out: &mut [i32; 4] = out.first_chunk_mut().expect("4 sums");
                on!(vst1q_s32(out.as_mut_ptr(), sums));
            }

            #[inline(always)]
            fn totals(self, [a, b, c, d]: [int32x4_t; 4]) -> [i32; 4] {
                on!(lanes(vpaddq_s32(vpaddq_s32(a, b), vpaddq_s32(c, d))))
            }

            #[inline(always)]
            fn prefetch(self, bytes: &[u8]) {
                let place = bytes.as_ptr();
                // SAFETY: a hint; it changes nothing, whatever the address.
                unsafe {
                    std::arch::asm!("prfm pldl1keep, [{place}]", place = in(reg) place,
                        options(readonly, nostack, preserves_flags));
                }
            }
        }
    };
}

vectors!(NeonDot, |sums, codes, q| sdot(sums, codes, q));
vectors!(Neon, |sums, codes, q| {
    let (low, high) = (vmull_s8(vget_low_s8(codes), vget_low_s8(q)), vmull_high_s8(codes, q));
    vaddq_s32(sums, vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high)))
});
