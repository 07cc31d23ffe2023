//! Every instruction set against the scalar code, bit for bit; the scalar code against plain references in i64 and f64.

mod ternary;
mod vectors;

use super::isa::Kernels;
use super::*;
use crate::gguf::Bytes;
use crate::quant::{self, Format};
use proptest::prelude::*;
use std::sync::LazyLock;

/// Each instruction set of this CPU, with pools of different sizes.
static MACHINES: LazyLock<Vec<Compute>> = LazyLock::new(|| {
    let isas = Kernels::available().into_iter().map(Kernels::isa);
    isas.zip([1, 3, 2].into_iter().cycle())
        .map(|(isa, threads)| Compute::new(Some(isa), Some(threads)).unwrap())
        .collect()
});

/// A small generator, so that a failing case is told by a seed.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn bytes(&mut self, n: usize) -> Vec<u8> {
        (0..n).map(|_| self.next() as u8).collect()
    }
    /// In −1..1.
    fn float(&mut self) -> f32 {
        self.below(1 << 24) as f32 / (1 << 23) as f32 - 1.0
    }
    /// Activations of the kinds that go wrong: ordinary, with outliers, at the limits, all zero, denormal.
    fn activations(&mut self, n: usize) -> Vec<f32> {
        let kind = self.below(6);
        let value = |noise: &mut Noise| match kind {
            0 => 127.0,
            1 => [-1.0, 1.0][noise.below(2) as usize] * 3e38,
            2 => 0.0,
            3 => noise.float() * 1e-39,
            4 if noise.below(50) == 0 => noise.float() * 1000.0,
            _ => noise.float(),
        };
        (0..n).map(|_| value(self)).collect()
    }
}

fn activations(n: usize, x: &[f32]) -> Activations {
    let mut a = Activations::default();
    a.reset(n, x.len() / n);
    a.rows_mut().copy_from_slice(x);
    a
}

fn product(compute: &Compute, w: &Matrix, n: usize, x: &[f32]) -> Vec<f32> {
    let mut y = vec![f32::NAN; n * w.rows()];
    compute.linear(w, &mut activations(n, x), &mut y);
    y
}

fn bits(x: &[f32]) -> Vec<u32> {
    x.iter().map(|x| x.to_bits()).collect()
}

/// All machines give the same bits, and each token alone gives what it gives in the batch.
fn assert_all_equal(w: &Matrix, n: usize, x: &[f32]) -> Vec<f32> {
    let scalar = product(&MACHINES[0], w, n, x);
    for machine in &MACHINES[1..] {
        assert_eq!(bits(&product(machine, w, n, x)), bits(&scalar), "{machine:?}");
    }
    for machine in MACHINES.iter() {
        for (x, y) in x.chunks(w.cols()).zip(scalar.chunks(w.rows())) {
            assert_eq!(bits(&product(machine, w, 1, x)), bits(y), "{machine:?}, one token");
        }
    }
    scalar
}

/// A tensor's bytes: any bits for the codes and integer scales, ordinary numbers for the float scales.
fn tensor(format: Format, values: usize, noise: &mut Noise) -> Vec<u8> {
    let mut bytes = noise.bytes(format.tensor_bytes(values).unwrap());
    let scales: &[usize] = match format {
        Format::Q4_0 | Format::Q8_0 | Format::Q2_0 | Format::Q2_0_G128 => &[0],
        Format::Q4_K | Format::Q5_K => &[0, 2],
        Format::Q6_K => &[208],
        Format::TQ1_0 => &[52],
        Format::TQ2_0 => &[64],
        Format::F16 => &[0],
        Format::F32 | Format::BF16 | Format::I2_S => &[],
    };
    for block in bytes.chunks_mut(format.block_bytes()) {
        if format == Format::TQ2_0 {
            block.iter_mut().for_each(|b| *b &= !(*b >> 1 & 0x55)); // code 3 → code 2
        }
        for at in scales {
            let scale = half::f16::from_f32(noise.float() * 0.1);
            block[*at..at + 2].copy_from_slice(&scale.to_le_bytes());
        }
    }
    match format {
        Format::F32 => bytes.chunks_mut(4).for_each(|b| b.copy_from_slice(&noise.float().to_le_bytes())),
        Format::BF16 => bytes.chunks_mut(2).for_each(|b| b.copy_from_slice(&noise.float().to_le_bytes()[2..])),
        _ => {}
    }
    bytes
}

