//! Log-probabilities of one row of logits.
//!
//! `ln p(t) = logit(t) − ln Σ exp(logit)`. The largest logit is taken out of the sum, which runs in
//! token order with [`libm`] functions, so every machine gives the same bits.

use super::Scored;
use super::sample::{best_of, peak};
use crate::text::Token;

/// What turns one row's logits into log-probabilities. The two parts of ln Σ exp(logit) stay apart: their sum
/// would round.
#[derive(Debug, Clone, Copy)]
pub(super) struct LogSoftmax {
    /// The largest logit.
    max: f32,
    /// ln Σ exp(logit − max); at least 0.
    rest: f64,
}

impl LogSoftmax {
    /// Of `logits`, where values that are not finite count as −∞. `None` if no value is finite.
    pub(super) fn new(logits: &[f32]) -> Option<Self> {
        let (_, max) = peak(logits)?;
        let sum: f64 = logits.iter().filter(|l| l.is_finite()).map(|l| f64::from(libm::expf(l - max))).sum();
        Some(Self { max, rest: libm::log(sum) })
    }

    /// ln p of a token with this logit; at most 0.
    pub(super) fn of(self, logit: f32) -> f32 {
        match logit.is_finite() {
            true => (f64::from(logit) - f64::from(self.max) - self.rest) as f32,
            false => f32::NEG_INFINITY,
        }
    }
}

/// `token` with its log-probability in `logits` (`[vocab]`) and the `n` best alternatives. `None` if no logit is finite.
pub(super) fn score(logits: &[f32], token: Token, n: usize) -> Option<Scored> {
    let softmax = LogSoftmax::new(logits)?;
    let mut best = Vec::new();
    best_of(logits, n, &mut best);
    let top = best.iter().map(|c| (c.id, softmax.of(c.logit))).collect();
    Some(Scored { token, logprob: Some(softmax.of(logits[token as usize])), top })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equals_the_plain_formula_in_f64() {
        let logits: Vec<f32> = (0..1000).map(|i| ((i * 7919) % 1000) as f32 * 0.03 - 12.0).collect();
        let sum: f64 = logits.iter().map(|&l| f64::from(l).exp()).sum();
        for token in [0u32, 1, 17, 999] {
            let expected = f64::from(logits[token as usize]) - sum.ln();
            let got = score(&logits, token, 0).unwrap();
            assert!((f64::from(got.logprob.unwrap()) - expected).abs() < 2e-6, "{got:?} {expected}");
            assert!(got.top.is_empty());
        }
    }

    #[test]
    fn probabilities_of_all_tokens_sum_to_one() {
        let logits: Vec<f32> = (0..3072).map(|i| ((i * 613) % 3072) as f32 * 0.01).collect();
        let all = score(&logits, 5, logits.len()).unwrap();
        let sum: f64 = all.top.iter().map(|&(_, p)| f64::from(p).exp()).sum();
        assert_eq!(all.top.len(), 3072);
        assert!((sum - 1.0).abs() < 1e-5, "{sum}");
    }

    #[test]
    fn the_best_come_first_and_equals_by_lowest_id() {
        let scored = score(&[1.0, 3.0, 2.0, 3.0, 1.0], 3, 4).unwrap();
        assert_eq!(scored.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3, 2, 0]);
        assert_eq!(scored.logprob.unwrap().to_bits(), scored.top[1].1.to_bits());
    }

    #[test]
    fn any_number_of_alternatives_equals_a_full_sort() {
        let logits: Vec<f32> = (0..300u64).map(|i| (i * i * 37 % 101) as f32 - 50.0).collect();
        let mut sorted: Vec<Token> = (0..300).collect();
        sorted.sort_by(|&a, &b| logits[b as usize].total_cmp(&logits[a as usize]));
        for n in [1, 2, 3, 50, 149, 150, 151, 299, 300] {
            let top = score(&logits, 0, n).unwrap().top;
            assert_eq!(top.iter().map(|t| t.0).collect::<Vec<_>>(), sorted[..n], "{n} of 300");
        }
    }

    #[test]
    fn values_that_are_not_finite_have_no_share() {
        let scored = score(&[f32::NAN, 0.0, f32::NEG_INFINITY, 0.0, f32::INFINITY], 1, 5).unwrap();
        assert_eq!(scored.top.iter().map(|t| t.0).collect::<Vec<_>>(), [1, 3]);
        assert!((scored.logprob.unwrap() + std::f32::consts::LN_2).abs() < 1e-7);
        assert_eq!(score(&[f32::NAN; 3], 0, 1), None);
    }

    #[test]
    fn huge_logits_do_not_overflow() {
        let scored = score(&[3.0e38, 3.0e38, -3.0e38], 2, 2).unwrap();
        assert_eq!(scored.logprob, Some(f32::NEG_INFINITY));
        assert!((scored.top[0].1 + std::f32::consts::LN_2).abs() < 1e-7);
    }
}
