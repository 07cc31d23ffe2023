//! `Q4_K`, `Q5_K`, `Q6_K`: 256 values in sub-blocks with their own small scales, which share one f16 scale.
//!
//! `Q4_K` and `Q5_K` have 8 sub-blocks of 32 with 6-bit scales and minima:
//! `w = d·scale[j] · q − dmin·min[j]`, q in 0..16 or 0..32.
//!
//! | bytes of `Q4_K` | of `Q5_K` | field |
//! |---|---|---|
//! | 0..2 | 0..2 | `d`, f16 |
//! | 2..4 | 2..4 | `dmin`, f16 |
//! | 4..16 | 4..16 | `scales`: see [`scale_min`] |
//! | – | 16..48 | `qh`: bit j of byte m is the fifth bit of value `32·j + m` |
//! | 16..144 | 48..176 | `qs`: byte `32·p + m` holds value `64·p + m` low, value `64·p + 32 + m` high |
//!
//! `Q6_K` has 16 sub-blocks of 16 with i8 scales: `w = d·scale[j] · (q − 32)`, q in 0..64.
//!
//! | bytes of `Q6_K` | field |
//! |---|---|
//! | 0..128 | `ql`: byte `64·h + m` (m below 64) holds the low halves of values `128·h + m` (low) and `128·h + 64 + m` (high) |
//! | 128..192 | `qh`: byte `32·h + m`, bits `2·n` and the next: upper bits of value `128·h + 32·n + m` |
//! | 192..208 | `scales`, i8: of values `16·j` to `16·j + 15` |
//! | 208..210 | `d`, f16 |
//!
//! Packing searches scales by weighted least squares, as ggml's reference does when it has no importance matrix. One
//! difference: where the best line of a sub-block falls, its scale is negative. There is no code for that; here it becomes 0, in ggml
//! the cast to a byte wraps around.

use super::{get_f16, put_f16};
use std::ops::Range;

/// Values per block.
pub(crate) const LEN: usize = 256;
/// Where `dmin` of `Q4_K` and `Q5_K` is.
pub(crate) const DMIN: usize = 2;
/// Where the packed scales and minima of `Q4_K` and `Q5_K` are.
pub(crate) const SCALES: Range<usize> = 4..16;

/// Bytes per block of `Q4_K`.
pub(crate) const Q4_BYTES: usize = 144;
/// Where the codes of `Q4_K` are.
pub(crate) const Q4_QS: Range<usize> = 16..144;

/// Bytes per block of `Q5_K`.
pub(crate) const Q5_BYTES: usize = 176;
/// Where the fifth bits of `Q5_K` are.
pub(crate) const Q5_QH: Range<usize> = 16..48;
/// Where the lower four bits of `Q5_K` are.
pub(crate) const Q5_QS: Range<usize> = 48..176;

/// Bytes per block of `Q6_K`.
pub(crate) const Q6_BYTES: usize = 210;
/// Where the lower four bits of `Q6_K` are.
pub(crate) const Q6_QL: Range<usize> = 0..128;
/// Where the upper two bits of `Q6_K` are.
pub(crate) const Q6_QH: Range<usize> = 128..192;
/// Where the scales of `Q6_K` are.
pub(crate) const Q6_SCALES: Range<usize> = 192..208;
/// Where `d` of `Q6_K` is.
pub(crate) const Q6_D: usize = 208;

/// Below this a sub-block of `Q6_K` counts as zero.
const TINY: f32 = 1e-15;

/// The 6-bit scale and minimum of sub-block `j` (0..8) from the 12 bytes [`SCALES`].
///
/// Bytes 0–3 and 4–7 hold scales and minima 0–3 in their low six bits; bytes 8–11 hold the low halves of scales 4–7 (low) and
/// minima 4–7 (high), whose upper two bits are the top bits of bytes 0–3 and 4–7.
fn scale_min(scales: &[u8; 12], j: usize) -> (u8, u8) {
    if j < 4 {
        (scales[j] & 63, scales[j + 4] & 63)
    } else {
        let (s, m, low) = (scales[j - 4], scales[j], scales[j + 4]);
        (low & 15 | s >> 6 << 4, low >> 4 | m >> 6 << 4)
    }
}

