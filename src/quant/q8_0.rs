//! `Q8_0`: 32 values, one scale. `w = d · q`, q an i8.
//!
//! | bytes | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..34 | `qs`, i8: value j in byte j |

use super::{get_f16, put_f16};
use std::ops::Range;

/// Values per block.
pub(crate) const LEN: usize = 32;
/// Bytes per block.
pub(crate) const BYTES: usize = 34;
/// Where the codes are.
pub(crate) const QS: Range<usize> = 2..34;

/// One block to f32.
pub(super) fn unpack(block: &[u8; BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, 0);
    for (v, &q) in out.iter_mut().zip(&block[QS]) {
        *v = d * f32::from(q.cast_signed());
    }
}

/// `d = max|x| / 127`, rounded half away from zero.
pub(super) fn pack(x: &[f32; LEN], block: &mut [u8; BYTES]) {
    let d = x.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
    let id = if d == 0.0 { 0.0 } else { 1.0 / d };
    put_f16(block, 0, d);
    for (q, v) in block[QS].iter_mut().zip(x) {
        *q = ((v * id).round() as i8).cast_unsigned();
    }
}
