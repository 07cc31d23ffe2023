//! Elementwise functions of the forward pass.
//!
//! Written out in multiplications and additions (none fused) so that every machine gives the same
//! bits: the system's `expf` differs between C libraries.

use super::{Activation, Pairs};
use crate::kernel::Compute;
pub(super) use crate::kernel::exp;

/// tanh x = 1 − 2 / (e^2x + 1).
pub(super) fn tanh(x: f32) -> f32 {
    let x = x.clamp(-20.0, 20.0);
    1.0 - 2.0 / (exp(2.0 * x) + 1.0)
}

/// `out = x / √(mean(x²) + eps) · weight` (arXiv 1910.07467).
pub(super) fn rms_norm(compute: &Compute, x: &[f32], weight: &[f32], eps: f32, out: &mut [f32]) {
    let scale = rms_scale(compute, x, eps);
    for ((o, x), w) in out.iter_mut().zip(x).zip(weight) {
        *o = x * scale * w;
    }
}

/// [`rms_norm`] in place.
pub(super) fn rms_norm_in_place(compute: &Compute, x: &mut [f32], weight: &[f32], eps: f32) {
    let scale = rms_scale(compute, x, eps);
    for (x, w) in x.iter_mut().zip(weight) {
        *x = *x * scale * w;
    }
}

fn rms_scale(compute: &Compute, x: &[f32], eps: f32) -> f32 {
    1.0 / (compute.dot(x, x) / x.len() as f32 + eps).sqrt()
}

/// `out[i] = f(gate[i]) · up[i]`.
pub(super) fn gate(activation: Activation, gate: &[f32], up: &[f32], out: &mut [f32]) {
    let pairs = out.iter_mut().zip(gate.iter().zip(up));
    match activation {
        Activation::SquaredRelu => pairs.for_each(|(o, (g, u))| {
            let g = g.max(0.0);
            *o = g * g * u;
        }),
        Activation::Silu => pairs.for_each(|(o, (g, u))| *o = g / (1.0 + exp(-g)) * u),
        Activation::GeluTanh => pairs.for_each(|(o, (g, u))| {
            const SQRT_2_OVER_PI: f32 = 0.797_884_6;
            let t = tanh(SQRT_2_OVER_PI * (g + 0.044_715 * g * g * g));
            *o = 0.5 * g * (1.0 + t) * u;
        }),
    }
}

/// Rotates each head of `x` (`[heads][head_dim]`) by the angles of one position.
pub(super) fn rotate(x: &mut [f32], head_dim: usize, pairs: Pairs, cos: &[f32], sin: &[f32]) {
    let half = cos.len();
    for head in x.chunks_exact_mut(head_dim) {
        for i in 0..half {
            let (a, b) = match pairs {
                Pairs::Halves => (i, i + half),
                Pairs::Neighbours => (2 * i, 2 * i + 1),
            };
            let (xa, xb) = (head[a], head[b]);
            head[a] = xa * cos[i] - xb * sin[i];
            head[b] = xb * cos[i] + xa * sin[i];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0f64;
        for i in -870_000..=880_000 {
            let x = i as f32 * 1e-4;
            let want = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - want).abs() / want);
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "worst relative error {worst:e}");
    }

    #[test]
    fn exp_at_the_ends() {
        assert_eq!(exp(0.0), 1.0);
        assert_eq!(exp(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp(-100.0), 0.0);
        assert!(exp(200.0).is_finite());
    }

    #[test]
    fn tanh_agrees_with_the_reference() {
        for i in -2000..=2000 {
            let x = i as f32 * 0.01;
            assert!((f64::from(tanh(x)) - f64::from(x).tanh()).abs() < 3e-7, "tanh({x})");
        }
    }

    #[test]
    fn rotation_pairs_halves_or_neighbours() {
        let (cos, sin) = ([0.0, 1.0], [1.0, 0.0]);
        let mut halves = [1.0, 2.0, 3.0, 4.0];
        rotate(&mut halves, 4, Pairs::Halves, &cos, &sin);
        assert_eq!(halves, [-3.0, 2.0, 1.0, 4.0]);
        let mut neighbours = [1.0, 2.0, 3.0, 4.0];
        rotate(&mut neighbours, 4, Pairs::Neighbours, &cos, &sin);
        assert_eq!(neighbours, [-2.0, 1.0, 3.0, 4.0]);
    }
}
