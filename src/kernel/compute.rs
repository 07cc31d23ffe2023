//! The machine that computes: the kernels of one instruction set and the thread pool.

use super::activations::Activations;
use super::attention::{Attend, Attention, Cached, Number};
use super::float::{Dot, F32};
use super::isa::Kernels;
use super::matrix::{Form, Matrix};
use super::output::{Chunks, Output};
use super::pool::Pool;
use super::ternary::{ColumnProduct, GROUP, Layout, RowProduct, Ternary};
use super::{Error, Isa, activations, blocks, float, selftest, ternary};

/// Multiply-adds below which a piece of work is not worth handing to another thread (a few microseconds).
const SMALL: usize = 1 << 17;
/// Pieces per thread, so that threads that are late or slow can be relieved.
const PIECES: usize = 8;

/// The machine that computes: kernels of one instruction set and a pool of threads.
///
/// May be shared between threads; jobs of different callers run one after the other.
pub struct Compute {
    kernels: Kernels,
    pool: Pool,
    threads: Threads,
}

/// How many threads of the pool take part: reading memory often needs fewer than computing does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Threads {
    /// In products of few tokens, which memory limits.
    pub decode: usize,
    /// In all else.
    pub prefill: usize,
}

/// Fewer tokens than this are limited by memory, not by arithmetic.
const FEW: usize = 4;

impl std::fmt::Debug for Compute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Compute({}, {} threads)", self.isa(), self.threads())
    }
}

impl Compute {
    /// Kernels of `isa` (the best this CPU has if `None`) and a pool of `threads` threads (all
    /// physical cores if `None`), self-tested.
    ///
    /// # Errors
    /// [`Error::Unsupported`] if the CPU lacks `isa`; [`Error::SelfTest`] if a kernel gives a wrong answer.
    pub fn new(isa: Option<Isa>, threads: Option<usize>) -> Result<Compute, Error> {
        let kernels = Kernels::choose(isa)?;
        let pool = Pool::new(threads.unwrap_or_else(physical_cores));
        let threads = Threads { decode: pool.threads(), prefill: pool.threads() };
        let compute = Compute { kernels, pool, threads };
        selftest::check(&compute).map_err(|what| Error::SelfTest { isa: compute.isa(), what })?;
        Ok(compute)
    }

    pub(super) fn kernels(&self) -> Kernels {
        self.kernels
    }

    /// The instruction sets that this CPU can run, the fastest last.
    pub fn available() -> Vec<Isa> {
        Kernels::available().into_iter().map(Kernels::isa).collect()
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.kernels.isa()
    }

    /// Threads in the pool, the caller included.
    pub fn threads(&self) -> usize {
        self.pool.threads()
    }

    /// Sets how many threads take part, at least one and at most those of the pool.
    pub fn set_threads(&mut self, threads: Threads) {
        let most = self.threads();
        self.threads = Threads { decode: threads.decode.clamp(1, most), prefill: threads.prefill.clamp(1, most) };
    }

    /// How many threads take part.
    pub fn used_threads(&self) -> Threads {
        self.threads
    }

    /// `y[t][r] = Σ_c w[r][c] · x[t][c]` for all rows t of `x`; `y` is `[n][rows]`.
    ///
    /// A row's result does not depend on `n`, on the threads, or on the instruction set.
    ///
    /// # Panics
    /// If `x` has not `w.cols()` columns, or `y` not `x.n() * w.rows()` elements.
    pub fn linear(&self, w: &Matrix, x: &mut Activations, y: &mut [f32]) {
        assert_eq!(x.cols(), w.cols(), "input columns of a {} × {} matrix", w.rows(), w.cols());
        let n = x.n();
        // SAFETY: `split` hands out ranges that do not overlap, and each task writes its own range's rows only.
        #[allow(unsafe_code)]
        let y = unsafe { Output::new(y, n, w.rows()) };
        let work = w.cols() * n;
        match &w.0 {
            Form::Ternary(weights) => self.ternary(weights, x, y),
            Form::Blocks(weights) => {
                let x = x.quantised(weights.form(), self.kernels, &self.pool);
                self.split(n, weights.groups(), work * GROUP, |groups| {
                    self.kernels.run(blocks::Product { weights, groups, x, y });
                });
            }
            Form::Floats(weights) => {
                let x = x.rows();
                self.split(n, w.rows(), work, |rows| self.kernels.run(float::Product { weights, rows, x, y }));
            }
        }
    }

    fn ternary(&self, weights: &Ternary, x: &mut Activations, y: Output) {
        let n = x.n();
        let work = weights.cols() * n * weights.block_rows();
        match weights.layout() {
            Layout::Panels | Layout::Trits => {
                let x = x.quantised(activations::Form::Token, self.kernels, &self.pool);
                self.split(n, weights.blocks(), work, |groups| {
                    self.kernels.run(ternary::Product { weights, groups, x, y });
                });
            }
            Layout::Rows => {
                let x = x.quantised(activations::Form::Token, self.kernels, &self.pool);
                self.split(n, weights.rows(), work, |rows| {
                    self.kernels.run(RowProduct { weights, wanted: None, rows, x, y });
                });
            }
            Layout::Columns => {
                let x = x.sparse(self.kernels, &self.pool);
                self.split(n, weights.blocks(), work, |parts| {
                    self.kernels.run(ColumnProduct { weights, parts, x, y });
                });
            }
        }
    }

