//! eˣ, the same on every machine.

/// eˣ to about 2 units in the last place; 0 below −87.3, and e⁸⁸ above 88.
///
/// 2ⁿ · e^r with n = round(x / ln 2) and |r| ≤ ln 2 / 2; e^r by the polynomial of the Cephes library. Written out in multiplications
/// and additions (none fused): the system's `expf` differs between C libraries.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let clamped = x.clamp(-87.3, 88.0);
    // Adding and taking away 1.5 · 2²³ rounds to the nearest integer, half to even.
    const ROUND: f32 = 12_582_912.0;
    let n = clamped * std::f32::consts::LOG2_E + ROUND - ROUND;
    // ln 2 in two parts: the first is exact in 9 bits, so n times it is exact.
    let r = clamped - n * 0.693_359_4;
    let r = r + n * 2.121_944_4e-4;
    let mut p = 1.987_569_1e-4f32;
    for c in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_6e-1, 0.5] {
        p = p * r + c;
    }
    let e = p * (r * r) + r + 1.0;
    let scaled = e * f32::from_bits(((n as i32 + 127) as u32) << 23);
    if x < -87.3 { 0.0 } else { scaled }
}
