//! Short known answers, checked at every start (about a millisecond): a wrong build or CPU says so instead of talking nonsense.

use super::activations::Activations;
use super::blocks::Blocks;
use super::compute::Compute;
use super::isa::{Codes, Kernel, Panel, Task};
use super::matrix::{Form, Matrix};
use super::ternary::{GROUP, STEP, STEP_BYTES};
use crate::gguf::Bytes;
use crate::quant::{self, Format};
use half::f16;
use std::fmt::{Debug, Display};

/// Compares each operation of the kernels in use with constants worked out by hand and with the scalar code on mixed
/// data; then whole products and vector helpers with answers that are exact. The error says what was wrong.
pub(super) fn check(compute: &Compute) -> Result<(), String> {
    compute.kernels().run(Operations)?;
    block_products(compute)?;
    other_products(compute)?;
    vectors(compute)
}

/// A multiplicative generator of mixed bytes.
struct Noise(u32);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.0 >> 24) as u8
    }

    fn signed(&mut self) -> i8 {
        self.byte().cast_signed()
    }

    /// An int8 activation.
    fn activation(&mut self) -> i8 {
        self.signed().max(-127)
    }
}

struct Operations;

impl Task for Operations {
    type Output = Result<(), String>;

    #[inline(always)]
    fn run<K: Kernel>(self, kernel: K) -> Self::Output {
        // Extremes: all codes 2 against −128; 63 · 128 against 127; 127 · 127.
        let q = [-128; 4 * STEP];
        let ternary = kernel.ternary([0b10_10_10_10; 4 * STEP_BYTES].as_slice(), [q.as_slice()]);
        equal("ternary", ternary, [[2 * -128 * 4 * STEP as i32; GROUP]])?;
        equal("scaled", kernel.dot_scaled(&Codes([63; 256]), &[-128; 16], &[127; 256]), 63 * 127 * 256 * -128)?;
        equal("of 32", kernel.dots_of_32(&Codes([-128; 256]), &[127; 256]), [-128 * 127 * 32; 8])?;
        equal("half", kernel.half(0x3555).to_bits(), 0x3eaa_a000)?;

        let mut noise = Noise(1);
        let scalar = super::scalar::Scalar;
        let group: [u8; 2 * STEP_BYTES] =
            std::array::from_fn(|_| (0..4).fold(0, |byte, field| byte | (noise.byte() % 3) << (2 * field)));
        let tokens: [[i8; 2 * STEP]; 8] = std::array::from_fn(|_| std::array::from_fn(|_| noise.signed()));
        same_ternary::<K, 1>(kernel, &group, &tokens)?;
        same_ternary::<K, 2>(kernel, &group, &tokens)?;
        same_ternary::<K, 4>(kernel, &group, &tokens)?;
        same_ternary::<K, 8>(kernel, &group, &tokens)?;

        let q: [[i8; 256]; 8] = std::array::from_fn(|_| std::array::from_fn(|_| noise.activation()));
        let codes = Codes(std::array::from_fn(|_| (noise.byte() % 64).cast_signed()));
        let scales = std::array::from_fn(|_| i16::from(noise.signed()));
        equal("scaled", kernel.dot_scaled(&codes, &scales, &q[0]), scalar.dot_scaled(&codes, &scales, &q[0]))?;
        equal("of 32", kernel.dots_of_32(&codes, &q[0]), scalar.dots_of_32(&codes, &q[0]))?;
        let panel = Panel {
            codes: std::array::from_fn(|_| std::array::from_fn(|_| (noise.byte() % 64).cast_signed())),
            scales: std::array::from_fn(|_| {
                let scales: [i16; GROUP] = std::array::from_fn(|_| i16::from(noise.signed()));
                std::array::from_fn(|i| scales[i / 2])
            }),
            offsets: std::array::from_fn(|_| std::array::from_fn(|_| 32 * i16::from(noise.signed()))),
        };
        let sums: [[i16; 16]; 8] = std::array::from_fn(|_| std::array::from_fn(|_| 8 * i16::from(noise.signed())));
        same_panel::<K, 1>(kernel, &panel, &q, &sums)?;
        same_panel::<K, 2>(kernel, &panel, &q, &sums)?;
        same_panel::<K, 4>(kernel, &panel, &q, &sums)?;
        same_panel::<K, 8>(kernel, &panel, &q, &sums)?;

        // Exponents of ordinary size, so that no comparison meets a NaN.
        let halves = std::array::from_fn(|i| if i % 2 == 0 { noise.byte() } else { 0x30 | noise.byte() & 0x8f });
        equal("halves", kernel.store(kernel.load_f16(&halves)), scalar.load_f16(&halves))?;
        equal("bfloats", kernel.store(kernel.load_bf16(&halves)), scalar.load_bf16(&halves))
    }
}