fn pack_scales(scales: [u8; 8], mins: [u8; 8]) -> [u8; 12] {
    let mut out = [0; 12];
    for j in 0..4 {
        out[j] = scales[j] | scales[j + 4] >> 4 << 6;
        out[j + 4] = mins[j] | mins[j + 4] >> 4 << 6;
        out[j + 8] = scales[j + 4] & 15 | mins[j + 4] << 4;
    }
    out
}

/// The 12 bytes [`SCALES`] of a block of `Q4_K` or `Q5_K`.
fn scales(block: &[u8]) -> &[u8; 12] {
    block[SCALES].first_chunk().expect("the range has 12 bytes")
}

/// One block of `Q4_K` to f32.
pub(super) fn q4_unpack(block: &[u8; Q4_BYTES], out: &mut [f32; LEN]) {
    unpack_with_min(block, out, |i| {
        let byte = block[Q4_QS.start + i / 64 * 32 + i % 32];
        if i % 64 < 32 { byte & 15 } else { byte >> 4 }
    });
}

/// One block of `Q5_K` to f32.
pub(super) fn q5_unpack(block: &[u8; Q5_BYTES], out: &mut [f32; LEN]) {
    unpack_with_min(block, out, |i| {
        let byte = block[Q5_QS.start + i / 64 * 32 + i % 32];
        let high = block[Q5_QH.start + i % 32] >> (i / 32) & 1;
        (if i % 64 < 32 { byte & 15 } else { byte >> 4 }) | high << 4
    });
}

fn unpack_with_min(block: &[u8], out: &mut [f32; LEN], code: impl Fn(usize) -> u8) {
    let (d, dmin) = (get_f16(block, 0), get_f16(block, DMIN));
    for (j, out) in out.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (scale, min) = scale_min(scales(block), j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        for (m, v) in out.iter_mut().enumerate() {
            *v = scale * f32::from(code(32 * j + m)) - min;
        }
    }
}

/// One block of `Q6_K` to f32.
pub(super) fn q6_unpack(block: &[u8; Q6_BYTES], out: &mut [f32; LEN]) {
    let d = get_f16(block, Q6_D);
    for (i, v) in out.iter_mut().enumerate() {
        let (half, i128) = (i / 128, i % 128);
        let low = block[Q6_QL.start + 64 * half + i128 % 64] >> (i128 / 64 * 4) & 15;
        let high = block[Q6_QH.start + 32 * half + i128 % 32] >> (i128 / 32 * 2) & 3;
        let scale = d * f32::from(block[Q6_SCALES.start + i / 16].cast_signed());
        *v = scale * (f32::from(low | high << 4) - 32.0);
    }
}

/// One block of f32 to `Q4_K`.
pub(super) fn q4_pack(x: &[f32; LEN], block: &mut [u8; Q4_BYTES]) {
    let q = pack_with_min(x, block, 15.0, -1.0, 20);
    for (p, qs) in block[Q4_QS].chunks_exact_mut(32).enumerate() {
        for (m, byte) in qs.iter_mut().enumerate() {
            *byte = q[64 * p + m] | q[64 * p + 32 + m] << 4;
        }
    }
}

/// One block of f32 to `Q5_K`.
pub(super) fn q5_pack(x: &[f32; LEN], block: &mut [u8; Q5_BYTES]) {
    let q = pack_with_min(x, block, 31.0, -0.5, 15);
    for (m, byte) in block[Q5_QH].iter_mut().enumerate() {
        *byte = (0..8).fold(0, |b, j| b | q[32 * j + m] >> 4 << j);
    }
    for (p, qs) in block[Q5_QS].chunks_exact_mut(32).enumerate() {
        for (m, byte) in qs.iter_mut().enumerate() {
            *byte = q[64 * p + m] & 15 | q[64 * p + 32 + m] << 4;
        }
    }
}

