//! The input of linear layers, and its int8 forms.
//!
//! | form | read by | groups | scale |
//! |---|---|---|---|
//! | [`Form::Token`] | ternary matrices | the whole row | `s = 127 / max(max\|x\|, 1e-5)`, `q = round(x · s)` (HF `ActQuant`) |
//! | [`Form::Block32`] | `Q8_0`, `Q4_0`, `Q2_0` | 32 values | `d = max\|x\| / 127`, `q = round(x · (127 / max\|x\|))` |
//! | [`Form::Block256`] | `Q4_K`, `Q5_K`, `Q6_K`, `TQ1_0`, `TQ2_0` | 256 values | as above |
//!
//! All arithmetic is f32; `round` is half-to-even. A group of blocks whose largest magnitude is below 1e-30 counts as
//! zero. A group that holds an infinity or NaN gets the scale NaN, so that everything computed from it is NaN too:
//! a broken activation stays visible instead of turning into some number.

use super::isa::{Kernel, Kernels, Task};
use super::output::Chunks;
use super::pool::Pool;

/// Rows of int8 values are padded with zeros to a multiple of this.
const PAD: usize = 256;

/// The input of linear layers: `n` rows of `cols` floats, and their int8 forms made on demand and
/// shared by all matrices that read the same input. Buffers are reused: no allocation per token.
#[derive(Debug, Default)]
pub struct Activations {
    n: usize,
    cols: usize,
    rows: Vec<f32>,
    forms: [Quantised; 3],
}

/// Which int8 form a matrix reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    Token,
    Block32,
    Block256,
}

/// An int8 form of all rows.
#[derive(Debug, Default)]
pub(super) struct Quantised {
    fresh: bool,
    /// `[n][stride]`
    q: Vec<i8>,
    stride: usize,
    /// `[n][groups]`: see the module's documentation.
    scale: Vec<f32>,
    groups: usize,
    /// Sums of 16 consecutive `q`, `[n][stride / 16]`.
    sums: Vec<i16>,
    /// Sums of each row's `q`.
    totals: Vec<i32>,
    /// Of the first row: see [`Quantised::nonzero`].
    places: Vec<u32>,
    /// One for each of `places`.
    at_places: Vec<u8>,
}

/// One row of an int8 form.
#[derive(Debug, Clone, Copy)]
pub(super) struct Row<'a> {
    /// Padded with zeros to a multiple of 256.
    pub(super) q: &'a [i8],
    /// One per group.
    pub(super) scale: &'a [f32],
    /// One per 16 values of `q`.
    pub(super) sums: &'a [i16],
    /// Of all `q`.
    pub(super) total: i32,
}

impl Activations {
    /// Makes room for `n` rows of `cols` and forgets the int8 forms. Contents are unspecified.
    pub fn reset(&mut self, n: usize, cols: usize) {
        self.n = n;
        self.cols = cols;
        self.rows.resize(n * cols, 0.0);
        self.forget();
    }
    /// Number of rows.
    pub fn n(&self) -> usize {
        self.n
    }
    /// Row length.
    pub fn cols(&self) -> usize {
        self.cols
    }
    /// All rows, `[n][cols]`; forgets the int8 forms.
    pub fn rows_mut(&mut self) -> &mut [f32] {
        self.forget();
        &mut self.rows
    }
    /// All rows, `[n][cols]`.
    pub fn rows(&self) -> &[f32] {
        &self.rows
    }

    /// Columns that the last product with a matrix in [`super::Layout::Columns`] read, for one row.
    pub fn nonzero_columns(&self) -> usize {
        self.forms[Form::Token as usize].places.len()
    }

    fn forget(&mut self) {
        for form in &mut self.forms {
            form.fresh = false;
        }
    }

    /// The int8 form `form` of all rows, made now if it is not there yet.
    pub(super) fn quantised(&mut self, form: Form, kernels: Kernels, pool: &Pool) -> &Quantised {
        let made = &mut self.forms[form as usize];
        if !made.fresh {
            made.fill(form, &self.rows, self.n, self.cols, kernels, pool);
        }
        made
    }

    /// [`Form::Token`] of all rows, with [`Quantised::nonzero`] of the first.
    pub(super) fn sparse(&mut self, kernels: Kernels, pool: &Pool) -> &Quantised {
        self.quantised(Form::Token, kernels, pool);
        let made = &mut self.forms[Form::Token as usize];
        made.find_nonzero();
        made
    }
}