const BLOCKS: [Format; 9] = [
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
const LAYOUTS: [Layout; 4] = [Layout::Panels, Layout::Trits, Layout::Rows, Layout::Columns];
const FLOATS: [Format; 3] = [Format::F32, Format::F16, Format::BF16];

/// The definition of the ternary product, term by term.
fn ternary_reference(codes: &[i8], cols: usize, scale: f32, x: &[f32]) -> Vec<f32> {
    let mut y = Vec::new();
    for x in x.chunks(cols) {
        let largest = x.iter().fold(0f32, |a, x| a.max(x.abs()));
        let s = 127.0 / largest.max(1e-5);
        let q: Vec<i64> = x.iter().map(|x| (x * s).round_ties_even().clamp(-128.0, 127.0) as i64).collect();
        for row in codes.chunks(cols) {
            let sum: i64 = row.iter().zip(&q).map(|(&c, q)| i64::from(c) * q).sum();
            y.push(sum as f32 / s * scale);
        }
    }
    y
}

/// Largest difference to the product in f64 of dequantised weights with activations as the spec of `form` rounds them,
/// relative to the sum of magnitudes.
fn block_error(format: Format, bytes: &[u8], rows: usize, x: &[f32], y: &[f32]) -> f64 {
    let cols = x.len() * rows / (y.len());
    let mut w = vec![0f32; rows * cols];
    quant::dequantize(format, bytes, &mut w);
    let group = if matches!(format, Format::Q4_0 | Format::Q8_0 | Format::Q2_0 | Format::Q2_0_G128) { 32 } else { 256 };
    let mut worst = 0f64;
    for (x, y) in x.chunks(cols).zip(y.chunks(rows)) {
        let mut rounded = Vec::new();
        for x in x.chunks(group) {
            let largest = x.iter().fold(0f32, |a, x| a.max(x.abs()));
            let inverse = if largest < 1e-30 { 0.0 } else { 127.0 / largest };
            let d = if largest < 1e-30 { 0.0 } else { f64::from(largest / 127.0) };
            rounded.extend(x.iter().map(|x| f64::from((x * inverse).round_ties_even()) * d));
        }
        for (w, &y) in w.chunks(cols).zip(y) {
            let terms: Vec<f64> = w.iter().zip(&rounded).map(|(&w, x)| f64::from(w) * x).collect();
            let (sum, size) = terms.iter().fold((0.0, 1e-30), |(s, m), t| (s + t, m + t.abs()));
            worst = worst.max((f64::from(y) - sum).abs() / size);
        }
    }
    worst
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(if cfg!(target_arch = "x86_64") { 200 } else { 60 }))]

    #[test]
    fn ternary_products_are_exact_and_equal_everywhere(rows in 1..70usize, cols in 1..600usize, n in 1..10usize, seed: u64) {
        let mut noise = Noise(seed);
        let codes: Vec<i8> = (0..rows * cols).map(|_| noise.below(3) as i8 - 1).collect();
        // Magnitudes near the end of f32 overflow the scale to 0 in any implementation: they are in the tests of other formats.
        let x: Vec<f32> = noise.activations(n * cols).iter().map(|x| x.clamp(-1e30, 1e30)).collect();
        let expected = bits(&ternary_reference(&codes, cols, 0.37, &x));
        for layout in LAYOUTS {
            let w = Matrix::ternary_in(layout, &codes, rows, cols, 0.37);
            let y = assert_all_equal(&w, n, &x);
            prop_assert_eq!(&bits(&y), &expected, "{:?}", layout);
        }
    }

    #[test]
    fn what_is_zero_can_be_left_out(rows in 1..400usize, cols in 1..600usize, zeros in 0..101u64, seed: u64) {
        let mut noise = Noise(seed);
        let codes: Vec<i8> = (0..rows * cols).map(|_| noise.below(3) as i8 - 1).collect();
        let x: Vec<f32> = (0..cols).map(|_| if noise.below(100) < zeros { 0.0 } else { noise.float() }).collect();
        let expected = ternary_reference(&codes, cols, 0.37, &x);
        let columns = Matrix::ternary_in(Layout::Columns, &codes, rows, cols, 0.37);
        prop_assert_eq!(bits(&assert_all_equal(&columns, 1, &x)), bits(&expected));
        let wanted: Vec<u32> = (0..rows as u32).filter(|_| noise.below(100) >= zeros).collect();
        let all_rows = Matrix::ternary_in(Layout::Rows, &codes, rows, cols, 0.37);
        for machine in MACHINES.iter() {
            let mut y = vec![7.0; rows];
            machine.linear_rows(&all_rows, &mut activations(1, &x), &wanted, &mut y);
            for (r, y) in y.iter().enumerate() {
                let expected = if wanted.contains(&(r as u32)) { expected[r] } else { 7.0 };
                prop_assert_eq!(y.to_bits(), expected.to_bits(), "{:?}, row {}", machine, r);
            }
        }
    }

    #[test]
    fn block_products_are_equal_everywhere_and_near_f64(
        format in prop::sample::select(&BLOCKS[..]), rows in 1..20usize, blocks in 1..7usize, n in 1..10usize, seed: u64,
    ) {
        let mut noise = Noise(seed);
        let cols = blocks * format.block_len();
        let bytes = tensor(format, rows * cols, &mut noise);
        let w = Matrix::from_format(format, rows, cols, Bytes::new(bytes.clone())).unwrap();
        let x: Vec<f32> = noise.activations(n * cols).iter().map(|x| x.clamp(-1e30, 1e30)).collect();
        let y = assert_all_equal(&w, n, &x);
        if !w.is_ternary() {
            let error = block_error(format, &bytes, rows, &x, &y);
            prop_assert!(error < 1e-6, "{format:?}: {error:e}");
        }
    }

    #[test]
    fn float_products_are_equal_everywhere_and_near_f64(
        format in prop::sample::select(&FLOATS[..]), rows in 1..20usize, cols in 1..300usize, n in 1..10usize, seed: u64,
    ) {
        let mut noise = Noise(seed);
        let bytes = tensor(format, rows * cols, &mut noise);
        // At any alignment.
        let shifted = Bytes::new([vec![0], bytes.clone()].concat()).slice(1..bytes.len() + 1);
        let w = Matrix::from_format(format, rows, cols, shifted).unwrap();
        let x: Vec<f32> = (0..n * cols).map(|_| noise.float()).collect();
        let y = assert_all_equal(&w, n, &x);
        let mut values = vec![0f32; rows * cols];
        quant::dequantize(format, &bytes, &mut values);
        for (x, y) in x.chunks(cols).zip(y.chunks(rows)) {
            for (w, &y) in values.chunks(cols).zip(y) {
                let terms: Vec<f64> = w.iter().zip(x).map(|(&w, &x)| f64::from(w) * f64::from(x)).collect();
                let (sum, size) = terms.iter().fold((0.0, 1e-30), |(s, m), t| (s + t, m + t.abs()));
                prop_assert!((f64::from(y) - sum).abs() <= 1e-6 * size);
            }
        }
    }
}

