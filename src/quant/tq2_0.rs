//! `TQ2_0`: 256 ternary values in two bits each, one scale. `w = d · (q − 1)`, q in 0..3.
//!
//! | bytes | field |
//! |---|---|
//! | 0..64 | `qs`: byte `32·g + m`, bits `2·n` and the next: value `128·g + 32·n + m` |
//! | 64..66 | `d`, f16 |
//!
//! Code 3 is not written; like llama.cpp we read it as `+2·d`.

use super::{get_f16, put_f16};
use std::ops::Range;

/// Values per block.
pub(crate) const LEN: usize = 256;
/// Bytes per block.
pub(crate) const BYTES: usize = 66;
/// Where the codes are.
pub(crate) const QS: Range<usize> = 0..64;
/// Where the scale is.
pub(crate) const D: usize = 64;

/// One block to f32.
pub(super) fn unpack(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, D);
    for (group, out) in block[QS].chunks_exact(32).zip(out.chunks_exact_mut(128)) {
        for (i, v) in out.iter_mut().enumerate() {
            *v = d * (f32::from(group[i % 32] >> (2 * (i / 32)) & 3) - 1.0);
        }
    }
}

/// `d = max|x|`, rounded half away from zero. Exact for values that are −d, 0 or d with d in half precision.
pub(super) fn pack(x: &[f32; LEN], block: &mut [u8; BYTES]) {
    let d = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    put_f16(block, D, d);
    for (group, x) in block[QS].chunks_exact_mut(32).zip(x.chunks_exact(128)) {
        for (m, byte) in group.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |b, n| b | super::ternary_code(x[32 * n + m], d) << (2 * n));
        }
    }
}
