//! Float matrices and vector helpers.
//!
//! A dot product has 32 partial sums: product i goes to sum i mod 32, in order of i, product and addition
//! fused. In the end sums j and j + 16 are added, then j and j + 8, + 4, + 2, + 1.
//! Instruction sets differ in how many of the 32 they hold in one register, and in nothing else.

use super::isa::{Kernel, Task};
use super::output::Output;
use crate::gguf::Bytes;
use crate::quant::Format;
use std::ops::Range;

pub(super) const LANES: usize = 32;

/// A matrix of plain numbers, read as the file stores them (at any alignment).
#[derive(Debug)]
pub(super) struct Floats {
    kind: Kind,
    rows: usize,
    cols: usize,
    bytes: Bytes,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    F32,
    F16,
    BF16,
}

impl Floats {
    /// `bytes` has the right length. `None` if `format` is not a float format.
    pub(super) fn new(format: Format, rows: usize, cols: usize, bytes: Bytes) -> Option<Floats> {
        let kind = match format {
            Format::F32 => Kind::F32,
            Format::F16 => Kind::F16,
            Format::BF16 => Kind::BF16,
            _ => return None,
        };
        Some(Floats { kind, rows, cols, bytes })
    }

    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    pub(super) fn cols(&self) -> usize {
        self.cols
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes.len()
    }

    fn row_bytes(&self, r: usize) -> &[u8] {
        let len = self.bytes.len() / self.rows;
        &self.bytes[r * len..][..len]
    }
}

/// How a number is stored.
pub(super) trait Element {
    const BYTES: usize;
    /// The first 32 numbers of `bytes`.
    fn load<K: Kernel>(kernel: K, bytes: &[u8]) -> K::Lanes;
}

pub(super) struct F32;
impl Element for F32 {
    const BYTES: usize = 4;
    #[inline(always)]
    fn load<K: Kernel>(kernel: K, bytes: &[u8]) -> K::Lanes {
        kernel.load_f32(&bytes.as_chunks().0[0])
    }
}

pub(super) struct I8;
impl Element for I8 {
    const BYTES: usize = 1;
    #[inline(always)]
    fn load<K: Kernel>(kernel: K, bytes: &[u8]) -> K::Lanes {
        kernel.load_i8(&bytes.as_chunks().0[0])
    }
}

pub(super) struct F16;
impl Element for F16 {
    const BYTES: usize = 2;
    #[inline(always)]
    fn load<K: Kernel>(kernel: K, bytes: &[u8]) -> K::Lanes {
        kernel.load_f16(&bytes.as_chunks().0[0])
    }
}

struct BF16;
impl Element for BF16 {
    const BYTES: usize = 2;
    #[inline(always)]
    fn load<K: Kernel>(kernel: K, bytes: &[u8]) -> K::Lanes {
        kernel.load_bf16(&bytes.as_chunks().0[0])
    }
}

/// The 32 numbers of `bytes` from number `at` on, missing ones as 0.
#[inline(always)]
pub(super) fn load_at<K: Kernel, E: Element>(kernel: K, bytes: &[u8], at: usize) -> K::Lanes {
    let bytes = &bytes[at * E::BYTES..];
    if bytes.len() >= LANES * E::BYTES {
        return E::load(kernel, bytes);
    }
    let mut padded = [0; LANES * 4];
    padded[..bytes.len()].copy_from_slice(bytes);
    E::load(kernel, &padded)
}

/// `T` dot products with one stored vector. Behind the end products are 0 · 0, and adding 0 leaves a sum as it is (a sum that
/// starts from 0 is never −0).
#[inline(always)]
fn dots<K: Kernel, E: Element, const T: usize>(kernel: K, x: [&[f32]; T], w: &[u8]) -> [f32; T] {
    let whole = w.len() / E::BYTES / LANES;
    let (mut bytes, mut parts): ([&[u8]; T], [&[[u8; 4 * LANES]]; T]) = ([&[]; T], [&[]; T]);
    for t in 0..T {
        bytes[t] = bytemuck::cast_slice(x[t]);
        parts[t] = &bytes[t].as_chunks().0[..whole];
    }
    let mut sums = [kernel.splat(0.0); T];
    for (i, w) in w.chunks_exact(LANES * E::BYTES).enumerate() {
        let w = E::load(kernel, w);
        for t in 0..T {
            sums[t] = kernel.add_products(sums[t], kernel.load_f32(&parts[t][i]), w);
        }
    }
    if w.len() > whole * LANES * E::BYTES {
        let w = load_at::<K, E>(kernel, w, whole * LANES);
        for t in 0..T {
            sums[t] = kernel.add_products(sums[t], load_at::<K, F32>(kernel, bytes[t], whole * LANES), w);
        }
    }
    let mut dots = [0.0; T];
    for (dot, sums) in dots.iter_mut().zip(sums) {
        *dot = reduce(kernel.store(sums));
    }
    dots
}

#[inline(always)]
pub(super) fn reduce(mut sums: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for j in 0..half {
            sums[j] += sums[j + half];
        }
        half /= 2;
    }
    sums[0]
}

/// The product of some rows with all tokens, `x` is `[tokens][cols]`.
pub(super) struct Product<'a> {
    pub(super) weights: &'a Floats,
    pub(super) rows: Range<usize>,
    pub(super) x: &'a [f32],
    pub(super) y: Output<'a>,
}

impl Task for Product<'_> {
    type Output = ();

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) {
        match self.weights.kind {
            Kind::F32 => self.all::<K, F32>(kernel),
            Kind::F16 => self.all::<K, F16>(kernel),
            Kind::BF16 => self.all::<K, BF16>(kernel),
        }
    }
}

impl Product<'_> {
    #[inline(always)]
    fn all<K: Kernel, E: Element>(&self, kernel: K) {
        for r in self.rows.clone() {
            let mut t = 0;
            while t < self.y.tokens() {
                t += match self.y.tokens() - t {
                    4.. => self.tile::<K, E, 4>(kernel, r, t),
                    2.. => self.tile::<K, E, 2>(kernel, r, t),
                    _ => self.tile::<K, E, 1>(kernel, r, t),
                };
            }
        }
    }

    #[inline(always)]
    fn tile<K: Kernel, E: Element, const T: usize>(&self, kernel: K, r: usize, t: usize) -> usize {
        let cols = self.weights.cols;
        let mut x: [&[f32]; T] = [&[]; T];
        for (i, x) in x.iter_mut().enumerate() {
            *x = &self.x[(t + i) * cols..][..cols];
        }
        let y = dots::<K, E, T>(kernel, x, self.weights.row_bytes(r));
        for (i, y) in y.iter().enumerate() {
            self.y.write(t + i, r, std::slice::from_ref(y));
        }
        T
    }
}

/// `Σ a·b`, b stored as `E`.
pub(super) struct Dot<'a, E> {
    a: &'a [f32],
    b: &'a [u8],
    element: std::marker::PhantomData<E>,
}

impl<'a, E: Element> Dot<'a, E> {
    pub(super) fn new(a: &'a [f32], b: &'a [u8]) -> Self {
        assert_eq!(a.len() * E::BYTES, b.len(), "vectors of one length");
        Dot { a, b, element: std::marker::PhantomData }
    }
}

impl<E: Element> Task for Dot<'_, E> {
    type Output = f32;
    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> f32 {
        dots::<K, E, 1>(kernel, [self.a], self.b)[0]
    }
}
