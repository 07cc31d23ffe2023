//! What may be turned: sampling, length, stop texts.

use crate::engine::Sampling;
use crate::text::Token;
use std::hash::{BuildHasher, Hasher, RandomState};

/// A client's wishes; what it left out is the server's default.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Knobs {
    /// Most tokens to generate; the rest of the context if absent.
    pub max_tokens: Option<usize>,
    /// 0 is greedy.
    pub temperature: Option<f32>,
    /// Keep the k most likely tokens; 0 keeps all.
    pub top_k: Option<usize>,
    /// Keep the most likely tokens up to this probability.
    pub top_p: Option<f32>,
    /// Drop tokens less likely than this share of the most likely one.
    pub min_p: Option<f32>,
    /// Divides logits of recent tokens; 1 is off.
    pub repeat_penalty: Option<f32>,
    /// How far back that looks.
    pub repeat_last_n: Option<usize>,
    /// Per occurrence in the answer.
    pub frequency_penalty: Option<f32>,
    /// For any occurrence in the answer.
    pub presence_penalty: Option<f32>,
    /// Added to tokens' logits.
    pub logit_bias: Vec<(Token, f32)>,
    /// Random if absent.
    pub seed: Option<u64>,
    /// Texts that end the answer.
    pub stop: Vec<String>,
}

impl Knobs {
    /// The engine's settings: these wishes over the server's defaults.
    pub fn sampling(&self, defaults: &Sampling, seed: u64) -> Sampling {
        Sampling {
            temperature: self.temperature.unwrap_or(defaults.temperature),
            top_k: self.top_k.unwrap_or(defaults.top_k),
            top_p: self.top_p.unwrap_or(defaults.top_p),
            min_p: self.min_p.unwrap_or(defaults.min_p),
            repeat_penalty: self.repeat_penalty.unwrap_or(defaults.repeat_penalty),
            repeat_last_n: self.repeat_last_n.unwrap_or(defaults.repeat_last_n),
            frequency_penalty: self.frequency_penalty.unwrap_or(defaults.frequency_penalty),
            presence_penalty: self.presence_penalty.unwrap_or(defaults.presence_penalty),
            logit_bias: self.logit_bias.clone(),
            seed,
        }
    }
}

/// A seed nobody chose. Below 2⁵³, so that a client whose numbers are floats can send it back.
pub fn random_seed() -> u64 {
    // The standard library keys each hasher differently, from the operating system's random numbers.
    RandomState::new().build_hasher().finish() >> 11
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_seeds_differ_and_survive_a_float() {
        let seeds: Vec<u64> = (0..100).map(|_| random_seed()).collect();
        let mut unique = seeds.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), seeds.len());
        assert!(seeds.iter().all(|&s| s < 1 << 53));
    }
}