#[test]
fn the_largest_ternary_sums_do_not_overflow() {
    // bitnet.cpp answers -8192 here: it adds 4096 products of 2 · 127 in i16.
    for (code, x, expected) in [(1i8, 1.0f32, 4096.0f32), (1, -1.0, -4096.0), (-1, 1.0, -4096.0), (-1, -1.0, 4096.0)] {
        for (n, layout) in (1..10).zip(LAYOUTS.into_iter().cycle()) {
            let w = Matrix::ternary_in(layout, &vec![code; 20 * 4096], 20, 4096, 1.0);
            let y = assert_all_equal(&w, n, &vec![x; n * 4096]);
            assert!(y.iter().all(|&y| (y - expected).abs() < 1e-3), "{y:?}");
        }
    }
    let cols = 1 << 18;
    for layout in LAYOUTS {
        let w = Matrix::ternary_in(layout, &vec![1; 16 * cols], 16, cols, 1.0);
        let y = assert_all_equal(&w, 2, &vec![-3.0; 2 * cols]);
        assert!(y.iter().all(|&y| (y / (-3.0 * cols as f32) - 1.0).abs() < 1e-6), "{y:?}");
    }
    let cols = 1 << 16;
    let w = Matrix::ternary_in(Layout::Columns, &vec![1; 16 * cols], 16, cols, 1.0);
    assert_eq!(w.layout(), Some(Layout::Columns));
    let y = assert_all_equal(&w, 2, &vec![-3.0; 2 * cols]);
    assert!(y.iter().all(|&y| (y / (-3.0 * cols as f32) - 1.0).abs() < 1e-6), "{y:?}");
}