/// Writes `d`, `dmin` and the scales of `Q4_K` or `Q5_K` and gives the codes, 0 to `top`.
fn pack_with_min(x: &[f32; LEN], block: &mut [u8], top: f32, shift: f32, tries: usize) -> [u8; LEN] {
    let (subs, _) = x.as_chunks::<32>();
    let mut q = [0u8; LEN];
    let (mut fit_scales, mut fit_mins) = ([0.0f32; 8], [0.0f32; 8]);
    for (j, (sub, q)) in subs.iter().zip(q.as_chunks_mut::<32>().0).enumerate() {
        let rms = (sub.iter().fold(0.0, |s, v| s + v * v) / 32.0).sqrt();
        let weights = sub.map(|v| rms + v.abs());
        (fit_scales[j], fit_mins[j]) = fit_line(sub, &weights, q, top, shift, tries);
    }
    let largest = |v: &[f32; 8]| v.iter().fold(0.0f32, |m, &v| if v > m { v } else { m });
    let (max_scale, max_min) = (largest(&fit_scales), largest(&fit_mins));
    let steps = |max: f32| if max > 0.0 { 63.0 / max } else { 0.0 };
    // Rounded, these are 0 to 63; the cast makes a negative scale 0.
    let small = |v: [f32; 8], step: f32| v.map(|v| ((step * v).round_ties_even() as u8).min(63));
    let packed = pack_scales(small(fit_scales, steps(max_scale)), small(fit_mins, steps(max_min)));
    put_f16(block, 0, max_scale / 63.0);
    put_f16(block, DMIN, max_min / 63.0);
    block[SCALES].copy_from_slice(&packed);

    // The codes again, now for the scales as they were rounded.
    let (d, dmin) = (get_f16(block, 0), get_f16(block, DMIN));
    for (j, (sub, q)) in subs.iter().zip(q.as_chunks_mut::<32>().0).enumerate() {
        let (scale, min) = scale_min(&packed, j);
        let (scale, min) = (d * f32::from(scale), dmin * f32::from(min));
        if scale != 0.0 {
            *q = sub.map(|v| ((v + min) / scale).round_ties_even().clamp(0.0, top) as u8);
        }
    }
    q
}

/// The line `scale·q − min` (min not negative) and the codes q in 0..=top that come closest to `x` by weighted squares:
/// `tries + 1` code assignments from slightly different step sizes, each with its best line. Gives scale and min.
fn fit_line(x: &[f32; 32], w: &[f32; 32], q: &mut [u8; 32], top: f32, shift: f32, tries: usize) -> (f32, f32) {
    let (mut low, mut high) = (x[0], x[0]);
    let (mut sum_w, mut sum_x) = (w[0], w[0] * x[0]);
    for (&x, &w) in x.iter().zip(w).skip(1) {
        low = if x < low { x } else { low };
        high = if x > high { x } else { high };
        sum_w += w;
        sum_x += w * x;
    }
    low = low.min(0.0);
    if high == low {
        *q = [0; 32];
        return (0.0, -low);
    }
    let codes = |step: f32, base: f32| x.map(|x| (step * (x - base)).round_ties_even().clamp(0.0, top));
    let error = |q: &[f32; 32], scale: f32, base: f32| {
        x.iter().zip(w).zip(q).fold(0.0, |sum, ((&x, &w), &q)| {
            let diff = scale * q + base - x;
            sum + w * (diff * diff)
        })
    };
    let step = top / (high - low);
    let (mut scale, mut base) = (1.0 / step, low);
    let mut best = codes(step, base);
    let mut best_error = error(&best, scale, base);
    for i in 0..=tries {
        // From the best minimum so far, not from the smallest value.
        let these = codes((shift + 0.1 * i as f32 + top) / (high - base), base);
        let (mut sum_q, mut sum_qq, mut sum_xq) = (0.0f32, 0.0f32, 0.0f32);
        for ((&x, &w), &q) in x.iter().zip(w).zip(&these) {
            sum_q += w * q;
            sum_qq += w * q * q;
            sum_xq += w * q * x;
        }
        let det = sum_w * sum_qq - sum_q * sum_q;
        if det > 0.0 {
            let mut this_scale = (sum_w * sum_xq - sum_x * sum_q) / det;
            let mut this_base = (sum_qq * sum_x - sum_q * sum_xq) / det;
            if this_base > 0.0 {
                this_base = 0.0;
                this_scale = sum_xq / sum_qq;
            }
            let this_error = error(&these, this_scale, this_base);
            if this_error < best_error {
                (best, best_error, scale, base) = (these, this_error, this_scale, this_base);
            }
        }
    }
    *q = best.map(|q| q as u8);
    (scale, -base)
}

