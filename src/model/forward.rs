//! The forward pass: token ids to hidden states to logits, in the order of the papers.

use super::weights::Layer;
use super::{Activation, Config, KvCache, Model, OutputHead, Rope, attention, math};
use crate::kernel::{Activations, Compute, Layout};
use crate::text::Token;

/// Which positions' final hidden states a [`Span`] asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Want {
    /// None: part of a prompt.
    Nothing,
    /// The last position: the next token follows.
    Last,
    /// Every position: prompt log-probabilities.
    All,
}

/// Consecutive new tokens of one sequence, to run in one step with others.
#[derive(Debug, Clone, Copy)]
pub struct Span<'a> {
    /// New tokens.
    pub tokens: &'a [Token],
    /// Position of the first of them.
    pub start: usize,
    /// The sequence's KV blocks, enough for `start + tokens.len()` positions: position p lives in
    /// `blocks[p / BLOCK]`, slot `p % BLOCK`.
    pub blocks: &'a [u32],
    /// What to give back.
    pub want: Want,
}

/// Called with each intermediate result: its name, the layer, and the values of all tokens of the
/// step. For tests that look for the first difference.
pub type Tap = Box<dyn FnMut(&str, usize, &[f32]) + Send>;

/// What single-token steps did not need to read, summed over layers and steps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Skipping {
    /// Neurons of squared-ReLU layers.
    pub neurons: u64,
    /// Those whose gate was open: their row of `up` was read.
    pub open: u64,
    /// Those whose value was not rounded to zero: their column of `down` was read.
    pub nonzero: u64,
}

/// Scratch of the forward pass, reused from step to step. n is the number of tokens in a step.
pub struct State {
    /// Residual stream, `[n][dim]`.
    x: Vec<f32>,
    /// Input of a linear layer that reads the residual stream, `[n][dim]`.
    normed: Activations,
    /// Queries, `[n][heads][head_dim]`.
    q: Vec<f32>,
    /// Keys, `[n][kv_heads][head_dim]`.
    k: Vec<f32>,
    /// Values, `[n][kv_heads][head_dim]`.
    v: Vec<f32>,
    /// What attention gives, `[n][heads][head_dim]`.
    attended: Activations,
    /// Scratch of attention.
    pieces: Vec<f32>,
    /// Neurons whose gate is open, of the one token of a step.
    open: Vec<u32>,
    /// `[n][ffn]`
    gate: Vec<f32>,
    /// `[n][ffn]`
    up: Vec<f32>,
    /// gate(…) · up, `[n][ffn]`.
    gated: Activations,
    /// What a layer's half adds to the residual stream, `[n][dim]`.
    delta: Vec<f32>,
    /// Cosines and sines of this step's positions, for the two kinds of layers.
    angles: [Angles; 2],
    /// For each token: its span and its position.
    places: Vec<(usize, usize)>,
    /// Wanted hidden states, `[wanted][dim]`.
    hidden: Vec<f32>,
    max_tokens: usize,
    /// Counts what is skipped.
    pub skipping: Skipping,
    /// Called with intermediate results, if set.
    pub tap: Option<Tap>,
}

#[derive(Debug, Default)]
struct Angles {
    /// `[n][pairs]`
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Angles {
    fn set(&mut self, rope: &Rope, places: &[(usize, usize)]) {
        self.cos.clear();
        self.sin.clear();
        for &(_, position) in places {
            for frequency in &rope.frequencies {
                // In f32, as the models were trained.
                let angle = position as f32 * frequency;
                self.cos.push(libm::cosf(angle));
                self.sin.push(libm::sinf(angle));
            }
        }
    }
}

impl State {
    /// Scratch for steps of at most `max_tokens` tokens.
    pub fn new(config: &Config, max_tokens: usize) -> Self {
        let floats = |width: usize| vec![0.0; max_tokens * width];
        Self {
            x: floats(config.dim),
            normed: Activations::default(),
            q: floats(config.q_dim()),
            k: floats(config.kv_dim()),
            v: floats(config.kv_dim()),
            attended: Activations::default(),
            pieces: Vec::new(),
            open: Vec::with_capacity(config.ffn),
            gate: floats(config.ffn),
            up: floats(config.ffn),
            gated: Activations::default(),
            delta: floats(config.dim),
            angles: Default::default(),
            places: Vec::with_capacity(max_tokens),
            hidden: floats(config.dim),
            max_tokens,
            skipping: Skipping::default(),
            tap: None,
        }
    }

    /// Most tokens per step.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    fn tap(&mut self, name: &str, layer: usize, values: impl Fn(&Self) -> &[f32]) {
        if let Some(mut tap) = self.tap.take() {
            tap(name, layer, values(self));
            self.tap = Some(tap);
        }
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "State({} tokens)", self.max_tokens)
    }
}

