//! Integer matrix products per instruction set, float vector helpers, and the thread pool.
//!
//! Every instruction set gives the same bits (see ARCHITECTURE.md, "Determinism").

use crate::gguf::Bytes;
use crate::quant::Format;

/// What the kernels refuse.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// `--isa` asks for something this CPU cannot do.
    #[error("this CPU cannot run `{0}` kernels; it can run: {1}")]
    Unsupported(Isa, String),
    /// The self-test gave another answer than the scalar code: a broken build or CPU.
    #[error("self-test of the `{isa}` kernels failed: {what}")]
    SelfTest {
        /// Which kernels.
        isa: Isa,
        /// Which kernel, and the answers.
        what: String,
    },
    /// A matrix whose shape or bytes the kernels cannot take.
    #[error("{0}")]
    Shape(String),
}

/// An instruction set that kernels are written for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
#[allow(missing_docs)]
pub enum Isa {
    Scalar,
    Avx2,
    Avx512Vnni,
    Neon,
    NeonDot,
}

impl std::fmt::Display for Isa {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

/// The machine that computes: kernels of one instruction set and a pool of threads.
#[derive(Debug)]
pub struct Compute {}

/// A weight matrix `[rows, cols]` in a form that the kernels read.
#[derive(Debug)]
pub struct Matrix {}

/// The input of linear layers: `n` rows of `cols` floats, and their int8 forms made on demand and
/// shared by all matrices that read the same input. Buffers are reused: no allocation per token.
#[derive(Debug, Default)]
pub struct Activations {}

impl Matrix {
    /// A matrix from a file's bytes (row-major blocks, as GGUF stores them). Ternary formats whose blocks all
    /// carry one scale become exact ternary matrices (int8 absmax activations); `Q2_0`, `TQ*` with
    /// several scales stay block formats (int8 activation blocks).
    pub fn from_format(_format: Format, _rows: usize, _cols: usize, _bytes: Bytes) -> Result<Matrix, Error> {
        todo!()
    }
    /// A ternary matrix from codes −1, 0, 1 (`codes[row * cols + col]`), any `cols`.
    pub fn ternary(_codes: &[i8], _rows: usize, _cols: usize, _scale: f32) -> Matrix {
        todo!()
    }
    /// Output length.
    pub fn rows(&self) -> usize {
        todo!()
    }
    /// Input length.
    pub fn cols(&self) -> usize {
        todo!()
    }
    /// Bytes read for one product with the whole matrix.
    pub fn bytes(&self) -> usize {
        todo!()
    }
    /// Whether the exact ternary path is taken.
    pub fn is_ternary(&self) -> bool {
        todo!()
    }
    /// One row as f32 (an embedding look-up).
    pub fn row(&self, _row: usize, _out: &mut [f32]) {
        todo!()
    }
}

impl Activations {
    /// Makes room for `n` rows of `cols` and forgets the int8 forms. Contents are unspecified.
    pub fn reset(&mut self, _n: usize, _cols: usize) {
        todo!()
    }
    /// Number of rows.
    pub fn n(&self) -> usize {
        todo!()
    }
    /// Row length.
    pub fn cols(&self) -> usize {
        todo!()
    }
    /// All rows, `[n][cols]`; forgets the int8 forms.
    pub fn rows_mut(&mut self) -> &mut [f32] {
        todo!()
    }
    /// All rows, `[n][cols]`.
    pub fn rows(&self) -> &[f32] {
        todo!()
    }
}

impl Compute {
    /// Kernels of `isa` (the best this CPU has if `None`) and a pool of `threads` threads (all
    /// physical cores if `None`), self-tested.
    pub fn new(_isa: Option<Isa>, _threads: Option<usize>) -> Result<Compute, Error> {
        todo!()
    }
    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        todo!()
    }
    /// Threads in the pool, the caller included.
    pub fn threads(&self) -> usize {
        todo!()
    }
    /// `y[t][r] = Σ_c w[r][c] · x[t][c]` for all rows t of `x`; `y` is `[n][rows]`.
    ///
    /// A row's result does not depend on `n`, on the threads, or on the instruction set.
    pub fn linear(&self, _w: &Matrix, _x: &mut Activations, _y: &mut [f32]) {
        todo!()
    }
    /// Calls `f(i)` once for each `i` in `0..n`, spread over the pool. Items are independent.
    pub fn for_each(&self, _n: usize, _f: &(dyn Fn(usize) + Sync)) {
        todo!()
    }
    /// Splits `out` into `out.len() / chunk` chunks and calls `f(i, chunk_i)` for each, spread over the pool.
    pub fn for_each_chunk(&self, _out: &mut [f32], _chunk: usize, _f: &(dyn Fn(usize, &mut [f32]) + Sync)) {
        todo!()
    }
    /// `Σ a[i]·b[i]` with 32 partial sums in a fixed order.
    pub fn dot(&self, _a: &[f32], _b: &[f32]) -> f32 {
        todo!()
    }
    /// `Σ a[i]·f32(b[i])`, b in IEEE half precision.
    pub fn dot_f16(&self, _a: &[f32], _b: &[half::f16]) -> f32 {
        todo!()
    }
    /// `y[i] += s·f32(x[i])`, x in IEEE half precision.
    pub fn axpy_f16(&self, _s: f32, _x: &[half::f16], _y: &mut [f32]) {
        todo!()
    }
    /// `y[i] += s·x[i]`.
    pub fn axpy(&self, _s: f32, _x: &[f32], _y: &mut [f32]) {
        todo!()
    }
}