#[inline(always)]
fn same_ternary<K: Kernel, const T: usize>(
    kernel: K,
    group: &[u8],
    tokens: &[[i8; 2 * STEP]; 8],
) -> Result<(), String> {
    let q: [&[i8]; T] = std::array::from_fn(|t| tokens[t].as_slice());
    let scalar = super::scalar::Scalar;
    equal(format_args!("ternary, {T} tokens"), kernel.ternary::<T>(group, q), scalar.ternary::<T>(group, q))
}

#[inline(always)]
fn same_panel<K: Kernel, const T: usize>(
    kernel: K,
    panel: &Panel,
    q: &[[i8; 256]; 8],
    sums: &[[i16; 16]; 8],
) -> Result<(), String> {
    let (q, sums) = (std::array::from_fn(|t| &q[t]), std::array::from_fn(|t| &sums[t]));
    let scalar = super::scalar::Scalar;
    equal(format_args!("panel, {T} tokens"), kernel.panel::<T>(panel, q, sums), scalar.panel::<T>(panel, q, sums))
}

/// One product per block format. All numbers are such that no sum is rounded, so the answer is what the format's
/// specification in [`quant`] says, to the last bit.
fn block_products(compute: &Compute) -> Result<(), String> {
    const ROWS: usize = 2;
    const COLS: usize = 256;
    let formats = [
        Format::Q4_0,
        Format::Q8_0,
        Format::Q4_K,
        Format::Q5_K,
        Format::Q6_K,
        Format::TQ1_0,
        Format::TQ2_0,
        Format::Q2_0,
        Format::Q2_0_G128,
    ];
    let mut noise = Noise(2);
    let x = whole_activations(15, COLS, &mut noise);
    for format in formats {
        let size = ROWS * COLS / format.block_len() * format.block_bytes();
        let mut bytes: Vec<u8> = (0..size).map(|_| noise.byte()).collect();
        for block in bytes.chunks_exact_mut(format.block_bytes()) {
            for (&at, scale) in format.scales_at().iter().zip([0.0625, 0.03125]) {
                block[at..at + 2].copy_from_slice(&f16::from_f32(scale).to_le_bytes());
            }
        }
        let mut weights = vec![0.0; ROWS * COLS];
        quant::dequantize(format, &bytes, &mut weights);
        let Some(blocks) = Blocks::new(format, ROWS, COLS, Bytes::new(bytes)) else {
            return Err(format!("{format:?} has no kernels"));
        };
        let w = Matrix(Form::Blocks(blocks));
        // Batches that fall into tiles of 8, 4, 2 and 1 tokens; fewer than four take another way.
        product(compute, format.name(), &w, &weights, &x)?;
        product(compute, format.name(), &w, &weights, &x[..3 * COLS])?;
    }
    Ok(())
}

/// The same for ternary and float matrices, whose rows may end anywhere.
fn other_products(compute: &Compute) -> Result<(), String> {
    const ROWS: usize = GROUP + 2;
    const COLS: usize = 45;
    let mut noise = Noise(3);
    let x = whole_activations(15, COLS, &mut noise);
    let codes: Vec<i8> = (0..ROWS * COLS).map(|_| (noise.byte() % 3).cast_signed() - 1).collect();
    let weights: Vec<f32> = codes.iter().map(|&c| f32::from(c)).collect();
    product(compute, "ternary matrix", &Matrix::ternary(&codes, ROWS, COLS, 1.0), &weights, &x)?;

    let weights: Vec<f32> = (0..ROWS * COLS).map(|_| f32::from(noise.signed())).collect();
    for format in [Format::F32, Format::F16, Format::BF16] {
        let bytes = Bytes::new(quant::quantize(format, &weights, COLS));
        let w = Matrix::from_format(format, ROWS, COLS, bytes).map_err(|e| e.to_string())?;
        product(compute, format.name(), &w, &weights, &x)?;
    }
    Ok(())
}

/// `n` rows of whole numbers of which one in each 32 is 127, so that their int8 forms are the numbers themselves.
fn whole_activations(n: usize, cols: usize, noise: &mut Noise) -> Vec<f32> {
    let value = |c: usize| if c.is_multiple_of(32) { 127.0 } else { f32::from(noise.activation()) };
    (0..n).flat_map(|_| 0..cols).map(value).collect()
}

fn product(compute: &Compute, what: &str, w: &Matrix, weights: &[f32], x: &[f32]) -> Result<(), String> {
    let (rows, cols) = (w.rows(), w.cols());
    let n = x.len() / cols;
    let mut activations = Activations::default();
    activations.reset(n, cols);
    activations.rows_mut().copy_from_slice(x);
    let mut y = vec![f32::NAN; n * rows];
    compute.linear(w, &mut activations, &mut y);
    for (t, (x, y)) in x.chunks_exact(cols).zip(y.chunks_exact(rows)).enumerate() {
        for (r, (weights, &y)) in weights.chunks_exact(cols).zip(y).enumerate() {
            let exact: f64 = weights.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).sum();
            equal(format_args!("{what}, row {r} with token {t} of {n}"), f64::from(y), exact)?;
        }
    }
    Ok(())
}

