//! The choice of the next token.
//!
//! Everything runs in a fixed order with [`libm`] functions, on one thread, with one random number
//! per token from the request's own generator. So the same logits and the same seed give the same
//! token on every machine, whatever else is in the batch.

use super::{Error, Sampling};
use crate::text::Token;
use rand_core::{Rng, SeedableRng};
use rand_pcg::Pcg64;
use std::cmp::Ordering;

/// A bias that rules a token out.
const BAN: f32 = -100.0;
/// A bias that rules all other tokens out.
const FORCE: f32 = 100.0;

/// The largest finite value and its lowest index; `None` if none is finite.
pub(super) fn peak(logits: &[f32]) -> Option<(Token, f32)> {
    let mut best: Option<(Token, f32)> = None;
    for (id, &logit) in (0..).zip(logits) {
        if logit.is_finite() && best.is_none_or(|(_, max)| logit > max) {
            best = Some((id, logit));
        }
    }
    best
}

/// A token that may still be chosen.
#[derive(Debug, Clone, Copy)]
struct Candidate {
    id: Token,
    logit: f32,
    /// exp((logit − max) / temperature): the probability but for a common factor; at most 1.
    weight: f32,
}

/// Most likely first, lowest id first among equals.
fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.total_cmp(&a.logit).then(a.id.cmp(&b.id))
}

/// Buffers that all samplers of an engine share. Nothing in them outlives one choice.
#[derive(Debug)]
pub(super) struct Scratch {
    candidates: Vec<Candidate>,
    /// Occurrences per token; all zero between uses.
    counts: Vec<u32>,
    /// Logits after biases and penalties.
    edited: Vec<f32>,
}

impl Scratch {
    /// For a vocabulary of this size.
    pub(super) fn new(vocab: usize) -> Self {
        Self { candidates: Vec::with_capacity(vocab), counts: vec![0; vocab], edited: Vec::with_capacity(vocab) }
    }
}

/// One request's way of choosing tokens.
#[derive(Debug)]
pub(super) struct Sampler {
    how: Sampling,
    random: Pcg64,
}

impl Sampler {
    /// With checked settings (see [`check`]).
    pub(super) fn new(how: Sampling) -> Self {
        let random = Pcg64::seed_from_u64(how.seed);
        Self { how, random }
    }

    /// The token after `tokens`, of which those from `prompt` on are the answer so far, given `[vocab]` logits.
    /// `None` if no token can be chosen: no logit is finite, or all tokens are banned.
    pub(super) fn sample(
        &mut self,
        logits: &[f32],
        tokens: &[Token],
        prompt: usize,
        scratch: &mut Scratch,
    ) -> Option<Token> {
        let Scratch { candidates, counts, edited } = scratch;
        let logits = if self.edits() {
            edited.clear();
            edited.extend_from_slice(logits);
            self.bias(edited);
            self.penalise(edited, tokens, prompt, counts);
            &edited[..]
        } else {
            logits
        };
        if self.how.temperature == 0.0 {
            return peak(logits).map(|(id, _)| id);
        }
        self.weigh(logits, candidates)?;
        self.cut(candidates);
        Some(self.draw(candidates))
    }

    fn edits(&self) -> bool {
        let Sampling { repeat_penalty, frequency_penalty, presence_penalty, .. } = self.how;
        !self.how.logit_bias.is_empty() || (repeat_penalty, frequency_penalty, presence_penalty) != (1.0, 0.0, 0.0)
    }

    fn bias(&self, logits: &mut [f32]) {
        let bias = &self.how.logit_bias;
        for &(id, add) in bias {
            let logit = &mut logits[id as usize];
            *logit = if add <= BAN { f32::NEG_INFINITY } else { *logit + add };
        }
        if bias.iter().any(|&(_, add)| add >= FORCE) {
            let forced = |id: Token| bias.iter().any(|&(forced, add)| forced == id && add >= FORCE);
            let others = (0..).zip(&mut *logits).filter(|&(id, _)| !forced(id));
            others.for_each(|(_, logit)| *logit = f32::NEG_INFINITY);
        }
    }