impl Quantised {
    #[inline(always)]
    pub(super) fn row(&self, t: usize) -> Row<'_> {
        Row {
            q: &self.q[t * self.stride..][..self.stride],
            scale: &self.scale[t * self.groups..][..self.groups],
            sums: &self.sums[t * self.stride / 16..][..self.stride / 16],
            total: self.totals[t],
        }
    }

    /// Where the first row is not zero, and its bytes there; both padded to whole groups of four with zeros at place 0.
    pub(super) fn nonzero(&self) -> (&[u32], &[u8]) {
        (&self.places, &self.at_places)
    }

    fn find_nonzero(&mut self) {
        self.places.clear();
        self.at_places.clear();
        for (i, &q) in self.q[..self.stride.min(self.q.len())].iter().enumerate() {
            if q != 0 {
                self.places.push(i as u32);
                self.at_places.push(q.cast_unsigned());
            }
        }
        self.places.resize(self.places.len().next_multiple_of(4), 0);
        self.at_places.resize(self.places.len(), 0);
    }

    fn fill(&mut self, form: Form, x: &[f32], n: usize, cols: usize, kernels: Kernels, pool: &Pool) {
        self.fresh = true;
        self.stride = cols.next_multiple_of(PAD);
        self.groups = match form {
            Form::Token => 1,
            Form::Block32 => self.stride / 32,
            Form::Block256 => self.stride / 256,
        };
        self.q.resize(n * self.stride, 0);
        self.scale.resize(n * self.groups, 0.0);
        self.sums.resize(n * self.stride / 16, 0);
        self.totals.resize(n, 0);
        if n == 0 || cols == 0 {
            return;
        }
        let q = Chunks::new(&mut self.q, self.stride);
        let scale = Chunks::new(&mut self.scale, self.groups);
        let sums = Chunks::new(&mut self.sums, self.stride / 16);
        let row = |t: usize| {
            let x = &x[t * cols..][..cols];
            // SAFETY: each t comes once, in either branch below.
            #[allow(unsafe_code)]
            let (q, scale, sums) = unsafe { (q.get(t), scale.get(t), sums.get(t)) };
            kernels.run(QuantiseRow { form, x, q, scale, sums });
        };
        // A few rows take a few microseconds, about what it takes to wake a thread.
        if n * cols < 1 << 14 {
            (0..n).for_each(row);
        } else {
            pool.for_each(n, &row);
        }
        for (total, sums) in self.totals.iter_mut().zip(self.sums.chunks_exact(self.stride / 16)) {
            *total = sums.iter().map(|&sum| i32::from(sum)).sum();
        }
    }
}

struct QuantiseRow<'a> {
    form: Form,
    x: &'a [f32],
    q: &'a mut [i8],
    scale: &'a mut [f32],
    sums: &'a mut [i16],
}

impl Task for QuantiseRow<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, _: K) {
        match self.form {
            Form::Token => {
                let largest = largest_magnitude(self.x);
                let s = if largest.is_finite() { 127.0 / largest.max(1e-5) } else { f32::NAN };
                self.scale[0] = s;
                round_all(self.x, s, self.q);
            }
            Form::Block32 => blocks::<32>(self.x, self.q, self.scale),
            Form::Block256 => blocks::<256>(self.x, self.q, self.scale),
        }
        for (sum, q) in self.sums.iter_mut().zip(self.q.as_chunks::<16>().0) {
            *sum = q.iter().map(|&q| i16::from(q)).sum();
        }
    }
}

#[inline(always)]
fn blocks<const N: usize>(x: &[f32], q: &mut [i8], scale: &mut [f32]) {
    scale.fill(0.0);
    let padding = x.len().next_multiple_of(N);
    q[padding..].fill(0);
    let groups = x.chunks(N).zip(q.as_chunks_mut::<N>().0).zip(scale);
    for ((x, q), scale) in groups {
        let largest = largest_magnitude(x);
        let (d, inverse) = match largest {
            v if !v.is_finite() => (f32::NAN, f32::NAN),
            v if v < 1e-30 => (0.0, 0.0),
            v => (v / 127.0, 127.0 / v),
        };
        *scale = d;
        round_all(x, inverse, q);
    }
}