/// One block of f32 to `Q6_K`.
pub(super) fn q6_pack(x: &[f32; LEN], block: &mut [u8; Q6_BYTES]) {
    let (subs, _) = x.as_chunks::<16>();
    let mut q = [32u8; LEN];
    let mut fits = [0.0f32; 16];
    // The scale of the largest magnitude, first of equals; it becomes −128 exactly.
    let mut max = 0.0f32;
    for ((sub, q), fit) in subs.iter().zip(q.as_chunks_mut::<16>().0).zip(&mut fits) {
        *fit = fit_scale(sub, q);
        if fit.abs() > max.abs() {
            max = *fit;
        }
    }
    *block = [0; Q6_BYTES];
    if max.abs() < TINY {
        return;
    }
    let step = -128.0 / max;
    put_f16(block, Q6_D, 1.0 / step);
    let d = get_f16(block, Q6_D);
    for (j, (sub, q)) in subs.iter().zip(q.as_chunks_mut::<16>().0).enumerate() {
        let small = (step * fits[j]).round_ties_even().min(127.0) as i8;
        block[Q6_SCALES.start + j] = small.cast_unsigned();
        let scale = d * f32::from(small);
        if scale != 0.0 {
            *q = sub.map(|v| ((v / scale).round_ties_even().clamp(-32.0, 31.0) + 32.0) as u8);
        }
    }
    for (half, q) in q.as_chunks::<128>().0.iter().enumerate() {
        for m in 0..64 {
            block[Q6_QL.start + 64 * half + m] = q[m] & 15 | q[m + 64] << 4;
        }
        for m in 0..32 {
            block[Q6_QH.start + 32 * half + m] = (0..4).fold(0, |b, n| b | q[32 * n + m] >> 4 << (2 * n));
        }
    }
}

/// The scale and codes (stored plus 32) in −32..=31 that come closest to `x` by squares weighted with x²:
/// 19 code assignments from slightly different step sizes, each with its best scale.
fn fit_scale(x: &[f32; 16], q: &mut [u8; 16]) -> f32 {
    let mut max = 0.0f32;
    for &v in x {
        if v.abs() > max.abs() {
            max = v;
        }
    }
    if max.abs() < TINY {
        *q = [0; 16];
        return 0.0;
    }
    let codes = |step: f32| x.map(|v| (step * v).round_ties_even().clamp(-32.0, 31.0));
    let sums = |codes: &[f32; 16]| {
        x.iter().zip(codes).fold((0.0f32, 0.0f32), |(xq, qq), (&x, &q)| {
            let w = x * x;
            (xq + w * x * q, qq + w * q * q)
        })
    };
    let mut best = codes(-32.0 / max);
    let (xq, qq) = sums(&best);
    let mut scale = if qq == 0.0 { 0.0 } else { xq / qq };
    let mut gain = scale * xq;
    for i in (-9..=9).filter(|&i| i != 0) {
        let these = codes(-(32.0 + 0.1 * i as f32) / max);
        let (xq, qq) = sums(&these);
        if qq > 0.0 && xq * xq > gain * qq {
            scale = xq / qq;
            gain = scale * xq;
            best = these;
        }
    }
    *q = best.map(|q| (q + 32.0) as u8);
    scale
}
