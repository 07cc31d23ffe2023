//! A short measurement of what is fastest on this machine: how many threads, and which layout of ternary matrices.

use super::compute::{Compute, Threads};
use super::matrix::{Matrix, Packed};
use super::memory::Aligned;
use super::ternary::Layout;
use super::{Activations, Error};
use crate::gguf::Bytes;
use std::time::{Duration, Instant};

/// What is fastest on a machine.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Tuning {
    /// How many threads take part.
    pub threads: Threads,
    /// Of ternary matrices of which every weight is read: [`Layout::Panels`] or [`Layout::Trits`].
    pub layout: Layout,
    /// The share of zeros from which [`Layout::Rows`] and [`Layout::Columns`], which skip them, are faster than that; above 1: they never
    /// are. Memory that fetches more than it is asked for, and cores that multiply faster than it delivers, make it high.
    pub skip_from: f64,
}

const COLS: usize = 3840;
/// Weights of the matrix that stands for a base: 40 MB at 2 bits, more than caches hold.
const ROWS: usize = (40 << 20) * 4 / COLS / 16 * 16;
/// Rows of the matrix that stands for a prompt's work.
const FEW_ROWS: usize = 512;
/// Tokens of a prompt's step.
const TOKENS: usize = 32;
/// Fewer threads are taken where they are at most this much slower: the others have better to do.
const AS_GOOD: f64 = 1.03;

impl Tuning {
    /// Measures for about a second, and takes 75 MB meanwhile.
    ///
    /// # Errors
    /// None in practice: [`Error::Shape`] if the matrices made up here did not fit their layouts.
    pub fn measure(compute: &mut Compute) -> Result<Tuning, Error> {
        let all = compute.threads();
        let panels = made_up(Layout::Panels, ROWS)?;
        let mut decode = (all, f64::INFINITY);
        for threads in (1..=all).rev() {
            compute.set_threads(Threads { decode: threads, prefill: all });
            let time = seconds(compute, &panels, 1);
            if time < decode.1 * if threads < decode.0 { AS_GOOD } else { 1.0 } {
                decode = (threads, time.min(decode.1));
            }
        }
        compute.set_threads(Threads { decode: decode.0, prefill: all });
        // Once more in turn, so that a disturbance does not decide.
        let trits = made_up(Layout::Trits, ROWS)?;
        let mut best = [f64::INFINITY; 2];
        for _ in 0..2 {
            for (best, w) in best.iter_mut().zip([&panels, &trits]) {
                *best = best.min(seconds(compute, w, 1));
            }
        }
        let layout = if best[1] < best[0] { Layout::Trits } else { Layout::Panels };
        drop(trits);
        let skip_from = skip_from(compute, &panels, best[0].min(best[1]))?;
        drop(panels);

        let few = made_up(Layout::Panels, FEW_ROWS)?;
        let mut prefill = (all, f64::INFINITY);
        // Half of all and more: arithmetic gains by every core, but not always by the second thread of one.
        for threads in (all.div_ceil(2)..=all).rev() {
            compute.set_threads(Threads { decode: decode.0, prefill: threads });
            let time = seconds(compute, &few, TOKENS);
            if time < prefill.1 {
                prefill = (threads, time);
            }
        }
        let threads = Threads { decode: decode.0, prefill: prefill.0 };
        compute.set_threads(threads);
        Ok(Tuning { threads, layout, skip_from })
    }
}

