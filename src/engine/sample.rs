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
pub(super) struct Candidate {
    pub(super) id: Token,
    /// Always finite when a token is drawn.
    pub(super) logit: f32,
    /// exp((logit − max) / temperature): the probability but for a common factor; at most 1.
    weight: f32,
}

/// Most likely first, lowest id first among equals.
fn by_rank(a: &Candidate, b: &Candidate) -> Ordering {
    b.logit.partial_cmp(&a.logit).unwrap_or(Ordering::Equal).then(a.id.cmp(&b.id))
}

/// Fills `best` with the `n` tokens of the largest finite logits, by rank. One pass over the vocabulary, for any `n`:
/// whenever 2n tokens have come together, the better half stays.
pub(super) fn best_of(logits: &[f32], n: usize, best: &mut Vec<Candidate>) {
    best.clear();
    if n == 0 {
        return;
    }
    // A later token must exceed this: among equals the lower id ranks first.
    let mut bar = f32::NEG_INFINITY;
    for (id, &logit) in (0..).zip(logits) {
        if logit > bar && logit < f32::INFINITY {
            best.push(Candidate { id, logit, weight: 0.0 });
            if best.len() == n.saturating_mul(2) {
                bar = best.select_nth_unstable_by(n - 1, by_rank).1.logit;
                best.truncate(n);
            }
        }
    }
    best.sort_unstable_by(by_rank);
    best.truncate(n);
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
            self.bias(edited, candidates);
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

    /// One pass over the biases and, if any forces its token, one over the vocabulary. `forced` is room to work in.
    fn bias(&self, logits: &mut [f32], forced: &mut Vec<Candidate>) {
        let bias = &self.how.logit_bias;
        for &(id, add) in bias {
            let logit = &mut logits[id as usize];
            *logit = if add <= BAN { f32::NEG_INFINITY } else { *logit + add };
        }
        forced.clear();
        let named = bias.iter().filter(|&&(_, add)| add >= FORCE);
        forced.extend(named.map(|&(id, _)| Candidate { id, logit: logits[id as usize], weight: 0.0 }));
        if !forced.is_empty() {
            logits.fill(f32::NEG_INFINITY);
            forced.iter().for_each(|c| logits[c.id as usize] = c.logit);
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

    /// The tokens with a finite logit in token order, or the top k of them by rank, with their weights.
    fn weigh(&self, logits: &[f32], candidates: &mut Vec<Candidate>) -> Option<()> {
        let (_, max) = peak(logits)?;
        let k = self.how.top_k;
        if 0 < k && k < logits.len() {
            best_of(logits, k, candidates);
        } else {
            candidates.clear();
            let finite = (0..).zip(logits).filter(|(_, logit)| logit.is_finite());
            candidates.extend(finite.map(|(id, &logit)| Candidate { id, logit, weight: 0.0 }));
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn sampler(how: Sampling) -> Sampler {
        check(&how, usize::MAX).unwrap();
        Sampler::new(how)
    }

    /// The probabilities that one choice is drawn from, in token order.
    fn probabilities(how: Sampling, logits: &[f32], tokens: &[Token], prompt: usize) -> Vec<(Token, f64)> {
        let mut scratch = Scratch::new(logits.len());
        sampler(how).sample(logits, tokens, prompt, &mut scratch).unwrap();
        assert!(scratch.counts.iter().all(|&count| count == 0), "counts must not outlive a choice");
        let total = total(&scratch.candidates);
        let mut p: Vec<_> = scratch.candidates.iter().map(|c| (c.id, f64::from(c.weight) / total)).collect();
        p.sort_unstable_by_key(|&(id, _)| id);
        p
    }

    fn assert_close(got: &[(Token, f64)], expected: &[(Token, f64)], tolerance: f64) {
        assert_eq!(got.len(), expected.len(), "{got:?} instead of {expected:?}");
        for (g, e) in got.iter().zip(expected) {
            assert!(g.0 == e.0 && (g.1 - e.1).abs() < tolerance, "{got:?} instead of {expected:?}");
        }
    }

    /// Settings with a temperature of 1 and nothing cut.
    fn plain() -> Sampling {
        Sampling { temperature: 1.0, ..Sampling::default() }
    }

    /// The numbers are printed by tests/reference/sampling.py.
    #[test]
    fn probabilities_equal_those_of_hugging_face() {
        let logits = [1.5, -0.75, 3.25, 0.0, 2.875, -2.0, 3.0, 0.5, 1.0, -4.5, 2.0, 0.25];
        let history = [2, 5, 2, 6];
        let bias = vec![(3, 2.5), (6, -1.5)];
        #[rustfmt::skip]
        let cases: [(Sampling, &[(Token, f64)]); 7] = [
            (Sampling { temperature: 0.7, ..plain() },
             &[(0, 0.0313086), (1, 0.0012581), (2, 0.3814169), (3, 0.0036731), (4, 0.2232247), (5, 0.000211),
               (6, 0.2668669), (7, 0.0075031), (8, 0.0153269), (9, 5.9e-06), (10, 0.063955), (11, 0.0052497)]),
            (Sampling { temperature: 1.3, top_k: 4, ..plain() },
             &[(2, 0.3382066), (4, 0.2534573), (6, 0.2790383), (10, 0.1292978)]),
            (Sampling { temperature: 0.9, top_p: 0.8, ..plain() }, &[(2, 0.4137864), (4, 0.2727848), (6, 0.3134288)]),
            (Sampling { temperature: 1.5, min_p: 0.2, ..plain() },
             &[(0, 0.0866353), (2, 0.2782095), (4, 0.2166697), (6, 0.2354992), (8, 0.0620769), (10, 0.1209093)]),
            (Sampling { logit_bias: bias.clone(), ..plain() },
             &[(0, 0.0572224), (1, 0.0060312), (2, 0.3292922), (3, 0.1555466), (4, 0.226319), (5, 0.001728),
               (6, 0.0572224), (7, 0.0210509), (8, 0.0347071), (9, 0.0001418), (10, 0.0943438), (11, 0.0163945)]),
            (Sampling { repeat_penalty: 1.3, ..plain() },
             &[(0, 0.0759111), (1, 0.008001), (2, 0.2063478), (3, 0.0169381), (4, 0.3002343), (5, 0.0012581),
               (6, 0.1702479), (7, 0.0279261), (8, 0.0460424), (9, 0.0001882), (10, 0.1251563), (11, 0.0217489)]),
            (Sampling { temperature: 0.8, top_k: 6, top_p: 0.9, min_p: 0.1, repeat_penalty: 1.3, logit_bias: bias, ..plain() },
             &[(0, 0.0648236), (2, 0.2262565), (3, 0.2262565), (4, 0.3615569), (10, 0.1211064)]),
        ];
        for (how, expected) in cases {
            assert_close(&probabilities(how, &logits, &history, 2), expected, 1e-6);
        }
    }

    /// The definition, written plainly: f64, a full sort, no buffers.
    fn reference(how: &Sampling, logits: &[f32], tokens: &[Token], prompt: usize) -> Vec<(Token, f64)> {
        let window = &tokens[tokens.len().saturating_sub(how.repeat_last_n)..];
        let mut ranked: Vec<(Token, f64)> = Vec::new();
        for (id, &logit) in (0..).zip(logits) {
            let mut l = f64::from(logit);
            l += how.logit_bias.iter().filter(|b| b.0 == id).map(|b| f64::from(b.1)).sum::<f64>();
            if window.contains(&id) {
                let penalty = f64::from(how.repeat_penalty);
                l = if l > 0.0 { l / penalty } else { l * penalty };
            }
            let count = tokens[prompt..].iter().filter(|&&t| t == id).count() as f64;
            l -= count * f64::from(how.frequency_penalty) + count.min(1.0) * f64::from(how.presence_penalty);
            ranked.push((id, l / f64::from(how.temperature)));
        }
        ranked.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        if how.top_k > 0 {
            ranked.truncate(how.top_k);
        }
        let normalise = |ranked: &mut Vec<(Token, f64)>| {
            let sum: f64 = ranked.iter().map(|r| r.1).sum();
            ranked.iter_mut().for_each(|r| r.1 /= sum);
        };
        let max = ranked[0].1;
        ranked.iter_mut().for_each(|r| r.1 = (r.1 - max).exp());
        normalise(&mut ranked);
        if how.top_p < 1.0 {
            let mut sum = 0.0;
            let before = |r: &(Token, f64)| (sum < f64::from(how.top_p), sum += r.1).0;
            let kept = ranked.iter().map(before).take_while(|&kept| kept).count();
            ranked.truncate(kept.max(1));
        }
        let least = f64::from(how.min_p) * ranked[0].1;
        ranked.retain(|r| r.1 >= least);
        normalise(&mut ranked);
        ranked.sort_by_key(|r| r.0);
        ranked
    }

    proptest! {
        #[test]
        fn probabilities_equal_the_definition(
            logits in prop::collection::vec(-9.0f32..9.0, 400),
            tokens in prop::collection::vec(0u32..400, 1..40),
            cuts in (0usize..90, 0.05f32..1.2, 0.0f32..0.3, 0.2f32..2.5),
            penalties in (0.5f32..2.0, 0usize..40, -2.0f32..2.0, -2.0f32..2.0),
            bias in prop::collection::vec((0u32..400, -5.0f32..5.0), 0..4),
            seed: u64,
        ) {
            let how = Sampling {
                temperature: cuts.3, top_k: cuts.0, top_p: cuts.1.min(1.0), min_p: (cuts.2 - 0.1).max(0.0),
                repeat_penalty: penalties.0, repeat_last_n: penalties.1,
                frequency_penalty: penalties.2, presence_penalty: penalties.3, logit_bias: bias, seed,
            };
            let prompt = tokens.len() / 2;
            let got = probabilities(how.clone(), &logits, &tokens, prompt);
            let expected = reference(&how, &logits, &tokens, prompt);
            // A token whose cumulated probability is within rounding of a threshold may go either way.
            let threshold = got.len().abs_diff(expected.len());
            prop_assert!(threshold <= 1, "{} tokens instead of {}", got.len(), expected.len());
            if threshold == 0 {
                assert_close(&got, &expected, 1e-5);
            }
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [2.0, 1.0, 0.0, -1.0, 1.5];
        let mut s = sampler(Sampling { seed: 7, ..plain() });
        let mut scratch = Scratch::new(5);
        let mut seen = [0u32; 5];
        const DRAWS: u32 = 20_000;
        for _ in 0..DRAWS {
            seen[s.sample(&logits, &[0], 1, &mut scratch).unwrap() as usize] += 1;
        }
        let sum: f64 = logits.iter().map(|&l: &f32| f64::from(l).exp()).sum();
        let chi: f64 = (logits.iter().zip(seen))
            .map(|(&l, seen)| (f64::from(l).exp() / sum * f64::from(DRAWS), f64::from(seen)))
            .map(|(expected, seen)| (seen - expected).powi(2) / expected)
            .sum();
        // Four degrees of freedom: 18.5 is passed once in a thousand seeds.
        assert!(chi < 18.5, "chi-square {chi}, {seen:?}");
    }

    #[test]
    fn the_same_seed_draws_the_same_tokens_and_another_does_not() {
        let logits: Vec<f32> = (0..500).map(|i| (i % 17) as f32 * 0.1).collect();
        let draw = |seed| {
            let mut s = sampler(Sampling { seed, ..plain() });
            let mut scratch = Scratch::new(logits.len());
            (0..20).map(|_| s.sample(&logits, &[0], 1, &mut scratch).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        // The generator and its use are part of what a seed means: these do not change from version to version.
        assert_eq!(draw(3)[..6], [215, 115, 58, 418, 271, 386]);
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_equals() {
        let how = Sampling::default();
        let mut scratch = Scratch::new(4);
        assert_eq!(sampler(how.clone()).sample(&[0.0, 2.0, 2.0, 1.0], &[0], 1, &mut scratch), Some(1));
        assert_eq!(sampler(how).sample(&[-0.0, 0.0, -1.0, 0.0], &[0], 1, &mut scratch), Some(0));
    }

    #[test]
    fn top_k_keeps_the_lowest_ids_among_equals() {
        let p = probabilities(Sampling { top_k: 2, ..plain() }, &[1.0, 0.0, 1.0, 1.0], &[0], 1);
        assert_eq!(p, [(0, 0.5), (2, 0.5)]);
    }

    #[test]
    fn a_top_p_of_zero_leaves_the_best() {
        for top_p in [0.0, 1e-30] {
            assert_eq!(probabilities(Sampling { top_p, ..plain() }, &[1.0, 3.0, 3.0], &[0], 1), [(1, 1.0)]);
        }
    }

    #[test]
    fn a_tiny_temperature_is_greedy_and_a_huge_one_uniform() {
        let logits = [1.0, 3.0, 2.0];
        let mut scratch = Scratch::new(3);
        let tiny = sampler(Sampling { temperature: 1e-42, ..plain() }).sample(&logits, &[0], 1, &mut scratch);
        assert_eq!(tiny, Some(1));
        let p = probabilities(Sampling { temperature: 100.0, ..plain() }, &logits, &[0], 1);
        assert!(p.iter().all(|(_, p)| (p - 1.0 / 3.0).abs() < 0.01), "{p:?}");
    }

    #[test]
    fn frequency_and_presence_count_the_answer_only() {
        let how = Sampling { frequency_penalty: 0.5, presence_penalty: 0.25, ..plain() };
        let mut logits = [1.0; 4];
        sampler(how).penalise(&mut logits, &[0, 0, 3, 1, 1, 2], 3, &mut [0; 4]);
        assert_eq!(logits, [1.0, -0.25, 0.25, 1.0]);
    }

    #[test]
    fn the_repeat_penalty_looks_back_only_so_far_and_counts_once() {
        let how = Sampling { repeat_penalty: 2.0, repeat_last_n: 3, ..plain() };
        let mut logits = [1.0, 1.0, -1.0, 1.0];
        sampler(how).penalise(&mut logits, &[3, 0, 2, 2], 2, &mut [0; 4]);
        assert_eq!(logits, [0.5, 1.0, -2.0, 1.0]);
    }

    #[test]
    fn a_bias_of_100_excludes_all_others_and_of_minus_100_the_token() {
        let logits = [900.0, 0.0, 0.0, 1000.0];
        let p = |logit_bias| probabilities(Sampling { logit_bias, ..plain() }, &logits, &[0], 1);
        assert_eq!(p(vec![(3, -100.0)]), [(0, 1.0), (1, 0.0), (2, 0.0)]);
        assert_eq!(p(vec![(1, 100.0), (2, 100.0)]), [(1, 0.5), (2, 0.5)]);
        let ban_all = Sampling { logit_bias: (0..4).map(|id| (id, -100.0)).collect(), ..plain() };
        assert_eq!(sampler(ban_all).sample(&logits, &[0], 1, &mut Scratch::new(4)), None);
    }

    #[test]
    fn forced_tokens_keep_their_logits_however_often_they_are_named() {
        let p = |logit_bias| probabilities(Sampling { logit_bias, ..plain() }, &[0.0, 1.0, 1.0, 9.0], &[0], 1);
        // Biases add up, before and after.
        assert_eq!(p(vec![(1, 100.0), (2, 50.0), (1, -50.0), (2, 100.0), (2, -100.0)]), [(1, 1.0)]);
        assert_eq!(p(vec![(1, 100.0), (1, 0.0), (2, 1.0), (2, 100.0), (2, -1.0)]), [(1, 0.5), (2, 0.5)]);
    }

    #[test]
    fn forcing_many_tokens_costs_one_pass() {
        const VOCAB: u16 = u16::MAX;
        let logits = vec![1.0; VOCAB.into()];
        let logit_bias = (0..VOCAB).map(|id| (id.into(), 100.0)).collect();
        let mut s = sampler(Sampling { logit_bias, ..Sampling::default() });
        let mut scratch = Scratch::new(VOCAB.into());
        let start = std::time::Instant::now();
        for _ in 0..20 {
            assert_eq!(s.sample(&logits, &[0], 1, &mut scratch), Some(0));
        }
        // Milliseconds. Each token compared with each bias: many seconds.
        assert!(start.elapsed().as_secs() < 3, "{:?}", start.elapsed());
    }

    #[test]
    fn logits_that_are_not_finite_are_never_chosen() {
        let logits = [f32::NAN, 1.0, f32::INFINITY, f32::NEG_INFINITY, 0.5];
        for how in [Sampling::default(), Sampling { top_p: 0.5, ..plain() }, Sampling { top_k: 3, ..plain() }] {
            let mut scratch = Scratch::new(5);
            let token = sampler(how.clone()).sample(&logits, &[0], 1, &mut scratch);
            assert!(matches!(token, Some(1 | 4)), "{token:?}");
            assert_eq!(sampler(how).sample(&[f32::NAN; 5], &[0], 1, &mut scratch), None);
        }
    }

    #[test]
    fn settings_out_of_range_are_refused_by_name() {
        let name = |how| match check(&how, 10) {
            Err(Error::Parameter { name, .. }) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name(Sampling { temperature: f32::NAN, ..plain() }), "temperature");
        assert_eq!(name(Sampling { temperature: -0.1, ..plain() }), "temperature");
        assert_eq!(name(Sampling { top_p: 1.01, ..plain() }), "top_p");
        assert_eq!(name(Sampling { min_p: -0.5, ..plain() }), "min_p");
        assert_eq!(name(Sampling { repeat_penalty: 0.0, ..plain() }), "repeat_penalty");
        assert_eq!(name(Sampling { frequency_penalty: f32::INFINITY, ..plain() }), "frequency_penalty");
        assert_eq!(name(Sampling { presence_penalty: 1e9, ..plain() }), "presence_penalty");
        assert_eq!(name(Sampling { logit_bias: vec![(1, 101.0)], ..plain() }), "logit_bias");
        assert_eq!(check(&Sampling { logit_bias: vec![(10, 1.0)], ..plain() }, 10), Err(Error::Token(10)));
    }
}
