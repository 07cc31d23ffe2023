//! `Q2_0`: one scale for 64 (llama.cpp) or 128 values (Bonsai). `w = d · (q − 1)`, q in 0..4.
//!
//! | bytes | field |
//! |---|---|
//! | 0..2 | `d`, f16 |
//! | 2..18 or 2..34 | `qs`: value j is bits `2·(j mod 4)` and the next of byte `j / 4` |
//!
//! Ternary weights use codes 0, 1, 2; code 3 is `+2·d`.

use super::{get_f16, put_f16};

/// Where the codes begin.
pub(crate) const QS: usize = 2;
/// Values per block of `Q2_0`.
pub(crate) const LEN: usize = 64;
/// Bytes per block of `Q2_0`.
pub(crate) const BYTES: usize = 18;
/// Values per block of `Q2_0_G128`.
pub(crate) const LEN_G128: usize = 128;
/// Bytes per block of `Q2_0_G128`.
pub(crate) const BYTES_G128: usize = 34;

/// One block of either group size to f32.
pub(super) fn unpack<const B: usize, const L: usize>(block: &[u8; B], out: &mut [f32; L]) {
    const { assert!(B == QS + L / 4) };
    let d = get_f16(block, 0);
    for (j, v) in out.iter_mut().enumerate() {
        *v = d * (f32::from(block[QS + j / 4] >> (2 * (j % 4)) & 3) - 1.0);
    }
}

/// `d = max|x|`, rounded half away from zero: codes 0 to 2.
pub(super) fn pack<const B: usize, const L: usize>(x: &[f32; L], block: &mut [u8; B]) {
    const { assert!(B == QS + L / 4) };
    let d = x.iter().fold(0.0f32, |m, v| m.max(v.abs()));
    put_f16(block, 0, d);
    let (four, _) = x.as_chunks::<4>();
    for (byte, v) in block[QS..].iter_mut().zip(four) {
        let code = v.map(|v| super::ternary_code(v, d));
        *byte = code[0] | code[1] << 2 | code[2] << 4 | code[3] << 6;
    }
}