#[test]
fn the_largest_block_sums_do_not_overflow() {
    for format in BLOCKS {
        for fill in [0x00, 0x7f, 0x80, 0xaa, 0xff] {
            if format == Format::TQ2_0 && fill & fill >> 1 & 0x55 != 0 {
                continue;
            }
            let mut bytes = tensor(format, 8 * 1024, &mut Noise(1));
            let scales = tensor(format, 8 * 1024, &mut Noise(1));
            for (block, scale) in bytes.chunks_mut(format.block_bytes()).zip(scales.chunks(format.block_bytes())) {
                // Everything but the float scale at either end.
                let end = block.len();
                block.fill(fill);
                block[..4].copy_from_slice(&scale[..4]);
                block[end - 2..].copy_from_slice(&scale[end - 2..]);
            }
            let w = Matrix::from_format(format, 8, 1024, Bytes::new(bytes.clone())).unwrap();
            for x in [1.0, -1.0] {
                let x = vec![x; 9 * 1024];
                let y = assert_all_equal(&w, 9, &x);
                let error = if w.is_ternary() { 0.0 } else { block_error(format, &bytes, 8, &x, &y) };
                assert!(error < 1e-6, "{format:?} {fill:x}: {error:e}");
            }
        }
    }
}

#[test]
fn a_token_with_an_infinity_or_nan_gives_nan_and_leaves_the_others_alone() {
    let mut noise = Noise(5);
    for format in BLOCKS {
        let w = Matrix::from_format(format, 3, 512, Bytes::new(tensor(format, 3 * 512, &mut noise))).unwrap();
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let mut x = vec![0.5; 3 * 512];
            x[700] = bad;
            let y = assert_nan_row_only(&w, &x);
            assert!(y, "{format:?} {bad}");
        }
    }
    for layout in LAYOUTS {
        let w = Matrix::ternary_in(layout, &[1; 3 * 512], 3, 512, 1.0);
        let mut x = vec![0.5; 3 * 512];
        x[700] = f32::NAN;
        assert!(assert_nan_row_only(&w, &x));
        for machine in MACHINES.iter() {
            let y = product(machine, &w, 1, &x[512..1024]);
            assert!(y.iter().all(|y| y.is_nan()), "{machine:?} {layout:?}");
        }
    }
}

/// Whether token 1 of 3 is all NaN and the others are numbers, on all machines.
fn assert_nan_row_only(w: &Matrix, x: &[f32]) -> bool {
    MACHINES.iter().all(|machine| {
        let y = product(machine, w, 3, x);
        y.iter().enumerate().all(|(i, y)| y.is_nan() == (i / w.rows() == 1))
    })
}

#[test]
fn shapes_and_lengths_that_do_not_fit_are_refused() {
    for (format, rows, cols, len) in [
        (Format::Q4_K, 1, 255, 144),
        (Format::Q4_K, 2, 256, 287),
        (Format::I2_S, 1, 128, 32),
        (Format::F32, 3, 3, 35),
        (Format::F32, usize::MAX, 8, 0),
        (Format::Q8_0, 1, 48, 51),
    ] {
        let read = Matrix::from_format(format, rows, cols, Bytes::new(vec![0; len]));
        assert!(matches!(read, Err(Error::Shape(_))), "{format:?} {rows} × {cols} in {len}");
    }
}