/// The share of zeros from which skipping is as fast as reading all of as many weights as `other` has, which takes `dense` seconds.
/// Before each run `other` is read, so that caches hold nothing of what is measured.
fn skip_from(compute: &Compute, other: &Matrix, dense: f64) -> Result<f64, Error> {
    /// Half of the weights are skipped by rows, half by columns.
    const NEURONS: usize = ROWS / 2;
    let rows = made_up(Layout::Rows, NEURONS)?;
    let columns = made_up_columns(NEURONS)?;
    let time = |zeros: f64| {
        // Neurons that nobody could foresee, as those of a network.
        let open = |i: usize| {
            let mixed = (i as u32 ^ 0x5bd1).wrapping_mul(0x9e37_79b9);
            let mixed = (mixed ^ mixed >> 15).wrapping_mul(0x85eb_ca6b);
            f64::from((mixed ^ mixed >> 13) >> 8) >= zeros * f64::from(1 << 24)
        };
        let wanted: Vec<u32> = (0..NEURONS).filter(|&i| open(i)).map(|i| i as u32).collect();
        let (mut x, mut y) = (input(COLS, 1), vec![0.0; NEURONS]);
        let mut hidden = input(NEURONS, 1);
        hidden.rows_mut().iter_mut().enumerate().for_each(|(i, h)| *h = if open(i) { 1.0 + i as f32 } else { 0.0 });
        let mut z = vec![0.0; COLS];
        let (mut far, mut away) = (input(COLS, 1), vec![0.0; other.rows()]);
        let mut forget = || compute.linear(other, &mut far, &mut away);
        best_after(&mut forget, || compute.linear_rows(&rows, &mut x, &wanted, &mut y))
            + best_after(&mut forget, || compute.linear(&columns, &mut hidden, &mut z))
    };
    let (half, few) = (time(0.5), time(0.9));
    Ok(match () {
        () if few >= dense => 2.0,
        () if half <= dense => 0.5,
        () => 0.5 + 0.4 * (half - dense) / (half - few),
    })
}

/// The same as [`made_up`] in columns.
fn made_up_columns(cols: usize) -> Result<Matrix, Error> {
    let bytes = codes(COLS / 256 * cols.next_multiple_of(4) * 64);
    Matrix::from_packed(COLS, cols, Packed::Ternary { layout: Layout::Columns, scale: 1.0, bytes })
}

/// A matrix of codes that mean nothing.
fn made_up(layout: Layout, rows: usize) -> Result<Matrix, Error> {
    let bytes = codes(match layout {
        Layout::Trits => rows / 16 * (COLS / 96) * 320,
        _ => rows * COLS / 4,
    });
    Matrix::from_packed(rows, COLS, Packed::Ternary { layout, scale: 1.0, bytes })
}

fn codes(bytes: usize) -> Bytes {
    let mut codes = Aligned::zeroed(bytes);
    for (i, word) in codes.as_chunks_mut::<4>().0.iter_mut().enumerate() {
        *word = (i as u32).wrapping_mul(0x9e37_79b9).to_le_bytes().map(|byte| byte & byte >> 1 | byte & 0x49);
    }
    Bytes::new(codes)
}

/// The shortest of some products with `n` tokens.
fn seconds(compute: &Compute, w: &Matrix, n: usize) -> f64 {
    let (mut x, mut y) = (input(COLS, n), vec![0.0; n * w.rows()]);
    best(|| compute.linear(w, &mut x, &mut y))
}

fn input(cols: usize, n: usize) -> Activations {
    let mut x = Activations::default();
    x.reset(n, cols);
    x.rows_mut().iter_mut().enumerate().for_each(|(i, x)| *x = (i % 97) as f32);
    x
}

/// The shortest of some runs.
fn best(run: impl FnMut()) -> f64 {
    best_after(&mut || (), run)
}

/// The shortest of some runs, each after something else.
fn best_after(before: &mut dyn FnMut(), mut run: impl FnMut()) -> f64 {
    let (begin, mut best) = (Instant::now(), f64::INFINITY);
    let mut runs = 0;
    while runs < 3 || begin.elapsed() < Duration::from_millis(60) {
        before();
        let start = Instant::now();
        run();
        best = best.min(start.elapsed().as_secs_f64());
        runs += 1;
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_chosen_is_possible_and_in_use() {
        let mut compute = Compute::new(None, Some(2)).unwrap();
        let tuning = Tuning::measure(&mut compute).unwrap();
        let Threads { decode, prefill } = tuning.threads;
        assert!((1..=2).contains(&decode) && (1..=2).contains(&prefill), "{tuning:?}");
        assert!(matches!(tuning.layout, Layout::Panels | Layout::Trits));
        assert!((0.5..=2.0).contains(&tuning.skip_from), "{tuning:?}");
        assert_eq!(compute.used_threads(), tuning.threads);
    }
}
