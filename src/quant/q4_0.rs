//! `Q4_0`: 32 values, one scale. `w = d · (q − 8)`, q in 0..16.
//!
//! | bytes | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..18 | `qs`: byte j holds value j in its low half and value 16 + j in its high half |

use super::{get_f16, put_f16};
use std::ops::Range;

/// Values per block.
pub(crate) const LEN: usize = 32;
/// Bytes per block.
pub(crate) const BYTES: usize = 18;
/// Where the codes are.
pub(crate) const QS: Range<usize> = 2..18;

/// One block to f32.
pub(super) fn unpack(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, 0);
    for (j, &q) in block[QS].iter().enumerate() {
        out[j] = d * (f32::from(q & 15) - 8.0);
        out[16 + j] = d * (f32::from(q >> 4) - 8.0);
    }
}

/// The value of the largest magnitude, first of equals, becomes code 0 (= −8) exactly.
pub(super) fn pack(x: &[f32; LEN], block: &mut [u8; BYTES]) {
    let mut max = 0.0f32;
    for &v in x {
        if max.abs() < v.abs() {
            max = v;
        }
    }
    let d = max / -8.0;
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    // The cast truncates: with the half added, this rounds.
    let code = |v: f32| ((v * id + 8.5) as u8).min(15);
    put_f16(block, 0, d);
    for (j, q) in block[QS].iter_mut().enumerate() {
        *q = code(x[j]) | code(x[16 + j]) << 4;
    }
}