    /// The counts are taken anew for each choice: that is at most one step per token of the sequence, far less
    /// than one pass over the vocabulary, and leaves no state behind that preemption could spoil.
    fn penalise(&self, logits: &mut [f32], tokens: &[Token], prompt: usize, counts: &mut [u32]) {
        let Sampling { repeat_penalty, repeat_last_n, frequency_penalty, presence_penalty, .. } = self.how;
        if repeat_penalty != 1.0 {
            let window = &tokens[tokens.len().saturating_sub(repeat_last_n)..];
            for &id in window {
                if std::mem::replace(&mut counts[id as usize], 1) == 0 {
                    let logit = &mut logits[id as usize];
                    *logit = if *logit > 0.0 { *logit / repeat_penalty } else { *logit * repeat_penalty };
                }
            }
            window.iter().for_each(|&id| counts[id as usize] = 0);
        }
        if frequency_penalty != 0.0 || presence_penalty != 0.0 {
            let answer = &tokens[prompt..];
            answer.iter().for_each(|&id| counts[id as usize] += 1);
            for &id in answer {
                let count = std::mem::take(&mut counts[id as usize]);
                if count > 0 {
                    logits[id as usize] -= frequency_penalty * count as f32 + presence_penalty;
                }
            }
        }
    }

    /// All tokens with a finite logit, in token order.
    fn weigh(&self, logits: &[f32], candidates: &mut Vec<Candidate>) -> Option<()> {
        let (_, max) = peak(logits)?;
        candidates.clear();
        candidates.extend((0..).zip(logits).filter(|(_, logit)| logit.is_finite()).map(|(id, &logit)| Candidate {
            id,
            logit,
            weight: 0.0,
        }));
        let k = self.how.top_k;
        if k > 0 && k < candidates.len() {
            candidates.select_nth_unstable_by(k - 1, by_rank);
            candidates.truncate(k);
            candidates.sort_unstable_by(by_rank);
        }
        for c in candidates {
            c.weight = libm::expf((c.logit - max) / self.how.temperature);
        }
        Some(())
    }

    /// Leaves what top-p and min-p allow; always at least the most likely one.
    fn cut(&self, candidates: &mut Vec<Candidate>) {
        if self.how.top_p < 1.0 {
            let enough = f64::from(self.how.top_p) * total(candidates);
            let (mut sum, mut kept, mut width) = (0.0, 0, 64);
            // Ranks in slices that grow: usually a few tokens out of 128 thousand are enough.
            'ranks: while kept < candidates.len() {
                let rest = &mut candidates[kept..];
                let slice = width.min(rest.len());
                if slice < rest.len() {
                    rest.select_nth_unstable_by(slice - 1, by_rank);
                }
                rest[..slice].sort_unstable_by(by_rank);
                for c in &rest[..slice] {
                    sum += f64::from(c.weight);
                    kept += 1;
                    if sum >= enough {
                        break 'ranks;
                    }
                }
                width *= 4;
            }
            candidates.truncate(kept);
        }
        if self.how.min_p > 0.0 {
            // The most likely token weighs 1.
            candidates.retain(|c| c.weight >= self.how.min_p);
        }
    }

    fn draw(&mut self, candidates: &[Candidate]) -> Token {
        const UNIT: f64 = 1.0 / (1u64 << 53) as f64;
        let mut left = (self.random.next_u64() >> 11) as f64 * UNIT * total(candidates);
        let mut last = candidates[0].id;
        for c in candidates.iter().filter(|c| c.weight > 0.0) {
            left -= f64::from(c.weight);
            last = c.id;
            if left < 0.0 {
                break;
            }
        }
        last
    }
}

fn total(candidates: &[Candidate]) -> f64 {
    candidates.iter().map(|c| f64::from(c.weight)).sum()
}

/// Refuses settings out of range, for a vocabulary of `vocab` tokens.
pub(super) fn check(how: &Sampling, vocab: usize) -> Result<(), Error> {
    let Sampling { temperature, top_p, min_p, repeat_penalty, frequency_penalty, presence_penalty, .. } = *how;
    within("temperature", temperature, 0.0, 100.0)?;
    within("top_p", top_p, 0.0, 1.0)?;
    within("min_p", min_p, 0.0, 1.0)?;
    within("repeat_penalty", repeat_penalty, 0.01, 100.0)?;
    within("frequency_penalty", frequency_penalty, -100.0, 100.0)?;
    within("presence_penalty", presence_penalty, -100.0, 100.0)?;
    for &(token, bias) in &how.logit_bias {
        if token as usize >= vocab {
            return Err(Error::Token(token));
        }
        within("logit_bias", bias, BAN, FORCE)?;
    }
    Ok(())
}

fn within(name: &'static str, value: f32, least: f32, most: f32) -> Result<(), Error> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::Parameter { name, what: format!("must be between {least} and {most}, not {value}") })
}