/// The vector helpers, with a whole part of 32 and a rest.
fn vectors(compute: &Compute) -> Result<(), String> {
    let mut noise = Noise(4);
    let mut numbers = || -> [f32; 45] { std::array::from_fn(|_| f32::from(noise.signed())) };
    let (a, b) = (numbers(), numbers());
    let halves = b.map(f16::from_f32);
    let dot: f32 = a.iter().zip(&b).map(|(a, b)| a * b).sum();
    equal("dot", [compute.dot(&a, &b), compute.dot_f16(&a, &halves)], [dot; 2])?;
    let (mut y, mut y_f16) = (a, a);
    compute.axpy(0.5, &b, &mut y);
    compute.axpy_f16(0.5, &halves, &mut y_f16);
    let expected: [f32; 45] = std::array::from_fn(|i| a[i] + 0.5 * b[i]);
    equal("axpy", [y, y_f16], [expected; 2])
}

#[inline(always)]
fn equal<V: PartialEq + Debug>(what: impl Display, got: V, expected: V) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?} instead of {expected:?}")) }
}

#[cfg(test)]
mod tests {
    use super::super::isa::PanelSums;
    use super::super::scalar::Scalar;
    use super::*;

    /// The scalar code, but for one answer in tiles of so many tokens.
    #[derive(Clone, Copy)]
    enum Broken {
        Ternary(usize),
        Panel(usize),
        Nothing,
    }

    impl Kernel for Broken {
        type Lanes = [f32; 32];

        fn run<T: Task>(self, task: T) -> T::Output {
            task.run(self)
        }
        fn ternary<const T: usize>(self, group: &[u8], q: [&[i8]; T]) -> [[i32; GROUP]; T] {
            let mut sums = Scalar.ternary(group, q);
            sums[T - 1][GROUP - 1] += i32::from(matches!(self, Broken::Ternary(tokens) if tokens == T));
            sums
        }
        fn panel<const T: usize>(self, panel: &Panel, q: [&[i8; 256]; T], sums: [&[i16; 16]; T]) -> [PanelSums; T] {
            let mut out = Scalar.panel(panel, q, sums);
            out[T - 1].offset[GROUP - 1] += i32::from(matches!(self, Broken::Panel(tokens) if tokens == T));
            out
        }
        fn dot_scaled(self, codes: &Codes, scales: &[i16; 16], q: &[i8; 256]) -> i32 {
            Scalar.dot_scaled(codes, scales, q)
        }
        fn dots_of_32(self, codes: &Codes, q: &[i8; 256]) -> [i32; 8] {
            Scalar.dots_of_32(codes, q)
        }
        fn load_f32(self, bytes: &[u8; 128]) -> [f32; 32] {
            Scalar.load_f32(bytes)
        }
        fn load_f16(self, bytes: &[u8; 64]) -> [f32; 32] {
            Scalar.load_f16(bytes)
        }
        fn load_bf16(self, bytes: &[u8; 64]) -> [f32; 32] {
            Scalar.load_bf16(bytes)
        }
        fn splat(self, x: f32) -> [f32; 32] {
            Scalar.splat(x)
        }
        fn add_products(self, sum: [f32; 32], a: [f32; 32], b: [f32; 32]) -> [f32; 32] {
            Scalar.add_products(sum, a, b)
        }
        fn store(self, lanes: [f32; 32]) -> [f32; 32] {
            lanes
        }
        fn half(self, bits: u16) -> f32 {
            Scalar.half(bits)
        }
    }

    #[test]
    fn a_kernel_that_is_wrong_for_one_number_of_tokens_is_found() {
        assert_eq!(Broken::Nothing.run(Operations), Ok(()));
        for tokens in [1, 2, 4, 8] {
            for broken in [Broken::Ternary(tokens), Broken::Panel(tokens)] {
                let what = broken.run(Operations).unwrap_err();
                assert!(what.contains(&format!("{tokens} tokens")) || tokens == 1, "{what}");
            }
        }
    }

    #[test]
    fn a_matrix_that_gives_another_answer_is_found() {
        let compute = Compute::new(None, Some(1)).unwrap();
        let w = Matrix::ternary(&[1, -1, 0, 1], 2, 2, 1.0);
        assert_eq!(product(&compute, "this", &w, &[1.0, -1.0, 0.0, 1.0], &[127.0, 3.0]), Ok(()));
        let what = product(&compute, "this", &w, &[1.0, -1.0, 0.0, 0.0], &[127.0, 3.0]).unwrap_err();
        assert_eq!(what, "this, row 1 with token 0 of 1: 3.0 instead of 0.0");
    }
}