#[test]
fn embedding_rows_are_the_dequantised_values() {
    let mut noise = Noise(3);
    for format in BLOCKS.into_iter().chain(FLOATS) {
        let bytes = tensor(format, 5 * 512, &mut noise);
        let mut values = vec![0.0; 5 * 512];
        quant::dequantize(format, &bytes, &mut values);
        let table = Table::new(format, 5, 512, Bytes::new(bytes)).unwrap();
        assert_eq!((table.rows(), table.cols()), (5, 512));
        let mut row = vec![f32::NAN; 512];
        table.row(4, &mut row);
        assert_eq!(bits(&row), bits(&values[4 * 512..]), "{format:?}");
    }
}

#[test]
fn an_instruction_set_that_is_not_there_is_named() {
    let absent = if cfg!(target_arch = "x86_64") { Isa::NeonDot } else { Isa::Avx2 };
    let message = Compute::new(Some(absent), Some(1)).unwrap_err().to_string();
    assert!(message.contains(&absent.to_string()) && message.contains("scalar"), "{message}");
}

#[test]
fn an_instruction_set_is_printed_as_it_is_asked_for() {
    use clap::ValueEnum;
    for &isa in Isa::value_variants() {
        assert_eq!(Isa::from_str(&isa.to_string(), false), Ok(isa));
    }
}

#[test]
fn a_block_whose_scale_is_no_number_is_refused_and_named() {
    let scales: [(Format, &[usize]); 9] = [
        (Format::Q4_0, &[0]),
        (Format::Q8_0, &[0]),
        (Format::Q4_K, &[0, 2]),
        (Format::Q5_K, &[0, 2]),
        (Format::Q6_K, &[208]),
        (Format::TQ1_0, &[52]),
        (Format::TQ2_0, &[64]),
        (Format::Q2_0, &[0]),
        (Format::Q2_0_G128, &[0]),
    ];
    for (format, places) in scales {
        let good = quant::quantize(format, &[0.0; 4 * 512], 512);
        let row = good.len() / 4;
        for &at in places {
            for bad in [half::f16::NAN, half::f16::INFINITY, half::f16::NEG_INFINITY] {
                let mut bytes = good.clone();
                let block = 2 * row + format.block_bytes();
                bytes[block + at..][..2].copy_from_slice(&bad.to_le_bytes());
                let message = Matrix::from_format(format, 4, 512, Bytes::new(bytes)).unwrap_err().to_string();
                let expected = format!("{format:?} block 1 of row 2 has the scale {bad}");
                assert_eq!(message, expected);
            }
        }
    }
    let mut bytes = quant::quantize(Format::I2_S, &[0.0; 512], 512);
    bytes[128..132].copy_from_slice(&f32::NAN.to_le_bytes());
    let message = Matrix::from_format(Format::I2_S, 1, 512, Bytes::new(bytes)).unwrap_err().to_string();
    assert_eq!(message, "I2_S tensor has the scale NaN");
}

#[test]
fn chunks_are_spread_over_the_pool_and_each_is_seen_once() {
    for machine in MACHINES.iter() {
        let mut out = vec![1.0; 7 * 5];
        machine.for_each_chunk(&mut out, 5, &|i, chunk| chunk.iter_mut().for_each(|x| *x += i as f32));
        let expected: Vec<f32> = (0..35).map(|i| 1.0 + (i / 5) as f32).collect();
        assert_eq!(out, expected);
    }
}

#[test]
fn a_machine_can_be_shared_and_a_warm_one_does_not_allocate() {
    fn shared<T: Send + Sync>() {}
    shared::<Compute>();
    shared::<Matrix>();
    let mut noise = Noise(9);
    let ternary = LAYOUTS.map(|layout| Matrix::ternary_in(layout, &vec![1; 64 * 1024], 64, 1024, 1.0));
    let blocks =
        BLOCKS.map(|f| Matrix::from_format(f, 64, 1024, Bytes::new(tensor(f, 64 * 1024, &mut noise))).unwrap());
    let compute = MACHINES.last().unwrap();
    let (mut x, mut y) = (Activations::default(), vec![0.0; 32 * 64]);
    let mut step = |n: usize| {
        x.reset(n, 1024);
        x.rows_mut().fill(0.5);
        for w in blocks.iter().chain(&ternary) {
            compute.linear(w, &mut x, &mut y[..n * 64]);
        }
    };
    step(32);
    let counted = allocation_counter::measure(|| [1, 7, 32].into_iter().for_each(&mut step));
    assert_eq!(counted.count_total, 0);
}