/// `max|x|`, or something not finite if any `x` is not. The bits of non-negative floats are ordered like the floats,
/// infinity and NaN on top, and an integer maximum vectorises in any order.
#[inline(always)]
fn largest_magnitude(x: &[f32]) -> f32 {
    f32::from_bits(x.iter().map(|x| x.to_bits() & 0x7fff_ffff).max().unwrap_or(0))
}

/// `q = round(x · s)`, half to even, zeros behind the last `x`; all zeros if `s` is NaN.
///
/// No product is beyond ±127.00003, so nothing is clamped. Adding 1.5·2²³ leaves the rounded integer in the low bits of the float.
#[inline(always)]
fn round_all(x: &[f32], s: f32, q: &mut [i8]) {
    const MAGIC: f32 = 12_582_912.0;
    if s.is_nan() {
        q.fill(0);
        return;
    }
    let (head, tail) = q.split_at_mut(x.len());
    for (q, x) in head.iter_mut().zip(x) {
        *q = (x * s + MAGIC).to_bits() as i8;
    }
    tail.fill(0);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quantised(form: Form, x: &[f32], n: usize) -> (Vec<i8>, Vec<f32>, Vec<i16>) {
        let mut a = Activations::default();
        a.reset(n, x.len() / n);
        a.rows_mut().copy_from_slice(x);
        let made = a.quantised(form, Kernels::SCALAR, &Pool::new(1));
        (made.q.clone(), made.scale.clone(), made.sums.clone())
    }

    #[test]
    fn the_token_form_is_actquant() {
        // 127 / 2.54 = 50: products 127, -100.5, 50.5, 0.5, 1.5 round half to even.
        let (q, s, sums) = quantised(Form::Token, &[2.54, -2.01, 1.01, 0.01, 0.03], 1);
        assert_eq!(s, [127.0 / 2.54]);
        let by_hand: Vec<i8> =
            [2.54f32, -2.01, 1.01, 0.01, 0.03].iter().map(|x| (x * s[0]).round_ties_even() as i8).collect();
        assert_eq!(q[..5], by_hand[..]);
        assert!(q[5..].iter().all(|&q| q == 0) && q.len() == 256);
        assert_eq!(i32::from(sums[0]), by_hand.iter().map(|&q| i32::from(q)).sum::<i32>());
    }

    #[test]
    fn halves_round_to_even_and_the_scale_is_bounded() {
        let (q, s, _) = quantised(Form::Token, &[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, -127.0], 1);
        assert_eq!((s[0], &q[..8]), (1.0, &[127, 0, 2, 2, 0, -2, -2, -127][..]));
        let (q, s, _) = quantised(Form::Token, &[1e-6, 0.0], 1);
        assert_eq!((s[0], q[0]), (127.0 / 1e-5, 13));
    }

    #[test]
    fn block_forms_scale_each_group() {
        let x: Vec<f32> = (0..64).map(|i| if i < 32 { i as f32 } else { -(i as f32) / 1000.0 }).collect();
        let (q, d, sums) = quantised(Form::Block32, &x, 1);
        assert_eq!(d[..2], [31.0 / 127.0, 0.063 / 127.0]);
        assert_eq!((q[31], q[63], q[64]), (127, -127, 0));
        assert_eq!(d[2..], [0.0; 6]);
        assert_eq!(sums[0], q[..16].iter().map(|&q| i16::from(q)).sum::<i16>());
    }

    #[test]
    fn what_is_not_finite_poisons_its_group_alone() {
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![1.0; 512];
            x[300] = bad;
            let (_, d, _) = quantised(Form::Block256, &x, 1);
            assert!(d[0] == 1.0 / 127.0 && d[1].is_nan());
            let (_, s, _) = quantised(Form::Token, &x, 2);
            assert!(s[0] == 127.0 && s[1].is_nan());
        }
    }

    #[test]
    fn tiny_blocks_are_zero_and_old_contents_do_not_shine_through() {
        let mut a = Activations::default();
        a.reset(1, 300);
        a.rows_mut().fill(1.0);
        a.quantised(Form::Block32, Kernels::SCALAR, &Pool::new(1));
        a.reset(1, 32);
        a.rows_mut().fill(1e-38);
        let made = a.quantised(Form::Block32, Kernels::SCALAR, &Pool::new(1));
        assert!(made.q.iter().all(|&q| q == 0) && made.scale.iter().all(|&d| d == 0.0));
    }
}