impl Model {
    /// Runs all `spans` in one pass and returns the final normed hidden states that were asked
    /// for, `[wanted][dim]`, in span order.
    ///
    /// A token's result is the same to the last bit whatever else is in the step.
    ///
    /// # Panics
    /// If a token is outside the vocabulary, a block outside the cache, or the step larger than `state`
    /// allows: the engine has checked all of that.
    pub fn forward<'s>(&self, compute: &Compute, state: &'s mut State, kv: &mut KvCache, spans: &[Span]) -> &'s [f32] {
        let c = &self.config;
        state.places.clear();
        for (i, span) in spans.iter().enumerate() {
            assert!(span.blocks.len() * KvCache::BLOCK >= span.start + span.tokens.len(), "too few KV blocks");
            state.places.extend((0..span.tokens.len()).map(|t| (i, span.start + t)));
        }
        let n = state.places.len();
        assert!(n <= state.max_tokens, "{n} tokens in a step of at most {}", state.max_tokens);

        let tokens = spans.iter().flat_map(|span| span.tokens);
        for (x, &token) in state.x.chunks_exact_mut(c.dim).zip(tokens) {
            self.weights.embedding.row(token as usize, x);
            if c.embedding_scale != 1.0 {
                x.iter_mut().for_each(|x| *x *= c.embedding_scale);
            }
        }
        state.tap("embedding", 0, |s| &s.x[..n * c.dim]);
        let State { angles: [whole, windowed], places, .. } = &mut *state;
        whole.set(&c.rope, places);
        if c.windowed.contains(&true) {
            windowed.set(&c.window_rope, places);
        }

        for (i, layer) in self.weights.layers.iter().enumerate() {
            self.attention(compute, state, kv, spans, i, layer);
            state.tap("attention", i, |s| &s.x[..n * c.dim]);
            self.feed_forward(compute, state, n, layer);
            state.tap("layer", i, |s| &s.x[..n * c.dim]);
        }

        let mut wanted = 0;
        let mut token = 0;
        for span in spans {
            let first = match span.want {
                Want::Nothing => span.tokens.len(),
                Want::Last => span.tokens.len().saturating_sub(1),
                Want::All => 0,
            };
            for t in token + first..token + span.tokens.len() {
                let x = &state.x[t * c.dim..(t + 1) * c.dim];
                let hidden = &mut state.hidden[wanted * c.dim..(wanted + 1) * c.dim];
                math::rms_norm(compute, x, &self.weights.output_norm, c.norm_eps, hidden);
                wanted += 1;
            }
            token += span.tokens.len();
        }
        &state.hidden[..wanted * c.dim]
    }

    /// x ← x + output(attention(norm(x)))
    fn attention(&self, compute: &Compute, s: &mut State, kv: &mut KvCache, spans: &[Span], layer: usize, w: &Layer) {
        let c = &self.config;
        let n = s.places.len();
        let (q_dim, kv_dim) = (c.q_dim(), c.kv_dim());
        let (q, k, v) = (&mut s.q[..n * q_dim], &mut s.k[..n * kv_dim], &mut s.v[..n * kv_dim]);
        let windowed = c.windowed[layer];
        let rope = if windowed { &c.window_rope } else { &c.rope };
        let angles = &s.angles[usize::from(windowed)];

        norm_rows(compute, &s.x, &w.attn_norm, c.norm_eps, n, &mut s.normed);
        compute.linear(&w.q, &mut s.normed, q);
        compute.linear(&w.k, &mut s.normed, k);
        compute.linear(&w.v, &mut s.normed, v);

        let turn = |compute: &Compute, t: usize, x: &mut [f32], norm: &Option<Vec<f32>>| {
            if let Some(weight) = norm {
                for head in x.chunks_exact_mut(c.head_dim) {
                    math::rms_norm_in_place(compute, head, weight, c.norm_eps);
                }
            }
            let pairs = rope.frequencies.len();
            let angle = t * pairs..(t + 1) * pairs;
            math::rotate(x, c.head_dim, rope.pairs, &angles.cos[angle.clone()], &angles.sin[angle]);
        };
        compute.for_each_chunk(q, q_dim, &|t, q| turn(compute, t, q, &w.q_norm));
        compute.for_each_chunk(k, kv_dim, &|t, k| turn(compute, t, k, &w.k_norm));
        for (t, (k, v)) in k.chunks_exact(kv_dim).zip(v.chunks_exact(kv_dim)).enumerate() {
            let (span, position) = s.places[t];
            let block = spans[span].blocks[position / KvCache::BLOCK];
            kv.write(layer, block, position % KvCache::BLOCK, k, v);
        }

        let layer = attention::Layer {
            kv,
            layer,
            kv_heads: c.kv_heads,
            group: c.heads / c.kv_heads,
            head_dim: c.head_dim,
            scale: c.attention_scale,
            window: c.window.filter(|_| windowed).unwrap_or(usize::MAX),
        };
        s.attended.reset(n, q_dim);
        layer.attend(compute, spans, &s.places, q, &mut s.pieces, s.attended.rows_mut());
        if let Some(weight) = &w.attn_sub_norm {
            norm_rows_in_place(compute, s.attended.rows_mut(), weight, c.norm_eps);
        }
        let delta = &mut s.delta[..n * c.dim];
        compute.linear(&w.attn_output, &mut s.attended, delta);
        if let Some(weight) = &w.attn_post_norm {
            norm_rows_in_place(compute, delta, weight, c.norm_eps);
        }
        add(&mut s.x, delta);
    }

    /// x ← x + down(f(gate(norm(x))) · up(norm(x)))
    fn feed_forward(&self, compute: &Compute, s: &mut State, n: usize, w: &Layer) {
        let c = &self.config;
        let (gate, up) = (&mut s.gate[..n * c.ffn], &mut s.up[..n * c.ffn]);
        norm_rows(compute, &s.x, &w.ffn_norm, c.norm_eps, n, &mut s.normed);
        compute.linear(&w.ffn_gate, &mut s.normed, gate);
        let skipping = n == 1 && w.ffn_up.layout() == Some(Layout::Rows) && c.activation == Activation::SquaredRelu;
        if skipping {
            // A gate that is not positive makes the product 0, whatever `up` is; one that is no number must stay visible.
            s.open.clear();
            s.open.extend((0u32..).zip(&*gate).filter(|(_, g)| **g > 0.0 || g.is_nan()).map(|(i, _)| i));
            up.fill(0.0);
            compute.linear_rows(&w.ffn_up, &mut s.normed, &s.open, up);
        } else {
            compute.linear(&w.ffn_up, &mut s.normed, up);
        }
        s.gated.reset(n, c.ffn);
        let (gate, up) = (&*gate, &*up);
        compute.for_each_chunk(s.gated.rows_mut(), c.ffn, &|t, out| {
            let row = t * c.ffn..(t + 1) * c.ffn;
            math::gate(c.activation, &gate[row.clone()], &up[row], out);
            if let Some(weight) = &w.ffn_sub_norm {
                math::rms_norm_in_place(compute, out, weight, c.norm_eps);
            }
        });
        let delta = &mut s.delta[..n * c.dim];
        compute.linear(&w.ffn_down, &mut s.gated, delta);
        if skipping {
            s.skipping.neurons += c.ffn as u64;
            s.skipping.open += s.open.len() as u64;
            s.skipping.nonzero += s.gated.nonzero_columns() as u64;
        }
        if let Some(weight) = &w.ffn_post_norm {
            norm_rows_in_place(compute, delta, weight, c.norm_eps);
        }
        add(&mut s.x, delta);
    }

    /// Logits of hidden states by the file's own head: `hidden` is `[n][dim]`, `logits` becomes `[n][vocab]`.
    ///
    /// `input` is scratch that is reused from call to call.
    pub fn head(&self, compute: &Compute, input: &mut Activations, hidden: &[f32], logits: &mut [f32]) {
        self.head_of(OutputHead::Exact, compute, input, hidden, logits);
    }

    /// The same by either head.
    pub fn head_of(
        &self,
        head: OutputHead,
        compute: &Compute,
        input: &mut Activations,
        hidden: &[f32],
        logits: &mut [f32],
    ) {
        let c = &self.config;
        input.reset(hidden.len() / c.dim, c.dim);
        input.rows_mut().copy_from_slice(hidden);
        compute.linear(self.weights.head(head), input, logits);
        if let Some(cap) = c.logit_cap {
            logits.iter_mut().for_each(|l| *l = cap * math::tanh(*l / cap));
        }
    }
}

/// Norms the first `n` rows of `x` into `out`.
fn norm_rows(compute: &Compute, x: &[f32], weight: &[f32], eps: f32, n: usize, out: &mut Activations) {
    let dim = weight.len();
    out.reset(n, dim);
    compute.for_each_chunk(out.rows_mut(), dim, &|t, out| {
        math::rms_norm(compute, &x[t * dim..(t + 1) * dim], weight, eps, out);
    });
}

fn norm_rows_in_place(compute: &Compute, x: &mut [f32], weight: &[f32], eps: f32) {
    compute.for_each_chunk(x, weight.len(), &|_, row| math::rms_norm_in_place(compute, row, weight, eps));
}

fn add(x: &mut [f32], delta: &[f32]) {
    x.iter_mut().zip(delta).for_each(|(x, d)| *x += d);
}
