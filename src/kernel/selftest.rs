//! Short known answers, checked at every start (about a millisecond): a wrong build or CPU says so instead of talking nonsense.

use super::activations::Activations;
use super::attention::{Attend, Attention, Cached, Number};
use super::blocks::{Blocks, Small2, Small4, Small8, Super4, Super5, Super6, SuperTernary};
use super::compute::Compute;
use super::isa::{Kernel, Kernels, Panel, SmallPanel, Task};
use super::matrix::{Form, Matrix};
use super::ternary::{GROUP, Layout, STEP, STEP_BYTES};
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
        // Extremes: all codes 2 against −128.
        let q = [-128; 4 * STEP];
        let ternary = kernel.ternary([0b10_10_10_10; 4 * STEP_BYTES].as_slice(), [q.as_slice()]);
        equal("ternary", ternary, [[2 * -128 * 4 * STEP as i32; GROUP]])?;
        // Six-bit codes 63 and scales −128 with activations −127; bytes 0, which stand for −128, with 127.
        let mut panel = [0xff; Super6::SIZE];
        panel[Super6::SCALES_AT..Super6::MINS_AT].fill(0x80);
        let sums = kernel.panel::<Super6, 1>(&panel, [&[-127; 256]], [&[-127 * 16; 16]]);
        equal("panel", sums[0].scaled, [-128 * (63 - 32) * -127 * 256; GROUP])?;
        let sums = kernel.small_panel::<Small8, 1>(&[0; Small8::CODES], [&[127; 32]], [127 * 32]);
        equal("small panel", sums, [[-128 * 127 * 32; GROUP]])?;
        equal("half", kernel.half(0x3555).to_bits(), 0x3eaa_a000)?;

        let mut noise = Noise(1);
        let scalar = super::scalar::Scalar;
        let group: [u8; 2 * STEP_BYTES] =
            std::array::from_fn(|_| (0..4).fold(0, |byte, field| byte | (noise.byte() % 3) << (2 * field)));
        let tokens: [[i8; 2 * STEP]; 16] = std::array::from_fn(|_| std::array::from_fn(|_| noise.signed()));
        same_ternary::<K, 1>(kernel, &group, &tokens)?;
        same_ternary::<K, 2>(kernel, &group, &tokens)?;
        same_ternary::<K, 4>(kernel, &group, &tokens)?;
        same_ternary::<K, 8>(kernel, &group, &tokens)?;
        same_ternary::<K, 16>(kernel, &group, &tokens)?;

        let q: [[i8; 256]; 8] = std::array::from_fn(|_| std::array::from_fn(|_| noise.activation()));
        let sums = q.map(|q| {
            let groups = q.as_chunks::<16>().0;
            std::array::from_fn(|j| groups[j].iter().map(|&q| i16::from(q)).sum())
        });
        every_panel::<K, Super4>(kernel, &mut noise, &q, &sums)?;
        every_panel::<K, Super5>(kernel, &mut noise, &q, &sums)?;
        every_panel::<K, Super6>(kernel, &mut noise, &q, &sums)?;
        every_panel::<K, SuperTernary>(kernel, &mut noise, &q, &sums)?;
        every_small_panel::<K, Small8>(kernel, &mut noise, &q)?;
        every_small_panel::<K, Small4>(kernel, &mut noise, &q)?;
        every_small_panel::<K, Small2>(kernel, &mut noise, &q)?;

        // Exponents of ordinary size, so that no comparison meets a NaN.
        let halves = std::array::from_fn(|i| if i % 2 == 0 { noise.byte() } else { 0x30 | noise.byte() & 0x8f });
        equal("halves", kernel.store(kernel.load_f16(&halves)), scalar.load_f16(&halves))?;
        let bytes = std::array::from_fn(|_| noise.byte());
        equal("bytes", kernel.store(kernel.load_i8(&bytes)), scalar.load_i8(&bytes))?;
        equal("bfloats", kernel.store(kernel.load_bf16(&halves)), scalar.load_bf16(&halves))
    }
}

#[inline(always)]
fn same_ternary<K: Kernel, const T: usize>(
    kernel: K,
    group: &[u8],
    tokens: &[[i8; 2 * STEP]; 16],
) -> Result<(), String> {
    let q: [&[i8]; T] = std::array::from_fn(|t| tokens[t].as_slice());
    let scalar = super::scalar::Scalar;
    equal(format_args!("ternary, {T} tokens"), kernel.ternary::<T>(group, q), scalar.ternary::<T>(group, q))
}

/// Panels of one layout in tiles of every width.
#[inline(always)]
fn every_panel<K: Kernel, P: Panel>(
    kernel: K,
    noise: &mut Noise,
    q: &[[i8; 256]; 8],
    sums: &[[i16; 16]; 8],
) -> Result<(), String> {
    let mut panel: Vec<u8> = (0..P::SIZE).map(|_| noise.byte()).collect();
    if !P::FINE {
        // Six bits, as the file formats have.
        panel[P::SCALES_AT..P::D_AT].iter_mut().for_each(|byte| *byte &= 63);
    }
    same_panel::<K, P, 1>(kernel, &panel, q, sums)?;
    same_panel::<K, P, 2>(kernel, &panel, q, sums)?;
    same_panel::<K, P, 4>(kernel, &panel, q, sums)?;
    same_panel::<K, P, 8>(kernel, &panel, q, sums)
}

