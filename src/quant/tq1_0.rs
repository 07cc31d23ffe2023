//! `TQ1_0`: 256 ternary values, five to a byte, one scale. `w = d · (t − 1)`, t in 0..3.
//!
//! | bytes | field | values |
//! |---|---|---|
//! | 0..32 | `qs`, 5 digits | byte m, digit n: value `32·n + m` |
//! | 32..48 | `qs`, 5 digits | byte 32 + m, digit n: value `160 + 16·n + m` |
//! | 48..52 | `qh`, 4 digits | byte 48 + m, digit n: value `240 + 4·n + m` |
//! | 52..54 | `d`, f16 | |
//!
//! A byte does not hold the base-3 number q itself but `⌈256·q / 243⌉`: q/243 as a fixed-point fraction. So the
//! first digit is the integer part of three times that fraction, and multiplying the byte by 3 (mod 256) brings up the next.

use super::{get_f16, put_f16};
use std::ops::Range;

/// Values per block.
pub(crate) const LEN: usize = 256;
/// Bytes per block.
pub(crate) const BYTES: usize = 54;
/// Where the scale is.
pub(crate) const D: usize = 52;

/// Bytes that share a digit order, where their values begin, and their number of digits.
const PLANES: [(Range<usize>, usize, usize); 3] = [(0..32, 0, 5), (32..48, 160, 5), (48..52, 240, 4)];
const POWERS: [u8; 5] = [1, 3, 9, 27, 81];

/// Digit `n` (0 first) of a byte: 0, 1 or 2.
pub(super) fn digit(byte: u8, n: usize) -> u8 {
    // At most 255 · 3 / 256, which is 2.
    ((u16::from(byte.wrapping_mul(POWERS[n])) * 3) >> 8) as u8
}

/// One block to f32.
pub(super) fn unpack(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (bytes, first, digits) in PLANES {
        let width = bytes.len();
        for n in 0..digits {
            for (m, &byte) in block[bytes.clone()].iter().enumerate() {
                out[first + n * width + m] = d * (f32::from(digit(byte, n)) - 1.0);
            }
        }
    }
}

/// `d = max|x|`, rounded half away from zero. Exact for values that are −d, 0 or d with d in half precision.
pub(super) fn pack(x: &[f32; LEN], block: &mut [u8; BYTES]) {
    let d = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    put_f16(block, D, d);
    for (bytes, first, digits) in PLANES {
        let width = bytes.len();
        for (m, byte) in block[bytes].iter_mut().enumerate() {
            // Four digits are written as five with a zero at the end.
            let q = (0..5).fold(0u16, |q, n| {
                let t = if n < digits { super::ternary_code(x[first + n * width + m], d) } else { 0 };
                q * 3 + u16::from(t)
            });
            *byte = (q * 256).div_ceil(243) as u8;
        }
    }
}