    /// [`Compute::linear`] of one token for the rows `wanted` alone; the others' elements of `y` are left as they are. Where
    /// the matrix cannot skip rows, all are computed.
    ///
    /// # Panics
    /// As [`Compute::linear`], if `x` has not one row, or there is no such row in the matrix.
    pub fn linear_rows(&self, w: &Matrix, x: &mut Activations, wanted: &[u32], y: &mut [f32]) {
        let Form::Ternary(weights) = &w.0 else { return self.linear(w, x, y) };
        if weights.layout() != Layout::Rows {
            return self.linear(w, x, y);
        }
        assert_eq!((x.n(), x.cols()), (1, w.cols()), "one input row of a {} × {} matrix", w.rows(), w.cols());
        assert!(wanted.is_sorted_by(|a, b| a < b), "each row once, in order");
        // SAFETY: as in `linear`: the rows of `wanted` are different ones.
        #[allow(unsafe_code)]
        let y = unsafe { Output::new(y, 1, w.rows()) };
        let x = x.quantised(activations::Form::Token, self.kernels, &self.pool);
        self.split(1, wanted.len(), w.cols(), |rows| {
            self.kernels.run(RowProduct { weights, wanted: Some(wanted), rows, x, y });
        });
    }

    /// Calls `f` with ranges that make up `0..units`, each unit `work` multiply-adds with `n` tokens, spread over the pool.
    fn split(&self, n: usize, units: usize, work: usize, f: impl Fn(std::ops::Range<usize>) + Sync) {
        let threads = if n < FEW { self.threads.decode } else { self.threads.prefill };
        let piece = (units / (threads * PIECES)).max(SMALL / work.max(1)).max(1);
        self.pool.for_each_by(threads, units.div_ceil(piece), &|i| f(i * piece..units.min((i + 1) * piece)));
    }

    /// Calls `f(i)` once for each `i` in `0..n`, spread over the pool. Items are independent. A panic of `f` is
    /// passed on; a call from inside `f` runs in place.
    pub fn for_each(&self, n: usize, f: &(dyn Fn(usize) + Sync)) {
        self.pool.for_each_by(self.threads.prefill, n, f);
    }

    /// Splits `out` into `out.len() / chunk` chunks and calls `f(i, chunk_i)` for each, spread over the pool.
    ///
    /// # Panics
    /// If `out` is not a whole number of chunks.
    pub fn for_each_chunk(&self, out: &mut [f32], chunk: usize, f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        let chunks = Chunks::new(out, chunk);
        self.for_each(chunks.len(), &|i| {
            // SAFETY: the pool calls each i once.
            #[allow(unsafe_code)]
            let chunk = unsafe { chunks.get(i) };
            f(i, chunk);
        });
    }

    /// The sum of `numbers` in some order, on the calling thread: a read as fast as it can be.
    pub fn sum(&self, numbers: &[f32]) -> f32 {
        self.kernels.run(super::read::Sum(numbers))
    }

    /// `Σ a[i]·b[i]` with 32 partial sums in a fixed order.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn dot(&self, a: &[f32], b: &[f32]) -> f32 {
        self.kernels.run(Dot::<F32>::new(a, bytemuck::cast_slice(b)))
    }

    /// What query heads `q` (`[heads][head_dim]`) that share a key/value head see in `positions`; block b of `block` holds positions
    /// `32b..32b + 32`, their numbers are of the kind `number`. Dot products of queries and keys are multiplied by `scale`.
    ///
    /// # Panics
    /// If the lengths do not fit.
    pub fn attend<'c>(
        &self,
        number: Number,
        block: impl Fn(usize) -> Cached<'c>,
        positions: std::ops::Range<usize>,
        scale: f32,
        q: &[f32],
        to: &mut Attention,
    ) {
        self.kernels.run(Attend { number, block, positions, scale, q, to });
    }
}

/// Cores this process may use, two hardware threads of one core counted once (they share the units that the kernels saturate).
fn physical_cores() -> usize {
    let logical = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut cores = std::collections::BTreeSet::new();
    let mut cpus = 0;
    while let Ok(siblings) =
        std::fs::read_to_string(format!("/sys/devices/system/cpu/cpu{cpus}/topology/thread_siblings_list"))
    {
        cores.insert(siblings);
        cpus += 1;
    }
    // Ratio rather than count: the process may be confined to some of the CPUs.
    if cpus == 0 { logical } else { (logical * cores.len()).div_ceil(cpus).max(1) }
}