#[inline(always)]
fn same_panel<K: Kernel, P: Panel, const T: usize>(
    kernel: K,
    panel: &[u8],
    q: &[[i8; 256]; 8],
    sums: &[[i16; 16]; 8],
) -> Result<(), String> {
    let (q, sums) = (std::array::from_fn(|t| &q[t]), std::array::from_fn(|t| &sums[t]));
    let scalar = super::scalar::Scalar;
    let what = format_args!("panel of {} bytes, {T} tokens", P::SIZE);
    equal(what, kernel.panel::<P, T>(panel, q, sums), scalar.panel::<P, T>(panel, q, sums))
}

/// The same for small blocks.
#[inline(always)]
fn every_small_panel<K: Kernel, P: SmallPanel>(kernel: K, noise: &mut Noise, q: &[[i8; 256]; 8]) -> Result<(), String> {
    let codes: Vec<u8> = (0..P::CODES).map(|_| noise.byte()).collect();
    same_small_panel::<K, P, 1>(kernel, &codes, q)?;
    same_small_panel::<K, P, 2>(kernel, &codes, q)?;
    same_small_panel::<K, P, 4>(kernel, &codes, q)?;
    same_small_panel::<K, P, 8>(kernel, &codes, q)
}

#[inline(always)]
fn same_small_panel<K: Kernel, P: SmallPanel, const T: usize>(
    kernel: K,
    codes: &[u8],
    q: &[[i8; 256]; 8],
) -> Result<(), String> {
    let q: [&[i8; 32]; T] = std::array::from_fn(|t| &q[t].as_chunks().0[1]);
    let sums = q.map(|q| q.iter().map(|&q| i32::from(q)).sum());
    let scalar = super::scalar::Scalar;
    let what = format_args!("small panel of {} bytes, {T} tokens", P::SIZE);
    equal(what, kernel.small_panel::<P, T>(codes, q, sums), scalar.small_panel::<P, T>(codes, q, sums))
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
        let Some(blocks) = Blocks::new(format, ROWS, COLS, &bytes) else {
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
    layouts(compute)?;

    let weights: Vec<f32> = (0..ROWS * COLS).map(|_| f32::from(noise.signed())).collect();
    for format in [Format::F32, Format::F16, Format::BF16] {
        let bytes = Bytes::new(quant::quantize(format, &weights, COLS));
        let w = Matrix::from_format(format, ROWS, COLS, bytes).map_err(|e| e.to_string())?;
        product(compute, format.name(), &w, &weights, &x)?;
    }
    Ok(())
}

/// The other layouts of a ternary matrix, with more than a unit of each.
fn layouts(compute: &Compute) -> Result<(), String> {
    const ROWS: usize = 2 * GROUP + 2;
    const COLS: usize = 300;
    let mut noise = Noise(5);
    let x = whole_activations(5, COLS, &mut noise);
    let codes: Vec<i8> = (0..ROWS * COLS).map(|_| (noise.byte() % 3).cast_signed() - 1).collect();
    let weights: Vec<f32> = codes.iter().map(|&c| f32::from(c)).collect();
    for layout in [Layout::Trits, Layout::Rows, Layout::Columns] {
        let w = Matrix::ternary_in(layout, &codes, ROWS, COLS, 1.0);
        for tokens in [1, 5] {
            product(compute, &format!("ternary matrix in {layout:?}"), &w, &weights, &x[..tokens * COLS])?;
        }
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

/// The vector helpers, with a whole part of 32 and a rest; all sums are exact.
fn vectors(compute: &Compute) -> Result<(), String> {
    const D: usize = 45;
    let mut noise = Noise(4);
    let mut numbers = |n: usize| -> Vec<f32> { (0..n).map(|_| f32::from(noise.signed())).collect() };
    let (a, b) = (numbers(D), numbers(D));
    equal("dot", compute.dot(&a, &b), a.iter().zip(&b).map(|(a, b)| a * b).sum())?;

    // Five heads: a tile of four and one more; 59 positions in two blocks.
    let (stored, q) = (numbers(32 * D), numbers(5 * D));
    let f16 = |x: &f32| f16::from_f32(*x).to_le_bytes();
    for (number, bytes) in [
        (Number::F32, stored.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>()),
        (Number::F16, stored.iter().flat_map(f16).collect()),
        (Number::I8, stored.iter().map(|&x| (x as i8).cast_unsigned()).collect()),
    ] {
        let seen = |kernels: Kernels, q: &[f32]| {
            let (mut out, mut peak, mut sum) = (vec![0.0; 5 * D], vec![0.0; 5], vec![0.0; 5]);
            let mut to = Attention { out: &mut out, peak: &mut peak, sum: &mut sum };
            let block = |_| Cached { keys: &bytes, key_scales: &[], values: &bytes, value_scales: &[] };
            kernels.run(Attend { number, block, positions: 3..62, scale: 1e-4, q, to: &mut to });
            (out, peak, sum)
        };
        // Queries of zeros see all positions alike.
        let (out, peak, sum) = seen(compute.kernels(), &[0.0; 5 * D]);
        equal(format_args!("weights of {number:?}"), (&peak[..], &sum[..]), (&[0.0; 5][..], &[59.0; 5][..]))?;
        for (h, out) in out.chunks_exact(D).enumerate() {
            let value = |i: usize| (3..62).map(|p| stored[p % 32 * D + i]).sum::<f32>();
            equal(format_args!("values of {number:?}, head {h}"), out, &(0..D).map(value).collect::<Vec<_>>()[..])?;
        }
        equal(format_args!("attention of {number:?}"), seen(compute.kernels(), &q), seen(Kernels::SCALAR, &q))?;
    }
    Ok(())
}

#[inline(always)]
fn equal<V: PartialEq + Debug>(what: impl Display, got: V, expected: V) -> Result<(), String> {
    if got == expected { Ok(()) } else { Err(format!("{what}: {got:?} instead of {expected:?}")) }
}

#[cfg(test)]
mod tests {
    use super::super::isa::PanelSums;
    use super::super::scalar::Scalar;
    use super::super::vectors::Vectors;
    use super::*;

    /// The scalar code, but for one answer in tiles of so many tokens.
    #[derive(Clone, Copy)]
    enum Broken {
        Ternary(usize),
        Panel(usize),
        SmallPanel(usize),
        Nothing,
    }

    /// The scalar code in all of these.
    impl Vectors for Broken {
        const WIDTH: usize = Scalar::WIDTH;
        const SCALED_TRITS: bool = Scalar::SCALED_TRITS;
        type Bytes = [u8; 16];
        type Sums = [i32; 4];
        fn load(self, bytes: &[u8]) -> [u8; 16] {
            Scalar.load(bytes)
        }
        fn store_bytes(self, bytes: [u8; 16], out: &mut [u8]) {
            Scalar.store_bytes(bytes, out);
        }
        fn word(self, word: &[u8; 4]) -> [u8; 16] {
            Scalar.word(word)
        }
        fn nibbles(self, w: [u8; 16]) -> [[u8; 16]; 2] {
            Scalar.nibbles(w)
        }
        fn fields(self, w: [u8; 16]) -> [[u8; 16]; 4] {
            Scalar.fields(w)
        }
        fn scaled_fields(self, w: [u8; 16]) -> [[u8; 16]; 4] {
            Scalar.scaled_fields(w)
        }
        fn unscale(self, field: usize, sums: [i32; 4]) -> [i32; 4] {
            Scalar.unscale(field, sums)
        }
        fn trits(self, nibbles: [u8; 16], fifths: [u8; 16], bit: usize) -> [[u8; 16]; 3] {
            Scalar.trits(nibbles, fifths, bit)
        }
        fn interleave(self, w: [[u8; 16]; 4]) -> [[u8; 16]; 4] {
            Scalar.interleave(w)
        }
        fn no_sums(self) -> [i32; 4] {
            Scalar.no_sums()
        }
        fn dot(self, sums: [i32; 4], codes: [u8; 16], q: [u8; 16]) -> [i32; 4] {
            Scalar.dot(sums, codes, q)
        }
        fn add(self, a: [i32; 4], b: [i32; 4]) -> [i32; 4] {
            Scalar.add(a, b)
        }
        fn store_sums(self, sums: [i32; 4], out: &mut [i32]) {
            Scalar.store_sums(sums, out);
        }
        fn totals(self, sums: [[i32; 4]; 4]) -> [i32; 4] {
            Scalar.totals(sums)
        }
        fn prefetch(self, _: &[u8]) {}
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
        fn panel<P: Panel, const T: usize>(
            self,
            panel: &[u8],
            q: [&[i8; 256]; T],
            sums: [&[i16; 16]; T],
        ) -> [PanelSums; T] {
            let mut out = Scalar.panel::<P, T>(panel, q, sums);
            out[T - 1].offset[GROUP - 1] += i32::from(matches!(self, Broken::Panel(tokens) if tokens == T));
            out
        }
        fn small_panel<P: SmallPanel, const T: usize>(
            self,
            codes: &[u8],
            q: [&[i8; 32]; T],
            sums: [i32; T],
        ) -> [[i32; GROUP]; T] {
            let mut out = Scalar.small_panel::<P, T>(codes, q, sums);
            out[T - 1][0] += i32::from(matches!(self, Broken::SmallPanel(tokens) if tokens == T));
            out
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
        fn load_i8(self, bytes: &[u8; 32]) -> [f32; 32] {
            Scalar.load_i8(bytes)
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
            for broken in [Broken::Ternary(tokens), Broken::Panel(tokens), Broken::SmallPanel(tokens)] {
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
